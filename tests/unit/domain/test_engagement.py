"""Which facts about an engagement follow on which?"""

from __future__ import annotations

from datetime import date

import pytest

from domain.engagement import Cancelled, Held, Planned
from tests.support.given import given, nothing

PLANNED = Planned(ref="E1", method="ward_panel", planned_for=date(2009, 2, 5))
LATER = Planned(ref="E1", method="ward_panel", planned_for=date(2009, 3, 5))
HELD = Held(ref="E1", method="ward_panel")
CANCELLED = Cancelled(ref="E1")


def test_an_engagement_may_be_planned_and_put_off() -> None:
    given().when(PLANNED).then(PLANNED)
    given(PLANNED).when(PLANNED).then(nothing)
    given(PLANNED).when(LATER).then(LATER)


@pytest.mark.parametrize(
    "anew",
    [
        Planned(ref="E1", method="survey", planned_for=PLANNED.planned_for),
        Planned(ref="E1", method="ward_panel", planned_for=PLANNED.planned_for, formality="formal"),
        Planned(ref="E1", method="ward_panel", planned_for=PLANNED.planned_for, words="In the new hall."),
    ],
    ids=["method", "formality", "words"],
)
def test_a_plan_for_the_same_day_that_says_something_else_is_a_fact(anew: Planned) -> None:
    given(PLANNED).when(anew).then(anew)
    again = anew.model_copy(update={"words": None})
    given(PLANNED, anew).when(again).then(nothing)


def test_an_engagement_may_be_held_whether_or_not_it_was_planned() -> None:
    given().when(HELD).then(HELD)
    given(PLANNED).when(HELD).then(HELD)


def test_what_was_held_or_cancelled_is_not_planned_again() -> None:
    given(HELD).when(PLANNED).then("what_was_held_is_not_planned_again")
    given(PLANNED, CANCELLED).when(LATER).then("what_was_held_is_not_planned_again")


def test_an_engagement_is_held_once() -> None:
    given(HELD).when(HELD).then("one_reference_one_thing")


def test_what_was_cancelled_was_not_held() -> None:
    given(PLANNED, CANCELLED).when(HELD).then("what_was_cancelled_was_not_held")


def test_an_engagement_is_cancelled_once_and_not_after_it_was_held() -> None:
    given(PLANNED).when(CANCELLED).then(CANCELLED)
    given(PLANNED, CANCELLED).when(CANCELLED).then(nothing)
    given(PLANNED, HELD).when(CANCELLED).then("what_was_held_is_not_cancelled")
