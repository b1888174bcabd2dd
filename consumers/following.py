"""How does a consumer of facts read on, and notice at once if a record is missing?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import orjson

from consumers.sequencer import position_of, previous_of
from domain.errors import IntegrityError
from domain.event import Envelope, read
from projections.store import Mark, Marks, Sealed
from services.ports import Log, Record
from services.topics import EVENTS


def behind(log: Log, topics: Sequence[str], read: Callable[[str, int], int]) -> bool:
    """Whether a topic holds a record that was not `read` yet: from place to next offset."""
    return any(
        record.offset >= read(topic, partition)
        for topic in topics
        for partition, record in log.last_records(topic).items()
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """Records as they are handled: events and sealed values in order, and how far they lead."""

    events: list[tuple[int, Envelope]]
    sealed: list[Sealed]
    moves: dict[tuple[str, int], tuple[Mark, Mark]]


def follow(records: Sequence[Record], marks: Marks) -> Batch:
    """Decode what comes after `marks`; what lies before them was handled already.

    Each event's record names the position of its partition's previous one: another one than the
    mark's means that something is missing, and raises IntegrityError. Sealed values are compacted,
    so that theirs may have gaps: what is missing there is missed when it is opened.
    """
    events: list[tuple[int, Envelope]] = []
    sealed: list[Sealed] = []
    now: dict[tuple[str, int], Mark] = {}
    for record in records:
        place = (record.topic, record.partition)
        mark = now.get(place) or marks.get(place, Mark())
        if record.offset < mark.next:
            continue
        position = position_of(record)
        if record.topic == EVENTS.name:
            _unbroken(record, mark, position)
            events.append((position, read(record.value or b"")))
        else:
            sealed.append(_sealed(record))
        now[place] = Mark(record.offset + 1, max(position, mark.position))
    moves = {place: (marks.get(place, Mark()), mark) for place, mark in now.items()}
    return Batch(events, sealed, moves)


def _unbroken(record: Record, mark: Mark, position: int) -> None:
    if previous_of(record) != mark.position or position <= mark.position:
        raise IntegrityError(
            f"a record of {record.topic}/{record.partition} is missing or out of order",
            expected=f"a record that follows position {mark.position}",
            got=f"one at {position} that follows {previous_of(record)}",
            hint="stop; compare the topic with the event store: `heard fsck`",
        )


def _sealed(record: Record) -> Sealed:
    event_id, _, path = record.key.decode().partition("/")
    if record.value is None:
        return Sealed(event_id, path, "", "", None)
    try:
        value = orjson.loads(record.value)
        return Sealed(event_id, path, value["key_id"], value["key"], bytes.fromhex(value["box"]))
    except (ValueError, KeyError, TypeError) as error:
        raise IntegrityError(
            f"a record of {record.topic}/{record.partition} is not a sealed value",
            expected="JSON with key_id, key and box", got=type(error).__name__,
            hint="stop; somebody else writes to this topic",
        ) from error  # fmt: skip
