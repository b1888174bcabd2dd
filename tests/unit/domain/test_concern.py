"""Which facts about a concern follow on which?"""

from __future__ import annotations

import pytest

from domain.concern import (
    Acknowledged,
    Closed,
    Concern,
    Confirmed,
    Disputed,
    Grouped,
    Moderated,
    Raised,
    Reopened,
    TakenUp,
    Ungrouped,
    Withdrawn,
)
from domain.event import Event
from tests.support.given import because, given, nothing

RAISED = Raised(ref="N1", kind="concern")
ACKNOWLEDGED = Acknowledged(ref="N1")
TAKEN_UP = TakenUp(ref="N1")
GROUPED = Grouped(ref="N1")
UNGROUPED = Ungrouped(ref="N1")
MODERATED = Moderated(ref="N1", reason="abusive")
WITHDRAWN = Withdrawn(ref="N1")
REOPENED = Reopened(ref="N1")
CONFIRMED = Confirmed(ref="N1")
DISPUTED = Disputed(ref="N1")
CLOSED = Closed(ref="N1")
WITH_N2 = because("grouped_with", "N2")
WITH_N3 = because("grouped_with", "N3")
ENDINGS = (MODERATED, WITHDRAWN, CONFIRMED, DISPUTED, CLOSED)


def test_a_concern_is_raised_once() -> None:
    given().when(RAISED).then(RAISED)
    given(RAISED).when(RAISED).then("one_reference_one_thing")


@pytest.mark.parametrize("event", [ACKNOWLEDGED, TAKEN_UP, *ENDINGS], ids=lambda e: type(e).__name__)
def test_what_can_become_of_a_concern_becomes_of_it_once(event: Event) -> None:
    given(RAISED).when(event).then(event)
    given(RAISED, event).when(event).then(nothing)


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda e: type(e).__name__)
def test_whatever_ended_can_be_reopened_and_end_again(ending: Event) -> None:
    given(RAISED, ending).when(REOPENED).then(REOPENED)
    given(RAISED, ending, REOPENED).when(REOPENED).then(nothing)
    given(RAISED, ending, REOPENED).when(ending).then(ending)


def test_only_what_ended_is_reopened() -> None:
    given(RAISED, ACKNOWLEDGED, TAKEN_UP).when(REOPENED).then("only_what_ended_is_reopened")


def test_what_is_reopened_is_taken_up_again() -> None:
    given(RAISED, TAKEN_UP, CLOSED, REOPENED).when(TAKEN_UP).then(TAKEN_UP)


@pytest.mark.parametrize("event", [CONFIRMED, DISPUTED], ids=lambda e: type(e).__name__)
def test_what_was_withdrawn_is_not_judged(event: Event) -> None:
    given(RAISED, WITHDRAWN).when(event).then("what_was_withdrawn_is_not_judged")
    given(RAISED, WITHDRAWN, REOPENED).when(event).then(event)


@pytest.mark.parametrize("event", [CONFIRMED, DISPUTED], ids=lambda e: type(e).__name__)
def test_moderating_what_was_withdrawn_does_not_give_it_back(event: Event) -> None:
    both = (RAISED, WITHDRAWN, MODERATED)
    given(*both).when(event).then("what_was_withdrawn_is_not_judged")
    given(*both).when(CLOSED).then(nothing)
    given(*both).when(WITHDRAWN).then(nothing)
    given(*both, REOPENED).when(event).then(event)


def test_what_is_moderated_stays_so_until_it_is_reopened() -> None:
    given(RAISED, MODERATED, CLOSED).when(MODERATED).then(nothing)
    given(RAISED, MODERATED, CLOSED, REOPENED).when(MODERATED).then(MODERATED)


def test_a_mind_may_change_between_confirmed_and_disputed() -> None:
    given(RAISED, CONFIRMED).when(DISPUTED).then(DISPUTED)
    given(RAISED, CONFIRMED, DISPUTED).when(CONFIRMED).then(CONFIRMED)


def test_closing_what_was_withdrawn_changes_nothing() -> None:
    given(RAISED, WITHDRAWN).when(CLOSED).then(nothing)


def test_a_concern_is_grouped_with_exactly_one_other() -> None:
    given(RAISED).when(GROUPED, WITH_N2).then(GROUPED)
    given(RAISED).when(GROUPED).then("a_group_is_named")
    given(RAISED).when(GROUPED, WITH_N2, WITH_N3).then("a_group_is_named")


def test_a_concern_is_in_one_group_at_a_time() -> None:
    grouped = (GROUPED, (WITH_N2,))
    given(RAISED, grouped).when(GROUPED, WITH_N2).then(nothing)
    given(RAISED, grouped).when(GROUPED, WITH_N3).then("one_group_at_a_time")
    given(RAISED, grouped, UNGROUPED).when(GROUPED, WITH_N3).then(GROUPED)


def test_grouping_can_be_undone_once() -> None:
    given(RAISED, (GROUPED, (WITH_N2,))).when(UNGROUPED).then(UNGROUPED)
    given(RAISED).when(UNGROUPED).then(nothing)


def test_grouping_and_ungrouping_leave_all_else_as_it_was() -> None:
    before = given(RAISED, ACKNOWLEDGED, TAKEN_UP, DISPUTED).state
    after = given(RAISED, ACKNOWLEDGED, TAKEN_UP, DISPUTED, (GROUPED, (WITH_N2,)), UNGROUPED).state
    assert before == after == Concern(acknowledged=True, taken_up=True, last="disputed")
