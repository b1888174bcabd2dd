"""How do several processes share the local log's one file, and what if SQLite refuses?"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from domain.errors import ConfigurationError, HeardError, IntegrityError, TransientError
from infra.file_lock import one_at_a_time, usable

_FORMAT: Final = 2
_BUSY_SECONDS: Final = 30.0
_APPENDED: Final = "ALTER TABLE record ADD COLUMN appended INTEGER"
"""What format 2 added: milliseconds since 1970 at which a record was taken; none for those of before."""
_SCHEMA: Final = (
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    # A place is one partition of one topic; `next` is the offset that its next record gets.
    """CREATE TABLE place (
        id INTEGER PRIMARY KEY, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        next INTEGER NOT NULL DEFAULT 0, UNIQUE (topic, partition))""",
    # With a body_key, `value` is the whole body encrypted under it; once redacted, it is a digest,
    # and the body_key goes when the key is known to be destroyed.
    """CREATE TABLE record (
        id INTEGER PRIMARY KEY, place INTEGER NOT NULL REFERENCES place (id), offset INTEGER NOT NULL,
        key BLOB NOT NULL, value BLOB, headers BLOB NOT NULL,
        body_key TEXT, redacted INTEGER NOT NULL DEFAULT 0, compacted INTEGER NOT NULL DEFAULT 0,
        UNIQUE (place, offset))""",
    _APPENDED,
    "CREATE INDEX record_by_key ON record (place, key) WHERE compacted = 1",
    "CREATE INDEX record_by_body ON record (place, offset) WHERE body_key IS NOT NULL",
    "CREATE TABLE producer (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE consumer (name TEXT PRIMARY KEY, generation INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE committed (
        name TEXT NOT NULL, place INTEGER NOT NULL REFERENCES place (id), next INTEGER NOT NULL,
        PRIMARY KEY (name, place)) WITHOUT ROWID""",
)


class Session:
    """One connection to the file, for one thread at a time: others wait for the transaction's end."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        with _translated():
            self._db = sqlite3.connect(
                path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
            for pragma in ("synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
                self._db.execute(f"PRAGMA {pragma}")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file throughout."""
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction with the file's one write lock; durable once left without an exception."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated():
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    with suppress(sqlite3.Error):
                        self._db.execute("ROLLBACK")
                raise

    def version(self) -> int:
        """A number that changes whenever another session has committed; cheap to ask."""
        with self._lock, _translated():
            return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def keep_wal(self) -> None:
        """Turn the write-ahead log on; the file remembers it."""
        with self._lock, _translated():
            mode = self._db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        if mode != "wal":
            raise ConfigurationError(
                "The local log's disk cannot share memory between processes.",
                expected="journal_mode wal",
                got=str(mode),
                hint="put the data directory on a local disk",
            )

    def close(self) -> None:
        """Give the connection back; safe to repeat."""
        with self._lock, _translated():
            self._db.close()


def open_file(path: Path, topics: Sequence[str], partitions: int) -> Session:
    """A session on the file at `path`, made (mode 0600) where there was none, with all its places.

    Raises ConfigurationError when the file has another number of partitions or a newer format.
    """
    with one_at_a_time(path):
        _make_private(path)
        session = Session(path)
        try:
            session.keep_wal()
            _furnish(session, topics, partitions)
        except BaseException:
            session.close()
            raise
        return session


def _furnish(session: Session, topics: Sequence[str], partitions: int) -> None:
    with session.writing() as db:
        found = db.execute("PRAGMA user_version").fetchone()[0]
        if found not in range(_FORMAT + 1):
            raise ConfigurationError(
                "The local log was written in another format.",
                expected=f"format {_FORMAT} or older",
                got=f"format {found}",
                hint="use the version of Heard that wrote it",
            )
        if found == 0:
            for statement in _SCHEMA:
                db.execute(statement)
            db.execute("INSERT INTO setting (name, value) VALUES ('partitions', ?)", (partitions,))
        if found == 1:
            db.execute(_APPENDED)
        if found != _FORMAT:
            db.execute(f"PRAGMA user_version = {_FORMAT}")
        kept = db.execute("SELECT value FROM setting WHERE name = 'partitions'").fetchone()[0]
        if kept != partitions:
            raise ConfigurationError(
                "The number of partitions of a log never changes: keys would move and lose their order.",
                expected=f"{kept} partitions, as when the local log was made",
                got=f"{partitions} partitions",
                hint=f"set the number of partitions back to {kept}",
            )
        db.executemany(
            "INSERT OR IGNORE INTO place (topic, partition) VALUES (?, ?)",
            [(topic, partition) for topic in topics for partition in range(partitions)],
        )


def _make_private(path: Path) -> None:
    # An open file is never opened and closed again here: that would drop SQLite's own locks on it.
    with usable(path):
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
            return
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _ours(error) from error


def _ours(error: sqlite3.Error) -> HeardError:
    # The low byte is the kind, what is above it the detail (https://sqlite.org/rescode.html).
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF:
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return TransientError(
                "The local log is locked by another process.",
                got=str(error),
                hint="retry; if it lasts, see which process holds log.db",
            )
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR | sqlite3.SQLITE_NOMEM | sqlite3.SQLITE_INTERRUPT:
            return TransientError(
                "The local log could not be read or written.",
                got=str(error),
                hint="make room on the disk of the data directory, then retry",
            )
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_AUTH:
            return ConfigurationError(
                "The local log's file cannot be opened for writing.",
                got=str(error),
                hint="let Heard's user write in the data directory",
            )
        case sqlite3.SQLITE_MISUSE:
            return ConfigurationError(
                "The local log was used after it was closed.", got=str(error), hint="open it again"
            )
        case _:
            return IntegrityError(
                "The local log's file is damaged or is not a local log.",
                got=str(error),
                hint="stop Heard and restore log.db from its backup",
            )
