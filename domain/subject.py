"""Whose personal data was asked to be erased, and when was it gone?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, assert_never

from domain.event import Event
from domain.rules import Causes
from domain.values import StreamId


class ErasureRequested(Event):
    """The keys, salts and values under this key are to be destroyed."""

    TOPIC: ClassVar[str] = "heard.subject.erasure_requested.v1"
    MAKES: ClassVar[bool] = True

    key_id: StreamId
    """The person's id, or the id of a thing whose words have a key of their own."""


class Erased(Event):
    """They are gone."""

    TOPIC: ClassVar[str] = "heard.subject.erased.v1"

    key_id: StreamId
    """As in the request."""


SubjectEvent: TypeAlias = ErasureRequested | Erased


@dataclass(frozen=True, slots=True)
class Subject:
    """How far the erasure has come."""

    state: Literal["requested", "erased"]


def decide(state: Subject | None, event: SubjectEvent, causes: Causes) -> SubjectEvent | None:
    """The event, or None if it changes nothing."""
    match event:
        case ErasureRequested():
            return None if state is not None and state.state == "requested" else event
        case Erased():
            assert state is not None
            return None if state.state == "erased" else event
        case _:
            assert_never(event)


def evolve(state: Subject | None, event: SubjectEvent, causes: Causes) -> Subject:
    """The state after the event."""
    match event:
        case ErasureRequested():
            return Subject("requested")
        case Erased():
            return Subject("erased")
        case _:
            assert_never(event)
