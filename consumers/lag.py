"""How far is each loop behind, in records and in time?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

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
    return sum(
        max(0, last.offset + 1 - store.position(INBOX.name, partition))
        for partition, last in log.last_records(INBOX.name, settled=False).items()
    )


def unpublished(log: Log, store: EventStore) -> int:
    """How many positions of the record the sequencer has still to publish; positions have gaps."""
    return max(0, store.end() - published_until(log))
