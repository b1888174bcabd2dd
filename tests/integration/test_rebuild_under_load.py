"""What do readers see while read models are rebuilt and facts keep coming in? The old or the new, whole.

Facts come in without a pause, and a reader asks every 5 ms. Each of its answers is compared with what
the events make that the very same moment holds: neither a row may be missing nor one too many.
"""

from __future__ import annotations

import itertools
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, select

from consumers.projector import Projector, rebuild
from consumers.running import run
from domain.errors import IntegrityError, TransientError
from domain.event import read
from infra import databases
from infra.cli import keeping
from infra.cli.session import Session
from infra.installation import Installation
from infra.logging import configure
from infra.settings import read_settings
from projections.catalogue import VIEWS
from projections.history import HISTORY
from projections.store import LIVE, ViewStore
from projections.view import Asked, Tables, View
from services.topics import EVENTS
from tests.support.multiplied import NOW, Inbox, multiplied, publish
from tests.support.program import started

ID_KEY = "5e" * 32
ASKED = Asked("2026-01-01T00:00:00.000000Z", {"state": ""})
COPIES = 3
BEFORE = 800
"""Messages that have been handled when a test begins."""
EVERY = 0.005
"""Seconds from one question to the next."""


@dataclass
class Place:
    """Where an installation is, as often as it is opened."""

    directory: Path
    database_url: str | None = None

    @contextmanager
    def opened(self, batch: int = 500) -> Iterator[Installation]:
        configure("console", "error")
        settings = read_settings(
            dir=self.directory, id_key=ID_KEY, batch=batch, database_url=self.database_url
        )
        i = Installation(settings, now=datetime.fromisoformat(NOW))
        try:
            yield i
        finally:
            i.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An installation with some facts in it."""
    url = request.getfixturevalue("postgresql") if request.param == "postgresql" else None
    place = Place(tmp_path, url)
    with place.opened() as i:
        inbox = inbox_of(i)
        publish(i.log, inbox.first + inbox.then[:BEFORE])
        run(i.loops(), until_idle=True)
    return place


def inbox_of(i: Installation) -> Inbox:
    return multiplied(COPIES, i.ids, i.clock.now())


@dataclass
class Load:
    """Facts that keep coming in, and a reader that keeps asking, each on a thread of its own."""

    place: Place
    stores: Callable[[Installation], list[ViewStore]] = lambda i: [i.views]
    """Where the reader asks: of the first that has the view built."""
    answers: int = 0
    whole: int = 0
    """How many of the answers were compared, row by row, with the events of the same moment."""
    generations: set[tuple[str, int]] = field(default_factory=set)
    failed: list[BaseException] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._guarded, args=(do,)) for do in (self._feed, self._ask)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._ended.set()
            for thread in threads:
                thread.join()
        if self.failed:
            raise self.failed[0]

    def saw(self, view: str, *, generations: int) -> None:
        """Wait until the reader has looked at so many generations of a view."""
        for _ in range(6000):
            if (
                self.failed
                or len([name for name, _ in tuple(self.generations) if name == view]) >= generations
            ):
                return
            time.sleep(0.01)
        raise AssertionError(f"{self.answers} answers, and not {generations} generations of {view}")

    def _guarded(self, do: Callable[[], None]) -> None:
        try:
            do()
        except BaseException as error:
            self.failed.append(error)

    def _feed(self) -> None:
        with self.place.opened(batch=20) as i:
            loops = i.loops()
            for body in self._facts(i):
                publish(i.log, [body])
                for loop in loops:
                    loop.step()
                if self._ended.is_set():
                    break
            for loop in loops:
                loop.close()

    def _facts(self, i: Installation) -> Iterator[tuple[bytes, bytes]]:
        yield from inbox_of(i).then[BEFORE:]
        for copies in itertools.count(COPIES + 1):  # there is always one that nobody has seen
            yield from multiplied(copies, i.ids, i.clock.now()).then

    def _ask(self) -> None:
        rows: dict[str, int] = dict.fromkeys(VIEWS, 0)
        with self.place.opened() as i:
            stores = self.stores(i)
            while True:
                for name in VIEWS:
                    found = self._answer(stores, name)
                    assert found >= rows[name], f"{name} had {rows[name]} rows, and now {found}"
                    rows[name] = found
                    self.answers += 1
                    if self._ended.wait(EVERY):
                        return

    def _answer(self, stores: list[ViewStore], name: str) -> int:
        """The number of rows of the answer, once they are known to be those that they should be."""
        for store in stores:
            view = store.views[name]

            def asked(
                db: Connection, tables: Tables, store: ViewStore = store, view: View = view
            ) -> tuple[Any, ...]:
                rows = list(view.question(db, tables, ASKED))
                generation = store.live(db)[name]
                if (name, generation) in self.generations and self.answers % 10:
                    return rows, generation, None, {}
                events = [
                    (position, read(bytes(data)))
                    for position, data in db.execute(
                        select(tables[HISTORY].c.position, tables[HISTORY].c.bytes)
                    )
                ]
                taken = sum(m.next for (topic, _), m in store.marks(db, LIVE).items() if topic == EVENTS.name)
                assert len(events) == taken
                held = {shape: contents(db, tables[shape]) for shape in view.shapes}
                return rows, generation, sorted(events, key=lambda event: event[0]), held

            try:
                rows, generation, events, held = store.read(asked, name, "history", *view.reads)
            except TransientError:
                if store is stores[-1]:
                    raise
                continue
            if events is not None:
                assert held == folded(view, events)
                self.generations.add((name, generation))
                self.whole += 1
            return len(rows)
        raise AssertionError("not reached")


def contents(db: Connection, table: Any) -> list[str]:
    return sorted(repr(tuple(row)) for row in db.execute(select(table)))


def folded(view: View, events: list[Any]) -> dict[Any, list[str]]:
    """The tables of a view, as the events make them from nothing."""
    engine = databases.sqlite_memory()
    try:
        memory = ViewStore(engine, {view.name: view})
        memory.begin()
        with memory.writing() as db:
            memory.apply(db, memory.live(db), events)
        with memory.reading() as db:
            tables = memory.tables_of(view.name, memory.live(db)[view.name])
            return {shape: contents(db, table) for shape, table in tables.items()}
    finally:
        engine.dispose()


def taken(i: Installation) -> int:
    with i.views.reading() as db:
        return sum(mark.next for mark in i.views.marks(db, LIVE).values())


def equal_to_rebuilt(i: Installation, *names: str) -> bool:
    """Whether `views compare` finds no difference in these views, or in any."""
    session = Session(i.settings, i.clock.now())
    try:
        return all(keeping.views_compare(session, name)["equal"] for name in names or VIEWS)
    finally:
        session.close()


def tables_of(i: Installation) -> set[str]:
    """The names of the tables of read models that there are."""
    with i.views.reading() as db:
        shapes = [shape.name for view in VIEWS.values() for shape in view.shapes]
        names = inspect(db).get_table_names()
    return {name for name in names if name.rpartition("_")[0] in shapes}


def live_tables(i: Installation) -> set[str]:
    with i.views.reading() as db:
        live = i.views.live(db)
    return {t.name for name, generation in live.items() for t in i.views.tables_of(name, generation).values()}


def test_every_answer_is_whole_while_each_view_is_rebuilt_and_facts_keep_coming_in(place: Place) -> None:
    load = Load(place)
    with place.opened() as i:
        with load.running():
            for name in VIEWS:
                load.saw(name, generations=1)
                came_in = 0
                while not came_in and not load.failed:
                    before = taken(i)
                    rebuild(i.log, i.views, [name], batch=100)
                    came_in = taken(i) - before
                load.saw(name, generations=2)
            rebuild(i.log, i.views, list(VIEWS), batch=100)
            for name in VIEWS:
                load.saw(name, generations=3)
        assert equal_to_rebuilt(i)
        assert tables_of(i) == live_tables(i)


def test_several_rebuilds_and_comparisons_at_once_all_come_out_right(place: Place) -> None:
    load = Load(place)

    def again() -> None:
        with place.opened() as i:
            for _ in range(3):
                rebuild(i.log, i.views, ["inputs", "trace"], batch=100)
                assert equal_to_rebuilt(i, "trace")

    with load.running(), ExitStack() as stack:
        for thread in [threading.Thread(target=load._guarded, args=(again,)) for _ in range(2)]:
            thread.start()
            stack.callback(thread.join)
    with place.opened() as i:
        assert equal_to_rebuilt(i)
        assert tables_of(i) == live_tables(i)


def versions(i: Installation, name: str) -> ViewStore:
    """The read models of a later program, which has another version of one of them."""
    return ViewStore(i.views.engine, {**VIEWS, name: replace(VIEWS[name], version=VIEWS[name].version + 1)})


@pytest.mark.parametrize("name", ["inputs", "trace"])
def test_a_new_version_of_a_view_is_swapped_in_whole_and_who_has_the_old_one_stops(
    place: Place, name: str
) -> None:
    # given facts that the old program has put in its read models, and more that nobody has
    with place.opened() as i:
        publish(i.log, inbox_of(i).then[BEFORE : BEFORE + 100])
        run(i.loops(("intake", "sequencer")), until_idle=True)
        old = Projector(i.log, i.views, batch=20)
        old.step()
        later = versions(i, name)

        # when readers ask all the time, and the later program builds its version
        load = Load(place, lambda i: [i.views, versions(i, name)])
        reader = threading.Thread(target=load._guarded, args=(load._ask,))
        reader.start()
        try:
            load.saw(name, generations=1)
            new = Projector(i.log, later, batch=20)
            new.step()
            load.saw(name, generations=2)
        finally:
            load._ended.set()
            reader.join()

        # then each of them had an answer, and the old program leaves no gap in the new version
        assert load.failed == []
        with pytest.raises(IntegrityError, match=name) as stopped:
            old.step()
        assert stopped.value.code == "newer_writer"
        old.close()
        while new.step():
            pass
        with later.reading() as db:
            held = contents(db, later.tables_of(name, later.live(db)[name])[VIEWS[name].shapes[0]])
        new.close()

        # and it comes out as the old one does, when the old program begins anew
        run(i.loops(("projector",)), until_idle=True)
        with i.views.reading() as db:
            assert held == contents(
                db, i.views.tables_of(name, i.views.live(db)[name])[VIEWS[name].shapes[0]]
            )
        assert tables_of(i) == live_tables(i)


def test_a_view_that_the_program_no_longer_has_is_given_up(place: Place) -> None:
    with place.opened() as i:
        fewer = ViewStore(i.views.engine, {name: view for name, view in VIEWS.items() if name != "decisions"})
        Projector(i.log, fewer).step()
        assert not any(table.startswith("decisions_") for table in tables_of(i))
        run(i.loops(("projector",)), until_idle=True)
        assert equal_to_rebuilt(i)


def test_a_rebuild_that_is_killed_leaves_the_live_views_as_they_are_and_the_next_one_clears_up(
    place: Place,
) -> None:
    def answers() -> dict[str, Any]:
        with place.opened() as i:
            return {name: i.views.ask(name, ASKED) for name in VIEWS}

    before = answers()
    chance = random.Random(7)
    env = {"HEARD_ID_KEY": ID_KEY}
    if place.database_url:
        env["HEARD_DATABASE_URL"] = place.database_url
    left: set[str] = set()
    for _ in range(4):
        process = started(
            "views", "rebuild", dir=place.directory, now=NOW, env=env, stderr=subprocess.DEVNULL
        )
        with place.opened() as i:
            known = tables_of(i)
            while process.poll() is None and tables_of(i) <= known:
                pass  # it has not begun to build
            time.sleep(chance.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
            left |= tables_of(i) - live_tables(i)
        assert answers() == before
    assert left, "no rebuild was killed while it built"
    with place.opened() as i:
        rebuild(i.log, i.views, list(VIEWS))
        assert tables_of(i) == live_tables(i)
        assert equal_to_rebuilt(i)
    assert answers() == before
