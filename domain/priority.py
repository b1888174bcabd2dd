"""Which issue does the neighbourhood team work on first, since when, and what came of it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias, assert_never

from domain.event import Reported
from domain.rules import Causes, made_once, unless
from domain.values import Code, Count, PublicText


class Set(Reported):
    """An issue became a priority."""

    TOPIC: ClassVar[str] = "heard.priority.set.v1"
    MAKES: ClassVar[bool] = True

    issue: PublicText
    """The issue as published."""
    theme: Code | None = None
    """What it is about."""


class ActionRecorded(Reported):
    """What was done about it, as published."""

    TOPIC: ClassVar[str] = "heard.priority.action_recorded.v1"

    action: PublicText
    """The action as published."""


class Reviewed(Reported):
    """It was looked at again, and stays a priority."""

    TOPIC: ClassVar[str] = "heard.priority.reviewed.v1"


class Closed(Reported):
    """It is no longer a priority."""

    TOPIC: ClassVar[str] = "heard.priority.closed.v1"

    measure: Code | None = None
    """What was counted."""
    before: Count | None = None
    """The count before."""
    after: Count | None = None
    """The count after."""


PriorityEvent: TypeAlias = Set | ActionRecorded | Reviewed | Closed


@dataclass(frozen=True, slots=True)
class Priority:
    """Where it stands."""

    closed: bool = False


def decide(state: Priority | None, event: PriorityEvent, causes: Causes) -> PriorityEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Set():
            made_once(state, event)
            return event
        case ActionRecorded() | Reviewed():
            assert state is not None
            unless(
                "a_closed_priority_stays_closed",
                not state.closed,
                "this priority was closed",
                "set it anew under a reference of its own, with the relation supersedes",
            )
            return event
        case Closed():
            assert state is not None
            return None if state.closed else event
        case _:
            assert_never(event)


def evolve(state: Priority | None, event: PriorityEvent, causes: Causes) -> Priority:
    """The state after the event."""
    match event:
        case Set():
            return Priority()
        case ActionRecorded() | Reviewed():
            return state or Priority()
        case Closed():
            return replace(state or Priority(), closed=True)
        case _:
            assert_never(event)
