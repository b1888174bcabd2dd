"""How is somebody's personal data erased, so that every proof stays valid and a crash can be mended?

Requested (an event), destroyed (sealed values, keys, contact map), erased (an event). Every step is
safe to repeat, and the contact map goes last, so that asking again finds where to go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, select

from domain.errors import NotFoundError
from domain.event import Actor
from domain.ids import Ids
from domain.subject import Erased, ErasureRequested
from domain.values import StreamId
from projections.store import SEALED_VALUES, Sealed, ViewStore
from projections.trace import THINGS
from projections.view import Tables
from services.desk import Circumstances, Desk
from services.faults import Probe, nothing
from services.message import PATIENCE
from services.partitioning import partition_of
from services.ports import Clock, EventStore, KeyStore, Log, Outgoing, Randomness
from services.topics import SEALED


@dataclass(frozen=True, slots=True)
class Erasure:
    """The use case `erase`."""

    log: Log
    store: EventStore
    views: ViewStore
    keys: KeyStore
    clock: Clock
    randomness: Randomness
    ids: Ids
    probe: Probe = nothing
    retention: timedelta | None = None
    """How long the log keeps the body of a message that has ended; None: it redacts it at once."""

    def person(
        self, ref: str, *, force: str | None = None, source: str | None = None
    ) -> list[tuple[str, str, str]]:
        """(force, source, person's id) wherever a contributor is called so."""
        forces = [force] if force else self._forces()
        sources = [source] if source else self.store.sources()
        found = {
            (each, called, person)
            for each in forces
            for called in sources
            if (person := self.keys.subject(f"{each}\0{called}\0{ref}")) is not None
        }
        return sorted(found)

    def _forces(self) -> list[str]:
        def asked(db: Connection, tables: Tables) -> list[str]:
            things = tables[THINGS]
            return list(db.execute(select(things.c.force).distinct()).scalars())

        return self.views.read(asked, "trace")

    def state(self, key_id: str) -> Literal["requested", "erased"] | None:
        """How far the erasure of what is under `key_id` has come, None if nobody asked for one."""
        stream = StreamId(self.ids.of("subject", key_id))
        desk = self._desk(stream)
        subject = desk.state(stream)
        return None if subject is None else subject.state

    def erase(
        self, key_id: str, *, force: str, neighbourhood: str | None, person: bool = False
    ) -> dict[str, Any]:
        """Erase everything under `key_id`: a person's id, or a thing's for words of its own.

        Asked again it finishes what a crash left undone, and otherwise changes nothing. Raises
        NotFoundError when there is neither a key, nor a value, nor an erasure, nor a person.
        """
        state = self.state(key_id)
        has_key = bool(self.keys.keys([key_id]))
        if not (person or has_key or state or self._values(key_id)):
            raise NotFoundError(
                "there are no words of its own to erase",
                expected="a person, or a thing with words of its own", got="none",
                hint="give a contributor's reference, or the reference of a thing",
            )  # fmt: skip
        # What was erased before is erased anew only if something came under its key since.
        anew = state != "erased" or has_key
        if anew:
            self._record(key_id, ErasureRequested(key_id=StreamId(key_id)), force, neighbourhood)
        self.probe("erasure.requested")
        values = self._destroy_values(key_id)
        self.probe("erasure.values_destroyed")
        self.keys.destroy([key_id])
        self.probe("erasure.key_destroyed")
        if anew:
            self._record(key_id, Erased(key_id=StreamId(key_id)), force, neighbourhood)
        self.probe("erasure.recorded")
        self.keys.forget_subject(key_id)
        # A message that was handled meanwhile may have made the person a new key: it goes as well.
        self.keys.destroy([key_id])
        return {"erased": key_id, "values": values, "bodies_until": self._bodies_until()}

    def _bodies_until(self) -> str | None:
        """The day by which the last body is gone that may name anybody; None if there is none.

        Bodies of messages that were set aside say nothing about people until they are opened, so
        all of them count. The key of a day goes when the day is 30 days past; what is parked may
        first become a dead letter, under the key of that day.
        """
        now = self.clock.now()
        parked, dead = self.store.latest_set_aside()
        last = [] if dead is None else [date.fromisoformat(dead)]
        if parked is not None:
            last.append(datetime.fromisoformat(parked).date() + PATIENCE)
        gone = [day + PATIENCE + timedelta(days=1) for day in last]
        if self.retention is not None:
            gone.append((now + self.retention).date() + timedelta(days=1))
        return max((str(day) for day in gone if day > now.date()), default=None)

    def _desk(self, stream: StreamId) -> Desk:
        desk = Desk(self.store, self.keys, self.clock, self.randomness, self.ids)
        desk.load([stream])
        return desk

    def _record(
        self, key_id: str, event: ErasureRequested | Erased, force: str, neighbourhood: str | None
    ) -> None:
        stream = StreamId(self.ids.of("subject", key_id))
        desk = self._desk(stream)
        circumstances = Circumstances(force, neighbourhood, Actor("data_protection"))
        if desk.record(stream, event, (), circumstances):
            self.store.commit(desk.work)

    def _values(self, key_id: str) -> list[tuple[str, str, str]]:
        """(event id, path, key of the partition) of each sealed value that the read models know."""
        t = SEALED_VALUES.c
        query = select(t.event_id, t.path, t.partition_key).where(t.key_id == key_id)
        with self.views.reading() as db:
            return [(event_id, path, place) for event_id, path, place in db.execute(query)]

    def _destroy_values(self, key_id: str) -> int:
        self.store.drop_sealed(key_ids=[key_id])
        found = self._values(key_id)
        if found:
            count = self.log.partitions(SEALED.name)
            self.log.append(
                [
                    Outgoing(
                        SEALED.name,
                        f"{event_id}/{path}".encode(),
                        None,
                        partition=partition_of(place.encode(), count),
                    )
                    for event_id, path, place in found
                ]
            )
            with self.views.writing() as db:
                self.views.apply_sealed(
                    db, [Sealed(event_id, path, "", "", None) for event_id, path, _ in found]
                )
        return len(found)
