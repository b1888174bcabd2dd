"""What does the local log offer? The verbs of the `Log` port, over one file."""

from __future__ import annotations

import re
import sqlite3
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from domain.errors import ConfigurationError, FencedError
from infra.clock import SystemClock
from infra.file_lock import FileLock
from infra.local_log.bodies import Bodies, BodyKeys
from infra.local_log.file import Session, open_file
from infra.local_log.group import Member
from infra.local_log.shelves import Row, Shelves
from services.ports import Clock, Consumer, Outgoing, Producer, Randomness, Record
from services.topics import TOPICS, Topic

_GROUP: Final = re.compile(r"[a-z0-9][a-z0-9._-]*")


class LocalLog:
    """The `Log` port in the SQLite file at `path`, for any number of threads and processes.

    Every process gives the same `partitions`. `keys` holds what opens the bodies of redactable
    topics. The files of the groups' locks lie in `lock_dir`, by default beside the file. `wait`
    sleeps for a number of seconds; `clock` says when a record was taken. A producer or a consumer
    serves one thread at a time.

    Raises ConfigurationError when the file has another number of partitions or cannot be used.
    """

    redacts = True

    def __init__(
        self,
        path: Path,
        *,
        keys: BodyKeys,
        randomness: Randomness,
        partitions: int = 4,
        topics: tuple[Topic, ...] = TOPICS,
        lock_dir: Path | None = None,
        wait: Callable[[float], None] = time.sleep,
        clock: Clock = SystemClock(),  # noqa: B008 - it holds nothing
    ) -> None:
        _check_topics(topics, partitions)
        self._path = path
        self._lock_dir = lock_dir or path.parent
        self._wait = wait
        self._session = open_file(path, [topic.name for topic in topics], partitions)
        self._shelves = Shelves(self._session, topics, partitions, Bodies(keys, randomness), clock)
        self._keyless: list[int] = []  # ids of records whose keys are gone, though the file has them yet
        self._members: weakref.WeakSet[FencedProducer | Member] = weakref.WeakSet()

    def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        self._shelves.topic(topic)
        return self._shelves.partitions

    def producer(self, name: str) -> Producer:
        """See `Log.producer`."""
        producer = FencedProducer(self._shelves, Session(self._path), name)
        self._members.add(producer)
        return producer

    def append(self, batch: Sequence[Outgoing]) -> None:
        """See `Log.append`; raises as `Producer.send` does, but for FencedError."""
        self._shelves.append(self._session, batch)

    def consumer(
        self, group: str, topics: Sequence[str], start: Callable[[str, int], int], *, alone: bool = False
    ) -> Consumer:
        """See `Log.consumer`. One member holds all partitions, from its first poll; others stand by:
        so it is here whether `alone` or not.

        `start` is asked for each partition once the group's former holder is gone.
        """
        if not _GROUP.fullmatch(group):
            raise ConfigurationError(
                f"A group cannot be called {group!r}.",
                expected="lower-case letters, digits, dots, hyphens and underscores",
                got=group,
                hint="rename the group",
            )
        lock = FileLock(self._lock_dir / f"{self._path.name}.{group}.group")
        mine = [place for topic in topics for place in self._shelves.of(topic)]
        consumer = Member(self._shelves, Session(self._path), lock, group, mine, start, self._wait)
        self._members.add(consumer)
        return consumer

    def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log.end_offsets`."""
        mine = set(self._shelves.of(topic))
        with self._session.reading() as db:
            rows = db.execute("SELECT id, partition, next FROM place ORDER BY partition").fetchall()
        return {partition: following for place, partition, following in rows if place in mine}

    def last_records(self, topic: str, *, settled: bool = True) -> dict[int, Record]:
        """See `Log.last_records`."""
        last = "SELECT * FROM record WHERE place = ? ORDER BY offset DESC LIMIT 1"
        with self._session.reading() as db:
            rows = [Row(*row) for place in self._shelves.of(topic) for row in db.execute(last, (place,))]
        return {record.partition: record for record in self._shelves.records(self._session, rows)}

    def read(self, topic: str, partition: int, start: int, before: int, limit: int) -> list[Record]:
        """See `Log.read`."""
        place = self._shelves.place(topic, partition)
        with self._session.reading() as db:
            found = db.execute(
                "SELECT * FROM record WHERE place = ? AND offset >= ? AND offset < ? ORDER BY offset LIMIT ?",
                (place, start, before, limit),
            )
            rows = [Row(*row) for row in found]
        return self._shelves.records(self._session, rows)

    def committed(self, group: str) -> dict[tuple[str, int], int]:
        """How far `group` said it is: {(topic, partition): next offset}, for lag tools only."""
        with self._session.reading() as db:
            rows = db.execute("SELECT place, next FROM committed WHERE name = ?", (group,)).fetchall()
        names = self._shelves.names
        return {names[place]: following for place, following in rows if place in names}

    def redact(self, records: Mapping[tuple[str, int, int], bytes]) -> None:
        """See `Log.redact`; for redactable topics only, and safe to repeat.

        First the file, then the keys. After a crash between the two the old body could still be
        opened, by whoever finds its page, until this is called again or `unredacted` is. A record
        keeps its first digest; one that does not exist is passed over.
        """
        placed = []
        for (topic, partition, offset), digest in records.items():
            if not self._shelves.topic(topic).redactable:
                raise ConfigurationError(
                    f"Bodies of {topic} are not to be redacted.", hint="redact records of the inbox only"
                )
            placed.append((digest, self._shelves.place(topic, partition), offset))
        with self._session.writing() as db:
            self._forget_keys(db)
            db.executemany(
                "UPDATE record SET key = x'', value = ?, headers = x'', redacted = 1"
                " WHERE place = ? AND offset = ? AND redacted = 0",
                placed,
            )
            overwritten: dict[int, str] = {}
            for _, place, offset in placed:
                overwritten |= db.execute(
                    "SELECT id, body_key FROM record WHERE place = ? AND offset = ? AND body_key IS NOT NULL",
                    (place, offset),
                ).fetchall()
        self._destroy(overwritten)

    def unredacted(self, topic: str, partition: int, before: int) -> list[Record]:
        """See `Log.unredacted`; also finishes what a crash in `redact` left half done."""
        place = self._shelves.place(topic, partition)
        with self._session.reading() as db:
            found = db.execute(
                "SELECT * FROM record"
                " WHERE place = ? AND offset < ? AND body_key IS NOT NULL ORDER BY offset",
                (place, before),
            )
            rows = [Row(*row) for row in found]
        if overwritten := {row.id: row.body_key for row in rows if row.body_key and row.redacted}:
            self._destroy(overwritten)
            with self._session.writing() as db:
                self._forget_keys(db)
        return self._shelves.records(self._session, [row for row in rows if row.sealed])

    def _destroy(self, overwritten: Mapping[int, str]) -> None:
        self._shelves.bodies.destroy(list(overwritten.values()))
        self._keyless += overwritten

    def _forget_keys(self, db: sqlite3.Connection) -> None:
        # Not in a transaction of its own: that would be one more wait for the disk in each batch.
        db.executemany("UPDATE record SET body_key = NULL WHERE id = ?", [(id_,) for id_ in self._keyless])
        self._keyless = []

    def close(self) -> None:
        """See `Log.close`; producers and consumers close with it. Safe to repeat."""
        for member in list(self._members):
            member.close()
        self._session.close()


class FencedProducer:
    """Appends for as long as no later producer has its name."""

    def __init__(self, shelves: Shelves, session: Session, name: str) -> None:
        self._shelves = shelves
        self._session = session
        self._name = name
        with session.writing() as db:
            self._epoch = db.execute(
                "INSERT INTO producer (name, epoch) VALUES (?, 1)"
                " ON CONFLICT (name) DO UPDATE SET epoch = epoch + 1 RETURNING epoch",
                (name,),
            ).fetchone()[0]

    def send(self, batch: Sequence[Outgoing]) -> None:
        """See `Producer.send`."""
        self._shelves.append(self._session, batch, self._check)

    def _check(self, db: sqlite3.Connection) -> None:
        epoch = db.execute("SELECT epoch FROM producer WHERE name = ?", (self._name,)).fetchone()[0]
        if epoch != self._epoch:
            raise FencedError(
                f"A newer producer named {self._name!r} has taken over.",
                expected=f"epoch {self._epoch}",
                got=f"epoch {epoch}",
                hint="let the newer one run; stop this one",
            )

    def close(self) -> None:
        """See `Producer.close`."""
        self._session.close()


def _check_topics(topics: Sequence[Topic], partitions: int) -> None:
    if partitions < 1:
        raise ConfigurationError(
            "A log has at least one partition.", got=str(partitions), hint="set the number of partitions"
        )
    for topic in topics:
        if topic.compacted and topic.redactable:
            # Compaction takes records away without their keys, and an old page could be opened for ever.
            raise ConfigurationError(f"{topic.name} cannot be both compacted and redactable.")
