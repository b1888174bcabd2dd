"""Who was told what became of their input, did it arrive, and did they agree?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias, assert_never

from domain.event import Reported
from domain.rules import Causes, made_once, related, some, unless
from domain.values import Audience, Channel, Code, Contributor, Sealed


class Sent(Reported):
    """Somebody was told: one contributor, a section of the community, or the public."""

    TOPIC: ClassVar[str] = "heard.feedback.sent.v1"
    MAKES: ClassVar[bool] = True

    audience: Audience
    """Who was told."""
    channel: Channel
    """By which channel."""
    section: Code | None = None
    """The section that was told, when it was one."""
    contributor: Contributor | None = None
    """The contributor who was told, when it was one."""
    words: Sealed | None = None
    """What they were told."""


class Delivered(Reported):
    """It is known to have arrived."""

    TOPIC: ClassVar[str] = "heard.feedback.delivered.v1"


class Failed(Reported):
    """It did not arrive."""

    TOPIC: ClassVar[str] = "heard.feedback.failed.v1"

    reason: Code | None = None
    """Why, as the channel reports it."""


class Answered(Reported):
    """Whoever was told said whether they agree."""

    TOPIC: ClassVar[str] = "heard.feedback.answered.v1"

    agrees: bool
    """Whether they agree that their input was dealt with."""
    words: Sealed | None = None
    """What they said."""


FeedbackEvent: TypeAlias = Sent | Delivered | Failed | Answered


@dataclass(frozen=True, slots=True)
class Feedback:
    """Where it stands."""

    state: Literal["sent", "delivered", "failed", "answered"] = "sent"


def decide(state: Feedback | None, event: FeedbackEvent, causes: Causes) -> FeedbackEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Sent():
            made_once(state, event)
            unless(
                "feedback_names_what_it_reports_on",
                some(related(causes, "reports_on", "answers")),
                "the feedback does not say which input or outcome it is about",
                "give causes with the relation reports_on or answers",
            )
            unless(
                "feedback_names_its_audience",
                (event.audience == "contributor") == (event.contributor is not None)
                and (event.audience == "section") == (event.section is not None),
                f"the audience is {event.audience}, and the message names another one or none",
                "give `contributor` for one contributor, `section` for a section, neither for the public",
            )
            return event
        case Delivered():
            assert state is not None
            unless(
                "what_failed_was_not_delivered",
                state.state != "failed",
                "this feedback failed",
                "report the next attempt under a reference of its own",
            )
            return event if state.state == "sent" else None
        case Failed():
            assert state is not None
            unless(
                "what_was_answered_did_arrive",
                state.state != "answered",
                "this feedback was answered",
            )
            return None if state.state == "failed" else event
        case Answered():
            assert state is not None
            unless(
                "what_failed_was_not_answered",
                state.state != "failed",
                "this feedback failed",
            )
            return event
        case _:
            assert_never(event)


def evolve(state: Feedback | None, event: FeedbackEvent, causes: Causes) -> Feedback:
    """The state after the event."""
    match event:
        case Sent():
            return Feedback()
        case Delivered():
            return Feedback("delivered")
        case Failed():
            return Feedback("failed")
        case Answered():
            return Feedback("answered")
        case _:
            assert_never(event)
