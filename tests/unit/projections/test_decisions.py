"""What stands of a decision once it is made, and once it is decided anew?"""

from __future__ import annotations

from typing import Any, Final

from tests.unit.projections.test_feedback_owed import DONE, Told

DEFERRED: Final[dict[str, Any]] = {
    "outcome": "deferred", "reasons": ["resource_constraint"], "reason_words": "Not this year.",
    "review_on": "2025-04-01", "words": "We put it off.",
}  # fmt: skip


def decision(tell: Told) -> dict[str, Any]:
    (row,) = tell.answers("decisions")
    return row


def test_a_revision_takes_the_reasons_and_the_words_of_the_decision_before_away() -> None:
    tell = Told()
    tell.concern("N", None)
    tell("decision.made", "D", "derived_from concern N", **DEFERRED)
    before = decision(tell)
    assert before["words_at"]
    assert before["reason_words_at"]
    assert before["review_on"] == "2025-04-01"
    tell("decision.revised", "D", **DONE)
    row = decision(tell)
    assert (row["state"], row["outcome"], row["reasons"], row["revisions"]) == (
        "revised", "changed_delivery", [], 1,
    )  # fmt: skip
    assert (row["words_at"], row["reason_words_at"], row["review_on"]) == (None, None, None)


def test_a_revision_that_gives_reasons_is_shown_with_its_own() -> None:
    tell = Told()
    tell.concern("N", None)
    tell("decision.made", "D", "derived_from concern N", **DEFERRED)
    before = decision(tell)
    tell("decision.revised", "D", **DEFERRED)
    row = decision(tell)
    assert row["reason_words_at"]
    assert row["reason_words_at"] != before["reason_words_at"]


def test_the_words_of_a_proposal_are_not_those_of_the_decision() -> None:
    tell = Told()
    tell.concern("N", None)
    tell("decision.proposed", "D", words="Let us try this.", reason_words="It costs little.")
    assert decision(tell)["words_at"]
    assert not decision(tell)["reason_words_at"]
    tell("decision.made", "D", "derived_from concern N", **DONE)
    assert (decision(tell)["words_at"], decision(tell)["reason_words_at"]) == (None, None)
