"""What is a read model made of? Tables, handlers that fold events into their rows, and a question."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from operator import itemgetter
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
)  # fmt: skip
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

from domain.event import Envelope, Event

TEXT: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
"""Text that sorts by its bytes, as SQLite and Python do, whatever the database's locale."""
NUMBER: Final = BigInteger()
BYTES: Final = LargeBinary()

Key: TypeAlias = tuple[str, ...]
Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Shape:
    """A table: its rows belong to one key of the log, so that partitions advance on their own.

    The primary key is (force, place, id), or (force, place, *also) where one stream writes several
    rows; of `also` the first is the stream. `place` is the neighbourhood, `-` for the whole force.
    `folded`: later events of a stream write its rows anew, and so what is there is read first.
    """

    name: str
    columns: Mapping[str, TypeEngine[Any]]
    also: tuple[str, ...] = ("id",)
    index: tuple[tuple[str, ...], ...] = ()
    folded: bool = False

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The names of the primary key's columns."""
        return ("force", "place", *self.also)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of all columns, the key's first."""
        return (*self.key, *(name for name in self.columns if name not in self.key))

    @cached_property
    def key_of(self) -> Callable[[Row], Key]:
        """From a row to its primary key."""
        return itemgetter(*self.key)

    @cached_property
    def values_of(self) -> Callable[[Row], tuple[Any, ...]]:
        """From a row to its values, in the order of `names`."""
        return itemgetter(*self.names)

    @cached_property
    def empty(self) -> Row:
        """A row in which everything is null."""
        return dict.fromkeys(self.names)

    @cache  # noqa: B019 - shapes are module constants
    def table(self, generation: int) -> Table:
        """The table in the database, built for the given generation of its view."""
        name = f"{self.name}_{generation}"
        kinds = {"force": TEXT, "place": TEXT, "id": TEXT} | dict(self.columns)
        return Table(
            name,
            MetaData(),
            *(Column(column, kinds[column], nullable=column not in self.key) for column in self.names),
            # What is only added to needs no key to be found by while it is rebuilt, and so gets it after.
            PrimaryKeyConstraint(*self.key) if self.folded else Index(f"{name}_key", *self.key, unique=True),
            *(Index(f"{name}_{'_'.join(columns)}", *columns) for columns in self.index),
        )


@dataclass(slots=True)
class Rows:
    """The rows of one fold, in memory: what was there before, and what the events made of it."""

    position: int = 0
    """The position of the event in hand."""
    held: dict[Shape, dict[Key, Row | None]] = field(default_factory=dict)
    changed: dict[Shape, dict[Key, None]] = field(default_factory=dict)
    """Keys in the order of their first change, so that the same events write the same tables."""

    def own(self, shape: Shape, e: Envelope) -> Row | None:
        """The row of the event's stream, None if there is none (as at a date, it may be unknown)."""
        return self.held.get(shape, {}).get((e.force, e.place, e.stream))

    def put(self, shape: Shape, e: Envelope, **values: Any) -> None:
        """Write a whole row; columns that are not given are null, `id` is the stream."""
        row = shape.empty.copy()
        row["force"], row["place"] = e.force, e.place
        if "id" in row:
            row["id"] = e.stream
        row.update(values)
        key = shape.key_of(row)
        self.held.setdefault(shape, {})[key] = row
        self.changed.setdefault(shape, {})[key] = None

    def change(self, shape: Shape, e: Envelope, **values: Any) -> None:
        """Change columns of the row of the event's stream, if there is one."""
        row = self.own(shape, e)
        if row is not None:
            row.update(values)
            self.changed.setdefault(shape, {})[e.force, e.place, e.stream] = None


Handler: TypeAlias = Callable[[Rows, Envelope, Any], None]


@dataclass(frozen=True)
class Asked:
    """What a question is asked with: filters by column, and the instant that counts as now."""

    now: str
    where: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tables:
    """The live tables that a question may read."""

    found: Mapping[Shape, Table]

    def __getitem__(self, shape: Shape) -> Table:
        return self.found[shape]


Question: TypeAlias = Callable[[Connection, Tables, Asked], Iterable[Row]]


@dataclass(frozen=True)
class View:
    """A read model.

    `columns` are those of its answers, each with what it means: the data dictionary. `reads` names
    other views whose tables the question joins; handlers never look outside their own tables.
    """

    name: str
    version: int
    about: str
    columns: Mapping[str, str]
    shapes: tuple[Shape, ...]
    handlers: Mapping[type[Event], Handler]
    question: Question
    reads: tuple[str, ...] = ()

    def handler(self, kind: type[Event]) -> Handler | None:
        """What it does about events of this kind; one for `Event` is for all that have none of their own."""
        return self.handlers.get(kind) or self.handlers.get(Event)


def fold(views: Iterable[View], rows: Rows, events: Iterable[tuple[int, Envelope]]) -> None:
    """Fold events, in order, into the rows of the views. Pure: the only change is to `rows`."""
    views = tuple(views)
    handlers: dict[type[Event], list[Handler]] = {}
    for position, envelope in events:
        rows.position = position
        event = envelope.event
        kind = type(event)
        if kind not in handlers:
            handlers[kind] = [handler for view in views if (handler := view.handler(kind)) is not None]
        for handler in handlers[kind]:
            handler(rows, envelope, event)


def day(occurred: Any) -> str | None:
    """The first day on which it can have happened, as YYYY-MM-DD."""
    first = occurred.first_day()
    return None if first is None else str(first)


def place_of(neighbourhood: str) -> str:
    """The place in a key of a neighbourhood that is asked for: none, or `-`, is the whole force."""
    return neighbourhood or "-"


def here(table: Table, asked: Asked) -> tuple[Any, ...]:
    """The conditions that keep a question to the force and the neighbourhood that it asks for."""
    found: list[Any] = []
    if "force" in asked.where:
        found.append(table.c.force == asked.where["force"])
    if "neighbourhood" in asked.where:
        found.append(table.c.place == place_of(asked.where["neighbourhood"]))
    return tuple(found)
