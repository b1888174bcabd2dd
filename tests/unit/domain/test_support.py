"""How does a person's support for a concern change?"""

from __future__ import annotations

from domain.support import Changed, Given, Support, Withdrawn
from domain.values import Stance
from tests.support.given import because, given, nothing

FOR_N1 = because("supports", "N1")


def says(stance: Stance) -> Given:
    """A person says this for the first time."""
    return Given(ref="S1", stance=stance)


def now_says(stance: Stance) -> Changed:
    """A person says something else."""
    return Changed(ref="S1", stance=stance)


WITHDRAWN = Withdrawn(ref="S1")


def test_support_names_one_concern() -> None:
    for event in (says("agree"), now_says("agree"), WITHDRAWN):
        given(says("disagree")).when(event).then("support_names_one_concern")
        given(says("disagree")).when(event, FOR_N1, because("supports", "N2")).then(
            "support_names_one_concern"
        )


def test_a_person_counts_once_however_often_they_say_the_same() -> None:
    given().when(says("agree"), FOR_N1).then(says("agree"))
    given(says("agree")).when(says("agree"), FOR_N1).then(nothing)


def test_a_changed_mind_is_reported_as_changed() -> None:
    given(says("agree")).when(says("disagree"), FOR_N1).then("a_changed_mind_is_reported_as_changed")
    given(says("agree")).when(now_says("disagree"), FOR_N1).then(now_says("disagree"))
    given(says("agree"), now_says("pass")).when(now_says("pass"), FOR_N1).then(nothing)


def test_what_was_taken_back_may_be_given_again() -> None:
    given(says("agree")).when(WITHDRAWN, FOR_N1).then(WITHDRAWN)
    given(says("agree"), WITHDRAWN).when(WITHDRAWN, FOR_N1).then(nothing)
    given(says("agree"), WITHDRAWN).when(says("disagree"), FOR_N1).then(says("disagree"))
    assert given(says("agree"), WITHDRAWN).state == Support(None)
