"""What do the loops make of a history that reaches them in one order or another?

An `Installation` without files: the sequencer, two projectors and the processes loop, with the
read models in SQLite in memory. A test commits the history, deals the records out and compares.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Engine, PoolProxiedConnection, select

from consumers.processes import TABLES, Processes
from consumers.projector import Projector, build
from consumers.sequencer import Sequencer
from domain.errors import FencedError
from domain.event import Envelope
from infra.clock import FixedClock
from infra.databases import sqlite_memory
from infra.randomness import SeededRandomness
from projections.catalogue import VIEWS
from projections.store import SEALED_VALUES, ViewStore
from projections.view import Asked, Row
from services.faults import Probe, nothing
from services.ports import Work
from tests.support.histories import History
from tests.support.memory import MemoryConsumer, MemoryEventStore, MemoryLog, in_commit_order

NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_POSITIONS: Final = frozenset({"position", "met_position", "ended_position", "recorded_at"})

Table = dict[str, list[str]]
"""{table: its rows as text, sorted}."""


class Loops:
    """Everything behind one history that is being read."""

    def __init__(self, history: History, *, partitions: int = 4, projectors: int = 1) -> None:
        self.history = history
        self.store = MemoryEventStore()
        self.log = MemoryLog(partitions)
        engine = sqlite_memory()
        restore(engine, empty())
        self.views = ViewStore(engine, VIEWS)
        self.projectors = [Projector(self.log, self.views) for _ in range(projectors)]
        self.processes = self.new_processes()
        self._sequencer = Sequencer(self.store, self.log)
        self._committed = 0

    def new_processes(self, probe: Probe = nothing) -> Processes:
        """A runner that knows nothing but what was committed."""
        return Processes(
            self.log, self.store, self.history.keys, self.views, FixedClock(NOW), SeededRandomness(b"duties"),
            self.history.ids, probe,
        )  # fmt: skip

    def close(self) -> None:
        """Give the database back."""
        self.views.engine.dispose()

    # -- going on --------------------------------------------------------------------------------

    def commit(self, count: int = 1) -> None:
        """The next transactions of the history."""
        for work in self.history.commits[self._committed : self._committed + count]:
            self.store.commit(Work(events=work.events, sealed=work.sealed))
        self._committed += count

    @property
    def told(self) -> bool:
        """Whether the whole history was committed."""
        return self._committed >= len(self.history.commits)

    def sequence(self, batch: int = 1000) -> int:
        """Publish a batch."""
        self._sequencer.batch = batch
        return self._sequencer.step()

    def tell_all(self) -> None:
        """Commit and publish the whole history."""
        self.commit(len(self.history.commits))
        while self.sequence():
            pass

    def settle(self) -> None:
        """All that is left is committed, published and read, the duties that come of it as well."""
        self.log.deal = in_commit_order
        self.tell_all()
        while (
            self.sequence()
            + sum(calm(projector.step) for projector in self.projectors)
            + calm(self.processes.step)
        ):
            pass

    def member_of(self, projector: Projector) -> MemoryConsumer | None:
        """The projector's place in its group; none before its first step."""
        member = projector._consumer
        assert member is None or isinstance(member, MemoryConsumer)
        return member

    def hold(self, projector: Projector, partitions: Collection[int]) -> None:
        """Hand these partitions to the projector, and no others."""
        if self.member_of(projector) is None:
            calm(projector.step)
        member = self.member_of(projector)
        assert member is not None
        member.hold(partitions)

    # -- looking ---------------------------------------------------------------------------------

    def rows(self) -> Table:
        """All that must not depend on the order of reading: read models, memory of the workflows."""
        with self.views.reading() as db:
            found = {
                shape.name: sorted(map(_shown, _all(db, table)))
                for name, generation in self.views.live(db).items()
                for shape, table in self.views.tables_of(name, generation).items()
            }
            found |= {shape.name: sorted(map(_shown, _all(db, table))) for shape, table in TABLES.items()}
            sealed = _all(db, SEALED_VALUES)
        return found | {"sealed_values": sorted(_shown(row) for row in sealed)}

    def duties(self) -> list[str]:
        """The duty streams: what was opened, discharged and lapsed, each with its public fields."""
        return sorted(map(_duty, (e for s in self.store.stored if (e := s.envelope).kind == "duty")))

    def worklist(self, state: str = "due") -> list[tuple[str, str]]:
        """(rule, reference) of the duties that are in that state, asked before any is overdue."""
        rows = self.views.ask("worklist", Asked("2024-01-01T00:00:00.000000Z", {"state": state}))
        return sorted((row["rule"], row["ref"]) for row in rows if row["state"] == state)

    def answers(self) -> dict[str, list[Row]]:
        """What every view answers, but for the bare list of events."""
        asked = Asked("2025-06-01T00:00:00.000000Z", {"state": ""})
        return {name: self.views.ask(name, asked) for name in VIEWS if name != "history"}

    def rebuilt(self) -> Table:
        """The tables of every view, built anew beside the live ones."""
        generation = self.views.start(list(VIEWS))
        try:
            with build(self.log, self.views, list(VIEWS), generation, batch=40) as db:
                return {
                    shape.name: sorted(repr(row) for row in _all(db, table))
                    for name in VIEWS
                    for shape, table in self.views.tables_of(name, generation).items()
                }
        finally:
            self.views.discard(list(VIEWS), generation)

    def live(self) -> Table:
        """The tables of every live view, whole."""
        with self.views.reading() as db:
            return {
                shape.name: sorted(repr(row) for row in _all(db, table))
                for name, generation in self.views.live(db).items()
                for shape, table in self.views.tables_of(name, generation).items()
            }


def calm(step: Callable[[], int]) -> int:
    """A step; 1 when another runner was faster, as that one has to be tried again."""
    try:
        return step()
    except FencedError:
        return 1


def _all(db: Connection, table: Any) -> list[Row]:
    return [dict(row) for row in db.execute(select(table)).mappings()]


def _shown(row: Row) -> str:
    """A row without positions and times of writing.

    Of the two facts that can end a duty, either may be written first, and which of several facts
    that discharge it is named depends on which was read first: so the event's version, bytes and
    time are left out. What it says of which duty is not.
    """
    kind = str(row.get("type", ""))
    if kind.startswith("heard.duty."):
        whole = _document(bytes(row["bytes"]))
        kept = ("type", "stream", "force", "place") if kind != "heard.duty.opened.v1" else tuple(row)
        row = {name: row[name] for name in kept if name != "bytes"}
        if kind == "heard.duty.opened.v1":
            row["whole"] = whole
    return repr({name: value for name, value in sorted(row.items()) if name not in _POSITIONS})


def _document(data: bytes) -> str:
    document = orjson.loads(data)
    del document["recorded_at"]
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def _duty(e: Envelope) -> str:
    if e.type == "heard.duty.opened.v1":
        return _document(e.bytes)
    return f"{e.stream} {e.type} {dict(e.pub)}"


# -- forks ---------------------------------------------------------------------------------------


@cache
def empty() -> sqlite3.Connection:
    """A database with all tables and no rows; copied, as making them takes longer than most tests."""
    views = ViewStore(sqlite_memory(), VIEWS)
    views.begin()
    with views.writing() as db:
        for table in TABLES.values():
            table.create(db)
    copy = snapshot(views.engine)
    views.engine.dispose()
    return copy


def snapshot(engine: Engine) -> sqlite3.Connection:
    """A copy of the database in memory."""
    copy = sqlite3.connect(":memory:")
    with closing(engine.raw_connection()) as raw:
        _file(raw).backup(copy)
    return copy


def restore(engine: Engine, copy: sqlite3.Connection) -> None:
    """Put the database back to what it was."""
    with closing(engine.raw_connection()) as raw:
        copy.backup(_file(raw))


def every_row(engine: Engine) -> str:
    """The database to the last column, positions and all."""
    with closing(engine.raw_connection()) as raw:
        db = _file(raw)
        tables = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return repr([(name, sorted(map(repr, db.execute(f"SELECT * FROM {name}")))) for (name,) in tables])


def _file(raw: PoolProxiedConnection) -> sqlite3.Connection:
    connection = raw.driver_connection
    assert isinstance(connection, sqlite3.Connection)
    return connection
