"""What did the police change, and did it help?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias, assert_never

from pydantic import Field

from domain.event import Reported
from domain.rules import Causes, made_once, unless
from domain.values import ChangeKind, Code, Count, Identifier, Reason, Sealed


class Planned(Reported):
    """A change was announced or offered."""

    TOPIC: ClassVar[str] = "heard.change.planned.v1"
    MAKES: ClassVar[bool] = True

    kind: ChangeKind
    """Which sort of change."""
    partner: Identifier | None = None
    """A partner who acts, or helps to."""
    words: Sealed | None = None
    """What is to change."""


class Started(Reported):
    """Work on it began."""

    TOPIC: ClassVar[str] = "heard.change.started.v1"


class Implemented(Reported):
    """It is in place, whether or not Heard knew of the plan."""

    TOPIC: ClassVar[str] = "heard.change.implemented.v1"
    MAKES: ClassVar[bool] = True

    kind: ChangeKind
    """Which sort of change."""
    partner: Identifier | None = None
    """A partner who acted, or helped to."""
    words: Sealed | None = None
    """What changed."""


class Measured(Reported):
    """What was counted after it (and before, if known)."""

    TOPIC: ClassVar[str] = "heard.change.measured.v1"

    measure: Code
    """What was counted."""
    before: Count | None = None
    """The count before."""
    after: Count
    """The count after."""


class Abandoned(Reported):
    """It will not come, or did not stay."""

    TOPIC: ClassVar[str] = "heard.change.abandoned.v1"

    reasons: Annotated[tuple[Reason, ...], Field(min_length=1, max_length=16)]
    """Why."""
    reason_words: Sealed
    """Why, in plain words."""


ChangeEvent: TypeAlias = Planned | Started | Implemented | Measured | Abandoned


@dataclass(frozen=True, slots=True)
class Change:
    """Where it stands."""

    state: Literal["planned", "started", "implemented", "abandoned"]


def decide(state: Change | None, event: ChangeEvent, causes: Causes) -> ChangeEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Planned():
            made_once(state, event)
            return event
        case Started():
            assert state is not None
            _going_on(state)
            return event if state.state == "planned" else None
        case Implemented():
            if state is not None:
                _going_on(state)
                unless(
                    "a_change_is_implemented_once",
                    state.state != "implemented",
                    "this change was implemented already, by another message",
                )
            return event
        case Measured():
            assert state is not None
            unless(
                "only_an_implemented_change_is_measured",
                state.state == "implemented",
                f"this change is {state.state}: there is nothing to measure yet",
                "report heard.change.implemented.v1 first",
            )
            return event
        case Abandoned():
            assert state is not None
            return None if state.state == "abandoned" else event
        case _:
            assert_never(event)


def _going_on(state: Change) -> None:
    unless(
        "an_abandoned_change_is_not_taken_up",
        state.state != "abandoned",
        "this change was abandoned",
        "plan it anew under a reference of its own",
    )


def evolve(state: Change | None, event: ChangeEvent, causes: Causes) -> Change:
    """The state after the event."""
    match event:
        case Planned():
            return Change("planned")
        case Started():
            return Change("started")
        case Implemented():
            return Change("implemented")
        case Measured():
            return state or Change("implemented")
        case Abandoned():
            return Change("abandoned")
        case _:
            assert_never(event)
