"""What does the local log promise beyond the port: forgetting, standing by, refusing in our words?"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from domain.errors import ConfigurationError, FencedError, IntegrityError, TransientError
from infra.key_store import SqliteKeyStore
from infra.local_log import LocalLog, file
from infra.randomness import SystemRandomness
from services.ports import Outgoing
from services.topics import EVENTS, INBOX, SEALED, Topic
from tests.contract.local_log_harness import connect
from tests.contract.log_contract import drain, from_the_first, in_partition, read

WORDS = b"my neighbour at number 12 is Jo Bloggs"
BODY = Outgoing(
    INBOX.name, b"key of " + WORDS, b"value of " + WORDS, (("subject", b"header of " + WORDS),), 0
)

# A process of its own: to open and close a file here would drop the locks that SQLite has on it.
_SEARCH = """
import pathlib, sys
needle = bytes.fromhex(sys.argv[2])
for path in pathlib.Path(sys.argv[1]).iterdir():
    if needle in path.read_bytes():
        sys.stdout.write(path.name + " ")
"""


class Keys:
    """Keys of bodies in memory, with a word before each call."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.before_reading: Callable[[], None] = lambda: None
        self.before_destroying: Callable[[], None] = lambda: None

    def add_keys(self, keys: Mapping[str, bytes]) -> None:
        self.kept |= keys

    def keys(self, key_ids: Sequence[str]) -> dict[str, bytes]:
        self.before_reading()
        return {key_id: self.kept[key_id] for key_id in key_ids if key_id in self.kept}

    def destroy(self, key_ids: Sequence[str]) -> None:
        self.before_destroying()
        for key_id in key_ids:
            self.kept.pop(key_id, None)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[LocalLog]:
    with closing(connect(tmp_path)) as log:
        yield log


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
def forgetful(tmp_path: Path, keys: Keys) -> Iterator[LocalLog]:
    with closing(LocalLog(tmp_path / "log.db", keys=keys, randomness=SystemRandomness())) as log:
        yield log


def files_with(directory: Path, needle: bytes) -> set[str]:
    found = subprocess.run(
        [sys.executable, "-c", _SEARCH, str(directory), needle.hex()], capture_output=True, check=True
    )
    return set(found.stdout.decode().split())


def key_of_the_body(directory: Path) -> bytes:
    with closing(sqlite3.connect(directory / "log.db")) as db:
        ((key_id,),) = db.execute("SELECT body_key FROM record WHERE body_key IS NOT NULL")
    with closing(SqliteKeyStore(directory / "keys.db", randomness=SystemRandomness())) as keys:
        return keys.keys([key_id])[key_id]


@pytest.mark.parametrize("watched", [False, True], ids=["alone", "while another process reads"])
def test_a_redacted_body_is_in_no_file_and_nothing_is_left_that_opens_it(
    tmp_path: Path, log: LocalLog, watched: bool
) -> None:
    log.append([BODY, Outgoing(EVENTS.name, b"k", b"planted: " + WORDS)])
    key = key_of_the_body(tmp_path)
    assert files_with(tmp_path, b"planted: " + WORDS)
    assert files_with(tmp_path, key) == {"keys.db"}
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as reader:
        if watched:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM record").fetchall()
        log.redact({(INBOX.name, 0, 0): b"digest"})
        for part in (BODY.key, BODY.value or b"", BODY.headers[0][1]):
            assert files_with(tmp_path, part) == set()
        assert files_with(tmp_path, key) == set()
        assert files_with(tmp_path, b"planted: " + WORDS)


def test_an_inbox_body_is_never_in_the_clear_on_the_disk(tmp_path: Path, log: LocalLog) -> None:
    log.append([BODY])
    assert files_with(tmp_path, WORDS) == set()
    (record,) = read(log, INBOX.name, 1)
    assert (record.key, record.value, record.headers) == (BODY.key, BODY.value, BODY.headers)


def redact_again(log: LocalLog) -> None:
    log.redact({(INBOX.name, 0, 0): b"another digest"})


def ask_what_is_left(log: LocalLog) -> None:
    assert log.unredacted(INBOX.name, 0, 1) == []


@pytest.mark.parametrize("mend", [redact_again, ask_what_is_left])
def test_a_crash_between_file_and_key_is_mended(
    forgetful: LocalLog, keys: Keys, mend: Callable[[LocalLog], None]
) -> None:
    def crash() -> None:
        raise KeyboardInterrupt

    forgetful.append([BODY])
    keys.before_destroying = crash
    with pytest.raises(KeyboardInterrupt):
        forgetful.redact({(INBOX.name, 0, 0): b"digest"})
    assert len(keys.kept) == 1
    assert [record.value for record in read(forgetful, INBOX.name, 1)] == [b"digest"]
    keys.before_destroying = lambda: None
    mend(forgetful)
    assert keys.kept == {}
    assert [record.value for record in read(forgetful, INBOX.name, 1)] == [b"digest"]


def test_keys_that_are_gone_are_not_destroyed_over_and_over(forgetful: LocalLog, keys: Keys) -> None:
    def not_again() -> None:
        raise AssertionError

    forgetful.append([BODY, BODY])
    for offset in (0, 1):
        forgetful.redact({(INBOX.name, 0, offset): b"digest"})
    keys.before_destroying = not_again
    assert forgetful.unredacted(INBOX.name, 0, 1) == []


def test_a_record_redacted_while_it_is_read_shows_its_digest(forgetful: LocalLog, keys: Keys) -> None:
    def redact() -> None:
        keys.before_reading = lambda: None
        forgetful.redact({(INBOX.name, 0, 0): b"digest"})

    forgetful.append([BODY])
    keys.before_reading = redact
    assert [record.value for record in read(forgetful, INBOX.name, 1)] == [b"digest"]


def test_a_missing_key_is_told_and_not_taken_for_a_redaction(forgetful: LocalLog, keys: Keys) -> None:
    forgetful.append([BODY])
    keys.kept.clear()
    consumer = forgetful.consumer("group", [INBOX.name], from_the_first)
    for _ in range(2):  # the record is not skipped
        with pytest.raises(IntegrityError, match="missing"):
            consumer.poll(1)


def test_a_body_that_does_not_fit_its_key_is_told(forgetful: LocalLog, keys: Keys) -> None:
    forgetful.append([BODY])
    keys.kept = {key_id: bytes(32) for key_id in keys.kept}
    with pytest.raises(IntegrityError, match="does not fit"):
        forgetful.last_records(INBOX.name)


def test_only_redactable_topics_are_redacted_and_a_gap_is_passed_over(log: LocalLog) -> None:
    log.redact({(INBOX.name, 0, 17): b"digest"})
    with pytest.raises(ConfigurationError):
        log.redact({(EVENTS.name, 0, 0): b"digest"})


def test_compaction_keeps_the_latest_record_of_a_key_at_once(log: LocalLog) -> None:
    log.append([Outgoing(SEALED.name, key, b"1", (), 0) for key in (b"a", b"b", b"a")])
    log.append([Outgoing(SEALED.name, b"b", None, (), 0)])
    log.append([Outgoing(SEALED.name, b"b", b"elsewhere", (), 1)])
    held = [(r.partition, r.offset, r.key, r.value) for r in read(log, SEALED.name, 3)]
    assert held == [(0, 2, b"a", b"1"), (0, 3, b"b", None), (1, 0, b"b", b"elsewhere")]
    assert log.end_offsets(SEALED.name) == {0: 4, 1: 1, 2: 0, 3: 0}


def test_a_huge_backlog_does_not_starve_the_other_partitions(log: LocalLog) -> None:
    log.append(in_partition(0, [b""] * 500) + in_partition(1, [b""] * 3) + in_partition(3, [b""] * 500))
    consumer = log.consumer("group", [EVENTS.name], from_the_first)
    first = [record.partition for record in consumer.poll(100)]
    assert (first.count(0), first.count(1), first.count(3)) in {(49, 3, 48), (48, 3, 49)}
    singles = {record.partition for _ in range(2) for record in consumer.poll(1)}
    assert singles == {0, 3}


def test_a_second_member_stands_by_until_the_first_has_gone(tmp_path: Path, log: LocalLog) -> None:
    log.append(in_partition(0, [b"a"]))
    holder = log.consumer("group", [EVENTS.name], from_the_first)
    assert len(drain(holder, 1)) == 1
    with closing(connect(tmp_path)) as other:
        standby = other.consumer("group", [EVENTS.name], from_the_first)
        assert standby.poll(1, timeout=0.02) == []
        assert standby.assigned() == frozenset()
        with pytest.raises(FencedError):
            standby.commit({(EVENTS.name, 0): 1})
        holder.close()
        assert len(standby.poll(1)) == 1
        assert len(standby.assigned()) == 4


def test_a_start_that_fails_leaves_the_group_to_others(log: LocalLog) -> None:
    def unreadable(topic: str, partition: int) -> int:
        raise TransientError("the positions cannot be read")

    with pytest.raises(TransientError):
        log.consumer("group", [EVENTS.name], unreadable).poll(1)
    second = log.consumer("group", [EVENTS.name], from_the_first)
    second.poll(1)
    assert second.assigned()


def test_a_member_that_is_dropped_without_being_closed_stands_in_nobodys_way(log: LocalLog) -> None:
    log.consumer("group", [EVENTS.name], from_the_first).poll(1)
    second = log.consumer("group", [EVENTS.name], from_the_first)
    second.poll(1)
    assert second.assigned()


def test_a_member_of_an_old_generation_reads_nothing_more(tmp_path: Path, log: LocalLog) -> None:
    old = log.consumer("group", [EVENTS.name], from_the_first)
    old.poll(1)
    (tmp_path / "log.db.group.group").unlink()
    new = log.consumer("group", [EVENTS.name], from_the_first)
    new.poll(1)
    log.append(in_partition(0, [b"a"]))
    for _ in range(2):
        with pytest.raises(FencedError):
            old.poll(1)
    assert old.assigned() == frozenset()


def test_lag_tools_see_what_was_committed(log: LocalLog) -> None:
    log.append(in_partition(0, [b"a"]))
    consumer = log.consumer("group", [EVENTS.name], from_the_first)
    drain(consumer, 1)
    consumer.commit({(EVENTS.name, 0): 1})
    consumer.commit({})
    assert log.committed("group") == {(EVENTS.name, 0): 1}


def test_waiting_is_done_by_whoever_wires_the_log(tmp_path: Path, keys: Keys) -> None:
    waited: list[float] = []
    log = LocalLog(tmp_path / "log.db", keys=keys, randomness=SystemRandomness(), wait=waited.append)
    with closing(log):
        assert log.consumer("group", [EVENTS.name], from_the_first).poll(1, timeout=60) == []
    assert sum(waited) == pytest.approx(60)


def test_the_files_are_for_their_owner_only(tmp_path: Path, log: LocalLog) -> None:
    log.append([BODY])
    consumer = log.consumer("group", [EVENTS.name], from_the_first)
    consumer.poll(1)
    (tmp_path / "log.db").chmod(0o644)
    connect(tmp_path).close()
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes.keys() >= {"log.db", "log.db-wal", "log.db-shm", "log.db.lock", "log.db.group.group"}
    assert set(modes.values()) == {0o600}


def test_another_number_of_partitions_is_refused(tmp_path: Path, log: LocalLog, keys: Keys) -> None:
    with pytest.raises(ConfigurationError) as refused:
        LocalLog(tmp_path / "log.db", keys=keys, randomness=SystemRandomness(), partitions=12)
    assert refused.value.expected.startswith("4 partitions")
    assert refused.value.got == "12 partitions"


def test_what_cannot_be_a_log_is_refused(tmp_path: Path, keys: Keys) -> None:
    both = Topic("both", compacted=True, redactable=True)
    with pytest.raises(ConfigurationError):
        LocalLog(tmp_path / "a.db", keys=keys, randomness=SystemRandomness(), topics=(both,))
    with pytest.raises(ConfigurationError):
        LocalLog(tmp_path / "a.db", keys=keys, randomness=SystemRandomness(), partitions=0)
    with pytest.raises(ConfigurationError, match="No such file"):
        LocalLog(tmp_path / "no" / "a.db", keys=keys, randomness=SystemRandomness())


def test_a_partition_or_a_group_that_cannot_be_is_refused(log: LocalLog) -> None:
    with pytest.raises(ConfigurationError):
        log.append([Outgoing(EVENTS.name, b"k", b"v", (), 4)])
    with pytest.raises(ConfigurationError):
        log.consumer("../outside", [EVENTS.name], from_the_first)


def test_a_file_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    connect(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(ConfigurationError, match="format"):
        connect(tmp_path)


def test_a_damaged_file_is_an_integrity_error(tmp_path: Path) -> None:
    connect(tmp_path).close()
    (tmp_path / "log.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(IntegrityError):
        connect(tmp_path)


def test_a_locked_file_is_transient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "_BUSY_SECONDS", 0.01)
    with (
        closing(connect(tmp_path)) as log,
        closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError) as refused:
            log.append([BODY])
        assert refused.value.hint
        other.execute("ROLLBACK")
        log.append([BODY])
        assert len(read(log, INBOX.name, 1)) == 1


def test_a_full_disk_is_transient_and_leaves_nothing_behind(tmp_path: Path, log: LocalLog) -> None:
    with closing(file.Session(tmp_path / "log.db")) as session:
        with session.reading() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count = {pages}")

        def fill() -> None:
            with session.writing() as db:
                db.execute("UPDATE place SET next = 7")
                db.execute("INSERT INTO producer VALUES (?, 1)", ("x" * 100_000,))

        with pytest.raises(TransientError) as refused:
            fill()
        assert "room" in refused.value.hint
    assert set(log.end_offsets(EVENTS.name).values()) == {0}


def test_a_closed_log_says_so(tmp_path: Path) -> None:
    log = connect(tmp_path)
    producer = log.producer("sequencer")
    log.close()
    with pytest.raises(ConfigurationError, match="closed"):
        producer.send([Outgoing(EVENTS.name, b"k", b"v")])


def test_a_poll_that_bytes_end_goes_on_with_the_partitions_that_had_none(log: LocalLog) -> None:
    for partition in range(4):
        log.append([Outgoing(INBOX.name, b"k", bytes(INBOX.max_bytes), (), partition) for _ in range(70)])
    consumer = log.consumer("reader", [INBOX.name], from_the_first)
    polled = [{record.partition for record in consumer.poll(280)} for _ in range(4)]
    assert set().union(*polled) == {0, 1, 2, 3}
    assert all(len(partitions) <= 2 for partitions in polled)


def test_a_file_of_before_is_read_and_its_records_do_not_say_when_they_were_taken(
    tmp_path: Path,
) -> None:
    # given a file of format 1
    with closing(connect(tmp_path)) as log:
        log.append([Outgoing(EVENTS.name, b"k", b"before", (), 0)])
    with closing(sqlite3.connect(tmp_path / "log.db")) as db:
        db.execute("ALTER TABLE record DROP COLUMN appended")
        db.execute("PRAGMA user_version = 1")

    # when it is opened and written to
    with closing(connect(tmp_path)) as log:
        log.append([Outgoing(EVENTS.name, b"k", b"after", (), 0)])
        before, after = log.read(EVENTS.name, 0, 0, 2, 2)

    # then only what came since says so
    assert (before.value, before.appended) == (b"before", None)
    assert after.value == b"after"
    assert after.appended is not None
