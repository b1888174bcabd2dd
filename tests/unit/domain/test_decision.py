"""Which facts about a decision follow on which, and what does an honest no have to say?"""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from domain.decision import InputsWeighed, Made, Proposed, Revised
from domain.values import NOT_DELIVERING, Outcome
from tests.support.given import because, given, nothing

PROPOSED = Proposed(ref="D1")
WEIGHED = InputsWeighed(ref="D1")
FROM_N1 = because("derived_from", "N1")
N2_WEIGHED = because("weighed", "N2")
ON_N3 = because("prompted_by", "N3")
DELIVERS = Made(ref="D1", outcome="adopted_as_priority")
REASONS: dict[str, Any] = {"reasons": ("resource_constraint",), "reason_words": "There are two officers."}
REFUSALS = sorted(NOT_DELIVERING - {"deferred"})


def made(outcome: Outcome, **fields: Any) -> Made:
    """A decision with this outcome."""
    return Made(ref="D1", outcome=outcome, **fields)


def test_a_decision_is_proposed_once_and_made_once() -> None:
    given().when(PROPOSED).then(PROPOSED)
    given(PROPOSED).when(PROPOSED).then("one_reference_one_thing")
    given(PROPOSED).when(DELIVERS, FROM_N1).then(DELIVERS)
    given(DELIVERS).when(DELIVERS, FROM_N1).then("a_decision_is_made_once")


@pytest.mark.parametrize("cause", [FROM_N1, N2_WEIGHED], ids=lambda cause: cause.relation)
def test_a_decision_names_its_inputs(cause: Any) -> None:
    given().when(DELIVERS).then("a_decision_names_its_inputs")
    given().when(DELIVERS, ON_N3).then("a_decision_names_its_inputs")
    given().when(DELIVERS, cause).then(DELIVERS)


def test_a_decision_without_inputs_says_why_there_were_none() -> None:
    alone = made("adopted_as_priority", none_because="Nobody was asked.")
    given().when(alone).then(alone)


def test_inputs_may_be_named_before_the_decision_is_made() -> None:
    given((PROPOSED, (FROM_N1,))).when(DELIVERS).then(DELIVERS)
    given((WEIGHED, (N2_WEIGHED,))).when(DELIVERS).then(DELIVERS)


def test_weighing_names_inputs_as_often_as_it_takes() -> None:
    given().when(WEIGHED).then("weighing_names_inputs")
    given().when(WEIGHED, N2_WEIGHED).then(WEIGHED)
    given((WEIGHED, (N2_WEIGHED,))).when(WEIGHED, FROM_N1).then(WEIGHED)


def test_inputs_are_weighed_before_the_decision_is_made_and_not_after_it() -> None:
    given((DELIVERS, (FROM_N1,))).when(WEIGHED, N2_WEIGHED).then("inputs_are_weighed_before_the_decision")
    revised = Revised(ref="D1", outcome="changed_delivery")
    given(DELIVERS, revised).when(WEIGHED, N2_WEIGHED).then("inputs_are_weighed_before_the_decision")
    given(DELIVERS).when(revised, N2_WEIGHED).then(revised)


@pytest.mark.parametrize("outcome", REFUSALS)
def test_a_refusal_gives_reasons_and_explains_them(outcome: Outcome) -> None:
    silent = made(outcome)
    given().when(silent, FROM_N1).then("a_refusal_gives_reasons")
    only_codes = made(outcome, reasons=("no_legal_power",))
    given().when(only_codes, FROM_N1).then("a_refusal_is_explained_in_plain_words")
    only_words = made(outcome, reason_words="We may not.")
    given().when(only_words, FROM_N1).then("a_refusal_gives_reasons")
    whole = made(outcome, **REASONS)
    given().when(whole, FROM_N1).then(whole)


@pytest.mark.parametrize("outcome", ["adopted_as_priority", "changed_delivery", "already_in_hand"])
def test_what_delivers_owes_no_reasons(outcome: Outcome) -> None:
    yes = made(outcome)
    given().when(yes, FROM_N1).then(yes)


def test_the_reason_other_is_always_explained() -> None:
    other = made("changed_delivery", reasons=("other",))
    given().when(other, FROM_N1).then("a_refusal_is_explained_in_plain_words")


def test_a_deferral_has_a_review_date() -> None:
    given().when(made("deferred", **REASONS), FROM_N1).then("a_deferral_has_a_review_date")
    until = made("deferred", review_on=date(2009, 7, 1), **REASONS)
    given().when(until, FROM_N1).then(until)


def test_only_a_made_decision_is_revised_and_by_the_same_rules() -> None:
    revised = Revised(ref="D1", outcome="declined", **REASONS)
    given(PROPOSED).when(revised).then("only_a_made_decision_is_revised")
    given(DELIVERS).when(revised).then(revised)
    given(DELIVERS, revised).when(revised).then(revised)
    given(DELIVERS).when(Revised(ref="D1", outcome="declined")).then("a_refusal_gives_reasons")


def test_inputs_once_named_stay_named() -> None:
    assert given((PROPOSED, (FROM_N1,)), WEIGHED).state.inputs_named
    assert given((PROPOSED, (FROM_N1,)), DELIVERS).state.inputs_named
    assert given(PROPOSED).state.outcome is nothing
