"""How do the loops run without a file? The ports in memory: quick, and copied in an instant.

Each keeps what its Protocol promises as far as the loops can tell: a stream grows by the next
version only, positions have gaps, a producer is fenced by the next of its name, a consumer reads
the partitions that it holds and no others.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import TypeAlias, TypeVar

from domain.errors import ConcurrencyError, FencedError
from domain.event import Envelope
from infra.randomness import SeededRandomness
from services.partitioning import partition_of
from services.ports import (
    DeadLetter,
    Outgoing,
    Parked,
    Record,
    SealedValue,
    Stored,
    Unused,
    Waiting,
    Work,
)  # fmt: skip

_T = TypeVar("_T")

Place: TypeAlias = tuple[str, int]
Deal: TypeAlias = Callable[[Mapping[Place, Sequence[Record]], int], list[Record]]
"""Which of the records that wait at each place come next, and mixed how: order holds in a place."""


class MovableClock:
    """A clock that a test moves on."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        """Where the test has put it."""
        return self.at

    def advance(self, by: timedelta) -> None:
        """Move it on, or not at all."""
        self.at += by


class MemoryKeyStore:
    """Keys and contact map in memory."""

    def __init__(self, seed: bytes) -> None:
        self._random = SeededRandomness(seed)
        self._id_key = self._random.bytes(32)
        self._subjects: dict[str, str] = {}
        self._keys: dict[str, bytes] = {}
        self._days: dict[str, bytes] = {}

    def id_key(self) -> bytes:
        """See the port."""
        return self._id_key

    def subjects(self, references: Sequence[str]) -> dict[str, str]:
        """See the port."""
        return {reference: self._subjects.setdefault(reference, self._person()) for reference in references}

    def _person(self) -> str:
        text = self._random.bytes(16).hex()
        return f"{text[:8]}-{text[8:12]}-8{text[13:16]}-8{text[17:20]}-{text[20:]}"

    def subject(self, reference: str) -> str | None:
        """See the port."""
        return self._subjects.get(reference)

    def forget_subject(self, subject: str) -> None:
        """See the port."""
        self._subjects = {ref: person for ref, person in self._subjects.items() if person != subject}

    def keys(self, key_ids: Sequence[str], *, make: bool = False) -> dict[str, bytes]:
        """See the port."""
        for key_id in key_ids if make else ():
            self._keys.setdefault(key_id, self._random.bytes(32))
        return {key_id: self._keys[key_id] for key_id in key_ids if key_id in self._keys}

    def destroy(self, key_ids: Sequence[str]) -> None:
        """See the port."""
        for key_id in key_ids:
            self._keys.pop(key_id, None)

    def day_key(self, day: str) -> bytes:
        """See the port."""
        return self._days.setdefault(day, self._random.bytes(32))

    def destroy_day_keys(self, before: str) -> int:
        """See the port."""
        old = [day for day in self._days if day < before]
        for day in old:
            del self._days[day]
        return len(old)

    def close(self) -> None:
        """Nothing is held."""


class MemoryEventStore:
    """Facts in commit order, and intake's bookkeeping."""

    def __init__(self) -> None:
        self.stored: list[Stored] = []
        self._streams: dict[str, list[Stored]] = {}
        self._sealed: dict[tuple[str, str], tuple[int, SealedValue]] = {}
        self._handled: dict[tuple[str, str], str] = {}
        self._parked: dict[str, Parked] = {}
        self._dead: dict[str, DeadLetter] = {}
        self._counts: Counter[str] = Counter()
        self._positions: dict[Place, int] = {}
        self._commits = 0
        self._writing = threading.Lock()

    def fork(self) -> MemoryEventStore:
        """A store that holds the same and goes its own way."""
        other = MemoryEventStore()
        other.stored = list(self.stored)
        other._streams = {stream: list(events) for stream, events in self._streams.items()}
        other._sealed = dict(self._sealed)
        other._handled, other._parked, other._dead = dict(self._handled), dict(self._parked), dict(self._dead)
        other._counts, other._positions = Counter(self._counts), dict(self._positions)
        other._commits = self._commits
        return other

    def load(self, streams: Collection[str]) -> dict[str, list[Envelope]]:
        """See the port."""
        return {s: [one.envelope for one in self._streams[s]] for s in streams if s in self._streams}

    def firsts(self, streams: Collection[str]) -> dict[str, Envelope]:
        """See the port."""
        return {s: self._streams[s][0].envelope for s in streams if s in self._streams}

    def after(self, position: int, limit: int) -> list[Stored]:
        """See the port."""
        return [one for one in self.stored if one.position > position][:limit]

    def end(self) -> int:
        """See `EventStore.end`."""
        return self.stored[-1].position if self.stored else 0

    def positioned(self, stream: str) -> list[Stored]:
        """See the port."""
        return list(self._streams.get(stream, ()))

    def positions_of(self, streams: Collection[str], type: str) -> dict[str, list[int]]:
        """See the port."""
        found = {
            stream: [s.position for s in self.positioned(stream) if s.envelope.type == type]
            for stream in streams
        }
        return {stream: positions for stream, positions in found.items() if positions}

    def commit(self, work: Work) -> None:
        """See the port; everything is checked before anything is written."""
        with self._writing:
            self._commit(work)

    def _commit(self, work: Work) -> None:
        height = {event.stream: len(self._streams.get(event.stream, ())) for event in work.events}
        for event in work.events:
            height[event.stream] += 1
            if event.version != height[event.stream]:
                raise ConcurrencyError("somebody else wrote to the same stream first")
        if any((handled.source, handled.id) in self._handled for handled in work.handled):
            raise ConcurrencyError("another intake has handled this message")
        for place, (before, _) in work.positions.items():
            if self._positions.get(place, 0) != before:
                raise FencedError("another intake has moved the position")
        if len(set(work.released) & self._parked.keys()) != len(work.released):
            raise ConcurrencyError("somebody else has released a parked message first")
        if {parked.id for parked in work.parked} & (self._parked.keys() - set(work.released)):
            raise ConcurrencyError("somebody else has parked the message first")
        if any(parked.waiting_for in self._streams for parked in work.parked):
            raise ConcurrencyError("what a message was to wait for has come meanwhile")
        made = {event.stream for event in work.events if event.version == 1}
        if any(p.waiting_for in made for p in self._parked.values() if p.id not in work.released):
            raise ConcurrencyError("a message waits for what is made since somebody looked")
        if any(id_ not in self._dead or self._dead[id_].status != "open" for id_ in work.settled):
            raise ConcurrencyError("somebody else has settled the dead letter first")
        was = {id_: letter.status for id_, letter in self._dead.items()} | work.settled
        if any(was.get(letter.id, "retried") != "retried" for letter in work.dead):
            raise ConcurrencyError("somebody else has set the message aside first")
        self._commits += 1
        position = self.stored[-1].position if self.stored else 0
        position += 1 + self._commits % 3  # a rollback burns numbers: positions rise, with gaps
        for number, event in enumerate(work.events):
            stored = Stored(position + number, event)
            self.stored.append(stored)
            self._streams.setdefault(event.stream, []).append(stored)
        last = position + len(work.events) - 1
        self._sealed |= {(value.event_id, value.path): (last, value) for value in work.sealed}
        self._handled |= {(handled.source, handled.id): handled.fingerprint for handled in work.handled}
        for id_ in work.released:
            del self._parked[id_]
        self._parked |= {parked.id: parked for parked in work.parked}
        for id_, status in work.settled.items():
            self._dead[id_] = replace(self._dead[id_], status=status)
        self._dead |= {letter.id: letter for letter in work.dead}
        self._counts.update({name: count for name, count in work.counts.items() if count})
        self._positions |= {place: after for place, (_, after) in work.positions.items()}

    def handled(self, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """See the port."""
        return {name: self._handled[name] for name in names if name in self._handled}

    def waiting(self, streams: Collection[str]) -> list[Parked]:
        """See the port."""
        return [parked for parked in self._oldest_first() if parked.waiting_for in streams]

    def waiting_by_source(self, stream: str) -> dict[str, int]:
        """See the port."""
        return Counter(parked.source for parked in self._parked.values() if parked.waiting_for == stream)

    def waiting_of(self, stream: str, source: str, limit: int) -> list[Parked]:
        """See the port."""
        found = [p for p in self._oldest_first() if (p.waiting_for, p.source) == (stream, source)]
        return found[:limit]

    def parked(self, *, before: str, limit: int) -> list[Parked]:
        """See the port."""
        return [parked for parked in self._oldest_first() if parked.since < before][:limit]

    def parked_of(self, ids: Collection[str]) -> set[str]:
        """See the port."""
        return self._parked.keys() & set(ids)

    def all_parked(self) -> list[Waiting]:
        """See the port."""
        return [_without_box(Waiting, parked) for parked in self._oldest_first()]

    def _oldest_first(self) -> list[Parked]:
        return sorted(self._parked.values(), key=lambda parked: (parked.since, parked.id))

    def dead_letters(self, *, status: str | None = None) -> list[Unused]:
        """See the port."""
        found = sorted(self._dead.values(), key=lambda letter: (letter.at, letter.id))
        return [_without_box(Unused, letter) for letter in found if status in (None, letter.status)]

    def open_dead_letters(self) -> int:
        """See the port."""
        return len(self.dead_letters(status="open"))

    def dead_letters_since(self, instant: str, sources: Collection[str]) -> dict[str, int]:
        """See the port."""
        late = Counter(letter.source or "" for letter in self._dead.values() if letter.at > instant)
        return {source: n for source, n in late.items() if source in sources}

    def latest_set_aside(self) -> tuple[str | None, str | None]:
        """See the port."""
        return (
            max((parked.since for parked in self._parked.values()), default=None),
            max((letter.day for letter in self._dead.values()), default=None),
        )

    def dead_letter(self, id: str) -> DeadLetter | None:
        """See the port."""
        return self._dead.get(id)

    def counts(self) -> dict[str, int]:
        """See the port."""
        return dict(self._counts)

    def position(self, topic: str, partition: int) -> int:
        """See the port."""
        return self._positions.get((topic, partition), 0)

    def positions(self, topic: str) -> dict[int, int]:
        """See the port."""
        return {part: following for (name, part), following in self._positions.items() if name == topic}

    def sources(self) -> list[str]:
        """See the port."""
        return sorted({source for source, _ in self._handled if source})

    def sealed_of(self, event_ids: Collection[str]) -> list[SealedValue]:
        """See the port."""
        found = {name: value for name, (_, value) in self._sealed.items() if name[0] in event_ids}
        return [found[name] for name in sorted(found)]

    def drop_sealed(
        self, *, event_ids: Collection[str] = (), key_ids: Collection[str] = (), published: int = 0
    ) -> None:
        """See the port."""
        self._sealed = {
            name: (last, value)
            for name, (last, value) in self._sealed.items()
            if last > published and value.event_id not in event_ids and value.key_id not in key_ids
        }

    def close(self) -> None:
        """Nothing is held."""


def _without_box(kind: Callable[..., _T], item: Parked | DeadLetter) -> _T:
    return kind(**{each.name: getattr(item, each.name) for each in fields(item) if each.name != "box"})


def in_commit_order(waiting: Mapping[Place, Sequence[Record]], limit: int) -> list[Record]:
    """As one reader of the event store would see them."""
    records = [record for records in waiting.values() for record in records]
    return sorted(records, key=lambda r: (int(r.header("position") or b"0"), r.topic, r.offset))[:limit]


class MemoryLog:
    """Topics in memory. `deal` says what a poll brings; a test sets it, and which partitions who holds."""

    redacts = False

    def __init__(self, partitions: int, deal: Deal = in_commit_order) -> None:
        self.records: dict[Place, list[Record]] = defaultdict(list)
        self.members: dict[str, list[MemoryConsumer]] = defaultdict(list)
        self.deal = deal
        self._partitions = partitions
        self._epochs: Counter[str] = Counter()

    def partitions(self, topic: str) -> int:
        """See the port."""
        return self._partitions

    def producer(self, name: str) -> MemoryProducer:
        """See the port."""
        self._epochs[name] += 1
        return MemoryProducer(self, name, self._epochs[name])

    def check_epoch(self, name: str, epoch: int) -> None:
        """Raise FencedError if there is a later producer of the name."""
        if self._epochs[name] != epoch:
            raise FencedError("a newer producer has taken over")

    def append(self, batch: Sequence[Outgoing]) -> None:
        """See the port; offsets have gaps, as markers leave them."""
        for one in batch:
            part = partition_of(one.key, self._partitions) if one.partition is None else one.partition
            place = self.records[one.topic, part]
            offset = place[-1].offset + 1 + (len(place) % 5 == 4) if place else 0
            place.append(Record(one.topic, part, offset, one.key, one.value, one.headers))

    def consumer(
        self, group: str, topics: Sequence[str], start: Callable[[str, int], int], *, alone: bool = False
    ) -> MemoryConsumer:
        """See the port; a new member holds all partitions until it is told otherwise."""
        places = [(topic, part) for topic in topics for part in range(self._partitions)]
        member = MemoryConsumer(self, places, start)
        self.members[group].append(member)
        return member

    def end_offsets(self, topic: str) -> dict[int, int]:
        """See the port."""
        return {
            part: place[-1].offset + 1 if (place := self.records[topic, part]) else 0
            for part in range(self._partitions)
        }

    def last_records(self, topic: str, *, settled: bool = True) -> dict[int, Record]:
        """See the port."""
        return {p: place[-1] for p in range(self._partitions) if (place := self.records[topic, p])}

    def read(self, topic: str, partition: int, start: int, before: int, limit: int) -> list[Record]:
        """See the port."""
        return [r for r in self.records[topic, partition] if start <= r.offset < before][:limit]

    def redact(self, records: Mapping[tuple[str, int, int], bytes]) -> None:
        """Bodies are left to the retention, as in Kafka."""

    def unredacted(self, topic: str, partition: int, before: int) -> list[Record]:
        """See the port."""
        return []

    def close(self) -> None:
        """Nothing is held."""


class MemoryProducer:
    """Appends while no later producer has its name."""

    def __init__(self, log: MemoryLog, name: str, epoch: int) -> None:
        self._log, self._name, self._epoch = log, name, epoch

    def send(self, batch: Sequence[Outgoing]) -> None:
        """See the port."""
        self._log.check_epoch(self._name, self._epoch)
        self._log.append(batch)

    def close(self) -> None:
        """Nothing is held."""


class MemoryConsumer:
    """A member of a group, whose partitions the test hands out with `hold`."""

    def __init__(self, log: MemoryLog, places: Sequence[Place], start: Callable[[str, int], int]) -> None:
        self._log, self._places, self._start = log, places, start
        self._next: dict[Place, int] = {}
        self.hold(range(log.partitions("")))

    def hold(self, partitions: Collection[int]) -> None:
        """From now on these partitions and no others: new ones begin where `start` says."""
        held = [place for place in self._places if place[1] in partitions]
        self._next = {
            place: self._next[place] if place in self._next else self._start(*place) for place in held
        }

    def waiting(self) -> dict[Place, list[Record]]:
        """What is there to be read, by place."""
        records = {place: self._log.read(*place, at, 1 << 62, 1 << 30) for place, at in self._next.items()}
        return {place: found for place, found in records.items() if found}

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """See the port."""
        dealt = self._log.deal(self.waiting(), limit)
        for record in dealt:
            self._next[record.topic, record.partition] = record.offset + 1
        return dealt

    def assigned(self) -> frozenset[Place]:
        """See the port."""
        return frozenset(self._next)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """See the port."""
        self._held([(topic, partition)])
        self._next[topic, partition] = offset

    def commit(self, offsets: Mapping[Place, int]) -> None:
        """See the port."""
        self._held(offsets)

    def _held(self, places: Collection[Place]) -> None:
        if not set(places) <= self._next.keys():
            raise FencedError("this member does not hold all of these partitions")

    def close(self) -> None:
        """See the port."""
        self._next = {}
