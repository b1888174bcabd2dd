"""Does intake's lag say at which message of the inbox it stands, and since when?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from consumers.lag import Unread, standing, unread
from services.ports import Record, Work
from services.topics import INBOX
from tests.support.memory import MemoryEventStore, MemoryLog

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def message(partition: int, offset: int, seconds: float) -> Record:
    """One that the log took so long before noon."""
    appended = milliseconds(NOON - timedelta(seconds=seconds))
    return Record(INBOX.name, partition, offset, b"", b"{}", appended=appended)


def inbox(*records: Record) -> MemoryLog:
    log = MemoryLog(4)
    for record in records:
        log.records[INBOX.name, record.partition].append(record)
    return log


def taken(**positions: int) -> MemoryEventStore:
    """The store of an intake that reads on at these offsets, of partitions called p0, p1, …."""
    store = MemoryEventStore()
    moves = {(INBOX.name, int(name[1:])): (0, next_) for name, next_ in positions.items()}
    store.commit(Work(positions=moves))
    return store


def test_an_inbox_that_is_taken_stands_nowhere() -> None:
    log = inbox(message(0, 0, 90), message(0, 1, 80), message(3, 0, 70))
    assert standing(log, taken(p0=2, p3=1)) == []
    assert unread(log, taken(p0=2, p3=1)) == 0


def test_the_first_message_that_is_left_says_where_intake_stands_and_since_when() -> None:
    log = inbox(*(message(0, offset, 90 - offset) for offset in range(5)), message(2, 0, 10))
    store = taken(p0=2)

    first, other = standing(log, store)
    assert (first.partition, first.offset, first.records) == (0, 2, 3)
    assert first.since == NOON - timedelta(seconds=88)
    assert first.seconds(NOON) == 88
    assert (other.partition, other.offset, other.records, other.seconds(NOON)) == (2, 0, 1, 10)
    assert unread(log, store) == 4


def test_a_gap_before_the_first_message_is_nobodys_wait() -> None:
    # On Kafka a transaction's marker takes an offset, and retention takes away what nobody had read.
    log = inbox(message(1, 0, 90), message(1, 7, 5))
    (found,) = standing(log, taken(p1=1))
    assert (found.offset, found.records, found.seconds(NOON)) == (7, 1, 5)


@pytest.mark.parametrize("appended", [None, -1, 2**63 - 1])
def test_a_time_that_is_none_is_no_time(appended: int | None) -> None:
    found = Unread(0, 17, 12, appended)
    assert found.since is None
    assert found.seconds(NOON) == 0


def test_what_came_later_than_now_has_not_waited() -> None:
    assert Unread(0, 17, 12, milliseconds(NOON + timedelta(hours=1))).seconds(NOON) == 0
