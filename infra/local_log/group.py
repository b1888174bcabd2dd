"""Which member of a group reads the local log, from where, and how is each partition served?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Final

from domain.errors import FencedError, IntegrityError
from infra.file_lock import FileLock
from infra.local_log.file import Session
from infra.local_log.shelves import Row, Shelves
from services.ports import Record
from services.topics import BATCH_BYTES

_STEP: Final = 0.005
"""Seconds between two looks at whether something changed."""
_ONWARD: Final = (
    "SELECT * FROM (SELECT * FROM record WHERE place = ? AND offset >= ? ORDER BY offset LIMIT ?)"
)


class Member:
    """A member of a group: holds all partitions or none, by the lock on the group's file.

    The generation in the file rises with each take-over, in case the lock ever deceives.
    """

    def __init__(
        self,
        shelves: Shelves,
        session: Session,
        lock: FileLock,
        group: str,
        mine: Sequence[int],
        start: Callable[[str, int], int],
        wait: Callable[[float], None],
    ) -> None:
        self._shelves = shelves
        self._session = session
        self._lock = lock
        self._group = group
        self._mine = frozenset(mine)
        self._start = start
        self._wait = wait
        self._generation: int | None = None
        self._fenced = False
        self._next: dict[int, int] = {}
        self._turn = 0  # the place that was served last

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """See `Consumer.poll`; raises FencedError once another member has taken over."""
        seen = None
        for looks_left in range(ceil(timeout / _STEP), -1, -1):
            if self._holds() and (version := self._session.version()) != seen:
                if records := self._read(limit):
                    return records
                seen = version
            if looks_left:
                self._wait(_STEP)
        return []

    def assigned(self) -> frozenset[tuple[str, int]]:
        """See `Consumer.assigned`; nothing before the first poll."""
        return frozenset(self._shelves.names[place] for place in self._next)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """See `Consumer.seek`; raises FencedError for a partition that is not held."""
        place = self._shelves.place(topic, partition)
        if place not in self._next:
            raise self._lost(f"does not hold {topic}/{partition}")
        self._next[place] = offset

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """See `Consumer.commit`."""
        places = {self._shelves.place(*name): offset for name, offset in offsets.items()}
        if not places:
            return
        if not places.keys() <= self._next.keys():
            raise self._lost("does not hold all of these partitions")
        with self._session.writing() as db:
            self._check(db)
            db.executemany(
                "INSERT INTO committed (name, place, next) VALUES (?, ?, ?)"
                " ON CONFLICT (name, place) DO UPDATE SET next = excluded.next",
                [(self._group, place, offset) for place, offset in places.items()],
            )

    def close(self) -> None:
        """See `Consumer.close`."""
        self._next = {}
        self._generation = None
        self._session.close()
        self._lock.release()

    def _holds(self) -> bool:
        if self._fenced:
            raise self._lost("was fenced before")
        if self._generation is not None:
            return True
        if not self._lock.acquire():
            return False
        try:
            with self._session.writing() as db:
                generation = db.execute(
                    "INSERT INTO consumer (name, generation) VALUES (?, 1)"
                    " ON CONFLICT (name) DO UPDATE SET generation = generation + 1 RETURNING generation",
                    (self._group,),
                ).fetchone()[0]
            # Asked only now: whoever held the group before can no longer move its positions.
            positions = {place: self._start(*self._shelves.names[place]) for place in sorted(self._mine)}
            self._require(positions)
        except BaseException:
            self._lock.release()
            raise
        self._generation, self._next = generation, positions
        return True

    def _require(self, positions: Mapping[int, int]) -> None:
        with self._session.reading() as db:
            ends = dict(db.execute("SELECT id, next FROM place").fetchall())
        for place, position in positions.items():
            if position > ends[place]:
                topic, partition = self._shelves.names[place]
                raise IntegrityError(
                    f"The local log's {topic}/{partition} is older than the database.",
                    expected=f"at least {position} records",
                    got=f"{ends[place]} records",
                    hint="stop Heard and restore log.db from its backup",
                )

    def _read(self, limit: int) -> list[Record]:
        with self._session.reading() as db:
            self._check(db)
            ends = db.execute("SELECT id, next FROM place ORDER BY id").fetchall()
            behind = [place for place, end in ends if self._next.get(place, end) < end]
            rows = self._fair_share(db, behind, limit)
        records = self._shelves.records(self._session, rows)
        for row in rows:
            self._next[row.place] = row.offset + 1
        return records

    def _fair_share(self, db: sqlite3.Connection, behind: Sequence[int], limit: int) -> list[Row]:
        """At most `limit` rows, as many of each place as of the others for as long as it has any.

        Where BATCH_BYTES end it, the places that had none come first the next time.
        """
        rows: list[Row] = []
        size = 0
        position = dict(self._next)
        queue = [p for p in behind if p > self._turn] + [p for p in behind if p <= self._turn]
        while queue and (left := limit - len(rows)) > 0:
            served, queue = queue[:left], queue[left:]
            each, more = divmod(left, len(served))
            share = {place: each + (turn < more) for turn, place in enumerate(served)}
            asked = [value for place in served for value in (place, position[place], share[place])]
            for row in map(Row._make, db.execute(" UNION ALL ".join([_ONWARD] * len(served)), asked)):
                rows.append(row)
                position[row.place] = max(position[row.place], row.offset + 1)
                share[row.place] -= 1
                size += len(row.value or b"") + len(row.headers)
                if size >= BATCH_BYTES:  # what comes after it is not read from the file
                    self._turn = row.place
                    return sorted(rows, key=_in_order)
            queue += [place for place in served if not share[place]]
            self._turn = served[-1]
        return sorted(rows, key=_in_order)

    def _check(self, db: sqlite3.Connection) -> None:
        found = db.execute("SELECT generation FROM consumer WHERE name = ?", (self._group,))
        (generation,) = found.fetchone()
        if generation != self._generation:
            self._fenced = True
            self._next = {}
            self._lock.release()
            raise self._lost(f"is of generation {self._generation}, the group of {generation}")

    def _lost(self, why: str) -> FencedError:
        return FencedError(
            f"This member of the group {self._group!r} {why}.",
            hint="let the member that took over run; stop this one",
        )


def _in_order(row: Row) -> tuple[int, int]:
    return row.place, row.offset
