"""Does a reader that follows the tail miss nothing, however many write, and however slowly one of them?"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.errors import ConcurrencyError
from domain.event import Envelope
from infra.event_store import EnvelopeMapper, PostgresRecorder, Recorder, SqlEventStore, SqliteRecorder
from services.ports import Stored, Work
from tests.support.envelopes import acknowledged, raised

WRITERS = 8
HELD = 2.0
"""Seconds for which one more writer keeps its transaction open."""
Open = Callable[[], Recorder]


@pytest.fixture(params=["sqlite", "postgresql"])
def recorder(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens a recorder of the same events: as another process has it."""
    if request.param == "sqlite":
        return lambda: SqliteRecorder(tmp_path / "write.db", patience=120)
    address = request.getfixturevalue("postgresql")
    return lambda: PostgresRecorder(address)


class Unmarked(PostgresRecorder):
    """A writer that does not say after which position its events will come."""

    def _lock_table(self, curs: Any) -> None:
        pass


@contextmanager
def held(recorder: Recorder, *events: Envelope) -> Iterator[None]:
    """Events that are inserted, and not committed before the end."""
    with recorder.transaction(write=True) as cursor:
        recorder.insert(cursor, [EnvelopeMapper.to_stored_event(event) for event in events])
        yield


def refs(read: Sequence[Stored]) -> list[str]:
    return [stored.envelope.pub["ref"] for stored in read]


@dataclass
class Tail:
    """A reader that follows the tail, a few events at a time."""

    store: SqlEventStore
    read: list[Stored] = field(default_factory=list)

    def look(self) -> int:
        """Read on; how much there was."""
        page = self.store.after(self.read[-1].position if self.read else 0, 500)
        self.read += page
        return len(page)


def followed(open_: Open, commits: int) -> tuple[Tail, int]:
    """Eight that write single events, one that takes its time, one that reads meanwhile.

    Returns what was read, and how many events were committed while the slow one held its own open.
    """
    committed = [0] * WRITERS
    meanwhile = 0
    failures: list[BaseException] = []

    def write(store: SqlEventStore, name: int) -> None:
        try:
            for at in range(commits):
                store.commit(Work(events=[raised(f"{name}-{at}")]))
                committed[name] += 1
        except BaseException as error:
            failures.append(error)

    def dawdle(slow: Recorder) -> None:
        nonlocal meanwhile
        try:
            while sum(committed) < WRITERS:
                time.sleep(0.001)
            with held(slow, raised("slow-0"), raised("slow-1")):
                before = sum(committed)
                time.sleep(HELD)
                meanwhile = sum(committed) - before
        except BaseException as error:
            failures.append(error)

    with ExitStack() as stack:
        stores = [stack.enter_context(closing(SqlEventStore(open_()))) for _ in range(WRITERS)]
        tail = Tail(stack.enter_context(closing(SqlEventStore(open_()))))
        slow = stack.enter_context(closing(open_()))
        threads = [threading.Thread(target=write, args=(store, name)) for name, store in enumerate(stores)]
        threads.append(threading.Thread(target=dawdle, args=(slow,)))
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                if not tail.look():
                    time.sleep(0.001)
        finally:
            for thread in threads:
                thread.join()
        while tail.look():
            pass
    assert failures == []
    return tail, meanwhile


def missed(tail: Tail, commits: int) -> int:
    """How many events the reader has not seen; fails if it saw one twice or out of order."""
    written = {f"{name}-{at}" for name in range(WRITERS) for at in range(commits)} | {"slow-0", "slow-1"}
    read = refs(tail.read)
    positions = [stored.position for stored in tail.read]
    assert positions == sorted(set(positions))
    assert len(read) == len(set(read))
    for name in map(str, range(WRITERS)):
        numbers = [int(at) for writer, at in (ref.split("-") for ref in read) if writer == name]
        assert numbers == sorted(numbers)
    return len(written - set(read))


def test_a_reader_misses_nothing_of_eight_writers_and_one_that_takes_two_seconds(recorder: Open) -> None:
    tail, meanwhile = followed(recorder, commits=100)
    assert missed(tail, 100) == 0
    if recorder().position == PostgresRecorder.position:
        assert meanwhile > WRITERS, "the others waited for the slow one"


@pytest.mark.slow
def test_a_reader_misses_nothing_of_a_hundred_thousand(
    postgresql: str, capsys: pytest.CaptureFixture[str]
) -> None:
    commits = 100_000 // WRITERS
    tail, meanwhile = followed(lambda: PostgresRecorder(postgresql), commits)
    lost = missed(tail, commits)
    with capsys.disabled():
        print(f"{lost} missed of {WRITERS * commits + 2:,}; {meanwhile:,} came while one was open")  # noqa: T201
    assert lost == 0


def test_what_is_committed_after_an_open_transaction_began_is_read_when_that_has_ended(
    postgresql: str,
) -> None:
    # given one that has taken its positions and waits, and one that commits meanwhile
    with (
        closing(PostgresRecorder(postgresql)) as slow,
        closing(SqlEventStore(PostgresRecorder(postgresql))) as other,
        closing(SqlEventStore(PostgresRecorder(postgresql))) as reader,
    ):
        other.commit(Work(events=[raised("before")]))
        with held(slow, raised("slow-0"), raised("slow-1")):
            other.commit(Work(events=[raised("fast")]))

            # then a reader does not go past it
            assert refs(reader.after(0, 10)) == ["before"]

        # and finds all of them in order when it has ended
        assert refs(reader.after(0, 10)) == ["before", "slow-0", "slow-1", "fast"]


def test_a_writer_that_does_not_say_where_it_writes_would_be_missed(postgresql: str) -> None:
    with (
        closing(Unmarked(postgresql)) as slow,
        closing(SqlEventStore(PostgresRecorder(postgresql))) as other,
    ):
        tail = Tail(other)
        with held(slow, raised("slow-0")):
            other.commit(Work(events=[raised("fast")]))
            tail.look()
        tail.look()
        assert refs(tail.read) == ["fast"]


def test_a_writer_that_gives_up_holds_no_reader_up(postgresql: str) -> None:
    with (
        closing(PostgresRecorder(postgresql)) as slow,
        closing(SqlEventStore(PostgresRecorder(postgresql))) as other,
    ):
        with suppress(InterruptedError), held(slow, raised("slow-0")):
            other.commit(Work(events=[raised("fast")]))
            raise InterruptedError
        assert refs(other.after(0, 10)) == ["fast"]


def test_a_database_whose_transactions_see_one_state_throughout_changes_nothing(postgresql: str) -> None:
    with psycopg.connect(postgresql, autocommit=True) as db:
        name = db.info.dbname
        db.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'".encode())
    with closing(PostgresRecorder(postgresql)) as recorder, recorder.transaction(write=False) as cursor:
        cursor.execute("SHOW transaction_isolation", {})
        assert cursor.fetchall() == [{"transaction_isolation": "read committed"}]


def test_of_two_that_write_to_the_same_streams_in_another_order_one_is_refused(postgresql: str) -> None:
    # given two that each have one of two things in hand, and go on to the other's at the same time
    both = threading.Barrier(2)

    class OneByOne(PostgresRecorder):
        def insert(self, cursor: Any, events: Sequence[Any]) -> int:
            super().insert(cursor, events[:1])
            both.wait(timeout=20)
            return super().insert(cursor, events[1:])

    one, two = raised("one"), raised("two")
    next_ = [acknowledged("one", one), acknowledged("two", two)]
    refused: list[BaseException] = []

    def write(store: SqlEventStore, events: list[Envelope]) -> None:
        try:
            store.commit(Work(events=events))
        except BaseException as error:
            refused.append(error)

    with (
        closing(SqlEventStore(PostgresRecorder(postgresql))) as store,
        closing(SqlEventStore(OneByOne(postgresql))) as first,
        closing(SqlEventStore(OneByOne(postgresql))) as second,
    ):
        store.commit(Work(events=[one, two]))

        # when both commit
        works = ((first, next_), (second, next_[::-1]))
        threads = [threading.Thread(target=write, args=work) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        # then one of them is told to look again, and what the other wrote is there
        assert [type(error) for error in refused] == [ConcurrencyError]
        assert [len(events) for events in store.load([one.stream, two.stream]).values()] == [2, 2]
