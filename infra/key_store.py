"""Where do keys and the contact map lie, so that what is destroyed is gone from the file?

SQLite with `secure_delete` is not enough: when its trees rebalance, copies of moved rows can stay
in the unused middle of a page, and a later delete does not know of them (seen with churned keys,
SQLite 3.40: one whole key in some 50,000). So nothing secret ever moves here. A secret is a row of
fixed size, appended under a rising number and never deleted; to destroy it is to overwrite it where
it lies, with zeros. What does get moved and deleted is never secret: the ids of keys, and the
first 16 bits of a reference's HMAC.

What a disk keeps of overwritten and unlinked blocks is beyond a program: encrypt the disk.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

from domain.errors import (
    ConcurrencyError,
    ConfigurationError,
    IntegrityError,
    NotFoundError,
    TransientError,
)
from services.ports import Randomness

KEY_BYTES = 32

_FORMAT = 1
_SCHEMA = """
CREATE TABLE secret (slot INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE key (kind TEXT, name TEXT, slot INTEGER, PRIMARY KEY (kind, name)) WITHOUT ROWID;
CREATE TABLE subject (slot INTEGER PRIMARY KEY, reference TEXT NOT NULL, id TEXT NOT NULL);
CREATE INDEX subject_by_prefix ON subject (substr(reference, 1, 4));
"""
# What `key.kind` can be. A day keeps its row without a slot after its key was destroyed.
_INSTALLATION, _NAMED, _DAY = "installation", "named", "day"

# Each takes its names as one JSON array, so that no batch is too long for a statement.
_FIND_KEYS = """
SELECT name, value FROM key JOIN secret USING (slot)
WHERE kind = ? AND name IN (SELECT value FROM json_each(?))
"""
_FIND_SUBJECTS = """
SELECT subject.reference, subject.id FROM json_each(?) AS wanted JOIN subject
ON substr(subject.reference, 1, 4) = substr(wanted.value, 1, 4) AND subject.reference = wanted.value
"""
_FORGET_SUBJECT = """
UPDATE subject SET reference = zeroblob(length(reference)), id = zeroblob(length(id)) WHERE id = ?
"""
_DESTROY_KEYS = """
UPDATE secret SET value = zeroblob(length(value)) WHERE slot IN (
    SELECT slot FROM key WHERE kind = ? AND name IN (SELECT value FROM json_each(?)))
"""
_FORGET_KEYS = "DELETE FROM key WHERE kind = ? AND name IN (SELECT value FROM json_each(?))"
_DESTROY_DAYS = """
UPDATE secret SET value = zeroblob(length(value)) WHERE slot IN (
    SELECT slot FROM key WHERE kind = ? AND name < ?)
"""
_CLOSED_DAY = "SELECT 1 FROM key WHERE kind = ? AND name = ? AND slot IS NULL"
_CLOSE_DAYS = "UPDATE key SET slot = NULL WHERE kind = ? AND name < ? AND slot IS NOT NULL"


class SqliteKeyStore:
    """The KeyStore in a file of its own, readable by its owner only; any thread may call.

    `id_key` restores or pins the installation's id key: a file that holds another one is refused
    with ConfigurationError. `patience` is how many seconds to wait for another connection's lock
    before TransientError; then nothing has changed and the call may be repeated.
    """

    def __init__(
        self, path: Path, *, randomness: Randomness, id_key: bytes | None = None, patience: float = 30.0
    ) -> None:
        self._path = path
        self._randomness = randomness
        self._id_key: bytes | None = None
        self._lock = threading.RLock()
        with _our_errors(path):
            _make_private(path)
            self._db = sqlite3.connect(path, timeout=patience, isolation_level=None, check_same_thread=False)
        try:
            self._prepare()
            if id_key is not None:
                self._pin(id_key)
        except BaseException:
            self._db.close()
            raise

    def id_key(self) -> bytes:
        """The installation's 32 bytes for HMAC ids; made on first use, never changed."""
        if self._id_key is None:
            self._id_key = self._keys(_INSTALLATION, ["id"], make=True)["id"]
        return self._id_key

    def subjects(self, references: Sequence[str]) -> dict[str, str]:
        """{reference: the person's random id}, made where there was none.

        A reference is `force NUL source NUL ref`; only its HMAC under the id key is kept.
        """
        macs = {reference: self._mac(reference) for reference in references}
        with self._reading() as db:
            ids = _find_subjects(db, macs.values())
        if len(ids) < len(macs):
            with self._writing() as db:
                ids = _find_subjects(db, macs.values())
                missing = [mac for mac in macs.values() if mac not in ids]
                made = {mac: _uuid8(seed) for mac, seed in zip(missing, self._draw(16, missing), strict=True)}
                first = _next_slot(db, "SELECT max(slot) FROM subject")
                db.executemany(
                    "INSERT INTO subject VALUES (?, ?, ?)",
                    [(slot, mac, made[mac]) for slot, mac in enumerate(made, first)],
                )
                ids |= made
        return {reference: ids[mac] for reference, mac in macs.items()}

    def subject(self, reference: str) -> str | None:
        """The person's id if there is one."""
        mac = self._mac(reference)
        with self._reading() as db:
            return _find_subjects(db, [mac]).get(mac)

    def forget_subject(self, subject: str) -> None:
        """Take the person out of the contact map; safe to repeat. Reads the whole map.

        An index by person would be faster, and could keep a copy of what is to be forgotten.
        """
        with self._writing() as db:
            db.execute(_FORGET_SUBJECT, (subject,))

    def keys(self, key_ids: Sequence[str], *, make: bool = False) -> dict[str, bytes]:
        """{key id: 32 bytes} of those that exist; `make` creates the missing ones first.

        Raises ValueError for an id with a NUL in it, as do `add_keys` and `destroy`.
        """
        return self._keys(_NAMED, key_ids, make=make)

    def add_keys(self, keys: Mapping[str, bytes]) -> None:
        """Take all the given keys of 32 bytes, or none; safe to repeat.

        Raises ConcurrencyError when one of the ids already has another key, ValueError when a
        key has another length.
        """
        if any(len(key) != KEY_BYTES for key in keys.values()):
            raise ValueError(f"a key has {KEY_BYTES} bytes")
        with self._writing() as db:
            there = _find_keys(db, _NAMED, keys)
            if any(keys[name] != key for name, key in there.items()):
                raise ConcurrencyError(
                    "One of these ids already has another key.", hint="Read the keys again and retry."
                )
            _insert_keys(db, _NAMED, {name: key for name, key in keys.items() if name not in there})

    def destroy(self, key_ids: Sequence[str]) -> None:
        """Destroy keys for ever; safe to repeat."""
        names = _array(key_ids)
        with self._writing() as db:
            db.execute(_DESTROY_KEYS, (_NAMED, names))
            db.execute(_FORGET_KEYS, (_NAMED, names))

    def day_key(self, day: str) -> bytes:
        """The key under which parked and dead bodies of `day` (YYYY-MM-DD) are encrypted.

        Made on first use. Raises NotFoundError when it was destroyed: it is not made again, for
        a new key would make what is gone look like what was tampered with.
        """
        _check_day(day)
        with self._reading() as db:
            if db.execute(_CLOSED_DAY, (_DAY, day)).fetchone():
                raise NotFoundError(f"The key of {day} was destroyed.", code="key_destroyed")
        return self._keys(_DAY, [day], make=True)[day]

    def destroy_day_keys(self, before: str) -> int:
        """Destroy the day keys older than `before` (YYYY-MM-DD); the number destroyed."""
        _check_day(before)
        with self._writing() as db:
            db.execute(_DESTROY_DAYS, (_DAY, before))
            return db.execute(_CLOSE_DAYS, (_DAY, before)).rowcount

    def close(self) -> None:
        """Release the file; safe to repeat."""
        with self._lock, _our_errors(self._path):
            self._db.close()

    def _prepare(self) -> None:
        with self._reading() as db:
            db.execute("PRAGMA journal_mode = DELETE")
            db.execute("PRAGMA secure_delete = ON")
            # EXTRA also syncs the folder: else a power cut could bring the journal back, and with
            # it the key that was just destroyed.
            db.execute("PRAGMA synchronous = EXTRA")
            # A statement that fails half-way is undone from a copy of its pages: not on the disk.
            db.execute("PRAGMA temp_store = MEMORY")
        if self._format() == 0:
            with self._writing() as db:
                if self._format() == 0:
                    for statement in _SCHEMA.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA user_version = {_FORMAT}")
        if (found := self._format()) != _FORMAT:
            raise ConfigurationError(
                f"The key store {self._path} has a format that this version cannot read.",
                expected=f"format {_FORMAT}",
                got=f"format {found}",
                hint="Use the version of Heard that wrote it.",
            )

    def _format(self) -> int:
        with self._reading() as db:
            return int(db.execute("PRAGMA user_version").fetchone()[0])

    def _pin(self, id_key: bytes) -> None:
        if len(id_key) != KEY_BYTES:
            raise ConfigurationError(
                "The id key in the settings is not a key.",
                expected=f"{KEY_BYTES} bytes",
                got=f"{len(id_key)} bytes",
                hint="Take it from the backup of the key store, or leave it out to have one made.",
            )
        with self._writing() as db:
            stored = _find_keys(db, _INSTALLATION, ["id"]).get("id")
            if stored is None:
                _insert_keys(db, _INSTALLATION, {"id": id_key})
            elif not hmac.compare_digest(stored, id_key):
                raise ConfigurationError(
                    f"The id key in the settings is not that of the key store {self._path}.",
                    expected="the id key under which this installation's ids were made",
                    got="another one",
                    hint="Leave the id key out of the settings, or restore the key store it belongs to.",
                )
        self._id_key = id_key

    def _keys(self, kind: str, names: Sequence[str], *, make: bool) -> dict[str, bytes]:
        wanted = dict.fromkeys(names)
        with self._reading() as db:
            found = _find_keys(db, kind, wanted)
        if make and len(found) < len(wanted):
            with self._writing() as db:
                found = _find_keys(db, kind, wanted)
                missing = [name for name in wanted if name not in found]
                made = dict(zip(missing, self._draw(KEY_BYTES, missing), strict=True))
                _insert_keys(db, kind, made)
                found |= made
        return found

    def _draw(self, size: int, each: Sequence[object]) -> list[bytes]:
        drawn = self._randomness.bytes(size * len(each))
        return [drawn[start : start + size] for start in range(0, len(drawn), size)]

    def _mac(self, reference: str) -> str:
        message = b"heard/reference/v1\x00" + reference.encode()
        return hmac.digest(self.id_key(), message, "sha256").hex()

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """For single statements: each is its own transaction."""
        with self._lock, _our_errors(self._path):
            yield self._db

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _our_errors(self._path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise


def _array(names: Iterable[str]) -> str:
    names = list(names)
    # SQLite's JSON ends a text at NUL: such a key would be made and never found, nor destroyed.
    if any("\0" in name for name in names):
        raise ValueError("a key's id holds no NUL")
    return json.dumps(names)


def _find_keys(db: sqlite3.Connection, kind: str, names: Iterable[str]) -> dict[str, bytes]:
    return dict(db.execute(_FIND_KEYS, (kind, _array(names))))


def _find_subjects(db: sqlite3.Connection, macs: Iterable[str]) -> dict[str, str]:
    return dict(db.execute(_FIND_SUBJECTS, (_array(macs),)))


def _insert_keys(db: sqlite3.Connection, kind: str, keys: Mapping[str, bytes]) -> None:
    slots = list(enumerate(keys.items(), _next_slot(db, "SELECT max(slot) FROM secret")))
    db.executemany("INSERT INTO key VALUES (?, ?, ?)", [(kind, name, slot) for slot, (name, _) in slots])
    db.executemany("INSERT INTO secret VALUES (?, ?)", [(slot, key) for slot, (_, key) in slots])


def _next_slot(db: sqlite3.Connection, last: str) -> int:
    return int(db.execute(last).fetchone()[0] or 0) + 1


def _uuid8(seed: bytes) -> str:
    """UUIDv8 (RFC 9562 §5.8) of 16 bytes: all but the six bits of version and variant are theirs."""
    value = int.from_bytes(seed, "big")
    value = value & ~(0xF << 76) | (0x8 << 76)
    value = value & ~(0x3 << 62) | (0x2 << 62)
    return str(UUID(int=value))


def _check_day(day: str) -> None:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", day):
        raise ValueError("a day is YYYY-MM-DD")


def _make_private(path: Path) -> None:
    """Make the file, empty and for its owner only, before SQLite can write into it.

    SQLite gives the journal the file's own mode. A file that is there is narrowed by its name: to
    open and close it would drop the locks that other connections of this process hold on it.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    if path.stat().st_mode & 0o777 != 0o600:
        path.chmod(0o600)


@contextmanager
def _our_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into errors that say what to do."""
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"The key store {path} cannot be opened: {error.strerror}.",
            hint="Look at the data directory and who may read and write it.",
        ) from error
    except sqlite3.Error as error:
        cause = getattr(error, "sqlite_errorname", type(error).__name__)
        match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the low byte is the primary code
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                raise TransientError(
                    f"Another connection holds the key store {path}.",
                    got=cause,
                    hint="Try again; if it lasts, close what reads the file, a backup perhaps.",
                ) from error
            case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
                raise TransientError(
                    f"The disk did not take or give what the key store {path} asked of it.",
                    got=cause,
                    hint="Make room or repair the disk, then try again.",
                ) from error
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                raise IntegrityError(
                    f"The key store {path} is damaged, or no key store.",
                    got=cause,
                    hint="Restore it from its own backup.",
                ) from error
            case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
                raise ConfigurationError(
                    f"The key store {path} cannot be opened or written.",
                    got=cause,
                    hint="Look at the data directory and who may read and write it.",
                ) from error
            case _:
                raise ConfigurationError(
                    f"The key store {path} did not do what it was asked.", code="key_store", got=cause
                ) from error
