"""Which facts does Heard know? Every event type, its aggregate and its schema, on one page."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any, Final, get_args

from pydantic import ValidationError

from domain import (
    change,
    concern,
    contact,
    decision,
    duty,
    engagement,
    feedback,
    force,
    message,
    neighbourhood,
    priority,
    referral,
    subject,
    support,
)  # fmt: skip
from domain.errors import IntegrityError
from domain.event import Event
from domain.evidence import canonical
from domain.rules import Causes
from domain.upcasters import upcast


@dataclass(frozen=True)
class Aggregate:
    """A kind of thing: its events and its two functions."""

    kind: str
    events: tuple[type[Event], ...]
    decide: Callable[[Any, Any, Causes], Event | None]
    evolve: Callable[[Any, Any, Causes], Any]


def _aggregate(module: ModuleType) -> Aggregate:
    kind = module.__name__.rpartition(".")[2]
    union = getattr(module, f"{kind.capitalize()}Event")
    return Aggregate(kind, get_args(union) or (union,), module.decide, module.evolve)


AGGREGATES: Final[Mapping[str, Aggregate]] = {
    aggregate.kind: aggregate
    for aggregate in map(
        _aggregate,
        (
            force, neighbourhood, engagement, contact, concern, support, decision, priority,
            change, feedback, referral, duty, subject, message,
        ),
    )
}  # fmt: skip
"""By kind."""

EVENTS: Final[Mapping[str, type[Event]]] = {
    event.TOPIC: event for aggregate in AGGREGATES.values() for event in aggregate.events
}
"""By type."""

OWN: Final = frozenset({"duty", "subject", "message"})
"""Kinds whose events only Heard itself writes."""


def aggregate_of(type_: str) -> Aggregate:
    """The aggregate of an event type of the catalogue."""
    return AGGREGATES[type_.split(".", 2)[1]]


def read_event(type_: str, pub: Mapping[str, Any], sealed: Mapping[str, str]) -> Event:
    """The fact of stored fields, upcast; sealed fields hold their commitments.

    Raises IntegrityError (`newer_writer`) for a type that is not in the catalogue, and one for
    fields that do not fit.
    """
    fields: dict[str, Any] = dict(pub)
    for path, commitment in sealed.items():
        *holders, name = path.split(".")
        holder = fields
        for step in holders:
            inner = holder[step] = dict(holder[step])
            holder = inner
        holder[name] = commitment
    newest, fields = upcast(type_, fields)
    event = EVENTS.get(newest)
    if event is None:
        raise IntegrityError(
            f"an event of type {type_}", code="newer_writer", expected="a type of the catalogue",
            got=type_, hint="a newer Heard wrote this: update this program",
        )  # fmt: skip
    try:
        return event.model_validate(fields)
    except ValidationError as error:
        raise IntegrityError(
            f"a stored {type_} does not fit its type",
            expected="the fields that the catalogue names",
            got=", ".join(".".join(map(str, e["loc"])) for e in error.errors()),
        ) from error


@cache
def schema(event: type[Event]) -> dict[str, Any]:
    """The JSON Schema of the event's own fields."""
    return event.model_json_schema(mode="validation", by_alias=True)


@cache
def schema_digest(event: type[Event]) -> str:
    """64 hex digits: SHA-256 of the canonical JSON Schema."""
    return hashlib.sha256(canonical.encode(schema(event))).hexdigest()
