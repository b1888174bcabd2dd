"""Which facts about a priority follow on which?"""

from __future__ import annotations

from domain.priority import ActionRecorded, Closed, Reviewed, Set
from tests.support.given import given, nothing

SET = Set(ref="R1", issue="Noise in the park")
ACTION = ActionRecorded(ref="R1", action="More patrols")
REVIEWED = Reviewed(ref="R1")
CLOSED = Closed(ref="R1")


def test_a_priority_is_set_once() -> None:
    given().when(SET).then(SET)
    given(SET).when(SET).then("one_reference_one_thing")


def test_actions_and_reviews_come_as_often_as_they_come() -> None:
    for event in (ACTION, REVIEWED):
        given(SET).when(event).then(event)
        given(SET, event).when(event).then(event)


def test_a_closed_priority_stays_closed() -> None:
    given(SET).when(CLOSED).then(CLOSED)
    given(SET, CLOSED).when(CLOSED).then(nothing)
    for event in (ACTION, REVIEWED):
        given(SET, CLOSED).when(event).then("a_closed_priority_stays_closed")
