"""Does every database keep read models alike? The same tests over SQLite (file, memory) and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, QueuePool, create_engine, inspect, select, text

from consumers.running import run
from consumers.upstream import Rejected, check, key_of, send
from domain.errors import FencedError, IntegrityError, TransientError
from domain.event import Envelope
from infra import databases, scenario
from infra.installation import Installation
from infra.logging import configure
from infra.settings import read_settings
from projections import history, inputs, trace
from projections.catalogue import VIEWS
from projections.store import (
    LIVE,
    SEALED_VALUES,
    TRIES,
    Mark,
    Sealed,
    SupersededError,
    ViewStore,
    among,
    upsert,
)
from projections.view import Asked, Row
from tests.support.envelopes import acknowledged, raised
from tests.support.postgres import cut_off

DATABASES = ("sqlite file", "sqlite memory", "postgresql")
SHARED = ("sqlite file", "postgresql")
PLACE = ("heard.events.v1", 0)
ASKED = Asked("2009-03-01T00:00:00.000000Z", {"state": ""})
"""For every duty, also those that are done."""


@pytest.fixture
def engine_of(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Engine]]:
    """Engines by kind of database; each call opens the same database anew, as another process does."""
    engines: list[Engine] = []
    address: list[str] = []

    def engine(kind: str) -> Engine:
        if kind == "postgresql" and not address:
            address.append(request.getfixturevalue("postgresql"))
        match kind:
            case "sqlite file":
                made = databases.sqlite_file(tmp_path / "views.db")
            case "sqlite memory":
                made = databases.sqlite_memory()
            case _:
                made = databases.postgresql(address[0])
        engines.append(made)
        return made

    yield engine
    for each in engines:
        each.dispose()


@pytest.fixture(params=DATABASES)
def views(request: pytest.FixtureRequest, engine_of: Callable[[str], Engine]) -> ViewStore:
    """Every read model, live and empty."""
    store = ViewStore(engine_of(request.param), VIEWS)
    assert store.begin() == []
    return store


@pytest.fixture(params=SHARED)
def opened(request: pytest.FixtureRequest, engine_of: Callable[[str], Engine]) -> Callable[[], ViewStore]:
    """Opens the same read models, as another process does."""

    engine_of(request.param)  # now, as fixtures are not made on other threads

    def open_() -> ViewStore:
        return ViewStore(engine_of(request.param), VIEWS)

    return open_


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, Envelope]]:
    """Everything that the loops record of the bundled scenario, duties as well."""
    configure("console", "error")
    i = Installation(read_settings(dir=tmp_path_factory.mktemp("scenario")), now=scenario.CLOCK)
    with closing(i):
        lines = [line.encode() for line in scenario.lines()]
        messages = [check(line, at, i.ids, i.clock.now()) for at, line in enumerate(lines)]
        good = [
            (key_of(m), line) for m, line in zip(messages, lines, strict=True) if not isinstance(m, Rejected)
        ]
        assert send(i.log, good) == len(lines)
        run(i.loops(), until_idle=True)
        return [(stored.position, stored.envelope) for stored in i.store.after(0, 10_000)]


def tell(views: ViewStore, events: Sequence[tuple[int, Envelope]], *, batch: int = 7) -> None:
    """Fold events into the live tables, in small batches."""
    for at in range(0, len(events), batch):
        with views.writing() as db:
            views.apply(db, views.live(db), events[at : at + batch])


def table(views: ViewStore, shape: Any, view: str) -> list[Row]:
    """Every row of a live table, by its key."""
    with views.reading() as db:
        rows = db.execute(select(views.tables_of(view, views.live(db)[view])[shape])).mappings()
        return sorted((dict(row) for row in rows), key=lambda row: tuple(row[k] for k in shape.key))


def names_of(views: ViewStore) -> set[str]:
    """The tables of read models that there are."""
    shapes = {shape.name for view in VIEWS.values() for shape in view.shapes}
    return {name for name in inspect(views.engine).get_table_names() if name.rpartition("_")[0] in shapes}


def indexed(views: ViewStore, view: str) -> set[str]:
    """The columns of a view's live tables that are looked up by an index, beside their keys."""
    with views.reading() as db:
        tables = views.tables_of(view, views.live(db)[view]).values()
    found = inspect(views.engine)
    return {
        f"{t.name.rpartition('_')[0]}.{','.join(map(str, index['column_names']))}"
        for t in tables
        for index in found.get_indexes(t.name)
        if not index["unique"]
    }


# -- the same answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATABASES)
def test_every_question_has_the_same_answer_in_every_database(
    kind: str, engine_of: Callable[[str], Engine], told: list[tuple[int, Envelope]]
) -> None:
    # given the scenario folded at once, and in small batches into another database
    expected = ViewStore(engine_of("sqlite memory"), VIEWS)
    expected.begin()
    tell(expected, told, batch=len(told))
    found = ViewStore(engine_of(kind), VIEWS)
    found.begin()
    tell(found, told)

    # then every view answers alike, in the same order and with the same types
    for name, view in VIEWS.items():
        answer = found.ask(name, ASKED)
        assert answer == expected.ask(name, ASKED), name
        assert answer, name
        assert [list(map(type, row.values())) for row in answer] == [
            list(map(type, row.values())) for row in expected.ask(name, ASKED)
        ], name
        for shape in view.shapes:
            assert table(found, shape, name) == table(expected, shape, name), shape.name


def test_a_batch_of_nothing_changes_nothing(views: ViewStore) -> None:
    tell(views, [(1, raised("N1"))])
    before = table(views, trace.THINGS, "trace")
    with views.writing() as db:
        views.apply(db, views.live(db), [])
    assert table(views, trace.THINGS, "trace") == before


def test_a_row_is_folded_on_from_where_the_batch_before_left_it(views: ViewStore) -> None:
    first = raised("N1", theme="noise")
    tell(views, [(1, first)])
    tell(views, [(2, raised("N2")), (3, acknowledged("N1", first))])

    rows = {row["ref"]: row for row in table(views, trace.THINGS, "trace")}
    assert (rows["N1"]["version"], rows["N1"]["acknowledged"], rows["N1"]["theme"]) == (2, 1, "noise")
    assert (rows["N2"]["version"], rows["N2"]["acknowledged"]) == (1, 0)


def test_bytes_and_null_come_back_as_they_were(views: ViewStore) -> None:
    first = raised("N1")
    tell(views, [(9_007_199_254_740_991, first)])
    (row,) = table(views, history.HISTORY, "history")
    assert (bytes(row["bytes"]), row["position"]) == (first.bytes, 9_007_199_254_740_991)
    (thing,) = table(views, trace.THINGS, "trace")
    assert thing["theme"] is None


def test_an_event_that_is_folded_twice_is_told_and_nothing_of_its_batch_is_written(views: ViewStore) -> None:
    tell(views, [(1, raised("N1"))])
    with pytest.raises(IntegrityError):
        tell(views, [(2, raised("N2")), (1, raised("N1"))])
    assert [row["ref"] for row in table(views, trace.THINGS, "trace")] == ["N1"]


def test_whole_rows_are_written_anew_by_their_keys(views: ViewStore) -> None:
    with views.reading() as db:
        shape, made = next(iter(views.tables_of("inputs", views.live(db)["inputs"]).items()))
    row = {"force": "f", "place": "p", "id": "s", "concern": "c", "stance": "agree"}
    with views.writing() as db:
        upsert(db, shape, made, [row])
        upsert(db, shape, made, [row | {"stance": None}, row | {"id": "t"}])
        upsert(db, shape, made, [])
    assert table(views, inputs.SUPPORTS, "inputs") == [row | {"stance": None}, row | {"id": "t"}]


def test_a_question_may_name_more_ids_than_a_statement_has_parameters(views: ViewStore) -> None:
    first = raised("N1")
    tell(views, [(1, first)])
    many = [*(str(number) for number in range(70_000)), first.stream]

    def asked(db: Any, tables: Any) -> list[str]:
        things = tables[trace.THINGS]
        return list(db.execute(select(things.c.ref).where(among(things.c.id, many, db))).scalars())

    assert views.read(asked, "trace") == ["N1"]


def test_the_forces_are_named_once_each_in_order(views: ViewStore) -> None:
    assert views.read(trace.forces, "trace") == []
    events = [replace(raised(f"N{at}"), force=f"f{at % 3}") for at in range(7)]
    tell(views, list(enumerate(events, start=1)))
    assert views.read(trace.forces, "trace") == ["f0", "f1", "f2"]


def test_text_sorts_by_its_bytes(views: ViewStore) -> None:
    refs = ["b", "A", "a", "B", "a1", "a-1", "a_1", "Z", "10", "9"]
    tell(views, [(at, raised(ref)) for at, ref in enumerate(refs, start=1)])

    def asked(db: Any, tables: Any) -> list[str]:
        things = tables[trace.THINGS]
        return list(db.execute(select(things.c.ref).order_by(things.c.ref)).scalars())

    assert views.read(asked, "trace") == sorted(refs)


def test_text_sorts_by_its_bytes_whatever_the_database_s_locale(postgresql: str) -> None:
    engine = databases.postgresql(postgresql)
    ViewStore(engine, VIEWS).begin()
    engine.dispose()
    with psycopg.connect(postgresql) as db:
        found = db.execute(
            "SELECT table_name, column_name, collation_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'text' AND table_name <> 'stored_events'"
        ).fetchall()
    assert len(found) > 100
    assert [row for row in found if row[2] != "C"] == []


def test_who_waits_too_long_for_a_row_is_to_try_again(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "LOCK_TIMEOUT", "200ms")
    one, other = (ViewStore(databases.postgresql(postgresql), VIEWS) for _ in range(2))
    one.begin()
    with one.writing() as db:
        one.move(db, LIVE, {PLACE: (Mark(), Mark(3, 30))})
        with pytest.raises(TransientError), other.writing() as waiting:
            other.move(waiting, LIVE, {PLACE: (Mark(), Mark(2, 20))})
    for views in (one, other):
        views.engine.dispose()


def test_who_falls_silent_in_a_transaction_lets_go_of_it_and_is_to_try_again(
    postgresql: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "IDLE_TIMEOUT", "200ms")
    views = ViewStore(databases.postgresql(postgresql), VIEWS)
    views.begin()
    for silent in (1.0, 0.0):
        try:
            with views.writing() as db:
                views.move(db, LIVE, {PLACE: (Mark(), Mark(3, 30))})
                time.sleep(silent)
                views.marks(db, LIVE)
        except TransientError:
            assert silent
        else:
            assert not silent
    with views.reading() as db:
        assert views.marks(db, LIVE) == {PLACE: Mark(3, 30)}
    views.engine.dispose()


# -- sealed values -------------------------------------------------------------------------------


def test_the_last_word_on_a_sealed_value_stands(views: ViewStore) -> None:
    def keep(*changes: Sealed) -> list[tuple[str, str, bytes]]:
        with views.writing() as db:
            views.apply_sealed(db, changes)
        with views.reading() as db:
            t = SEALED_VALUES.c
            rows = db.execute(select(t.event_id, t.path, t.box).order_by(t.event_id, t.path))
            return [(event_id, path, bytes(box)) for event_id, path, box in rows]

    def sealed(id_: str, box: bytes | None, path: str = "words") -> Sealed:
        return Sealed(id_, path, "k", "f/p", box)

    assert keep() == []
    assert keep(sealed("e1", b"\x00\xff"), sealed("e2", b"2")) == [
        ("e1", "words", b"\x00\xff"), ("e2", "words", b"2"),
    ]  # fmt: skip
    assert keep(sealed("e1", b"new"), sealed("e1", b"3", "name"), sealed("e2", b"x"), sealed("e2", None)) == [
        ("e1", "name", b"3"), ("e1", "words", b"new"),
    ]  # fmt: skip


# -- positions -----------------------------------------------------------------------------------


def test_positions_move_on_by_owner_and_partition(views: ViewStore) -> None:
    other = ("heard.events.v1", 1)
    with views.writing() as db:
        views.move(db, LIVE, {PLACE: (Mark(), Mark(3, 30)), other: (Mark(), Mark(4, 40))})
        views.move(db, "processes", {PLACE: (Mark(), Mark(1, 10))})
    with views.writing() as db:
        views.move(db, LIVE, {other: (Mark(4, 40), Mark(9, 90))})
    with views.reading() as db:
        assert views.marks(db, LIVE) == {PLACE: Mark(3, 30), other: Mark(9, 90)}
        assert views.marks(db, "processes") == {PLACE: Mark(1, 10)}


def test_a_runner_that_was_overtaken_is_fenced_and_writes_nothing(views: ViewStore) -> None:
    with views.writing() as db:
        views.move(db, LIVE, {PLACE: (Mark(), Mark(3, 30))})

    def overtaken(at: Mark) -> None:
        with views.writing() as db:
            views.apply(db, views.live(db), [(1, raised("N1"))])
            views.move(db, LIVE, {("heard.events.v1", 1): (Mark(), Mark(5, 5)), PLACE: (at, Mark(9, 90))})

    for stale in (Mark(), Mark(2, 20), Mark(4, 40)):
        with pytest.raises(FencedError):
            overtaken(stale)
    with views.reading() as db:
        assert views.marks(db, LIVE) == {PLACE: Mark(3, 30)}
    assert table(views, trace.THINGS, "trace") == []


def test_of_two_runners_at_the_same_place_one_is_fenced(opened: Callable[[], ViewStore]) -> None:
    # given two runners that both stand at the start of a partition that nobody has read
    one, other = opened(), opened()
    one.begin()
    fenced: list[BaseException] = []

    def second() -> None:
        try:
            with other.writing() as db:
                other.move(db, LIVE, {PLACE: (Mark(), Mark(2, 20))})
        except BaseException as error:
            fenced.append(error)

    # when the second moves the position before the first has committed
    thread = threading.Thread(target=second)
    with one.writing() as db:
        one.move(db, LIVE, {PLACE: (Mark(), Mark(3, 30))})
        thread.start()
        thread.join(0.1)
    thread.join()

    # then it waits for the first, and is refused
    assert [type(error) for error in fenced] == [FencedError]
    with one.reading() as db:
        assert one.marks(db, LIVE) == {PLACE: Mark(3, 30)}


def test_while_the_live_positions_are_held_nobody_moves_one_not_even_a_new_one(
    opened: Callable[[], ViewStore],
) -> None:
    holder, runner = opened(), opened()
    holder.begin()
    order: list[str] = []

    def run_on() -> None:
        with runner.writing() as db:
            runner.move(db, LIVE, {PLACE: (Mark(), Mark(1, 1))})
            order.append("moved")

    thread = threading.Thread(target=run_on)
    with holder.writing() as db:
        assert holder.held(db) == {}
        thread.start()
        thread.join(0.2)
        order.append("held")
    thread.join()
    assert order == ["held", "moved"]


# -- generations ---------------------------------------------------------------------------------


def test_tables_are_made_once_however_many_begin_at_the_same_time(opened: Callable[[], ViewStore]) -> None:
    failures: list[BaseException] = []
    barrier = threading.Barrier(3)

    def begin() -> None:
        barrier.wait()
        try:
            assert opened().begin() == []
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=begin) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store = opened()
    assert failures == []
    with store.reading() as db:
        assert set(store.live(db).values()) == {1}
    assert len(names_of(store)) == sum(len(view.shapes) for view in VIEWS.values())


def test_a_view_that_came_later_has_to_be_rebuilt_once_something_was_read(
    engine_of: Callable[[str], Engine],
) -> None:
    engine = engine_of("sqlite file")
    few = ViewStore(engine, {name: VIEWS[name] for name in ("trace", "history")})
    assert few.begin() == []
    with few.writing() as db:
        few.move(db, LIVE, {PLACE: (Mark(), Mark(1, 1))})
    assert ViewStore(engine, VIEWS).begin() == sorted(VIEWS.keys() - {"trace", "history"})


def test_a_new_generation_is_built_beside_the_live_one_and_swapped_in(views: ViewStore) -> None:
    tell(views, [(1, raised("N1"))])
    before, lookups = names_of(views), indexed(views, "trace")

    generation = views.start(["trace"])
    with views.writing() as db:
        views.apply(db, {"trace": generation}, [(1, raised("N1")), (2, raised("N2"))])
    assert [row["ref"] for row in table(views, trace.THINGS, "trace")] == ["N1"]

    views.index(["trace"], generation)
    with views.writing() as db:
        views.swap(db, "trace", generation)
    views.sweep()

    assert {row["ref"] for row in table(views, trace.THINGS, "trace")} == {"N1", "N2"}
    assert indexed(views, "trace") == lookups != set()
    assert len(names_of(views)) == len(before)


def test_a_generation_that_is_discarded_leaves_nothing(views: ViewStore) -> None:
    before = names_of(views)
    views.discard(["trace", "inputs"], views.start(["trace", "inputs"]))
    assert names_of(views) == before


def test_what_a_killed_rebuild_left_behind_goes_with_the_next_swap(views: ViewStore) -> None:
    before = names_of(views)
    views.start(["trace"])  # and nothing more
    generation = views.start(["trace"])
    with views.writing() as db:
        views.swap(db, "trace", generation)
    views.sweep()
    assert len(names_of(views)) == len(before)


def test_a_build_that_is_superseded_is_told(views: ViewStore) -> None:
    early, late = views.start(["trace"]), views.start(["trace"])
    with views.writing() as db:
        views.hold(db, ["trace"], early)
        views.hold(db, ["trace"], late)
        views.swap(db, "trace", late)
    with pytest.raises(SupersededError), views.writing() as db:
        views.hold(db, ["trace"], early)
    views.sweep()
    with pytest.raises(SupersededError), views.writing() as db:
        views.hold(db, ["trace"], early)
    with views.writing() as db:
        views.hold(db, ["trace"], late)


# -- one moment ----------------------------------------------------------------------------------


def test_a_question_sees_one_moment_however_much_is_written_meanwhile(
    opened: Callable[[], ViewStore],
) -> None:
    reader, writer = opened(), opened()
    reader.begin()
    tell(writer, [(1, raised("N1"))])

    def asked(db: Any, tables: Any) -> list[tuple[int, int]]:
        things, events = tables[trace.THINGS], tables[history.HISTORY]
        one = len(db.execute(select(things.c.id)).all())
        tell(writer, [(2, raised("N2"))])
        other = len(db.execute(select(events.c.id)).all())
        return [(one, other)]

    assert reader.read(asked, "trace", "history") == [(1, 1)]
    assert len(table(reader, history.HISTORY, "history")) == 2


def test_a_question_that_is_asked_while_its_tables_are_swapped_away_is_answered(
    opened: Callable[[], ViewStore],
) -> None:
    reader, writer = opened(), opened()
    reader.begin()
    tell(writer, [(1, raised("N1"))])
    looks = 0

    def asked(db: Any, tables: Any) -> list[str]:
        nonlocal looks
        looks += 1
        if looks < TRIES:
            swapped(writer, [(1, raised("N1"))])
        return list(db.execute(select(tables[trace.THINGS].c.ref)).scalars())

    assert reader.read(asked, "trace") == ["N1"]
    assert looks == (TRIES if reader.engine.dialect.name == "postgresql" else 1)


def test_a_question_whose_tables_are_swapped_away_again_and_again_may_be_repeated(postgresql: str) -> None:
    with engines(postgresql, 2) as (reader, writer):
        reader.begin()

        def asked(db: Any, tables: Any) -> int:
            swapped(writer, [])
            return len(db.execute(select(tables[trace.THINGS])).all())

        with pytest.raises(TransientError):
            reader.read(asked, "trace")
        assert reader.ask("trace", ASKED) == []


def test_a_swap_and_a_reader_that_crosses_it_never_wait_for_each_other(postgresql: str) -> None:
    # given a reader that has looked at one table of a view, and will look at its other one
    with engines(postgresql, 2) as (reader, writer):
        reader.begin()
        tell(writer, [(1, raised("N1"))])
        threads: list[threading.Thread] = []

        def asked(db: Any, tables: Any) -> list[int]:
            one = len(db.execute(select(tables[trace.THINGS])).all())
            if not threads:
                threads.append(threading.Thread(target=swapped, args=(writer, [(1, raised("N1"))])))
                threads[0].start()
                threads[0].join(0.3)  # by now the old tables are being dropped
            other = len(db.execute(select(tables[trace.EDGES])).all())
            return [one, other]

        # then both come through
        assert reader.read(asked, "trace") == [1, 0]
        threads[0].join()
        with writer.reading() as db:
            assert writer.live(db)["trace"] == 2


def swapped(views: ViewStore, events: Sequence[tuple[int, Envelope]]) -> None:
    """A rebuild of `trace`."""
    generation = views.start(["trace"])
    with views.writing() as db:
        views.apply(db, {"trace": generation}, events)
        views.swap(db, "trace", generation)
    views.sweep()


@contextmanager
def engines(url: str, count: int) -> Iterator[list[ViewStore]]:
    """The same read models on PostgreSQL, opened so many times."""
    opened = [databases.postgresql(url) for _ in range(count)]
    try:
        yield [ViewStore(engine, VIEWS) for engine in opened]
    finally:
        for engine in opened:
            engine.dispose()


# -- what the databases refuse -------------------------------------------------------------------


def test_a_view_that_was_never_built_is_told(engine_of: Callable[[str], Engine]) -> None:
    with pytest.raises(TransientError):
        ViewStore(engine_of("sqlite memory"), VIEWS).ask("trace", ASKED)


def test_connections_that_were_cut_are_transient_and_the_next_transaction_works(postgresql: str) -> None:
    with engines(postgresql, 1) as (views,):
        views.begin()

        def cut_while(begun: Callable[[], AbstractContextManager[Connection]]) -> None:
            with begun() as db:
                live = views.live(db)
                assert cut_off(postgresql) > 0
                views.apply(db, live, [(1, raised("N1"))])

        for begun in (views.reading, views.writing):
            with pytest.raises(TransientError):
                cut_while(begun)
        tell(views, [(1, raised("N1"))])
        assert [row["ref"] for row in table(views, trace.THINGS, "trace")] == ["N1"]


def test_a_locked_file_is_transient(tmp_path: Path) -> None:
    engine = databases.sqlite_file(tmp_path / "views.db")
    impatient = databases.sqlite_file(tmp_path / "views.db", patience=0.01)
    try:
        views, other = ViewStore(engine, VIEWS), ViewStore(impatient, VIEWS)
        views.begin()
        with views.writing(), pytest.raises(TransientError):
            tell(other, [(1, raised("N1"))])
        tell(other, [(1, raised("N1"))])
    finally:
        engine.dispose()
        impatient.dispose()


def test_a_new_file_that_somebody_holds_is_waited_for_once(tmp_path: Path) -> None:
    path, patience = tmp_path / "views.db", 0.3
    engine = databases.sqlite_file(path, patience=patience)
    with closing(sqlite3.connect(path, isolation_level=None)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        begun = time.monotonic()
        with pytest.raises(TransientError):
            ViewStore(engine, VIEWS)
        assert time.monotonic() - begun < 3 * patience
    ViewStore(engine, VIEWS)
    engine.dispose()


def test_who_gets_no_connection_of_a_pool_in_time_is_to_try_again(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'views.db'}"
    engine = create_engine(address, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_timeout=0.1)
    views = ViewStore(engine, VIEWS)
    try:
        for begun in (views.reading, views.writing):
            with views.reading(), pytest.raises(TransientError), begun():
                raise AssertionError("there are two connections")
            with begun():
                pass
    finally:
        engine.dispose()


def test_a_new_file_is_opened_by_however_many_begin_at_the_same_time(tmp_path: Path) -> None:
    # One file would hardly ever show it: SQLite fails only if two switch to WAL at the very same moment.
    def look(path: Path) -> int:
        barrier.wait()
        with databases.sqlite_file(path).connect() as db:
            return len(db.execute(text("SELECT * FROM sqlite_master")).all())

    for number in range(100):
        barrier = threading.Barrier(3)
        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(look, [tmp_path / f"{number}.db"] * 3)) == [0, 0, 0]
