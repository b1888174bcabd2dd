"""May this field stand in the log?

Every field of every event is a code, an id, a date, a number, public by name, or sealed.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import date, datetime
from types import UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NewType,
    Union,
    get_args,
    get_origin,
)  # fmt: skip

import pytest
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from domain.catalogue import AGGREGATES, EVENTS
from domain.event import Event
from domain.values import PUBLIC, EventId, PublicText, Seal, Sealed, StreamId, SubjectId

TOPIC = re.compile(r"heard\.([a-z]+)\.([a-z]+(?:_[a-z]+)*)\.v([1-9][0-9]*)")
IDS = (StreamId, EventId, SubjectId)
SCALARS = (bool, int, date, datetime)
MARKS = (Seal, type(PUBLIC))


def faults(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[str]:
    """What in a model must not stand in the log, each as `path: why`."""
    if not model.model_config.get("frozen") or model.model_config.get("extra") != "forbid":
        yield f"{'.'.join(path) or model.__name__}: neither frozen nor closed"
    for name, field in model.model_fields.items():
        here = (*path, name)
        yield from (f"{'.'.join(here)}: {why}" for why in _wrong(field.annotation, field.metadata))
        for inner in models(field.annotation):
            yield from faults(inner, here)


def sealed(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all fields that are marked as sealed, wherever they hide."""
    for name, field in model.model_fields.items():
        if _marked(field.annotation, field.metadata, Seal):
            yield (*path, name)
        for inner in models(field.annotation):
            yield from sealed(inner, (*path, name))


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in a type, at any depth."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def _wrong(annotation: Any, metadata: list[Any]) -> Iterator[str]:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _wrong(parts[0], [*metadata, *parts[1:]])
    elif origin in (Union, UnionType):
        for part in parts:
            yield from _wrong(part, metadata)
    elif origin is tuple:
        if parts[1:] != (...,) or not any(_bounds(mark) for mark in metadata):
            yield "a sequence without a bound"
        yield from _wrong(parts[0], [])
    elif origin is Literal:
        if not all(isinstance(part, str) and re.fullmatch(r"[a-z0-9_]+", part) for part in parts):
            yield "codes that are not lower-case words"
    elif annotation is str:
        if not any(_pattern(mark) or isinstance(mark, MARKS) for mark in metadata):
            yield "text that is neither code, id, public nor sealed"
    elif annotation in IDS or annotation in SCALARS or annotation is type(None):
        pass
    elif not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        yield f"a type that is not known here: {annotation}"


def _pattern(mark: Any) -> bool:
    # A pattern that lets blanks through would let words through.
    pattern = getattr(mark, "pattern", None)
    return pattern is not None and not re.match(pattern, "two words")


def _bounds(mark: Any) -> bool:
    return getattr(mark, "max_length", None) is not None


def _marked(annotation: Any, metadata: list[Any], kind: type) -> bool:
    if any(isinstance(mark, kind) for mark in metadata):
        return True
    return any(
        _marked(part, list(getattr(part, "__metadata__", ())), kind)
        for part in get_args(annotation)
        if not (isinstance(part, type) and issubclass(part, BaseModel))
    )


def undocumented(model: type[BaseModel]) -> Iterator[str]:
    """Names of fields without an attribute docstring, in a model and in what it is made of."""
    for name, field in model.model_fields.items():
        if not field.description:
            yield f"{model.__name__}.{name}"
        for inner in models(field.annotation):
            yield from undocumented(inner)


def behaviour(event: type[Event]) -> list[str]:
    """Names of what an event can do; it should be able to do nothing (validators are not behaviour)."""
    tree = ast.parse(inspect.getsource(event))
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and not any("validator" in ast.unparse(d) for d in node.decorator_list)
    ]


every_event = pytest.mark.parametrize("event", EVENTS.values(), ids=list(EVENTS))


@every_event
def test_every_field_of_an_event_may_stand_in_the_log_or_is_sealed(event: type[Event]) -> None:
    assert list(faults(event)) == []


@every_event
def test_whatever_is_marked_as_sealed_is_found_when_the_event_is_sealed(event: type[Event]) -> None:
    assert sorted(sealed(event)) == sorted(event.sealed_paths())


@every_event
def test_an_event_is_called_by_a_topic_of_its_own_that_fits_its_class(event: type[Event]) -> None:
    assert "TOPIC" in vars(event)
    match = TOPIC.fullmatch(event.TOPIC)
    assert match is not None
    kind, fact, _ = match.groups()
    assert event.__module__ == f"domain.{kind}"
    assert fact == re.sub(r"(?<!^)(?=[A-Z])", "_", event.__name__).lower()


@every_event
def test_an_event_and_each_of_its_fields_say_what_they_mean(event: type[Event]) -> None:
    assert inspect.getdoc(event)
    assert "__doc__" in vars(event)
    assert list(undocumented(event)) == []


@every_event
def test_an_event_does_nothing_but_hold_a_fact(event: type[Event]) -> None:
    assert behaviour(event) == []


def test_every_event_of_every_aggregate_is_in_the_catalogue_once() -> None:
    listed = [event for aggregate in AGGREGATES.values() for event in aggregate.events]
    defined = {cls for module in {event.__module__ for event in listed} for cls in _events_of(module)}
    assert len(listed) == len(EVENTS)
    assert set(listed) == defined


def _events_of(module: str) -> set[type[Event]]:
    return {
        cls
        for cls in vars(__import__(module, fromlist=["*"])).values()
        if isinstance(cls, type) and issubclass(cls, Event) and cls.__module__ == module
    }


def test_every_aggregate_has_an_event_that_makes_the_thing() -> None:
    assert [a.kind for a in AGGREGATES.values() if not any(event.MAKES for event in a.events)] == []


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    words: Sealed


class _Wrong(Event):
    """One field for each thing that the walker has to find."""

    TOPIC: ClassVar[str] = "heard.wrong.happened.v1"

    plain: str
    maybe: str | None = None
    long: Annotated[str, StringConstraints(max_length=10)]
    loose: Annotated[str, StringConstraints(pattern=r"^[a-z ]+$")]
    number: float
    anything: Any
    many: Annotated[tuple[str, ...], Field(max_length=3)] = ()
    endless: tuple[date, ...] = ()
    table: dict[str, str]
    own: NewType("Own", str)  # type: ignore[valid-type]
    codes: Literal["A B"]


class _Open(BaseModel):
    day: date


class _Holder(Event):
    """A part that is neither frozen nor closed, and one whose words nobody would seal."""

    part: _Open
    parts: Annotated[tuple[_Part, ...], Field(max_length=3)] = ()


class _Busy(Event):
    """An event should not be able to count."""

    def total(self) -> int:
        """A derived number."""
        return 1


class _Right(Event):
    """Nothing here is wrong."""

    words: Sealed | None = None
    name: PublicText
    count: Annotated[int, Field(ge=0)]
    part: _Part


def test_whatever_should_not_stand_in_the_log_is_found() -> None:
    found = {fault.partition(":")[0] for fault in faults(_Wrong)}
    assert found == set(_Wrong.model_fields)


def test_a_part_that_is_open_or_whose_words_would_not_be_sealed_is_found() -> None:
    assert [fault.partition(":")[0] for fault in faults(_Holder)] == ["part"]
    assert list(sealed(_Holder)) == [("parts", "words")]
    assert _Holder.sealed_paths() == ()


def test_what_may_stand_in_the_log_is_let_be() -> None:
    assert list(faults(_Right)) == []
    assert list(sealed(_Right)) == list(_Right.sealed_paths()) == [("words",), ("part", "words")]


def test_a_field_without_a_docstring_is_found() -> None:
    assert list(undocumented(_Holder)) == ["_Holder.part", "_Open.day", "_Holder.parts", "_Part.words"]


def test_an_event_that_does_something_is_found() -> None:
    assert behaviour(_Busy) == ["total"]
