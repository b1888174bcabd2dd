"""What if several runners of the rules begin at once in a database without their tables?"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text

from consumers.graph import TABLES
from consumers.processes import Processes
from domain.ids import Ids
from infra.clock import FixedClock
from infra.databases import postgresql as engine_of
from infra.randomness import SeededRandomness
from projections.catalogue import VIEWS
from projections.store import ViewStore
from tests.support.memory import MemoryEventStore, MemoryKeyStore, MemoryLog


@contextmanager
def opened(address: str) -> Iterator[ViewStore]:
    """The read models, as another process opens them."""
    engine = engine_of(address)
    try:
        yield ViewStore(engine, VIEWS)
    finally:
        engine.dispose()


def begin(address: str) -> int:
    """The first step of a runner of its own."""
    keys = MemoryKeyStore(b"processes")
    with opened(address) as views:
        runner = Processes(
            MemoryLog(2), MemoryEventStore(), keys, views, FixedClock(datetime(2026, 1, 1, tzinfo=UTC)),
            SeededRandomness(b"processes"), Ids(keys.id_key()),
        )  # fmt: skip
        return runner.step()


def test_who_begins_while_another_makes_the_tables_waits_for_it(postgresql: str) -> None:
    # given one that is about to make the tables
    with opened(postgresql) as views, ThreadPoolExecutor(2) as others:
        with views.making() as db:
            for table in TABLES.values():
                table.create(db, checkfirst=True)

            # when two more begin, and have come as far as they can
            steps = [others.submit(begin, postgresql) for _ in range(2)]
            _until_waiting(views, 2)

        # then they have what was made
        assert [step.result(timeout=30) for step in steps] == [0, 0]
        with views.reading() as db:
            assert {table.name for table in TABLES.values()} <= set(inspect(db).get_table_names())


def _until_waiting(views: ViewStore, count: int) -> None:
    waiting = text(
        "SELECT COUNT(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with views.engine.connect() as db:
            if db.scalar(waiting) == count:
                return
        time.sleep(0.02)
    pytest.fail("nobody waits")
