"""What was decided, by which role, on which inputs, and why?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, ClassVar, TypeAlias, assert_never

from pydantic import Field

from domain.event import Reported
from domain.rules import Causes, made_once, some, unless
from domain.rules import related as related_by
from domain.values import NOT_DELIVERING, Code, Identifier, Outcome, Reason, Sealed

Reasons = Annotated[tuple[Reason, ...], Field(max_length=16)]


class Proposed(Reported):
    """A response was put forward; nothing is decided yet."""

    TOPIC: ClassVar[str] = "heard.decision.proposed.v1"
    MAKES: ClassVar[bool] = True

    theme: Code | None = None
    """What it is about."""
    partner: Identifier | None = None
    """A partner who would have to act."""
    reasons: Reasons = ()
    """Reasons in draft; not shown before the decision is made."""
    reason_words: Sealed | None = None
    """The reasons in draft, in words; not shown before the decision is made."""
    words: Sealed | None = None
    """What was put forward."""


class InputsWeighed(Reported):
    """Inputs were taken into account; for decisions that weigh more than one event can name."""

    TOPIC: ClassVar[str] = "heard.decision.inputs_weighed.v1"
    MAKES: ClassVar[bool] = True


class Made(Reported):
    """It was decided. The actor's role is the deciding role."""

    TOPIC: ClassVar[str] = "heard.decision.made.v1"
    MAKES: ClassVar[bool] = True

    outcome: Outcome
    """What became of what was asked."""
    business_area: Code | None = None
    """The area of police business that it belongs to."""
    reasons: Reasons = ()
    """Why it does not, or not fully, deliver."""
    reason_words: Sealed | None = None
    """Why, in plain words."""
    review_on: date | None = None
    """When it is looked at again; compulsory when deferred."""
    none_because: Sealed | None = None
    """Why no input was weighed, when none was."""
    words: Sealed | None = None
    """What was decided."""


class Revised(Reported):
    """It was decided anew; the earlier decision stays in the record."""

    TOPIC: ClassVar[str] = "heard.decision.revised.v1"

    outcome: Outcome
    """What became of what was asked."""
    reasons: Reasons = ()
    """Why it does not, or not fully, deliver."""
    reason_words: Sealed | None = None
    """Why, in plain words."""
    review_on: date | None = None
    """When it is looked at again; compulsory when deferred."""
    words: Sealed | None = None
    """What was decided."""


DecisionEvent: TypeAlias = Proposed | InputsWeighed | Made | Revised


@dataclass(frozen=True, slots=True)
class Decision:
    """What later facts depend on."""

    inputs_named: bool = False
    outcome: Outcome | None = None


def decide(state: Decision | None, event: DecisionEvent, causes: Causes) -> DecisionEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Proposed():
            made_once(state, event)
            return event
        case InputsWeighed():
            unless(
                "inputs_are_weighed_before_the_decision",
                state is None or state.outcome is None,
                "this decision was made already",
                "name further inputs when it is decided anew: heard.decision.revised.v1",
            )
            unless(
                "weighing_names_inputs",
                some(related_by(causes, "weighed", "derived_from")),
                "no input was named",
                "give causes with the relation weighed or derived_from",
            )
            return event
        case Made():
            unless(
                "a_decision_is_made_once",
                state is None or state.outcome is None,
                "this decision was made already",
                "report what changed as heard.decision.revised.v1",
            )
            unless(
                "a_decision_names_its_inputs",
                some(related_by(causes, "weighed", "derived_from"))
                or (state is not None and state.inputs_named)
                or event.none_because is not None,
                "the decision names no input and does not say why there was none",
                "give causes with the relation derived_from or weighed, or `none_because`",
            )
            _reasons_are_given(event)
            return event
        case Revised():
            assert state is not None
            unless(
                "only_a_made_decision_is_revised",
                state.outcome is not None,
                "this decision has not been made yet",
                "report it as heard.decision.made.v1",
            )
            _reasons_are_given(event)
            return event
        case _:
            assert_never(event)


def _reasons_are_given(event: Made | Revised) -> None:
    refuses = event.outcome in NOT_DELIVERING
    unless(
        "a_refusal_gives_reasons",
        not refuses or len(event.reasons) > 0,
        f"the outcome {event.outcome} leaves something undone and gives no reason code",
        "give `reasons`",
    )
    unless(
        "a_refusal_is_explained_in_plain_words",
        not (refuses or "other" in event.reasons) or event.reason_words is not None,
        f"the outcome {event.outcome} is not explained in words",
        "give `reason_words`",
    )
    unless(
        "a_deferral_has_a_review_date",
        event.outcome != "deferred" or event.review_on is not None,
        "the decision is deferred without a date on which it is looked at again",
        "give `review_on`",
    )


def evolve(state: Decision | None, event: DecisionEvent, causes: Causes) -> Decision:
    """The state after the event."""
    before = state or Decision()
    named = before.inputs_named or some(related_by(causes, "weighed", "derived_from"))
    match event:
        case Proposed() | InputsWeighed():
            return replace(before, inputs_named=named)
        case Made() | Revised():
            return Decision(inputs_named=named, outcome=event.outcome)
        case _:
            assert_never(event)
