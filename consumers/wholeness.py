"""Do topics, databases and keys belong together? What is lost has to stop us, not to be made up for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from consumers.sequencer import older, position_of
from domain.errors import IntegrityError
from domain.event import Envelope, Reported
from domain.ids import Ids
from services.ports import EventStore, Log
from services.topics import EVENTS, INBOX


def require_whole(log: Log, store: EventStore, ids: Ids) -> None:
    """Raise IntegrityError, with the remedy, unless nothing seems to be missing."""
    for error in faults(log, store, ids):
        raise error


def faults(log: Log, store: EventStore, ids: Ids) -> Iterator[IntegrityError]:
    """What does not fit together."""
    published, recorded = published_until(log), store.end()
    if published > recorded:
        yield older(published, recorded)
    for partition, end in sorted(log.end_offsets(INBOX.name).items()):
        if (read := store.position(INBOX.name, partition)) > end:
            yield IntegrityError(
                "the log is missing, or older than the event store",
                expected=f"an inbox of {read} records in partition {partition}", got=f"{end}",
                hint="restore the log (log.db) from its backup",
            )  # fmt: skip
    if not keys_fit([stored.envelope for stored in store.after(0, 100)], ids):
        yield IntegrityError(
            "the key store is not the one under which the record was written",
            expected="the installation's id key", got="another one",
            hint="restore the key store (keys.db) from its backup",
        )  # fmt: skip


def published_until(log: Log) -> int:
    """The position of the last event that was published, 0 if there is none.

    Nobody waits here for what a sequencer that was killed left open: the next one ends that, and asks here
    before it begins.
    """
    last = log.last_records(EVENTS.name, settled=False)
    return max(map(position_of, last.values()), default=0)


def keys_fit(beginning: Iterable[Envelope], ids: Ids) -> bool:
    """Whether the first thing that upstream named has the id that this key gives it."""
    for e in beginning:
        if e.version == 1 and isinstance(e.event, Reported) and e.kind != "support" and e.message:
            return e.stream == ids.stream(e.kind, e.force, e.message.source, e.event.ref)
    return True
