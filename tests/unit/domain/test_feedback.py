"""Which facts about feedback follow on which, and what does it have to name?"""

from __future__ import annotations

from typing import Any

import pytest

from domain.feedback import Answered, Delivered, Failed, Sent
from domain.values import Contributor, SubjectId
from tests.support.given import because, given, nothing

RESIDENT = Contributor(subject=SubjectId("00000000-0000-8000-8000-000000000001"))
SENT = Sent(ref="F1", audience="public", channel="website")
DELIVERED = Delivered(ref="F1")
FAILED = Failed(ref="F1")
ANSWERED = Answered(ref="F1", agrees=False)
ON_A1 = because("reports_on", "A1")
TO_N1 = because("answers", "N1")


def test_feedback_names_what_it_reports_on() -> None:
    given().when(SENT).then("feedback_names_what_it_reports_on")
    given().when(SENT, because("told_at", "E1")).then("feedback_names_what_it_reports_on")
    for cause in (ON_A1, TO_N1):
        given().when(SENT, cause).then(SENT)


def test_feedback_is_sent_once() -> None:
    given(SENT).when(SENT, ON_A1).then("one_reference_one_thing")


@pytest.mark.parametrize(
    ("fields", "right"),
    [
        ({"audience": "public"}, True),
        ({"audience": "contributor", "contributor": RESIDENT}, True),
        ({"audience": "section", "section": "renters"}, True),
        ({"audience": "public", "contributor": RESIDENT}, False),
        ({"audience": "public", "section": "renters"}, False),
        ({"audience": "contributor"}, False),
        ({"audience": "contributor", "section": "renters"}, False),
        ({"audience": "contributor", "contributor": RESIDENT, "section": "renters"}, False),
        ({"audience": "section"}, False),
    ],
)
def test_feedback_names_its_audience(fields: dict[str, Any], right: bool) -> None:
    sent = Sent(ref="F1", channel="letter", **fields)
    given().when(sent, ON_A1).then(sent if right else "feedback_names_its_audience")


def test_feedback_is_delivered_once() -> None:
    given(SENT).when(DELIVERED).then(DELIVERED)
    given(SENT, DELIVERED).when(DELIVERED).then(nothing)
    given(SENT, ANSWERED).when(DELIVERED).then(nothing)


def test_what_failed_was_neither_delivered_nor_answered() -> None:
    given(SENT, FAILED).when(DELIVERED).then("what_failed_was_not_delivered")
    given(SENT, FAILED).when(ANSWERED).then("what_failed_was_not_answered")


def test_what_was_answered_did_arrive() -> None:
    given(SENT).when(FAILED).then(FAILED)
    given(SENT, FAILED).when(FAILED).then(nothing)
    given(SENT, ANSWERED).when(FAILED).then("what_was_answered_did_arrive")


def test_an_answer_may_be_given_again() -> None:
    given(SENT).when(ANSWERED).then(ANSWERED)
    given(SENT, ANSWERED).when(ANSWERED).then(ANSWERED)
