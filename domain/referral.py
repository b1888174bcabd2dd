"""To which partner was it passed on, and what did they answer?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias, assert_never

from pydantic import Field

from domain.event import Reported
from domain.rules import Causes, made_once, related, some, unless
from domain.values import Identifier, Reason, Sealed


class Made(Reported):
    """It was passed on to a partner."""

    TOPIC: ClassVar[str] = "heard.referral.made.v1"
    MAKES: ClassVar[bool] = True

    partner: Identifier
    """The partner, by a code."""
    words: Sealed | None = None
    """What was passed on."""


class Answered(Reported):
    """The partner answered."""

    TOPIC: ClassVar[str] = "heard.referral.answered.v1"

    reasons: Annotated[tuple[Reason, ...], Field(max_length=16)] = ()
    """Why the partner will not (fully) do it; none if they will."""
    words: Sealed | None = None
    """What they answered."""


class Withdrawn(Reported):
    """The partner is no longer asked."""

    TOPIC: ClassVar[str] = "heard.referral.withdrawn.v1"


ReferralEvent: TypeAlias = Made | Answered | Withdrawn


@dataclass(frozen=True, slots=True)
class Referral:
    """Where it stands."""

    state: Literal["made", "answered", "withdrawn"] = "made"


def decide(state: Referral | None, event: ReferralEvent, causes: Causes) -> ReferralEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Made():
            made_once(state, event)
            unless(
                "a_referral_names_what_it_refers",
                some(related(causes, "refers")),
                "the referral does not say which concern or decision it passes on",
                "give a cause with the relation refers",
            )
            return event
        case Answered():
            assert state is not None
            unless(
                "what_was_withdrawn_is_not_answered",
                state.state != "withdrawn",
                "this referral was withdrawn",
            )
            return event
        case Withdrawn():
            assert state is not None
            unless(
                "what_was_answered_is_not_withdrawn",
                state.state != "answered",
                "the partner has answered this referral",
            )
            return None if state.state == "withdrawn" else event
        case _:
            assert_never(event)


def evolve(state: Referral | None, event: ReferralEvent, causes: Causes) -> Referral:
    """The state after the event."""
    match event:
        case Made():
            return Referral()
        case Answered():
            return Referral("answered")
        case Withdrawn():
            return Referral("withdrawn")
        case _:
            assert_never(event)
