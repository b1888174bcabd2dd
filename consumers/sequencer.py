"""How do facts leave the event store? In commit order, each once, all or nothing a batch."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

import orjson
import structlog

from consumers.resting import no_search_for_cycles
from domain.errors import FencedError, IntegrityError, TransientError
from services.faults import Probe, nothing
from services.partitioning import partition_of
from services.ports import EventStore, Log, Outgoing, Producer, Record, SealedValue, Stored
from services.telemetry import NO_TRACER, Tracer
from services.topics import EVENTS, INBOX, SEALED

NAME: Final = "sequencer"
LOOKS: Final = 50
"""How often a sequencer that was fenced looks, and finds the same event unpublished, before it takes over."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Sequencer:
    """The loop from the event store to the log. One serves an installation; a second fences it.

    There is no checkpoint of its own: after the last committed record of every partition it goes
    on behind the highest position.
    """

    store: EventStore
    log: Log
    probe: Probe = nothing
    batch: int = 1000
    tracer: Tracer = NO_TRACER
    _producer: Producer | None = None
    _fenced: bool = False
    _looks: int = 0
    _position: int = 0
    _last: dict[tuple[str, int], int] = field(default_factory=dict)
    _due: tuple[int, bytes] | None = None
    """Once this position is published, all that intake had made of the inbox up to there is."""

    @no_search_for_cycles()
    def step(self, timeout: float = 0.0) -> int:
        """Publish one batch; the number of events published.

        Raises FencedError when another sequencer has begun (it goes on, this one ends), and
        TransientError when nothing is known to be published: the next step looks again.
        """
        if self._producer is None:
            if self._fenced and not self._deserted():
                return 0
            self._begin()
        stored = self.store.after(self._position, self.batch)
        if not stored:
            return 0
        since = self.tracer.now()
        boxes = self.store.sealed_of([s.envelope.id for s in stored])
        self.probe("sequencer.before_publish")
        try:
            self._publish(stored, boxes)
        except (FencedError, TransientError) as error:
            self._fenced, self._looks = isinstance(error, FencedError), 0
            self.close()
            raise
        self._position = stored[-1].position
        self.probe("sequencer.after_publish")
        self.tracer.published(since, stored)
        if boxes:
            self.store.drop_sealed(event_ids=[box.event_id for box in boxes], published=self._position)
        log.info("published", events=len(stored), sealed=len(boxes), position=self._position)
        return len(stored)

    def behind(self) -> bool:
        """Whether the event store holds an event that nobody has published yet."""
        return bool(self.store.after(max(self._published().values(), default=0), 1))

    def close(self) -> None:
        """Give the role up; the next step takes it again."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _begin(self) -> None:
        # Fence the predecessor first: what it still wrote is committed or lost before we look.
        producer = self.log.producer(NAME)
        try:
            self._last = self._published()
            self._position = max(self._last.values(), default=0)
            if self._position > (recorded := self.store.end()):
                raise older(self._position, recorded)
            self.store.drop_sealed(published=self._position)
        except BaseException:
            producer.close()  # whoever has not seen the end must not publish: the next step looks anew
            raise
        self._producer = producer
        self._fenced = False
        log.info("sequencer began", position=self._position)

    def _published(self) -> dict[tuple[str, int], int]:
        """The position of the last record of every partition that has one."""
        return {
            (topic, partition): position_of(record)
            for topic in (EVENTS.name, SEALED.name)
            for partition, record in self.log.last_records(topic).items()
        }

    def _deserted(self) -> bool:
        """Whether the one that fenced this one publishes no more; else two would fence each other in turn."""
        position = max(self._published().values(), default=0)
        if position != self._position or not self.behind():
            self._position, self._looks = position, 0
        else:
            self._looks += 1
        return self._looks > LOOKS

    def _publish(self, stored: list[Stored], boxes: list[SealedValue]) -> None:
        assert self._producer is not None  # noqa: S101 - for the type checker
        by_event: dict[str, list[SealedValue]] = {}
        for box in boxes:
            by_event.setdefault(box.event_id, []).append(box)
        last = dict(self._last)
        outgoing: list[Outgoing] = []
        inbox = self._inbox(stored[-1].position)
        for item in stored:
            envelope = item.envelope
            key = envelope.key.encode()
            record = self._record(EVENTS.name, key, key, envelope.bytes, item.position, last)
            more = self.tracer.header(envelope)
            if inbox and item is stored[-1]:
                more = (*more, ("inbox", inbox))
            outgoing.append(replace(record, headers=record.headers + more) if more else record)
            for box in by_event.get(envelope.id, ()):
                value = orjson.dumps({"key_id": box.key_id, "key": envelope.key, "box": box.box.hex()})
                name = f"{box.event_id}/{box.path}".encode()
                outgoing.append(self._record(SEALED.name, key, name, value, item.position, last))
        self._producer.send(outgoing)
        self._last = last

    def _inbox(self, upto: int) -> bytes | None:
        """How far the inbox has been handled for certain once everything up to that position is published.

        Positions first, then the end: what moved the positions has its events below that end.
        """
        positions = self.store.positions(INBOX.name)
        now = (self.store.end(), orjson.dumps({str(p): at for p, at in sorted(positions.items())}))
        for due in (now, self._due):
            if due is not None and due[0] <= upto:
                self._due = None if due is now else now
                return due[1] if positions else None
        self._due = self._due or now
        return None

    def _record(
        self,
        topic: str,
        place: bytes,
        key: bytes,
        value: bytes,
        position: int,
        last: dict[tuple[str, int], int],
    ) -> Outgoing:
        # Sealed values are compacted by their own names, and yet lie where their events lie.
        partition = partition_of(place, self.log.partitions(topic))
        previous = last.get((topic, partition), 0)
        last[topic, partition] = position
        headers = (("position", b"%d" % position), ("previous", b"%d" % previous))
        return Outgoing(topic, key, value, headers, partition)


def older(published: int, recorded: int) -> IntegrityError:
    """The error of an event store that ends at a position before the last that was published."""
    return IntegrityError(
        "the event store is missing, or older than the topics",
        expected=f"events up to position {published}, which were published", got=f"{recorded}",
        hint="restore the event store (write.db) from its backup; where there is none, give it empty"
        " databases and run `heard restore`",
    )  # fmt: skip


def position_of(record: Record) -> int:
    """The position of a record that the sequencer wrote; 0 if it was not the sequencer."""
    return _number(record, "position")


def previous_of(record: Record) -> int:
    """The position of the record before it in its partition; 0 if it is the first."""
    return _number(record, "previous")


def inbox_of(record: Record) -> dict[int, int]:
    """{partition of the inbox: offset} below which every message had ended, and what it made is published.

    Empty where the record does not say.
    """
    try:
        return {
            int(partition): int(at) for partition, at in orjson.loads(record.header("inbox") or "{}").items()
        }
    except (ValueError, AttributeError):
        raise _foreign(record, "header `inbox` that holds offsets") from None


def _number(record: Record, name: str) -> int:
    written = record.header(name) or b"0"
    if not written.isdigit():
        raise _foreign(record, f"header `{name}` that holds a number")
    return int(written)


def _foreign(record: Record, expected: str) -> IntegrityError:
    return IntegrityError(
        f"a record of {record.topic}/{record.partition} does not say where it stands",
        expected=f"a {expected}", got="another",
        hint="stop; somebody else writes to this topic",
    )  # fmt: skip
