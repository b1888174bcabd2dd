"""Which facts about a neighbourhood follow on which?"""

from __future__ import annotations

from datetime import date

from domain.neighbourhood import BoundaryRevised, OfficerNamed, Registered
from domain.values import Area
from tests.support.given import given, nothing

REGISTERED = Registered(ref="n1", name="St Margaret’s")
AREAS = (Area(code="E05000530"),)
REVISED = BoundaryRevised(ref="n1", areas=AREAS, valid_from=date(2009, 1, 1))
OFFICER = OfficerNamed(ref="n1", officer="PC Doe")


def test_a_neighbourhood_is_registered_once() -> None:
    given().when(REGISTERED).then(REGISTERED)
    given(REGISTERED).when(REGISTERED).then("one_reference_one_thing")


def test_a_boundary_that_is_as_it_was_is_no_fact() -> None:
    given(REGISTERED).when(REVISED).then(REVISED)
    given(REGISTERED, REVISED).when(REVISED).then(nothing)
    given(REGISTERED, REVISED, OFFICER).when(REVISED).then(nothing)
    later = REVISED.model_copy(update={"valid_from": date(2010, 1, 1)})
    given(REGISTERED, REVISED).when(later).then(later)


def test_who_answers_for_it_is_always_a_fact_for_nobody_here_can_compare_names() -> None:
    given(REGISTERED).when(OFFICER).then(OFFICER)
    given(REGISTERED, OFFICER).when(OFFICER).then(OFFICER)
