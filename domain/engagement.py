"""When did the police and a community meet, by which method, and who was there?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, ClassVar, Literal, TypeAlias, assert_never

from pydantic import Field

from domain.event import Reported
from domain.rules import Causes, unless
from domain.values import (
    Count,
    EngagementKind,
    Formality,
    Identifier,
    Method,
    Sealed,
    SectionCount,
)  # fmt: skip


class Planned(Reported):
    """A meeting, survey or briefing was announced."""

    TOPIC: ClassVar[str] = "heard.engagement.planned.v1"
    MAKES: ClassVar[bool] = True

    method: Method
    """The means of engagement."""
    planned_for: date
    """The day for which it was announced."""
    formality: Formality | None = None
    """Formal or informal."""
    words: Sealed | None = None
    """What was announced."""


class Held(Reported):
    """It took place, whether or not Heard knew of the plan."""

    TOPIC: ClassVar[str] = "heard.engagement.held.v1"
    MAKES: ClassVar[bool] = True

    method: Method
    """The means of engagement."""
    kind: EngagementKind | None = None
    """What sort of knowledge it gives."""
    formality: Formality | None = None
    """Formal or informal."""
    attendance: Count | None = None
    """Number of people who came."""
    sections: Annotated[tuple[SectionCount, ...], Field(max_length=200)] = ()
    """Attendance by section, where it is known."""
    partner: Identifier | None = None
    """A partner organisation that took part."""
    place: Sealed | None = None
    """Where it was."""
    words: Sealed | None = None
    """What happened, in somebody's words."""


class Cancelled(Reported):
    """It did not take place."""

    TOPIC: ClassVar[str] = "heard.engagement.cancelled.v1"

    reason_words: Sealed | None = None
    """Why."""


EngagementEvent: TypeAlias = Planned | Held | Cancelled


@dataclass(frozen=True, slots=True)
class Engagement:
    """Where it stands."""

    state: Literal["planned", "held", "cancelled"]
    plan: tuple[date, Method, Formality | None] | None = None
    """For which day, by which method and how formal."""


def decide(state: Engagement | None, event: EngagementEvent, causes: Causes) -> EngagementEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Planned():
            unless(
                "what_was_held_is_not_planned_again",
                state is None or state.state == "planned",
                "this engagement was held or cancelled already",
                "announce the next one under a reference of its own",
            )
            # Words are sealed and cannot be compared: whoever gives some may have put them otherwise.
            return None if state is not None and state.plan == _plan(event) and not event.words else event
        case Held():
            unless(
                "what_was_cancelled_was_not_held",
                state is None or state.state != "cancelled",
                "this engagement was cancelled",
                "report the meeting that took place under a reference of its own",
            )
            unless(
                "one_reference_one_thing",
                state is None or state.state != "held",
                "this engagement was reported as held already, in another message",
            )
            return event
        case Cancelled():
            assert state is not None
            unless(
                "what_was_held_is_not_cancelled",
                state.state != "held",
                "this engagement was held",
            )
            return None if state.state == "cancelled" else event
        case _:
            assert_never(event)


def _plan(event: Planned) -> tuple[date, Method, Formality | None]:
    return event.planned_for, event.method, event.formality


def evolve(state: Engagement | None, event: EngagementEvent, causes: Causes) -> Engagement:
    """The state after the event."""
    match event:
        case Planned():
            return Engagement("planned", _plan(event))
        case Held():
            return Engagement("held")
        case Cancelled():
            return Engagement("cancelled")
        case _:
            assert_never(event)
