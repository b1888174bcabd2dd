"""Does every code of the vocabulary have plain words, and do dates and states read as sentences?"""

from __future__ import annotations

from typing import get_args

import pytest

from domain.values import Stance
from infra import plain_words
from services import questions

# As listed in the vocabulary and the contract.
RELATIONS = (
    "raised_in prompted_by supports grouped_with weighed derived_from refers reports_on answers told_at "
    "supersedes corrects rests_on"
)
OUTCOMES = (
    "adopted_as_priority changed_delivery partly_adopted no_change declined deferred referred_to_partner "
    "already_in_hand unclear_more_asked"
)
REASONS = (
    "resource_constraint operational_priority no_legal_power not_police_responsibility other_agency_leads "
    "needs_assessment insufficient_evidence would_displace disproportionate unclear_request duplicate_of "
    "conflicts_with_other_community_need equality_impact safeguarding_or_sensitive withdrawn_by_contributor "
    "other"
)
KINDS = (
    "neighbourhood section contact engagement strategy concern support decision priority change feedback "
    "partnership referral force duty subject message disclosure"
)
FACTS = {
    "neighbourhood": "registered boundary_revised demographics_recorded officer_named",
    "section": (
        "defined picture_updated comfort_assessed participation_offered participation_accepted "
        "participation_declined"
    ),
    "contact": "recorded corrected moderated withdrawn",
    "engagement": "planned held cancelled",
    "strategy": "adopted tailored",
    "concern": (
        "raised acknowledged taken_up grouped ungrouped moderated withdrawn "
        "reopened confirmed disputed closed"
    ),
    "support": "given changed withdrawn",
    "decision": "proposed inputs_weighed made revised",
    "priority": "set action_recorded reviewed closed",
    "change": "planned started implemented measured abandoned",
    "feedback": "sent delivered failed answered",
    "partnership": "opportunity_identified agreed joint_action_recorded declined ended",
    "referral": "made answered withdrawn",
    "force": "registered settings_changed",
    "duty": "opened discharged lapsed",
    "subject": "erasure_requested erased",
    "message": "discarded",
    "disclosure": "made",
}
STATES_OF_AN_INPUT = (
    "received acknowledged under_consideration decided action_planned action_in_progress delivered confirmed "
    "disputed grouped referred withdrawn moderated reopened closed"
)
STATES_OF_A_PRIORITY = "open actioned closed"


def test_every_relation_has_words() -> None:
    assert set(plain_words.RELATIONS) == set(RELATIONS.split())


def test_every_outcome_has_words() -> None:
    assert set(plain_words.OUTCOMES) == set(OUTCOMES.split())


def test_every_reason_has_words() -> None:
    assert set(plain_words.REASONS) == set(REASONS.split())


def test_every_kind_has_words_and_a_meaning() -> None:
    assert set(plain_words.KINDS) == set(KINDS.split()) == set(plain_words.KIND_MEANINGS)


def test_every_state_has_words() -> None:
    facts = {fact for facts in FACTS.values() for fact in facts.split()}
    assert set(plain_words.STATES) == facts | set(f"{STATES_OF_AN_INPUT} {STATES_OF_A_PRIORITY}".split())


def test_every_state_of_one_kind_is_a_fact_of_that_kind() -> None:
    assert all(code in FACTS[kind].split() for kind, code in plain_words.STATES_OF_KIND)


def test_no_two_outcomes_reasons_or_relations_read_the_same() -> None:
    for table in (plain_words.OUTCOMES, plain_words.REASONS, plain_words.RELATIONS, plain_words.KINDS):
        assert len(set(table.values())) == len(table)


def test_no_plain_words_are_codes() -> None:
    tables = (plain_words.OUTCOMES, plain_words.REASONS, plain_words.RELATIONS, plain_words.STATES)
    assert not [words for table in tables for words in table.values() if "_" in words or not words]


def test_a_code_that_is_newer_than_the_table_is_spelt_out() -> None:
    assert plain_words.reason("a_new_reason") == "a new reason"
    assert plain_words.kind("street_poll") == "Street poll"
    assert plain_words.state("concern", "sent_on") == "sent on"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (
            {
                "kind": "decision",
                "state": "made",
                "outcome": "declined",
                "reasons": ["needs_assessment", "would_displace"],
            },
            "declined: needs an assessment first; would move the problem elsewhere",
        ),
        ({"kind": "decision", "state": "revised", "outcome": "declined"}, "decided again, declined"),
        (
            {"kind": "referral", "state": "answered", "outcome": None, "reasons": ["no_legal_power"]},
            "answered: no power in law to do it",
        ),
        ({"kind": "referral", "state": "made", "reasons": []}, "passed on, no answer yet"),
        ({"kind": "decision", "state": "made"}, "decided"),
        ({"kind": "concern", "state": None}, ""),
        (
            {"kind": "support", "counts": {"agree": 1, "disagree": 1200, "pass": 0, "withdrawn": 2}},
            "1 agrees, 1,200 disagree, 2 took it back",
        ),
    ],
)
def test_a_status_tells_state_outcome_and_reasons(node: dict[str, object], words: str) -> None:
    assert plain_words.status(node) == words


@pytest.mark.parametrize(
    ("kind", "start", "end", "words"),
    [
        ("date", "2006-07-19", "2006-07-19", "19 July 2006"),
        ("date", "2006-07-19", None, "19 July 2006"),
        ("instant", "2006-07-19T19:30:00Z", None, "19 July 2006, 19:30 UTC"),
        ("instant", "2006-07-19T19:30:00+01:00", None, "19 July 2006, 19:30 (UTC+01:00)"),
        ("interval", "2008-06-23", "2008-10-10", "between 23 June 2008 and 10 October 2008"),
        ("interval", "2008-06-23", None, "from 23 June 2008 on"),
        ("interval", None, "2008-10-10", "by 10 October 2008"),
        ("unknown", None, None, "date unknown; known since 1 March 2009"),
        ("date", "some day", None, "some day"),
    ],
)
def test_dates_read_as_one_would_say_them(kind: str, start: str | None, end: str | None, words: str) -> None:
    occurred = {"kind": kind, "from": start, "to": end}
    assert plain_words.when({"occurred": occurred, "known_at": "2009-03-01"}) == words


def test_what_is_counted_has_the_date_of_the_latest() -> None:
    counted = {"occurred": {"kind": "unknown"}, "known_at": "2009-03-01", "counts": {"agree": 1}}
    assert plain_words.when(counted) == "latest known 1 March 2009"


def test_every_stance_has_words_for_one_and_for_several() -> None:
    assert plain_words.COUNTS.keys() == {*get_args(Stance), "withdrawn"}


def test_a_thing_without_any_date_says_so() -> None:
    assert plain_words.when({"occurred": None}) == "date unknown"


def test_whatever_a_question_puts_in_place_of_words_reads_plainly() -> None:
    assert plain_words.WITHHELD.keys() == {questions.ERASED, questions.MISSING, questions.MODERATED}
    assert all(words and "[" not in words for words in plain_words.WITHHELD.values())


def test_a_lapsed_duty_is_no_longer_owed_and_not_late() -> None:
    assert plain_words.state("duty", "lapsed") == "no longer owed"
