"""Which facts about a referral follow on which?"""

from __future__ import annotations

from domain.referral import Answered, Made, Withdrawn
from tests.support.given import because, given, nothing

MADE = Made(ref="G1", partner="council")
ANSWERED = Answered(ref="G1", reasons=("no_legal_power",))
WITHDRAWN = Withdrawn(ref="G1")
OF_N1 = because("refers", "N1")


def test_a_referral_names_what_it_refers() -> None:
    given().when(MADE).then("a_referral_names_what_it_refers")
    given().when(MADE, because("prompted_by", "N1")).then("a_referral_names_what_it_refers")
    given().when(MADE, OF_N1).then(MADE)


def test_a_referral_is_made_once() -> None:
    given(MADE).when(MADE, OF_N1).then("one_reference_one_thing")


def test_a_partner_may_answer_again_but_not_what_was_withdrawn() -> None:
    given(MADE).when(ANSWERED).then(ANSWERED)
    given(MADE, ANSWERED).when(ANSWERED).then(ANSWERED)
    given(MADE, WITHDRAWN).when(ANSWERED).then("what_was_withdrawn_is_not_answered")


def test_a_referral_is_withdrawn_once_and_not_after_its_answer() -> None:
    given(MADE).when(WITHDRAWN).then(WITHDRAWN)
    given(MADE, WITHDRAWN).when(WITHDRAWN).then(nothing)
    given(MADE, ANSWERED).when(WITHDRAWN).then("what_was_answered_is_not_withdrawn")
