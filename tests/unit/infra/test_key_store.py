"""Does the key store's file hold what it must and nothing of what was destroyed?"""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

import pytest

from domain.errors import ConfigurationError, HeardError, IntegrityError, TransientError
from infra.key_store import SqliteKeyStore
from infra.randomness import SeededRandomness

DAYS = [f"2026-11-{day:02}" for day in range(1, 29)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteKeyStore]:
    store = SqliteKeyStore(path, randomness=SeededRandomness(b"keys"), patience=0)
    yield store
    store.close()


@pytest.fixture
def reader(store: SqliteKeyStore, path: Path) -> Iterator[sqlite3.Connection]:
    """Another connection in the middle of a read: it holds a SHARED lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN")
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    yield connection
    connection.close()


def everything(path: Path) -> bytes:
    """All bytes of all files beside the store (journals too)."""
    return b"\n".join(file.read_bytes() for file in path.parent.iterdir())


def traces(path: Path, secrets: list[bytes], fragment: int = 8) -> list[bytes]:
    """Which secrets left `fragment` bytes in a row somewhere, or themselves in base64 or hex."""
    data = everything(path)
    there = {data[start : start + fragment] for start in range(len(data))}
    return [
        secret
        for secret in secrets
        if any(secret[start : start + fragment] in there for start in range(len(secret) - fragment + 1))
        or b64encode(secret).rstrip(b"=") in data
        or secret.hex().encode() in data
    ]


def test_what_was_not_destroyed_is_found_by_the_search(store: SqliteKeyStore, path: Path) -> None:
    made = list(store.keys(["a", "b"], make=True).values())
    assert traces(path, made) == made
    (path.parent / "copy.txt").write_bytes(b64encode(b"k" * 32) + (b"h" * 32).hex().encode())
    assert traces(path, [b"k" * 32, b"h" * 32, b"x" * 32]) == [b"k" * 32, b"h" * 32]


def test_destroyed_keys_leave_no_trace_in_any_file(store: SqliteKeyStore, path: Path) -> None:
    keys = store.keys([f"stream {number}" for number in range(1_000)], make=True)
    days = [store.day_key(day) for day in DAYS]
    gone = list(keys)[::2]
    store.destroy(gone)
    store.destroy_day_keys("2026-12-01")
    assert traces(path, [keys[name] for name in gone] + days) == []
    assert traces(path, [store.id_key()]) == [store.id_key()]


def test_destroyed_keys_leave_no_trace_beside_an_open_connection(store: SqliteKeyStore, path: Path) -> None:
    other = SqliteKeyStore(path, randomness=SeededRandomness(b"other"), patience=0)
    made = list(store.keys(["a", "b"], make=True).values())
    assert len(other.keys(["a", "b"])) == 2
    store.destroy(["a", "b"])
    assert traces(path, made) == []
    other.close()
    assert traces(path, made) == []


@pytest.mark.parametrize("seed", [2, 5, 6])
def test_keys_that_come_and_go_for_long_leave_no_fragment(
    store: SqliteKeyStore, path: Path, seed: int
) -> None:
    # Keys kept in rows that are deleted leave fragments in these three runs, secure_delete or not
    # (SQLite 3.40; in 15 of the first 40 seeds).
    chance = random.Random(seed)
    alive: dict[str, bytes] = {}
    gone: list[bytes] = []
    for _ in range(300):
        count = chance.choice([1, 1, 3, 40, 300])
        if chance.random() < 0.55:
            names = [chance.randbytes(chance.choice([4, 16, 30])).hex() for _ in range(count)]
            alive |= store.keys(names, make=True)
        else:
            chosen = chance.sample(sorted(alive), min(len(alive), count))
            store.destroy(chosen)
            gone += [alive.pop(name) for name in chosen]
    assert len(gone) > 1_000
    assert traces(path, gone) == []
    assert store.keys(list(alive)) == alive


def test_a_reference_is_never_in_the_file(store: SqliteKeyStore, path: Path) -> None:
    store.subjects(["gmp\0contact-centre\0P-4711"])
    data = everything(path)
    assert b"4711" not in data
    assert b"contact-centre" not in data


def test_a_forgotten_person_leaves_no_trace_in_any_file(store: SqliteKeyStore, path: Path) -> None:
    references = [f"gmp\0survey\0{number}" for number in range(500)]
    ids = store.subjects(references)
    with sqlite3.connect(path) as connection:
        macs = dict(connection.execute("SELECT id, reference FROM subject").fetchall())
    connection.close()
    gone = [ids[reference] for reference in references[::5]]
    for subject in gone:
        store.forget_subject(subject)
    assert traces(path, [subject.encode() for subject in gone], fragment=16) == []
    assert traces(path, [macs[subject].encode() for subject in gone], fragment=16) == []
    assert store.subject(references[1]) == ids[references[1]]


def test_a_reader_makes_the_destruction_wait_and_nothing_is_half_done(
    store: SqliteKeyStore, path: Path, reader: sqlite3.Connection
) -> None:
    reader.execute("COMMIT")
    made = store.keys(["a", "b"], make=True)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM key").fetchall()
    with pytest.raises(TransientError) as refusal:
        store.destroy(["a", "b"])
    assert refusal.value.got == "SQLITE_BUSY"
    assert store.keys(["a", "b"]) == made
    reader.execute("COMMIT")
    store.destroy(["a", "b"])
    assert store.keys(["a", "b"]) == {}
    assert traces(path, list(made.values())) == []


def test_while_another_writes_a_write_is_refused_and_can_be_repeated(
    store: SqliteKeyStore, path: Path
) -> None:
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    for write in (
        lambda: store.keys(["a"], make=True),
        lambda: store.subjects(["a"]),
        lambda: store.add_keys({"a": b"A" * 32}),
        lambda: store.forget_subject("a"),
        lambda: store.destroy_day_keys("2026-11-01"),
    ):
        with pytest.raises(TransientError):
            write()
    writer.execute("ROLLBACK")
    writer.close()
    assert store.keys(["a"]) == {}
    assert store.keys(["a"], make=True).keys() == {"a"}


def test_an_interrupted_destruction_is_undone_when_the_file_is_opened_again(
    store: SqliteKeyStore, path: Path, tmp_path: Path
) -> None:
    made = store.keys(["a"], make=True)
    # The file and its journal as a power cut leaves them, taken in the middle of a transaction.
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("PRAGMA cache_size = 1")
    writer.execute("BEGIN EXCLUSIVE")
    writer.execute("UPDATE secret SET value = zeroblob(32)")
    writer.execute("CREATE TABLE filler AS SELECT value, zeroblob(3000) FROM json_each('[1,2,3,4,5,6,7,8]')")
    left = tmp_path / "left"
    left.mkdir()
    for name in ("keys.db", "keys.db-journal"):
        (left / name).write_bytes((tmp_path / name).read_bytes())
    writer.close()
    assert made["a"] not in (left / "keys.db").read_bytes()
    again = SqliteKeyStore(left / "keys.db", randomness=SeededRandomness(b"again"), patience=0)
    assert again.keys(["a"]) == made
    again.destroy(["a"])
    assert traces(left / "keys.db", list(made.values())) == []
    again.close()


def test_the_file_is_for_its_owner_only_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        store = SqliteKeyStore(path, randomness=SeededRandomness(b"keys"))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    store.close()


def test_a_file_that_others_could_read_is_narrowed(store: SqliteKeyStore, path: Path) -> None:
    made = store.keys(["a"], make=True)
    path.chmod(0o644)
    again = SqliteKeyStore(path, randomness=SeededRandomness(b"again"))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert again.keys(["a"]) == made
    again.close()


def test_what_is_written_is_on_the_disk_and_overwritten_when_deleted(store: SqliteKeyStore) -> None:
    def setting(name: str) -> object:
        return store._db.execute(f"PRAGMA {name}").fetchone()[0]

    assert setting("journal_mode") == "delete"
    assert setting("secure_delete") == 1
    assert setting("synchronous") == 3
    assert setting("temp_store") == 2


def test_a_batch_takes_few_statements(store: SqliteKeyStore) -> None:
    store.id_key()
    names = [f"stream {number}" for number in range(1_000)]
    statements: list[str] = []
    store._db.set_trace_callback(statements.append)
    store.keys(names)
    store.destroy(names)
    assert len(statements) == 5


def test_a_file_that_is_no_key_store_is_an_integrity_error(path: Path) -> None:
    path.write_bytes(b"something else, and long enough to be looked at" * 100)
    with pytest.raises(IntegrityError) as refusal:
        SqliteKeyStore(path, randomness=SeededRandomness(b"keys"))
    assert "backup" in refusal.value.hint


def test_a_format_of_a_later_version_is_refused(store: SqliteKeyStore, path: Path) -> None:
    store._db.execute("PRAGMA user_version = 2")
    with pytest.raises(ConfigurationError) as refusal:
        SqliteKeyStore(path, randomness=SeededRandomness(b"keys"))
    assert refusal.value.got == "format 2"


def test_a_folder_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        SqliteKeyStore(tmp_path / "nowhere" / "keys.db", randomness=SeededRandomness(b"keys"))
    assert refusal.value.hint


def test_a_closed_store_says_so_in_our_own_error(store: SqliteKeyStore) -> None:
    store.close()
    with pytest.raises(HeardError):
        store.keys(["a"])
