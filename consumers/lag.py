"""How far is each loop behind, in records and in time, and where does the inbox stand?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from consumers.wholeness import published_until
from domain.event import read
from projections.store import Mark, Marks
from services.ports import EventStore, Log
from services.topics import EVENTS, INBOX


@dataclass(frozen=True, slots=True)
class Lag:
    """What was published and a reader of events has not handled yet.

    `records` counts offsets: on Kafka a transaction's marker in between is one more.
    """

    records: int
    seconds: float
    """Since the oldest of these events was recorded; 0 if there is none."""


@dataclass(frozen=True, slots=True)
class Unread:
    """What intake has still to take of one partition of the inbox."""

    partition: int
    offset: int
    """Of the first of these messages."""
    records: int
    """How many they are, in offsets, as in `Lag`."""
    appended: int | None
    """When the log took the first one, in milliseconds since 1970; None where it does not say."""

    @property
    def since(self) -> datetime | None:
        """Since when the first one has waited; None where that is not known, or no time at all."""
        if self.appended is None or self.appended < 0:  # Kafka's word for none
            return None
        try:
            return datetime.fromtimestamp(self.appended / 1000, UTC)
        except (ValueError, OverflowError, OSError):  # on Kafka a sender may say anything
            return None

    def seconds(self, now: datetime) -> float:
        """For how long the first one has waited; 0 where that is not known, or it came later than `now`."""
        return 0.0 if self.since is None else max(0.0, (now - self.since).total_seconds())


def of_reader(log: Log, marks: Marks, now: datetime) -> Lag:
    """The lag of a reader of events that is at `marks`."""
    records, seconds = 0, 0.0
    for partition, last in log.last_records(EVENTS.name, settled=False).items():
        at = marks.get((EVENTS.name, partition), Mark()).next
        if last.offset < at:
            continue
        records += last.offset + 1 - at
        for record in log.read(EVENTS.name, partition, at, last.offset + 1, 1):
            recorded = datetime.fromisoformat(read(record.value or b"").recorded_at)
            seconds = max(seconds, (now - recorded).total_seconds())
    return Lag(records, seconds)


def unread(log: Log, store: EventStore) -> int:
    """How many messages of the inbox intake has still to take; 0 once it has taken all.

    Counted in offsets, as in `Lag`: a marker between two of them is one more.
    """
    return sum(before - at for _, at, before in _untaken(log, store))


def standing(log: Log, store: EventStore) -> list[Unread]:
    """Where intake has come to in each partition of the inbox that holds a message it has still to take."""
    return [
        Unread(partition, first.offset, before - first.offset, first.appended)
        for partition, at, before in _untaken(log, store)
        for first in log.read(INBOX.name, partition, at, before, 1)
    ]


def _untaken(log: Log, store: EventStore) -> list[tuple[int, int, int]]:
    """(partition, next offset of intake, offset behind the last record) where something is left."""
    read = store.positions(INBOX.name)
    last = log.last_records(INBOX.name, settled=False)
    spans = [(partition, read.get(partition, 0), record.offset + 1) for partition, record in last.items()]
    return sorted(span for span in spans if span[1] < span[2])


def unpublished(log: Log, store: EventStore) -> int:
    """How many positions of the record the sequencer has still to publish; positions have gaps."""
    return max(0, store.end() - published_until(log))
