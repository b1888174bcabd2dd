"""Where do facts lie first? The `EventStore` port over the recorders of `eventsourcing`.

The recorder's own table and insert hold the events; Heard's bookkeeping (handled messages, parked,
dead letters, positions, sealed values to be published) is written in the same transaction.
"""

from __future__ import annotations

import os
import re
import sqlite3
import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

import orjson
import psycopg
from eventsourcing.persistence import IntegrityError as RecorderIntegrityError
from eventsourcing.persistence import InterfaceError as RecorderInterfaceError
from eventsourcing.persistence import OperationalError as RecorderOperationalError
from eventsourcing.persistence import PersistenceError, StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore
from eventsourcing.utils import strtobool
from psycopg.rows import dict_row

from domain.errors import (
    ConcurrencyError,
    ConfigurationError,
    FencedError,
    IntegrityError,
    TransientError,
)  # fmt: skip
from domain.event import Envelope, read
from infra.databases import LOCK_TIMEOUT, PLANNING, address, no_right
from infra.file_lock import one_at_a_time
from infra.refill import SqlRefill
from services.ports import DeadLetter, Parked, Refill, SealedValue, Stored, Unused, Waiting, Work
from services.topics import BATCH_BYTES

_PARKED: Final = ("id", "source", "message_id", "waiting_for", "waiting_name", "since", "day", "box")
_DEAD: Final = (
    "id", "source", "message_id", "code", "field", "reason", "status", "at", "day", "box",
)  # fmt: skip
_OUTBOX: Final = ("event_id", "path", "key_id", "box", "position")

_T = TypeVar("_T")


class EnvelopeMapper:
    """Envelope ↔ stored event: the topic is the type, the state is the bytes as first written."""

    @staticmethod
    def to_stored_event(envelope: Envelope) -> StoredEvent:
        """What the recorder keeps."""
        return StoredEvent(envelope.stream, envelope.version, envelope.type, envelope.bytes)

    @staticmethod
    def to_domain_event(stored: StoredEvent) -> Envelope:
        """The envelope of it; upcasting comes later, when its `event` is asked for."""
        return read(bytes(stored.state))


class _Cursor(Protocol):
    rowcount: int

    def execute(self, sql: str, parameters: Mapping[str, Any]) -> Any: ...
    def executemany(self, sql: str, parameters: Sequence[Any]) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Recorder(Protocol):
    """A recorder of `eventsourcing`, as far as its SQL differs between databases."""

    position: str
    """The column that holds an event's position."""

    def transaction(self, *, write: bool) -> AbstractContextManager[_Cursor]:
        """A transaction that is committed at its end and rolled back by an exception."""
        ...

    def insert(self, cursor: _Cursor, events: Sequence[StoredEvent]) -> int:
        """Events into the recorder's table, in the caller's transaction; the position of the last."""
        ...

    def write(
        self, cursor: _Cursor, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """New rows, as many at once as there are."""
        ...

    def settled(self, cursor: _Cursor) -> int:
        """A position: at or below it nothing can come any more that the next statement does not see."""
        ...

    def make(self, cursor: _Cursor) -> None:
        """From here to the end of the transaction nobody else may `wait`; others may `make` as well."""
        ...

    def wait(self, cursor: _Cursor) -> None:
        """From here to the end of the transaction nobody else may `make` or `wait`."""
        ...

    def go_on_after(self, cursor: _Cursor, position: int) -> None:
        """Give the next event a position above this one, which a refill has written."""
        ...

    def sql(self, text: str) -> str:
        """`text` with its parameters (`:name`) and `IN (:[name])` lists in the database's way."""
        ...

    def array(self, values: Collection[str]) -> Any:
        """The parameter for an `IN (:[name])` list."""
        ...

    def close(self) -> None:
        """Release every connection."""
        ...


class SqlEventStore:
    """The `EventStore` port."""

    def __init__(self, recorder: Recorder) -> None:
        self._db = recorder

    # -- events ----------------------------------------------------------------------------------

    def load(self, streams: Collection[str]) -> dict[str, list[Envelope]]:
        """The events of each stream in order of version; streams without events are left out."""
        rows = self._select(
            "SELECT originator_id, state FROM stored_events WHERE originator_id IN (:[streams])"
            " ORDER BY originator_id, originator_version",
            streams=self._db.array(streams),
        )
        found: defaultdict[str, list[Envelope]] = defaultdict(list)
        for row in rows:
            found[row["originator_id"]].append(read(bytes(row["state"])))
        return dict(found)

    def firsts(self, streams: Collection[str]) -> dict[str, Envelope]:
        """The first event of each stream that has one."""
        rows = self._select(
            "SELECT originator_id, state FROM stored_events"
            " WHERE originator_id IN (:[streams]) AND originator_version = 1",
            streams=self._db.array(streams),
        )
        return {row["originator_id"]: read(bytes(row["state"])) for row in rows}

    def after(self, position: int, limit: int) -> list[Stored]:
        """Events in commit order after `position`, none ever missed."""
        with _our_errors(), self._db.transaction(write=False) as cursor:
            settled = self._db.settled(cursor)
            if settled <= position:
                return []
            cursor.execute(
                self._db.sql(
                    f"SELECT {self._db.position} AS position, state FROM stored_events"  # noqa: S608
                    f" WHERE {self._db.position} > :position AND {self._db.position} <= :settled"
                    f" ORDER BY {self._db.position} LIMIT :limit"
                ),
                {"position": position, "settled": settled, "limit": limit},
            )
            rows = cursor.fetchall()
        return [Stored(row["position"], read(bytes(row["state"]))) for row in rows]

    def end(self) -> int:
        """The position of the last event, 0 if there is none."""
        rows = self._select(f"SELECT MAX({self._db.position}) AS last FROM stored_events")  # noqa: S608
        return rows[0]["last"] or 0

    def positioned(self, stream: str) -> list[Stored]:
        """The events of one stream, each with its position."""
        rows = self._select(
            f"SELECT {self._db.position} AS position, state FROM stored_events"  # noqa: S608
            " WHERE originator_id = :stream ORDER BY originator_version",
            stream=stream,
        )
        return [Stored(row["position"], read(bytes(row["state"]))) for row in rows]

    def positions_of(self, streams: Collection[str], type: str) -> dict[str, list[int]]:
        """{stream: positions of its events of that type, in order}; streams without one are left out."""
        rows = self._select(
            f"SELECT originator_id, {self._db.position} AS position FROM stored_events"  # noqa: S608
            " WHERE originator_id IN (:[streams]) AND topic = :topic ORDER BY originator_version",
            streams=self._db.array(streams),
            topic=type,
        )
        found: defaultdict[str, list[int]] = defaultdict(list)
        for row in rows:
            found[row["originator_id"]].append(row["position"])
        return dict(found)

    # -- one transaction -------------------------------------------------------------------------

    def commit(self, work: Work) -> None:
        """Write all of it in one transaction (see the port for what it raises)."""
        with _our_errors(), self._db.transaction(write=True) as cursor:
            # The same order in every transaction: two that lock in another would wait for each other.
            # The events come late, as readers wait from then on; the counts, which all share, come last.
            if work.parked:
                self._db.wait(cursor)
                self._awaits_what_is_not_there(cursor, work)
            elif any(event.version == 1 for event in work.events):
                self._db.make(cursor)
            self._move(cursor, work.positions)
            handled = [(h.source, h.id, h.fingerprint) for h in work.handled]
            self._db.write(cursor, "handled_messages", ("source", "id", "fingerprint"), handled)
            self._each(
                cursor,
                "DELETE FROM parked_messages WHERE id = :id",
                [{"id": id_} for id_ in work.released],
                "somebody else has released a parked message first",
            )
            self._leaves_nobody_waiting(cursor, work)
            parked = [tuple(_row(p, _PARKED).values()) for p in work.parked]
            self._db.write(cursor, "parked_messages", _PARKED, parked)
            self._each(
                cursor,
                "UPDATE dead_letters SET status = :status WHERE id = :id AND status = 'open'",
                [{"id": id_, "status": status} for id_, status in work.settled.items()],
                "somebody else has settled the dead letter first",
            )
            self._each(
                cursor,
                # One that was retried and cannot be used after all, now or after a wait, is open again.
                _insert("dead_letters", _DEAD)
                + f" ON CONFLICT (id) DO UPDATE SET {', '.join(f'{c} = excluded.{c}' for c in _DEAD[1:])}"
                " WHERE dead_letters.status = 'retried'",
                [_row(d, _DEAD) for d in work.dead],
                "somebody else has set the message aside first",
            )
            last = None
            if work.events:
                last = self._db.insert(cursor, [EnvelopeMapper.to_stored_event(e) for e in work.events])
            sealed = [(v.event_id, v.path, v.key_id, v.box, last) for v in work.sealed]
            self._db.write(cursor, "sealed_outbox", _OUTBOX, sealed)
            self._many(
                cursor,
                "INSERT INTO message_counts (name, n) VALUES (:name, :n)"
                " ON CONFLICT (name) DO UPDATE SET n = message_counts.n + :n",
                [{"name": name, "n": n} for name, n in sorted(work.counts.items()) if n],
            )

    def _awaits_what_is_not_there(self, cursor: _Cursor, work: Work) -> None:
        """What made a thing meanwhile has looked for those that wait for it: it would not look again."""
        self._none(
            cursor,
            "SELECT originator_id FROM stored_events"
            " WHERE originator_id IN (:[streams]) AND originator_version = 1",
            {parked.waiting_for for parked in work.parked},
            "what a message was to wait for has come meanwhile",
        )

    def _leaves_nobody_waiting(self, cursor: _Cursor, work: Work) -> None:
        """The same seen from what makes a thing: whoever was parked since it looked is to be set free."""
        self._none(
            cursor,
            "SELECT id FROM parked_messages WHERE waiting_for IN (:[streams])",
            {event.stream for event in work.events if event.version == 1},
            "a message waits for what is made since somebody looked",
        )

    def _none(self, cursor: _Cursor, text: str, streams: Collection[str], otherwise: str) -> None:
        if not streams:
            return
        cursor.execute(self._db.sql(f"{text} LIMIT 1"), {"streams": self._db.array(streams)})
        if cursor.fetchall():
            raise ConcurrencyError(
                otherwise, expected="none", got="one", hint="nothing was written; load again and retry"
            )

    def _move(self, cursor: _Cursor, positions: Mapping[tuple[str, int], tuple[int, int]]) -> None:
        for (topic, part), (before, after) in sorted(positions.items()):
            cursor.execute(
                self._db.sql(
                    "INSERT INTO intake_positions (topic, part, next)"
                    " SELECT :topic, CAST(:part AS INTEGER), CAST(:after AS BIGINT)"
                    " WHERE CAST(:before AS BIGINT) = 0 OR EXISTS"
                    " (SELECT 1 FROM intake_positions WHERE topic = :topic AND part = :part)"
                    " ON CONFLICT (topic, part) DO UPDATE SET next = :after"
                    " WHERE intake_positions.next = :before"
                ),
                {"topic": topic, "part": part, "before": before, "after": after},
            )
            if cursor.rowcount != 1:
                raise FencedError(
                    f"another intake has moved the position of {topic}/{part}",
                    expected=f"position {before}", got="another",
                    hint="nothing was written; this intake reads its position again",
                )  # fmt: skip

    def _many(self, cursor: _Cursor, text: str, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            cursor.executemany(self._db.sql(text), rows)

    def _each(self, cursor: _Cursor, text: str, rows: Sequence[Mapping[str, Any]], otherwise: str) -> None:
        """As `_many`, and each statement, which can hit one row at most, hits one."""
        self._many(cursor, text, rows)
        if rows and cursor.rowcount != len(rows):
            raise ConcurrencyError(
                otherwise, expected=f"{len(rows)} as they were read", got=f"{cursor.rowcount}",
                hint="nothing was written; load again and retry",
            )  # fmt: skip

    # -- bookkeeping -----------------------------------------------------------------------------

    def handled(self, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """{(source, id): fingerprint} of the messages among `names` that were read before."""
        by_source: defaultdict[str, list[str]] = defaultdict(list)
        for source, id_ in names:
            by_source[source].append(id_)
        found: dict[tuple[str, str], str] = {}
        for source, ids in by_source.items():
            rows = self._select(
                "SELECT id, fingerprint FROM handled_messages WHERE source = :source AND id IN (:[ids])",
                source=source,
                ids=self._db.array(ids),
            )
            found |= {(source, row["id"]): row["fingerprint"] for row in rows}
        return found

    def waiting(self, streams: Collection[str]) -> list[Parked]:
        """The parked messages that wait for one of `streams`, oldest first."""
        rest = "parked_messages WHERE waiting_for IN (:[streams]) ORDER BY since, id"
        return self._rows(Parked, _PARKED, rest, streams=self._db.array(streams))

    def waiting_by_source(self, stream: str) -> dict[str, int]:
        """{source: how many messages of it wait for `stream`} (see the port)."""
        rows = self._select(
            "SELECT source, COUNT(*) AS n FROM parked_messages WHERE waiting_for = :stream GROUP BY source",
            stream=stream,
        )
        return {row["source"]: row["n"] for row in rows}

    def waiting_of(self, stream: str, source: str, limit: int) -> list[Parked]:
        """At most `limit` of that source that wait for `stream`, oldest first."""
        where = "waiting_for = :stream AND source = :source"
        return self._some_parked(where, limit=limit, stream=stream, source=source)

    def parked(self, *, before: str, limit: int) -> list[Parked]:
        """At most `limit` messages that were parked before that instant, oldest first."""
        return self._some_parked("since < :before", limit=limit, before=before)

    def _some_parked(self, where: str, **parameters: Any) -> list[Parked]:
        """The oldest of them, as many as `limit` and BATCH_BYTES of boxes allow, and one at least."""
        rest = f"parked_messages WHERE {where} ORDER BY since, id LIMIT :limit"
        ids: list[str] = []
        left = BATCH_BYTES
        for row in self._select(f"SELECT id, LENGTH(box) AS size FROM {rest}", **parameters):  # noqa: S608
            left -= row["size"]
            if ids and left < 0:
                break
            ids.append(row["id"])
        rest = "parked_messages WHERE id IN (:[ids]) ORDER BY since, id"
        return self._rows(Parked, _PARKED, rest, ids=self._db.array(ids))

    def parked_of(self, ids: Collection[str]) -> set[str]:
        """Those of these messages that are parked."""
        rows = self._select("SELECT id FROM parked_messages WHERE id IN (:[ids])", ids=self._db.array(ids))
        return {row["id"] for row in rows}

    def all_parked(self) -> list[Waiting]:
        """Every parked message, oldest first."""
        return self._rows(Waiting, _PARKED[:-1], "parked_messages ORDER BY since, id")

    def dead_letter(self, id: str) -> DeadLetter | None:
        """One dead letter."""
        return next(iter(self._rows(DeadLetter, _DEAD, "dead_letters WHERE id = :id", id=id)), None)

    def dead_letters(self, *, status: str | None = None) -> list[Unused]:
        """Dead letters, oldest first."""
        where = "" if status is None else "WHERE status = :status "
        return self._rows(Unused, _DEAD[:-1], f"dead_letters {where}ORDER BY at, id", status=status)

    def open_dead_letters(self) -> int:
        """How many dead letters are open."""
        [row] = self._select("SELECT COUNT(*) AS n FROM dead_letters WHERE status = 'open'")
        return int(row["n"])

    def dead_letters_since(self, instant: str, sources: Collection[str]) -> dict[str, int]:
        """{source: how many of it have become dead letters after that instant} (see the port)."""
        rows = self._select(
            "SELECT COALESCE(source, '') AS source, COUNT(*) AS n FROM dead_letters"
            " WHERE at > :instant AND COALESCE(source, '') IN (:[sources]) GROUP BY COALESCE(source, '')",
            instant=instant,
            sources=self._db.array(sources),
        )
        return {row["source"]: row["n"] for row in rows}

    def latest_set_aside(self) -> tuple[str | None, str | None]:
        """The latest `since` of a parked message and the latest `day` of a dead letter, if any."""
        [row] = self._select(
            "SELECT (SELECT MAX(since) FROM parked_messages) AS parked,"
            " (SELECT MAX(day) FROM dead_letters) AS dead"
        )
        return row["parked"], row["dead"]

    def _rows(
        self, kind: Callable[..., _T], columns: Sequence[str], rest: str, **parameters: Any
    ) -> list[_T]:
        rows = self._select(f"SELECT {', '.join(columns)} FROM {rest}", **parameters)  # noqa: S608
        return [kind(**_read_row(row, columns)) for row in rows]

    def counts(self) -> dict[str, int]:
        """Messages by how they ended, in total."""
        return {row["name"]: row["n"] for row in self._select("SELECT name, n FROM message_counts")}

    def position(self, topic: str, partition: int) -> int:
        """The next offset that intake reads; 0 at first."""
        rows = self._select(
            "SELECT next FROM intake_positions WHERE topic = :topic AND part = :part",
            topic=topic,
            part=partition,
        )
        return rows[0]["next"] if rows else 0

    def positions(self, topic: str) -> dict[int, int]:
        """{partition: the next offset that intake reads} of those where it has read something."""
        rows = self._select("SELECT part, next FROM intake_positions WHERE topic = :topic", topic=topic)
        return {row["part"]: row["next"] for row in rows}

    def sources(self) -> list[str]:
        """Every source that a message has come from; one look into the index for each."""
        rows = self._select(
            "WITH RECURSIVE known AS (SELECT MIN(source) AS source FROM handled_messages WHERE source > ''"
            " UNION ALL SELECT (SELECT MIN(source) FROM handled_messages WHERE source > known.source)"
            " FROM known WHERE known.source IS NOT NULL)"
            " SELECT source FROM known WHERE source IS NOT NULL"
        )
        return [row["source"] for row in rows]

    # -- sealed values ---------------------------------------------------------------------------

    def sealed_of(self, event_ids: Collection[str]) -> list[SealedValue]:
        """Sealed values of these events that were not yet published."""
        rows = self._select(
            "SELECT event_id, path, key_id, box FROM sealed_outbox WHERE event_id IN (:[ids])"
            " ORDER BY event_id, path",
            ids=self._db.array(event_ids),
        )
        return [SealedValue(r["event_id"], r["path"], r["key_id"], bytes(r["box"])) for r in rows]

    def drop_sealed(
        self, *, event_ids: Collection[str] = (), key_ids: Collection[str] = (), published: int = 0
    ) -> None:
        """Forget sealed values that were published, or whose keys are destroyed (see the port)."""
        with _our_errors(), self._db.transaction(write=True) as cursor:
            for column, values in (("event_id", event_ids), ("key_id", key_ids)):
                if values:
                    cursor.execute(
                        self._db.sql(f"DELETE FROM sealed_outbox WHERE {column} IN (:[ids])"),  # noqa: S608
                        {"ids": self._db.array(values)},
                    )
            cursor.execute(
                self._db.sql("DELETE FROM sealed_outbox WHERE position <= :published"),
                {"published": published},
            )

    @contextmanager
    def refilling(self) -> Iterator[Refill]:
        """Fill the store again in one transaction. ConfigurationError unless it is empty."""
        with _our_errors(), self._db.transaction(write=True) as cursor:
            self._db.wait(cursor)  # as long as nothing is there, whoever writes an event makes a thing
            yield SqlRefill(self._db, cursor)

    def close(self) -> None:
        """Release every connection."""
        self._db.close()

    def _select(self, text: str, **parameters: Any) -> list[Any]:
        with _our_errors(), self._db.transaction(write=False) as cursor:
            cursor.execute(self._db.sql(text), {k: v for k, v in parameters.items() if v is not None})
            return cursor.fetchall()


def _insert(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(f":{column}" for column in columns)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({names})"  # noqa: S608


def _row(item: object, columns: Sequence[str]) -> dict[str, Any]:
    return {column: getattr(item, column) for column in columns}


def _read_row(row: Any, columns: Sequence[str]) -> dict[str, Any]:
    return {c: bytes(row[c]) if c == "box" else row[c] for c in columns}


# -- SQLite --------------------------------------------------------------------------------------

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS intake_positions (
        topic TEXT NOT NULL, part INTEGER NOT NULL, next BIGINT NOT NULL, PRIMARY KEY (topic, part))""",
    "CREATE TABLE IF NOT EXISTS message_counts (name TEXT PRIMARY KEY, n BIGINT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS handled_messages (
        source TEXT NOT NULL, id TEXT NOT NULL, fingerprint TEXT NOT NULL, PRIMARY KEY (source, id))""",
    """CREATE TABLE IF NOT EXISTS parked_messages (
        id TEXT PRIMARY KEY, source TEXT NOT NULL, message_id TEXT NOT NULL,
        waiting_for TEXT NOT NULL, waiting_name TEXT NOT NULL, since TEXT NOT NULL,
        day TEXT NOT NULL, box BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS parked_by_stream ON parked_messages (waiting_for)",
    "CREATE INDEX IF NOT EXISTS parked_by_age ON parked_messages (since, id)",
    """CREATE TABLE IF NOT EXISTS dead_letters (
        id TEXT PRIMARY KEY, source TEXT, message_id TEXT, code TEXT NOT NULL, field TEXT NOT NULL,
        reason TEXT NOT NULL, status TEXT NOT NULL, at TEXT NOT NULL, day TEXT NOT NULL,
        box BLOB NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS dead_by_age ON dead_letters (at, id)",
    """CREATE TABLE IF NOT EXISTS sealed_outbox (
        event_id TEXT NOT NULL, path TEXT NOT NULL, key_id TEXT NOT NULL, box BLOB NOT NULL,
        position BIGINT, PRIMARY KEY (event_id, path))""",
    "CREATE INDEX IF NOT EXISTS sealed_by_key ON sealed_outbox (key_id)",
    "CREATE INDEX IF NOT EXISTS sealed_by_position ON sealed_outbox (position)",
)


class SqliteRecorder(SQLiteApplicationRecorder):
    """The embedded default: one file, WAL, one writer at a time.

    `patience` is how many seconds to wait for another writer.
    """

    position = "rowid"

    def __init__(self, path: Path, *, patience: int = 30) -> None:
        # Write transactions begin IMMEDIATE: one that reads first and then writes would otherwise
        # fail at once when another writer came in between, whatever the time-out.
        path.touch(mode=0o600)
        datastore = SQLiteDatastore(str(path), lock_timeout=patience, originator_id_type="text")
        super().__init__(datastore)
        with one_at_a_time(path), _our_errors():
            self._create()

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[_Cursor]:
        """See `Recorder`."""
        with self.datastore.get_connection(commit=write) as connection:
            cursor: Any = connection.cursor()
            cursor.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield cursor.sqlite_cursor
                connection.commit()
            except BaseException:
                connection.rollback()
                raise

    def insert(self, cursor: Any, events: Sequence[StoredEvent]) -> int:
        """See `Recorder`."""
        self._insert_events(cursor, events)
        return int(cursor.execute("SELECT MAX(rowid) FROM stored_events").fetchone()[0])

    def settled(self, cursor: _Cursor) -> int:
        """See `Recorder`: with one writer at a time, whatever can be seen."""
        return sys.maxsize

    def write(
        self, cursor: _Cursor, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        """See `Recorder`."""
        marks = ", ".join("?" * len(columns))
        cursor.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", rows)  # noqa: S608

    def make(self, cursor: _Cursor) -> None:
        """See `Recorder`: a write transaction is alone from its beginning."""

    def wait(self, cursor: _Cursor) -> None:
        """See `Recorder`: a write transaction is alone from its beginning."""

    def go_on_after(self, cursor: _Cursor, position: int) -> None:
        """See `Recorder`: a rowid is always above the highest."""

    @staticmethod
    def sql(text: str) -> str:
        """See `Recorder`."""
        return re.sub(r":\[(\w+)\]", r"SELECT value FROM json_each(:\1)", text)

    @staticmethod
    def array(values: Collection[str]) -> Any:
        """See `Recorder`."""
        return orjson.dumps(list(values)).decode()

    def _create(self) -> None:
        with self.transaction(write=False) as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master WHERE name = 'sealed_by_position'", {})
            if cursor.fetchall():  # the last of them: whoever only reads takes no write lock
                return
        self.create_table()
        with self.transaction(write=True) as cursor:
            for statement in _TABLES:
                cursor.execute(statement, {})

    def close(self) -> None:
        """See `Recorder`."""
        self.datastore.close()


# -- PostgreSQL ----------------------------------------------------------------------------------


_DB_FUNCTIONS: Final = "POSTGRES_ENABLE_DB_FUNCTIONS"
_WAITING: Final = 0x4EA2F
"""The advisory lock between those that make things and those that begin to wait for one."""
_WRITING: Final = 0x4EA2 << 48
"""Added to the position after which a writer will insert, it is the writer's advisory lock."""
_SEQUENCE: Final = "stored_events_notification_id_seq"


class PostgresRecorder(PostgresApplicationRecorder):
    """Production: PostgreSQL. Writers go on side by side, and a reader misses none of their events.

    Its tables are made by `heard migrate`.

    A position is taken before its transaction commits, so lower ones may appear after higher ones.
    In place of the library's table lock each writer says, by an advisory lock that it shares and
    nobody ever takes alone, after which position its own will come; a reader goes no further than
    the lowest of these. Nobody waits for anybody (docs/decisions/0011).

    `patience` is how many seconds to wait for a connection.
    """

    position = "notification_id"

    def __init__(self, url: str, *, patience: float = 5.0) -> None:
        if strtobool(os.environ.get(_DB_FUNCTIONS) or "no"):
            raise ConfigurationError(
                f"{_DB_FUNCTIONS} is set: the library's insert function takes no lock, and a reader"
                " would miss events",
                expected="the variable unset", got="set", hint=f"unset {_DB_FUNCTIONS}",
            )  # fmt: skip
        datastore = PostgresDatastore(
            dbname="",
            host="",
            port="",
            user="",
            password="",
            connect_timeout=patience,
            pool_size=2,
            max_overflow=8,
            schema="public",
            originator_id_type="text",
            enable_db_functions=False,
            # A writer that is cut off from us holds up every reader until the server ends it.
            idle_in_transaction_session_timeout=60,
        )
        # All that the address says, also what the library has no argument for: sslmode and the like.
        # Each statement has a snapshot of its own: `settled` and the checks of `commit` rest on it.
        session = address(
            url, default_transaction_isolation="read committed", lock_timeout=LOCK_TIMEOUT, **PLANNING
        )
        datastore.pool.kwargs = {"row_factory": dict_row, **session}
        with _our_errors():
            super().__init__(datastore)

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[_Cursor]:
        """See `Recorder`."""
        with (
            self.datastore.get_connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
        ):
            yield cursor  # type: ignore[misc]

    def insert(self, cursor: Any, events: Sequence[StoredEvent]) -> int:
        """See `Recorder`."""
        self._lock_table(cursor)
        columns = ("originator_id", "originator_version", "topic", "state")
        rows = [(e.originator_id, e.originator_version, e.topic, e.state) for e in events]
        self.write(cursor, "stored_events", columns, rows)
        return int(cursor.execute("SELECT lastval() AS last").fetchone()["last"])

    def write(self, cursor: Any, table: str, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
        """See `Recorder`: by COPY, which is far quicker than any INSERT."""
        if not rows:
            return
        kinds = {str: "text", int: "int8", bytes: "bytea", type(None): "int8"}  # a position can be absent
        with cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types([kinds[type(value)] for value in rows[0]])
            for row in rows:
                copy.write_row(row)

    def _lock_table(self, curs: Any) -> None:
        # What is read of the sequence may be old when the lock is there: then it is lower than need
        # be, which delays a reader and misleads none.
        curs.execute(
            f"SELECT pg_advisory_xact_lock_shared(%s + last_value - (NOT is_called)::int) FROM {_SEQUENCE}",  # noqa: S608
            (_WRITING,),
        )

    def _notify_channel(self, curs: Any) -> None:
        """Tell nobody: readers poll, and transactions that notify commit one after the other."""

    def settled(self, cursor: Any) -> int:
        """See `Recorder`.

        Three looks, in this order. Whoever has taken a position up to `taken` had its lock before,
        so it is found among those that write, or has committed and the caller's next statement,
        which has a snapshot of its own, sees its events. Whoever takes one later takes a higher one.
        """
        taken = cursor.execute(f"SELECT last_value FROM {_SEQUENCE}").fetchone()["last_value"]  # noqa: S608
        writing = cursor.execute(
            "SELECT MIN((classid::bigint << 32 | objid::bigint) - %(writing)s) AS after FROM pg_locks"
            " WHERE locktype = 'advisory' AND objsubid = 1 AND classid::bigint >> 16 = %(writing)s >> 48"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
            {"writing": _WRITING},
        ).fetchone()
        return int(taken if writing["after"] is None else min(taken, writing["after"]))

    def make(self, cursor: Any) -> None:
        """See `Recorder`."""
        cursor.execute("SELECT pg_advisory_xact_lock_shared(%s)", (_WAITING,))

    def wait(self, cursor: Any) -> None:
        """See `Recorder`."""
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_WAITING,))

    def go_on_after(self, cursor: _Cursor, position: int) -> None:
        """See `Recorder`: one by one, as a service may take positions and not set them."""
        cursor.execute(
            f"SELECT count(nextval('{_SEQUENCE}')) FROM {_SEQUENCE},"  # noqa: S608 - own name
            " generate_series(last_value + is_called::int, %(position)s)",
            {"position": position},
        )

    @staticmethod
    def sql(text: str) -> str:
        """See `Recorder`."""
        # `b`, in binary: text would be searched for what has to be quoted, value by value.
        text = re.sub(r"IN \(:\[(\w+)\]\)", r"= ANY(%(\1)b)", text)
        return re.sub(r"(?<!:):(\w+)", r"%(\1)s", text)

    @staticmethod
    def array(values: Collection[str]) -> Any:
        """See `Recorder`."""
        return list(values)

    def close(self) -> None:
        """See `Recorder`."""
        self.datastore.close()


@contextmanager
def _our_errors() -> Iterator[None]:
    """Make the libraries' exceptions ours: what a caller may retry, and what it must not."""
    try:
        yield
    except (RecorderIntegrityError, sqlite3.IntegrityError, psycopg.IntegrityError) as error:
        raise _written_first() from error
    except (
        sqlite3.OperationalError, psycopg.OperationalError, RecorderOperationalError, RecorderInterfaceError,
    ) as error:  # fmt: skip
        if isinstance(error.__cause__, psycopg.errors.DeadlockDetected):
            raise _written_first() from error  # two wrote to the same streams, each in another order
        raise _away(error) from error
    except (sqlite3.DatabaseError, psycopg.DatabaseError, PersistenceError) as error:
        match error.__cause__ or error:
            case psycopg.errors.IdleInTransactionSessionTimeout():
                raise _away(error) from error  # nothing is wrong with it: it has heard nothing of us
            case psycopg.errors.InsufficientPrivilege():
                raise no_right() from error
        raise IntegrityError(
            "the event store does not answer as it should",
            expected="tables as Heard made them", got=type(error).__name__,
            hint="stop, and compare with a backup",
        ) from error  # fmt: skip


def _written_first() -> ConcurrencyError:
    return ConcurrencyError(
        "somebody else wrote to the same stream first",
        expected="the next version of each stream", got="a version that is taken",
        hint="load again and retry",
    )  # fmt: skip


def _away(error: Exception) -> TransientError:
    return TransientError(
        "the event store cannot be written or read at the moment",
        expected="an answer from the database", got=type(error).__name__,
        hint="nothing was committed; look at `heard doctor` if it stays so",
    )  # fmt: skip
