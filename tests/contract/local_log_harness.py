"""How is the local log held to the contract of the `Log` port?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

from infra.key_store import SqliteKeyStore
from infra.local_log import LocalLog
from infra.randomness import SystemRandomness
from services.ports import Log
from services.topics import EVENTS
from tests.contract.log_contract import Harness, drain, from_the_first


def connect(directory: Path) -> LocalLog:
    """The local log of a data directory, with its keys beside it."""
    randomness = SystemRandomness()
    keys = SqliteKeyStore(directory / "keys.db", randomness=randomness)
    return LocalLog(directory / "log.db", keys=keys, randomness=randomness)


@contextmanager
def local_harness(directory: Path) -> Iterator[Harness]:
    """A new local log in `directory`."""
    with ExitStack() as stack:

        def make_gap(topic: str, partition: int) -> None:
            with closing(sqlite3.connect(directory / "log.db", isolation_level=None)) as db:
                db.execute(
                    "UPDATE place SET next = next + 3 WHERE topic = ? AND partition = ?", (topic, partition)
                )

        def make_stale(group: str) -> None:
            # Somebody sweeps the lock's file away: then two members hold the lock.
            (directory / f"log.db.{group}.group").unlink()
            usurper = stack.enter_context(closing(connect(directory)))
            drain(usurper.consumer(group, [EVENTS.name], from_the_first), 1)

        log: Log = stack.enter_context(closing(connect(directory)))
        yield Harness(partial(connect, directory), log, True, make_gap, make_stale)
