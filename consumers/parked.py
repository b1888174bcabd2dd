"""Does the topic of parked messages say what the event store says? What fell between the two is mended.

A record is appended before the batch is committed that parks its message. When that batch fails, or its
process dies, the message is taken again, by whoever holds its partition by then, and may end otherwise.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Final

from services.ports import EventStore, Log, Outgoing, Parked
from services.topics import INBOX, PARKED

MOST: Final = 2_000
"""As many messages as anybody ever takes at once."""

Place = tuple[int, int]
"""Partition and offset at which a message came into the inbox."""


def standing(parked: Parked) -> Outgoing:
    """The record of a message that waits; nothing in it that a person wrote lies open."""
    told = {"waiting-for": parked.waiting_for, "since": parked.since, "day": parked.day}
    return Outgoing(
        PARKED.name, parked.id.encode(), parked.box, tuple((n, v.encode()) for n, v in told.items())
    )


def gone(id_: str) -> Outgoing:
    """The record of a message that waits no longer."""
    return Outgoing(PARKED.name, id_.encode(), None)


@dataclass(slots=True)
class Doubtful:
    """Messages that may stand there as parked, and have ended otherwise or will.

    Those that this process appended are known by name. Those of whoever held a partition before are among
    the first that come from it now: what was in hand and not committed is taken again.
    """

    log: Log
    store: EventStore
    _own: dict[str, Place] = field(default_factory=dict)
    _left: dict[int, int] = field(default_factory=dict)
    """{partition: as many messages as may still come of those that an earlier holder had in hand}."""
    _ends: dict[int, int] = field(default_factory=dict)
    """Where the inbox ended when this process had got the partition: nobody had more in hand."""

    def begin(self, partition: int) -> None:
        """Somebody else may have held this partition of the inbox before."""
        self._left[partition] = MOST
        self._ends.pop(partition, None)

    def add(self, id_: str, place: Place) -> None:
        """This one is to be parked."""
        self._own[id_] = place

    def among(self, taken: Collection[tuple[str, Place]]) -> list[str]:
        """Those of the messages in hand which an earlier holder may have parked."""
        if taken and self._left.keys() - self._ends.keys():
            self._ends = self.log.end_offsets(INBOX.name) | self._ends
        return [id_ for id_, (part, offset) in taken if part in self._left and offset < self._ends[part]]

    def ended(self, taken: Iterable[tuple[str, Place]], parked: Iterable[str]) -> None:
        """Those in hand are committed, and those of them that are parked as they were appended."""
        for id_ in parked:
            self._own.pop(id_, None)
        for _, (part, offset) in taken:
            if part in self._left:
                self._left[part] -= 1
                if self._left[part] == 0 or offset + 1 >= self._ends[part]:
                    del self._left[part]

    def settle(self) -> None:
        """Take back what this process appended of messages that have ended and are not parked.

        Once the position of intake has passed a message it has ended, and the event store knows how.
        """
        if not self._own:
            return
        positions = self.store.positions(INBOX.name)
        ended = {id_ for id_, (part, offset) in self._own.items() if offset < positions.get(part, 0)}
        if left := sorted(ended - self.store.parked_of(ended)):
            self.log.append([gone(id_) for id_ in left])
        for id_ in ended:
            del self._own[id_]
