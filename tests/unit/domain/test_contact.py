"""Which facts about a contact follow on which?"""

from __future__ import annotations

from domain.contact import Contact, Corrected, Moderated, Recorded, Withdrawn
from tests.support.given import given, nothing

RECORDED = Recorded(ref="K1", channel="letter")
CORRECTED = Corrected(ref="K1", words="The lamp in Elm Road, not Oak Road.")
MODERATED = Moderated(ref="K1", reason="spam")
WITHDRAWN = Withdrawn(ref="K1")


def test_a_contact_is_recorded_once() -> None:
    given().when(RECORDED).then(RECORDED)
    given(RECORDED).when(RECORDED).then("one_reference_one_thing")


def test_a_contact_is_corrected_as_often_as_it_takes() -> None:
    given(RECORDED).when(CORRECTED).then(CORRECTED)
    given(RECORDED, CORRECTED).when(CORRECTED).then(CORRECTED)
    assert given(RECORDED, CORRECTED).state == Contact("received")


def test_what_was_withdrawn_is_not_corrected() -> None:
    given(RECORDED, WITHDRAWN).when(CORRECTED).then("what_was_withdrawn_is_not_corrected")


def test_a_contact_is_moderated_and_withdrawn_once_each() -> None:
    for event in (MODERATED, WITHDRAWN):
        given(RECORDED).when(event).then(event)
        given(RECORDED, event).when(event).then(nothing)
    given(RECORDED, MODERATED).when(WITHDRAWN).then(WITHDRAWN)


def test_moderating_what_was_withdrawn_does_not_give_it_back() -> None:
    given(RECORDED, WITHDRAWN, MODERATED).when(CORRECTED).then("what_was_withdrawn_is_not_corrected")
    given(RECORDED, WITHDRAWN, MODERATED).when(WITHDRAWN).then(nothing)
    given(RECORDED, MODERATED, WITHDRAWN).when(MODERATED).then(nothing)
