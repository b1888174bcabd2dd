"""Does the topic of parked messages say what the event store says? What fell between the two is mended.

A record is appended before the batch is committed that parks its message. When that batch fails, or its
process dies, the message is taken again, by whoever holds its partition by then, and may end otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from domain.errors import IntegrityError
from services.ports import EventStore, Log, Outgoing, Parked, Record
from services.topics import INBOX, PARKED

TAIL: Final = 10_000
"""As many messages as one batch may hold: those that it parks are the last that stand there."""
CHUNK: Final = 100
"""As many parked records, bodies and all, as are in memory at once."""
_PLACE: Final = "inbox"

Place = tuple[int, int]
"""Partition and offset at which a message came into the inbox."""


def gone(id_: str) -> Outgoing:
    """The record of a message that waits no longer."""
    return Outgoing(PARKED.name, id_.encode(), None)


@dataclass(slots=True)
class Doubtful:
    """Records of messages that were to be parked, of which it is open how the messages end.

    Once the position of intake has passed a message it has ended, and the event store knows how.
    """

    log: Log
    store: EventStore
    _places: dict[str, Place] = field(default_factory=dict)
    _tail: dict[str, Place] = field(default_factory=dict)
    """What stands in the last records of the topic, up to `_next` of each partition."""
    _next: dict[int, int] = field(default_factory=dict)

    def add(self, id_: str, place: Place) -> None:
        """This one is to be parked."""
        self._places[id_] = place

    def standing(self, parked: Parked) -> Outgoing:
        """The record of one that was added; nothing in it that a person wrote lies open."""
        partition, offset = self._places[parked.id]
        headers = {
            "waiting-for": parked.waiting_for, "since": parked.since, "day": parked.day,
            _PLACE: f"{partition}/{offset}",
        }  # fmt: skip
        return Outgoing(
            PARKED.name, parked.id.encode(), parked.box, tuple((n, v.encode()) for n, v in headers.items())
        )

    def remove(self, ids: Iterable[str]) -> None:
        """These were committed as they were appended."""
        for id_ in ids:
            self._places.pop(id_, None)

    def begin(self, partition: int, position: int) -> None:
        """Find what whoever held this partition of the inbox before may have left behind."""
        self._read_on()
        self._places |= {
            id_: place
            for id_, place in self._tail.items()
            if place[0] == partition and position - TAIL <= place[1] < position + TAIL
        }

    def settle(self) -> None:
        """Take back the records of those that have ended and are not parked."""
        if not self._places:
            return
        positions = self.store.positions(INBOX.name)
        ended = {id_ for id_, (part, offset) in self._places.items() if offset < positions.get(part, 0)}
        if left := sorted(ended - self.store.parked_of(ended)):
            self.log.append([gone(id_) for id_ in left])
        self.remove(ended)

    def _read_on(self) -> None:
        ends = self.log.end_offsets(PARKED.name)
        for partition, end in ends.items():
            at = max(self._next.get(partition, 0), end - TAIL)
            while at < end and (records := self.log.read(PARKED.name, partition, at, end, CHUNK)):
                for record in records:
                    id_ = record.key.decode()
                    self._tail.pop(id_, None)
                    if record.value is not None and (place := record.header(_PLACE)) is not None:
                        self._tail[id_] = _read_place(record, place)
                at = records[-1].offset + 1
            self._next[partition] = end
        for id_ in list(islice(self._tail, max(0, len(self._tail) - TAIL * len(ends)))):
            del self._tail[id_]


def _read_place(record: Record, written: bytes) -> Place:
    try:
        partition, offset = written.split(b"/")
        return int(partition), int(offset)
    except ValueError:
        raise IntegrityError(
            f"a record of {record.topic}/{record.partition} does not say where its message came in",
            expected=f"a header `{_PLACE}` that holds PARTITION/OFFSET", got="another",
            hint="stop; somebody else writes to this topic",
        ) from None  # fmt: skip
