"""Where do read models lie, and how does a batch of events reach them in one transaction?

Each view has generations: the live one, and one that is built beside it and swapped in. Rows and
positions commit together, fenced against a second runner.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    func,
    insert,
    inspect,
    select,
    text,
    true,
)  # fmt: skip
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.schema import CreateTable

from domain.errors import FencedError, IntegrityError, TransientError
from domain.event import Envelope, Event
from projections.view import TEXT, Asked, Key, Row, Rows, Shape, Tables, View, fold

TRIES: Final = 5
"""How often a question is asked again when the tables under it are swapped away."""
_MAKING_TABLES: Final = 0x4EA2E
"""The advisory lock of PostgreSQL under which one process at a time makes tables."""
LIVE: Final = "live"
"""The owner of the positions of every live generation."""

_meta = MetaData()
_views = Table(
    "views",
    _meta,
    Column("name", TEXT, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
)
_generations = Table("view_generations", _meta, Column("last", BigInteger, nullable=False))
_tables = Table(
    "view_tables",
    _meta,
    Column("table_name", TEXT, primary_key=True),
    Column("view", TEXT, nullable=False),
    Column("generation", BigInteger, nullable=False),
)
_positions = Table(
    "view_positions",
    _meta,
    Column("owner", TEXT, primary_key=True),
    Column("topic", TEXT, primary_key=True),
    Column("part", BigInteger, primary_key=True),
    Column("next", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
)
SEALED_VALUES: Final = Table(
    "sealed_values",
    _meta,
    Column("event_id", TEXT, primary_key=True),
    Column("path", TEXT, primary_key=True),
    Column("key_id", TEXT, nullable=False, index=True),
    Column("partition_key", TEXT, nullable=False),
    Column("box", LargeBinary, nullable=False),
)

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Mark:
    """How far an owner has read one partition: the next offset, and the last record's position."""

    next: int = 0
    position: int = 0


Marks = Mapping[tuple[str, int], Mark]


@dataclass(frozen=True, slots=True)
class Sealed:
    """A change of a sealed value: `box` None takes it away."""

    event_id: str
    path: str
    key_id: str
    partition_key: str
    """The key of the partition that it lies in, beside its event."""
    box: bytes | None


class _SwappedError(TransientError):
    """A generation was swapped away between two looks: look again."""


class SupersededError(TransientError):
    """A generation that is being built is no longer wanted: one that was begun later is live."""


class ViewStore:
    """The database of read models."""

    def __init__(self, engine: Engine, views: Mapping[str, View]) -> None:
        self.engine = engine
        self.views = views
        with self.reading() as db:
            made = inspect(db).has_table(_generations.name)
        if not made:  # looked first: whoever only asks takes no write lock
            with self.making() as db:
                _meta.create_all(db)
                if db.scalar(select(func.count()).select_from(_generations)) == 0:
                    db.execute(insert(_generations).values(last=0))

    # -- transactions ----------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A write transaction; what the database refuses for now is a TransientError."""
        with self._ours(), self.engine.connect() as db:
            db = db.execution_options(heard_begin="BEGIN IMMEDIATE")
            with db.begin():
                yield db

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database throughout."""
        with self._ours(), self.engine.connect() as db:
            if db.dialect.name == "postgresql":
                db = db.execution_options(isolation_level="REPEATABLE READ")
            with db.begin():
                yield db

    @contextmanager
    def making(self) -> Iterator[Connection]:
        """A write transaction in which tables are made, one process at a time."""
        with self.writing() as db:
            if db.dialect.name == "postgresql":
                db.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MAKING_TABLES})
            yield db

    @staticmethod
    @contextmanager
    def _ours() -> Iterator[None]:
        try:
            yield
        except OperationalError as error:
            raise _away(error.orig) from error
        except PoolTimeoutError as error:
            raise _away(error) from error
        except ProgrammingError as error:
            raise _SwappedError(
                "the tables of a read model were swapped meanwhile",
                expected="the tables that were there a moment ago", got=type(error.orig).__name__,
                hint="ask again; heard views rebuild, if it stays so",
            ) from error  # fmt: skip
        except DBAPIError as error:
            if error.connection_invalidated:  # the server ended a transaction in which it heard nothing
                raise _away(error.orig) from error
            raise IntegrityError(
                "the read models do not answer as they should",
                expected="tables as Heard made them", got=type(error.orig).__name__,
                hint="remove them (embedded: views.db and what begins with its name), they can be made again:"
                " heard consume --until-idle",
            ) from error  # fmt: skip

    # -- generations -----------------------------------------------------------------------------

    def live(self, db: Connection) -> dict[str, int]:
        """{view: generation} of those that are built, in the version that this program has."""
        rows = db.execute(select(_views.c.name, _views.c.version, _views.c.generation))
        return {
            name: generation
            for name, version, generation in rows
            if name in self.views and self.views[name].version == version
        }

    def folded(self, db: Connection) -> dict[str, int]:
        """{view: generation} of all that move with the live positions, for whoever moves them.

        Raises IntegrityError (`newer_writer`) when another version of the program has swapped in
        its own: to move past them would leave a gap in them.
        """
        live = self.live(db)
        if others := (self.views.keys() | set(db.execute(select(_views.c.name)).scalars())) - live.keys():
            raise IntegrityError(
                f"another version of the program has built the read model {min(others)}",
                code="newer_writer", expected="the read models of this version", got="others",
                hint="end this one, and let the other version run",
            )  # fmt: skip
        return live

    def retire(self) -> None:
        """Give up the read models that this version of the program does not have."""
        with self.reading() as db:
            if not set(db.execute(select(_views.c.name)).scalars()) - self.views.keys():
                return
            names = db.execute(select(_tables.c.table_name).where(_tables.c.view.not_in(self.views)))
            tables = names.scalars().all()
        with self.writing() as db:
            db.execute(delete(_views).where(_views.c.name.not_in(self.views)))
        self._drop(tables)

    def start(self, names: Collection[str]) -> int:
        """Create empty tables for a new generation of these views; its number.

        They have their primary keys; the other indexes are quicker made of what is there, by `index`.
        """
        with self.making() as db:
            return self._start(db, names)

    def _start(self, db: Connection, names: Collection[str]) -> int:
        generation = int(
            db.execute(text("UPDATE view_generations SET last = last + 1 RETURNING last")).scalar_one()
        )
        for name in names:
            for table in self.tables_of(name, generation).values():
                db.execute(CreateTable(table))
                values = {"table_name": table.name, "view": name, "generation": generation}
                db.execute(insert(_tables).values(values))
        return generation

    def index(self, names: Collection[str], generation: int) -> None:
        """Make the indexes of a generation, one table at a time."""
        for name in names:
            for table in self.tables_of(name, generation).values():
                with self.writing() as db:
                    self.hold(db, names, generation)
                    self._index(db, table)

    @staticmethod
    def _index(db: Connection, table: Table) -> None:
        for index in table.indexes:
            index.create(db, checkfirst=True)

    def hold(self, db: Connection, names: Collection[str], generation: int) -> None:
        """Keep a generation from being swept until the transaction ends.

        Raises SupersededError when a later one is live already.
        """
        later = select(_views.c.name).where(_views.c.name.in_(names), _views.c.generation > generation)
        mine = select(_tables.c.view).where(_tables.c.view.in_(names), _tables.c.generation == generation)
        found = set(db.execute(mine.with_for_update(read=True)).scalars())
        if found != set(names) or db.execute(later).first():
            raise SupersededError(
                "another rebuild of the same read model was faster",
                expected="no later one", got="a later one", hint="heard views list",
            )  # fmt: skip

    def begin(self) -> list[str]:
        """Make empty live tables if nothing was ever read; else the views that have to be rebuilt."""
        with self.reading() as db:
            missing = sorted(self.views.keys() - self.live(db).keys())
        if not missing:
            return []
        with self.making() as db:
            missing = sorted(self.views.keys() - self.live(db).keys())
            if not missing or self.marks(db, LIVE):
                return missing
            generation = self._start(db, missing)
            for name in missing:
                for table in self.tables_of(name, generation).values():
                    self._index(db, table)
                self.swap(db, name, generation)
            return []

    def swap(self, db: Connection, name: str, generation: int) -> None:
        """Make a generation the live one, within the caller's transaction; `sweep` when that is over."""
        db.execute(delete(_views).where(_views.c.name == name))
        values = {"name": name, "version": self.views[name].version, "generation": generation}
        db.execute(insert(_views).values(values))

    def sweep(self) -> None:
        """Drop what is older than the live generations: swapped away, never finished, or superseded."""
        old = select(_tables.c.table_name).join(_views, _views.c.name == _tables.c.view)
        with self.reading() as db:
            names = db.execute(old.where(_tables.c.generation < _views.c.generation)).scalars().all()
        self._drop(names)

    def discard(self, names: Collection[str], generation: int) -> None:
        """Drop a generation that is not live."""
        self._drop([t.name for name in names for t in self.tables_of(name, generation).values()])

    def _drop(self, names: Collection[str]) -> None:
        # Each in a transaction of its own: so we hold no table that a reader waits for, while we
        # wait for that reader. The row first: whoever builds the table holds it.
        for name in names:
            with self.writing() as db:
                db.execute(delete(_tables).where(_tables.c.table_name == name))
                db.execute(text(f"DROP TABLE IF EXISTS {name}"))

    # -- positions -------------------------------------------------------------------------------

    def marks(self, db: Connection, who: str) -> dict[tuple[str, int], Mark]:
        """How far `who` has read each partition."""
        p = _positions.c
        rows = db.execute(select(p.topic, p.part, p.next, p.position).where(p.owner == who))
        return {(topic, part): Mark(following, position) for topic, part, following, position in rows}

    def held(self, db: Connection) -> dict[tuple[str, int], Mark]:
        """The live positions, held until the transaction ends: no projector can move them."""
        if db.dialect.name == "postgresql":
            # The whole table: also a partition that has no row yet must wait for us.
            db.execute(text("LOCK TABLE view_positions IN EXCLUSIVE MODE"))
        return self.marks(db, LIVE)

    def move(self, db: Connection, who: str, moves: Mapping[tuple[str, int], tuple[Mark, Mark]]) -> None:
        """Move positions from what they were to what they are; FencedError if another runner did."""
        for (topic, part), (before, after) in sorted(moves.items()):
            moved = db.execute(
                text(
                    "INSERT INTO view_positions (owner, topic, part, next, position)"
                    " SELECT :owner, :topic, CAST(:part AS BIGINT), CAST(:next AS BIGINT),"
                    " CAST(:position AS BIGINT)"
                    " WHERE CAST(:before AS BIGINT) = 0 OR EXISTS (SELECT 1 FROM view_positions"
                    " WHERE owner = :owner AND topic = :topic AND part = :part)"
                    " ON CONFLICT (owner, topic, part)"
                    " DO UPDATE SET next = :next, position = :position"
                    " WHERE view_positions.next = :before"
                ),
                {
                    "owner": who, "topic": topic, "part": part, "next": after.next,
                    "position": after.position, "before": before.next,
                },
            )  # fmt: skip
            if moved.rowcount != 1:
                raise FencedError(
                    f"another runner has moved the position of {topic}/{part}",
                    expected=f"offset {before.next}", got="another",
                    hint="nothing was written; this runner reads its position again",
                )  # fmt: skip

    # -- folding ---------------------------------------------------------------------------------

    def apply(
        self, db: Connection, generations: Mapping[str, int], events: Sequence[tuple[int, Envelope]]
    ) -> None:
        """Fold a batch into these generations: load the rows it touches, fold, write each once."""
        views = [self.views[name] for name in generations]
        tables = self._tables(generations)
        rows = Rows()
        before: dict[Shape, Collection[Key]] = {}
        continued = _continued(events)
        for view in views:
            streams = [key for key, kinds in continued.items() if any(map(view.handler, kinds))]
            for shape in view.shapes:
                found = _load(db, shape, tables[shape], streams) if shape.folded and streams else {}
                before[shape], rows.held[shape] = set(found), found
        fold(views, rows, events)
        for shape, keys in rows.changed.items():
            held = rows.held[shape]
            _delete(db, tables[shape], shape.key, [key for key in keys if key in before[shape]])
            rows_now = [shape.values_of(row) for key in keys if (row := held[key]) is not None]
            _insert(db, tables[shape], shape.names, rows_now)

    def apply_sealed(self, db: Connection, changes: Sequence[Sealed]) -> None:
        """Keep the last word on each sealed value."""
        last = {(change.event_id, change.path): change for change in changes}
        _delete(db, SEALED_VALUES, ("event_id", "path"), list(last))
        rows = [
            (c.event_id, c.path, c.key_id, c.partition_key, c.box) for c in last.values() if c.box is not None
        ]
        _insert(db, SEALED_VALUES, ("event_id", "path", "key_id", "partition_key", "box"), rows)

    # -- asking ----------------------------------------------------------------------------------

    def ask(self, name: str, asked: Asked) -> list[Row]:
        """The rows of a view's answer, from its live tables."""
        view = self.views[name]
        return self.read(lambda db, tables: list(view.question(db, tables, asked)), name, *view.reads)

    def read(self, question: Callable[[Connection, Tables], _T], *names: str) -> _T:
        """Ask the live tables of these views, all of one moment."""
        for left in reversed(range(TRIES)):
            try:
                with self.reading() as db:
                    live = self.live(db)
                    if missing := [name for name in names if name not in live]:
                        raise TransientError(
                            f"the read model {missing[0]} is not built yet",
                            expected="a built read model", got="none", hint="heard consume --until-idle",
                        )  # fmt: skip
                    return question(db, self._tables({name: live[name] for name in names}))
            except _SwappedError:
                if not left:
                    raise
        raise AssertionError("not reached")

    def _tables(self, generations: Mapping[str, int]) -> Tables:
        return Tables(
            {
                shape: shape.table(generation)
                for name, generation in generations.items()
                for shape in self.views[name].shapes
            }
        )

    def tables_of(self, name: str, generation: int) -> dict[Shape, Table]:
        """The tables of one generation."""
        return {shape: shape.table(generation) for shape in self.views[name].shapes}


def among(column: Any, values: Collection[str], db: Connection) -> Any:
    """`column IN values` with one parameter, however many values there are."""
    if db.dialect.name == "postgresql":
        from sqlalchemy import any_, cast

        return column == any_(cast(list(values), postgresql.ARRAY(Text)))
    each = func.json_each(orjson.dumps(list(values)).decode()).table_valued("value")
    return column.in_(select(each.c.value))


def reach(
    db: Connection, near: Column[str], far: Column[str], roots: Collection[str], usable: Any
) -> set[str]:
    """What rows lead to from `roots`, each from its `near` to its `far`, over any number of usable ones."""
    start = select(far.label("id")).where(among(near, roots, db), usable)
    reached = start.cte("reached", recursive=True)
    if db.dialect.name == "postgresql":
        # It takes each step to be ten times as wide as the one before, and would read the whole table for
        # it; so it looks into the index for each thing.
        step = select(far.label("id")).where(near == reached.c.id, usable).correlate(reached)
        each = step.offset(0).lateral()
        further = select(each.c.id).select_from(reached.join(each, true()))
    else:
        further = select(far).join(reached, near == reached.c.id).where(usable)
    return set(db.execute(select(reached.union(further).c.id)).scalars())


def _continued(events: Sequence[tuple[int, Envelope]]) -> dict[Key, set[type[Event]]]:
    """(force, place, stream) of what has rows already, as it does not begin here; the events to come."""
    began: set[str] = set()
    found: dict[Key, set[type[Event]]] = {}
    for _, e in events:
        if e.version == 1:
            began.add(e.stream)
        elif e.stream not in began:
            found.setdefault((e.force, e.place, e.stream), set()).add(type(e.event))
    return found


def _load(db: Connection, shape: Shape, table: Table, streams: Sequence[Key]) -> dict[Key, Row | None]:
    names = ", ".join(shape.names)
    where, parameter = keyed(db, shape.key[:3], streams)
    found = db.exec_driver_sql(f"SELECT {names} FROM {table.name} WHERE {where}", parameter)  # noqa: S608
    rows = [dict(zip(shape.names, values, strict=True)) for values in found]
    return {shape.key_of(row): row for row in rows}


def _delete(db: Connection, table: Table, key: Sequence[str], keys: Sequence[Sequence[Any]]) -> None:
    if keys:
        where, parameter = keyed(db, key, keys)
        db.exec_driver_sql(f"DELETE FROM {table.name} WHERE {where}", parameter)  # noqa: S608 - own names


def keyed(db: Connection, names: Sequence[str], keys: Sequence[Sequence[Any]]) -> tuple[str, tuple[str]]:
    """`names IN keys` with one parameter, however many keys there are."""
    each = "json_array_elements(%s::json)" if db.dialect.name == "postgresql" else "json_each(?)"
    values = ", ".join(f"k.value ->> {at}" for at in range(len(names)))
    return f"({', '.join(names)}) IN (SELECT {values} FROM {each} AS k)", (orjson.dumps(keys).decode(),)  # noqa: S608


def _insert(db: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> None:
    """Write new rows; a key that is there already is an IntegrityError."""
    if not rows:
        return
    names = ", ".join(columns)
    if db.dialect.name != "postgresql":
        marks = ", ".join("?" * len(columns))
        db.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608
        return
    kinds = {Text: "text", BigInteger: "int8", LargeBinary: "bytea"}
    driver = db.dialect.loaded_dbapi
    cursor: Any = db.connection.cursor()
    try:
        # Far quicker than any INSERT, and SQLAlchemy has no word for it.
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types([kinds[type(table.c[name].type)] for name in columns])
            for row in rows:
                copy.write_row(row)
    except driver.Error as error:
        raise DBAPIError.instance(
            f"COPY {table.name}", None, error, driver.Error, dialect=db.dialect
        ) from error


def upsert(db: Connection, shape: Shape, table: Table, rows: list[Row]) -> None:
    """Write whole rows by their keys, in one statement whatever their number."""
    if not rows:
        return
    rest = [name for name in shape.names if name not in shape.key]
    if db.dialect.name == "postgresql":
        columns = [table.c[name] for name in shape.names]
        kinds = {Text: "text", BigInteger: "bigint", LargeBinary: "bytea"}
        # `b`, in binary: text would be searched for what has to be quoted, value by value.
        arrays = ", ".join(f"%(c{i})b::{kinds[type(c.type)]}[]" for i, c in enumerate(columns))
        names = ", ".join(shape.names)
        sets = ", ".join(f"{name} = excluded.{name}" for name in rest)
        then = f"DO UPDATE SET {sets}" if rest else "DO NOTHING"
        db.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"  # noqa: S608 - own names
            f" ON CONFLICT ({', '.join(shape.key)}) {then}",
            {f"c{i}": [row[name] for row in rows] for i, name in enumerate(shape.names)},
        )
        return
    statement = sqlite.insert(table)
    upsert = (
        statement.on_conflict_do_update(shape.key, set_={name: statement.excluded[name] for name in rest})
        if rest
        else statement.on_conflict_do_nothing()
    )
    db.execute(upsert, rows)


def _away(error: BaseException | None) -> TransientError:
    return TransientError(
        "the read models cannot be written or read at the moment",
        expected="an answer from the database", got=type(error).__name__,
        hint="nothing was committed; look at `heard doctor` if it stays so",
    )  # fmt: skip
