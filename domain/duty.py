"""Who owes what to whom, by when? Written by workflows only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar, TypeAlias, assert_never

from domain.event import Event
from domain.rules import Causes
from domain.values import Code, Count, DutyRule, Identifier, StreamId, SubjectId


class Opened(Event):
    """Something is owed from now on; it rests on the event that started it."""

    TOPIC: ClassVar[str] = "heard.duty.opened.v1"
    MAKES: ClassVar[bool] = True

    rule: DutyRule
    """Which workflow's rule."""
    about: StreamId
    """The thing that it is about."""
    about_kind: Code
    """The kind of that thing."""
    about_ref: Identifier
    """The reference of that thing in its source."""
    owed_by: Code
    """The role that owes it."""
    owed_to: SubjectId | None = None
    """The person to whom it is owed; absent: to the public."""
    due: datetime
    """Until when."""
    settings_version: Count
    """The version of the force's settings that the time was taken from; 0: the defaults."""


class Discharged(Event):
    """What was owed was done (rests on the fact that did it)."""

    TOPIC: ClassVar[str] = "heard.duty.discharged.v1"


class Lapsed(Event):
    """It is no longer owed (rests on the fact that ended it)."""

    TOPIC: ClassVar[str] = "heard.duty.lapsed.v1"


DutyEvent: TypeAlias = Opened | Discharged | Lapsed


@dataclass(frozen=True, slots=True)
class Duty:
    """Discharged and lapsed are separate facts: whichever comes first, both stand in the end."""

    discharged: bool = False
    lapsed: bool = False


def decide(state: Duty | None, event: DutyEvent, causes: Causes) -> DutyEvent | None:
    """The event, or None if it changes nothing."""
    match event:
        case Opened():
            return event if state is None else None
        case Discharged():
            assert state is not None
            return None if state.discharged else event
        case Lapsed():
            assert state is not None
            return None if state.lapsed else event
        case _:
            assert_never(event)


def evolve(state: Duty | None, event: DutyEvent, causes: Causes) -> Duty:
    """The state after the event."""
    match event:
        case Opened():
            return Duty()
        case Discharged():
            return replace(state or Duty(), discharged=True)
        case Lapsed():
            return replace(state or Duty(), lapsed=True)
        case _:
            assert_never(event)
