"""Which facts does Heard itself write about duties, erasures and discarded messages?"""

from __future__ import annotations

from datetime import UTC, datetime

from domain.duty import Discharged, Duty, Lapsed, Opened
from domain.message import Discarded
from domain.subject import Erased, ErasureRequested, Subject
from domain.values import StreamId
from tests.support.given import given, nothing

OPENED = Opened(
    rule="decide_concern", about=StreamId("n1"), about_kind="concern", about_ref="N1", owed_by="team",
    due=datetime(2009, 2, 2, tzinfo=UTC), settings_version=0,
)  # fmt: skip
DISCHARGED = Discharged()
LAPSED = Lapsed()
REQUESTED = ErasureRequested(key_id=StreamId("person"))
ERASED = Erased(key_id=StreamId("person"))
DISCARDED = Discarded(dead_letter="d1", code="not_json", reason_words="Sent twice.")


def test_a_duty_is_opened_once() -> None:
    given().when(OPENED).then(OPENED)
    given(OPENED).when(OPENED).then(nothing)


def test_a_duty_is_discharged_once_and_lapses_once_in_any_order() -> None:
    for event, other in ((DISCHARGED, LAPSED), (LAPSED, DISCHARGED)):
        given(OPENED).when(event).then(event)
        given(OPENED, event).when(event).then(nothing)
        given(OPENED, other).when(event).then(event)
        assert given(OPENED, event, other).state == Duty(discharged=True, lapsed=True)


def test_an_erasure_is_requested_once_and_done_once() -> None:
    given().when(REQUESTED).then(REQUESTED)
    given(REQUESTED).when(REQUESTED).then(nothing)
    given(REQUESTED).when(ERASED).then(ERASED)
    given(REQUESTED, ERASED).when(ERASED).then(nothing)


def test_what_came_after_an_erasure_can_be_erased_as_well() -> None:
    given(REQUESTED, ERASED).when(REQUESTED).then(REQUESTED)
    assert given(REQUESTED, ERASED, REQUESTED).state == Subject("requested")


def test_a_message_is_discarded_once() -> None:
    given().when(DISCARDED).then(DISCARDED)
    given(DISCARDED).when(DISCARDED).then(nothing)
