"""How does a record get into the file, and out of it again?"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from domain.errors import ConfigurationError, IntegrityError
from infra.local_log.bodies import Bodies, Body, pack_headers, unpack_headers
from infra.local_log.file import Session
from services.partitioning import partition_of
from services.ports import Clock, Outgoing, Record
from services.topics import Topic

_NO_HEADERS: Final = pack_headers(())


class Row(NamedTuple):
    """A record as it lies in the file: the columns of the schema, in its order."""

    id: int
    place: int
    offset: int
    key: bytes
    value: bytes | None
    headers: bytes
    body_key: str | None
    redacted: int
    compacted: int
    appended: int | None

    @property
    def sealed(self) -> bool:
        """Whether `value` is a whole body, still to be opened."""
        return self.body_key is not None and not self.redacted


class _Sheet(NamedTuple):
    """A record ready to be written, but for its offset."""

    place: int
    key: bytes
    value: bytes | None
    headers: bytes
    body_key: str | None
    compacted: bool
    appended: int


class Shelves:
    """The places of the topics, and how records get into them and out again."""

    def __init__(
        self, session: Session, topics: Sequence[Topic], partitions: int, bodies: Bodies, clock: Clock
    ) -> None:
        self._clock = clock
        self.topics = {topic.name: topic for topic in topics}
        self.partitions = partitions
        self.bodies = bodies
        with session.reading() as db:
            rows = db.execute("SELECT topic, partition, id FROM place").fetchall()
        self.places: dict[tuple[str, int], int] = {
            (topic, partition): place for topic, partition, place in rows if topic in self.topics
        }
        self.names = {place: name for name, place in self.places.items()}

    def topic(self, name: str) -> Topic:
        """The topic of that name; ConfigurationError if there is none."""
        if name not in self.topics:
            raise ConfigurationError(
                f"The log has no topic {name!r}.",
                expected=", ".join(self.topics),
                got=name,
                hint="use one of services.topics",
            )
        return self.topics[name]

    def of(self, topic: str) -> list[int]:
        """The places of a topic; ConfigurationError if there is no such topic."""
        self.topic(topic)
        return [self.places[topic, partition] for partition in range(self.partitions)]

    def place(self, topic: str, partition: int) -> int:
        """The place of a partition; ConfigurationError if there is none."""
        self.topic(topic)
        place = self.places.get((topic, partition))
        if place is None:
            raise ConfigurationError(
                f"{topic} has no such partition.",
                expected=f"0 to {self.partitions - 1}",
                got=str(partition),
                hint="leave the partition out, so that the key decides",
            )
        return place

    def append(
        self,
        session: Session,
        batch: Sequence[Outgoing],
        allowed: Callable[[sqlite3.Connection], None] = lambda db: None,
    ) -> None:
        """Write all of `batch` or nothing; `allowed` may refuse within the transaction."""
        sheets = self._prepare(batch)
        with session.writing() as db:
            allowed(db)
            self._write(db, sheets)

    def _prepare(self, batch: Sequence[Outgoing]) -> list[_Sheet]:
        places, open_bodies = [], []
        for out in batch:
            topic = self.topic(out.topic)
            topic.require(out)
            partition = partition_of(out.key, self.partitions) if out.partition is None else out.partition
            places.append((topic, self.place(out.topic, partition)))
            if topic.redactable:
                open_bodies.append(Body(out.key, out.value, out.headers))
        sealed = iter(self.bodies.seal(open_bodies))  # all keys of the batch in one transaction
        now = int(self._clock.now().timestamp() * 1000)
        sheets = []
        for out, (topic, place) in zip(batch, places, strict=True):
            if topic.redactable:
                key_id, ciphertext = next(sealed)
                sheets.append(_Sheet(place, b"", ciphertext, _NO_HEADERS, key_id, False, now))
            else:
                headers = pack_headers(out.headers)
                sheets.append(_Sheet(place, out.key, out.value, headers, None, topic.compacted, now))
        return sheets

    def _write(self, db: sqlite3.Connection, sheets: Sequence[_Sheet]) -> None:
        following = dict(db.execute("SELECT id, next FROM place").fetchall())
        placed = []
        for sheet in sheets:
            placed.append((following[sheet.place], sheet))
            following[sheet.place] += 1
        latest = {(sheet.place, sheet.key): offset for offset, sheet in placed if sheet.compacted}
        db.executemany("DELETE FROM record WHERE place = ? AND key = ? AND compacted = 1", list(latest))
        db.executemany(
            "INSERT INTO record (offset, place, key, value, headers, body_key, compacted, appended)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (offset, *sheet)
                for offset, sheet in placed
                if not sheet.compacted or latest[sheet.place, sheet.key] == offset
            ],
        )
        touched = {sheet.place for sheet in sheets}
        db.executemany(
            "UPDATE place SET next = ? WHERE id = ?", [(following[place], place) for place in touched]
        )

    def records(self, session: Session, rows: Sequence[Row]) -> list[Record]:
        """Rows as records: a redacted one has its digest for value, and neither key nor headers."""
        bodies = self._opened(rows)
        closed = [row.id for row in rows if row.sealed and row.body_key not in bodies]
        if closed:
            # Perhaps redacted since they were read: then the row says so by now.
            with session.reading() as db:
                again = {
                    id_: Row(*db.execute("SELECT * FROM record WHERE id = ?", (id_,)).fetchone())
                    for id_ in closed
                }
            if any(row.sealed for row in again.values()):
                raise IntegrityError(
                    "The key of a body in the local log is missing.",
                    expected="a key for each body that is not redacted",
                    got=f"{sum(row.sealed for row in again.values())} without",
                    hint="restore keys.db from its backup",
                )
            rows = [again.get(row.id, row) for row in rows]
        return [self._record(row, bodies) for row in rows]

    def _opened(self, rows: Sequence[Row]) -> dict[str, Body]:
        return self.bodies.open(
            {row.body_key: row.value or b"" for row in rows if row.body_key and row.sealed}
        )

    def _record(self, row: Row, bodies: Mapping[str, Body]) -> Record:
        topic, partition = self.names[row.place]
        if row.body_key and row.sealed:
            key, value, headers = bodies[row.body_key]
        else:
            key, value, headers = row.key, row.value, unpack_headers(row.headers)
        return Record(topic, partition, row.offset, key, value, headers, row.appended)
