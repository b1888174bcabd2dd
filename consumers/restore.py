"""How does an event store come back from the topics and the keys, once its database is gone?

All of it is written in one transaction of the caller's: a restore that is cut off leaves the store
as empty as it found it. The read models follow as they always do, by their own loops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Final, Literal, TypeVar

from consumers.following import follow
from consumers.intake import FLOODED, Intake, Letter, name_of
from consumers.sequencer import inbox_of
from consumers.wholeness import keys_fit
from domain.errors import IntegrityError, NotFoundError
from domain.evidence.sealing import open_sealed
from domain.message import Discarded
from domain.subject import Erased, ErasureRequested
from projections.store import Mark, Sealed
from services.message import Message
from services.partitioning import partition_of
from services.ports import DeadLetter, Handled, Log, Outgoing, Parked, Record, Refill, Stored
from services.topics import DEAD_LETTERS, EVENTS, INBOX, PARKED, SEALED, TOPICS

CHUNK: Final = 1_000
"""As many events of each partition as are in memory at once."""
BODIES: Final = 100
"""As many bodies."""

_DIGEST: Final = re.compile(rb"[0-9a-f]{64}")
_T = TypeVar("_T")


@dataclass(slots=True)
class Restore:
    """One run over the topics, and what it found there."""

    log: Log
    intake: Intake
    refill: Refill
    progress: Callable[[int], None] = lambda _: None
    events: int = 0
    accepted: int = 0
    """Messages that made an event."""
    parked: int = 0
    dead_letters: int = 0
    erased: int = 0
    """Keys that were there again, and were destroyed again."""
    unproved: int = 0
    """Messages that had ended and whose bodies are overwritten, while no published event proves that
    all that they made was published. What was not is lost."""
    unreadable: int = 0
    """Parked messages that nobody can open any more."""
    _inbox: dict[int, int] = field(default_factory=dict)
    """{partition: the offset below which every message has ended}."""
    _discarded: set[str] = field(default_factory=set)
    _erasures: dict[str, Literal["requested", "erased"]] = field(default_factory=dict)
    _reused: set[str] = field(default_factory=set)
    """Letters whose name is another message's."""

    def run(self) -> None:
        """Fill the store.

        Raises IntegrityError when the topics are not whole or the keys are another installation's,
        and then nothing has changed.
        """
        for topic in TOPICS:
            self.log.last_records(topic.name)  # what a process left open has ended then, and hides nothing
        for batch in _batches(self._published(), CHUNK):
            self._events(batch)
            self.progress(self.events)
        self._find_where_intake_was()
        self._set_aside()
        self._remember_bodies()
        ended = {"accepted": self.accepted, "parked": self.parked, "dead_letters": self.dead_letters}
        # How many changed nothing or came twice, no topic says: the balance begins without them.
        self.refill.totals(
            ended | {"read": sum(ended.values())},
            {(INBOX.name, partition): at for partition, at in self._inbox.items()},
        )
        self._erase_again()

    # -- events ----------------------------------------------------------------------------------

    def _published(self) -> Iterator[Stored]:
        """Every event in commit order."""
        last = 0
        ends = self.log.end_offsets(EVENTS.name)
        for position, stored in merge(
            *(self._partition(p, end) for p, end in ends.items()), key=itemgetter(0)
        ):
            if position == last:
                raise IntegrityError(
                    "two partitions tell of the same position", expected="each once", got=f"{position} twice",
                    hint="stop; somebody else writes to this topic",
                )  # fmt: skip
            last = position
            yield stored

    def _partition(self, partition: int, end: int) -> Iterator[tuple[int, Stored]]:
        marks: dict[tuple[str, int], Mark] = {}
        for records in _chunks(self.log, EVENTS.name, partition, 0, end, CHUNK):
            batch = follow(records, marks)
            marks |= {place: after for place, (_, after) in batch.moves.items()}
            for record, (position, envelope) in zip(records, batch.events, strict=True):
                for at, offset in inbox_of(record).items():
                    self._inbox[at] = max(offset, self._inbox.get(at, 0))
                yield position, Stored(position, envelope)

    def _events(self, batch: Sequence[Stored]) -> None:
        if not self.events and not keys_fit([stored.envelope for stored in batch], self.intake.ids):
            raise IntegrityError(
                "the key store is not the one under which the record was written",
                expected="the installation's id key", got="another one",
                hint="restore the key store (keys.db) from its backup",
            )  # fmt: skip
        self.refill.events(batch)
        self.events += len(batch)
        messages = []
        for e in (stored.envelope for stored in batch):
            match e.kind, e.event if e.kind in ("subject", "message") else None:
                case _, ErasureRequested(key_id=key_id):
                    self._erasures[key_id] = "requested"
                case _, Erased(key_id=key_id):
                    self._erasures[key_id] = "erased"
                case _, Discarded(dead_letter=id_):
                    self._discarded.add(id_)
                case _ if e.message is not None:
                    messages.append(Handled(e.message.source, e.message.id, ""))
        self.refill.handled(messages)
        self.accepted += len(messages)

    # -- messages --------------------------------------------------------------------------------

    def _find_where_intake_was(self) -> None:
        """What comes after that is handled again, unless it is overwritten and so had ended as well."""
        for partition, end in self.log.end_offsets(INBOX.name).items():
            for records in self._inbox_from(partition, self._inbox.get(partition, 0), end):
                gone = [record for record in records if self._overwritten(record)]
                if gone:
                    self._inbox[partition] = gone[-1].offset + 1
                    self.unproved += len(gone)
                if len(gone) < len(records):
                    break

    def _inbox_from(self, partition: int, start: int, end: int) -> Iterator[list[Record]]:
        return _chunks(self.log, INBOX.name, partition, start, end, BODIES)

    def _overwritten(self, record: Record) -> bool:
        """Whether only the fingerprint is left of a body."""
        there = (record.key, record.headers) != (b"", ()) or not _DIGEST.fullmatch(record.value or b"")
        return self.log.redacts and not there

    def _set_aside(self) -> None:
        waiting = self._last(PARKED.name)
        for records in _batches(self._kept(PARKED.name, waiting), BODIES):
            for id_ in self._park([(record, self._opened(record)) for record in records]):
                del waiting[id_]
        for records in _batches(self._kept(DEAD_LETTERS.name, self._last(DEAD_LETTERS.name)), BODIES):
            self._bury([(record, self._opened(record)) for record in records], waiting.keys())

    def _bury(self, found: list[tuple[Record, Letter | None]], waiting: Iterable[str]) -> None:
        found = [(record, letter) for record, letter in found if self._ended(letter)]
        names = [name for _, letter in found if letter and (name := name_of(letter))]
        # So far names come from events, and from letters that wait or are dead: one of a name that is not
        # reused.
        made = self.refill.known(names)
        dead = []
        for record, letter in found:
            id_, name = record.key.decode(), name_of(letter) if letter else None
            code = _said(record, "code")
            if code == "id_reused":
                self._reused.add(id_)
            status = "open"
            if id_ in self._discarded:
                status = "discarded"
            elif id_ in waiting or (name in made and code != "id_reused"):
                status = "retried"
            day = _said(record, "day")
            dead.append(
                DeadLetter(
                    id=id_,
                    source=letter.content.source if letter else None,
                    message_id=letter.content.id if letter else None,
                    code=code,
                    field=_said(record, "field"),
                    reason=_said(record, "reason"),
                    status=status,
                    at=_said(record, "at") or _beginning(day),
                    day=day,
                    box=record.value or b"",
                )
            )
        self.refill.set_aside([], dead)
        self.dead_letters += sum(letter.status != "retried" for letter in dead)
        self._remember(letter for _, letter in found)

    def _park(self, found: list[tuple[Record, Letter | None]]) -> list[str]:
        """Those that wait wait again; the ids of the others, whose record was left behind."""
        self.unreadable += sum(letter is None for _, letter in found)
        # So far names come from events, and from messages that wait: each waits once.
        known = self.refill.known([name for _, letter in found if letter and (name := name_of(letter))])
        parked, left = [], []
        for record, letter in found:
            day, stream = _said(record, "day"), _said(record, "waiting-for")
            name = name_of(letter) if letter else None
            if letter is None or not self._ended(letter) or (name is None and stream != self.intake.flood):
                continue
            if name in known:
                if stream != self.intake.flood:
                    left.append(letter.id)
                    continue
                self._reused.add(letter.id)  # or the same again: whoever handles it finds out
            elif name is not None:
                known.add(name)
            parked.append(
                Parked(
                    id=letter.id,
                    source=letter.content.source or "",
                    message_id=letter.content.id or "",
                    waiting_for=stream,
                    waiting_name=self._called(letter, stream),
                    since=_said(record, "since") or _beginning(day),
                    day=day,
                    box=record.value or b"",
                )
            )
        self.refill.set_aside(parked, [])
        self.parked += len(parked)
        self._remember(letter for _, letter in found if letter and self._ended(letter))
        return left

    def _opened(self, record: Record) -> Letter | None:
        """What was set aside; None once the key of its day is destroyed."""
        try:
            return self.intake.letter_of(record.key.decode(), _said(record, "day"), record.value or b"")
        except NotFoundError:
            return None

    def _ended(self, letter: Letter | None) -> bool:
        """Whether it will not come from the inbox again."""
        return letter is None or letter.at[1] < self._inbox.get(letter.at[0], 0)

    def _called(self, letter: Letter, stream: str) -> str:
        """The thing of that stream as the message names it, or what else it waits for."""
        m, ids = letter.content, self.intake.ids
        if stream == self.intake.flood:
            return FLOODED
        if isinstance(m, Message):
            for cause in m.causes:
                if ids.stream(cause.kind, m.force, cause.source, cause.ref) == stream:
                    return f"{cause.kind} {cause.ref}"
            return f"{m.kind} {m.event.ref}"
        return stream

    def _remember(self, letters: Iterable[Letter | None]) -> None:
        self.refill.handled(
            [
                Handled(*name, letter.content.fingerprint)
                for letter in letters
                if letter and letter.id not in self._reused and (name := name_of(letter))
            ]
        )

    def _remember_bodies(self) -> None:
        """What the inbox still says of the messages that ended: their fingerprints, or all of them."""
        for partition, end in self._inbox.items():
            for records in self._inbox_from(partition, 0, end):
                gone = [(r.value or b"").decode() for r in records if self._overwritten(r)]
                self.refill.handled([Handled("", digest, digest) for digest in gone])
                self._remember(self.intake.letter(r) for r in records if not self._overwritten(r))

    # -- what was erased -------------------------------------------------------------------------

    def _erase_again(self) -> None:
        """Destroy what came back with an older copy of the key store, or was not destroyed to the end.

        What is sealed under a key after its erasure belongs to a new key of the same name: the one
        that opens it. A request alone is not finished here; `heard erase` does so.
        """
        keys = self.intake.keys
        there = keys.keys(list(self._erasures))
        requested = {key_id for key_id, state in self._erasures.items() if state == "requested"}
        values = self._values(there.keys() | requested)
        if doomed := [value for value in values if value.key_id in requested]:
            count = self.log.partitions(SEALED.name)
            self.log.append(
                [
                    Outgoing(
                        SEALED.name, f"{value.event_id}/{value.path}".encode(), None,
                        partition=partition_of(value.partition_key.encode(), count),
                    )
                    for value in doomed
                ]
            )  # fmt: skip
        opened = {value.key_id for value in values if _opens(there.get(value.key_id), value)} - requested
        if again := sorted(there.keys() - opened):
            keys.destroy(again)
        self.erased = len(again)
        for key_id in self._erasures.keys() - requested:
            keys.forget_subject(key_id)

    def _values(self, key_ids: set[str]) -> list[Sealed]:
        found: dict[tuple[str, str], Sealed] = {}
        if key_ids:
            for partition, end in self.log.end_offsets(SEALED.name).items():
                for records in _chunks(self.log, SEALED.name, partition, 0, end, CHUNK):
                    for value in follow(records, {}).sealed:
                        found.pop((value.event_id, value.path), None)
                        if value.box is not None and value.key_id in key_ids:
                            found[value.event_id, value.path] = value
        return list(found.values())

    # -- topics whose last record of a key counts ------------------------------------------------

    def _last(self, topic: str) -> dict[str, tuple[int, int]]:
        """{key: partition and offset of its last record}, without those that a tombstone took away."""
        found: dict[str, tuple[int, int]] = {}
        for partition, end in self.log.end_offsets(topic).items():
            for records in _chunks(self.log, topic, partition, 0, end, BODIES):
                for record in records:
                    key = record.key.decode()
                    found[key] = (partition, record.offset)
                    if record.value is None:
                        del found[key]
        return found

    def _kept(self, topic: str, last: dict[str, tuple[int, int]]) -> Iterator[Record]:
        for partition, end in self.log.end_offsets(topic).items():
            for records in _chunks(self.log, topic, partition, 0, end, BODIES):
                for record in records:
                    if last.get(record.key.decode()) == (partition, record.offset):
                        yield record


def _opens(key: bytes | None, value: Sealed) -> bool:
    if key is None or value.box is None:
        return False
    try:
        open_sealed(key, value.key_id, value.event_id, value.path, value.box)
    except IntegrityError:
        return False
    return True


def _said(record: Record, header: str) -> str:
    """What a record says beside its box; nothing if it was written before that was said."""
    return (record.header(header) or b"").decode()


def _beginning(day: str) -> str:
    return f"{day}T00:00:00.000000Z"


def _chunks(log: Log, topic: str, partition: int, start: int, end: int, limit: int) -> Iterator[list[Record]]:
    while start < end and (records := log.read(topic, partition, start, end, limit)):
        yield records
        start = records[-1].offset + 1


def _batches(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    source = iter(items)
    while batch := list(islice(source, size)):
        yield batch
