"""Which facts about a change follow on which?"""

from __future__ import annotations

from domain.change import Abandoned, Implemented, Measured, Planned, Started
from tests.support.given import given, nothing

PLANNED = Planned(ref="A1", kind="patrol")
STARTED = Started(ref="A1")
IMPLEMENTED = Implemented(ref="A1", kind="patrol")
MEASURED = Measured(ref="A1", measure="calls", after=2)
ABANDONED = Abandoned(ref="A1", reasons=("would_displace",), reason_words="They only moved on.")


def test_a_change_is_planned_once_and_started_once() -> None:
    given().when(PLANNED).then(PLANNED)
    given(PLANNED).when(PLANNED).then("one_reference_one_thing")
    given(PLANNED).when(STARTED).then(STARTED)
    given(PLANNED, STARTED).when(STARTED).then(nothing)


def test_a_change_is_implemented_once_whether_or_not_it_was_planned() -> None:
    given().when(IMPLEMENTED).then(IMPLEMENTED)
    given(PLANNED, STARTED).when(IMPLEMENTED).then(IMPLEMENTED)
    given(IMPLEMENTED).when(IMPLEMENTED).then("a_change_is_implemented_once")


def test_what_is_in_place_is_not_started_any_more() -> None:
    given(IMPLEMENTED).when(STARTED).then(nothing)
    assert given(IMPLEMENTED, MEASURED).state.state == "implemented"


def test_only_an_implemented_change_is_measured_and_as_often_as_it_takes() -> None:
    for before in (PLANNED, ABANDONED):
        given(before).when(MEASURED).then("only_an_implemented_change_is_measured")
    given(IMPLEMENTED).when(MEASURED).then(MEASURED)
    given(IMPLEMENTED, MEASURED).when(MEASURED).then(MEASURED)


def test_an_abandoned_change_is_not_taken_up() -> None:
    given(PLANNED).when(ABANDONED).then(ABANDONED)
    given(PLANNED, ABANDONED).when(ABANDONED).then(nothing)
    for event in (STARTED, IMPLEMENTED):
        given(PLANNED, ABANDONED).when(event).then("an_abandoned_change_is_not_taken_up")
