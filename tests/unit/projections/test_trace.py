"""How far has an input come, and does each state of the vocabulary follow from what was done?"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any, Final

import pytest
import structlog

from projections import trace
from tests.support.histories import Author, by_hand
from tests.support.interleaving import Loops

DELIVERED: Final = ("change.implemented A derived_from:decision:D",)
DECIDED: Final = ("decision.made D derived_from:concern:N",)
FIELDS: Final[dict[str, dict[str, Any]]] = {
    "concern.raised": {"kind": "concern"},
    "concern.moderated": {"reason": "spam"},
    "contact.recorded": {"channel": "email"},
    "contact.moderated": {"reason": "spam"},
    "decision.made": {"outcome": "changed_delivery"},
    "decision.revised": {"outcome": "changed_delivery"},
    "change.planned": {"kind": "patrol"},
    "change.implemented": {"kind": "patrol"},
    "change.measured": {"measure": "calls", "after": 3},
    "change.abandoned": {"reasons": ["other"], "reason_words": "It rained."},
    "priority.set": {"issue": "Noise"},
    "referral.made": {"partner": "council"},
    "referral.answered": {},
}


def history(*facts: str) -> Author:
    """Each fact an hour after the one before: `decision.made D derived_from:concern:N`."""
    with structlog.testing.capture_logs():
        author = by_hand()
        for fact in ("concern.raised N", *facts):
            what, ref, *causes = fact.split()
            named = [cause.replace(":", " ") for cause in causes]
            author.clock.advance(timedelta(hours=1))
            assert author.tell(what, ref, *named, at="ward-0", **FIELDS.get(what, {})), fact
    return author


def inputs(author: Author) -> dict[str, dict[str, Any]]:
    """The answer of the read model `inputs`, by reference."""
    with structlog.testing.capture_logs(), closing(Loops(author.history())) as loops:
        loops.settle()
        return {str(row["ref"]): row for row in loops.answers()["inputs"]}


def state(*facts: str, ref: str = "N") -> str:
    """What has become of the concern N, or of another input."""
    return str(inputs(history(*facts))[ref]["state"])


# -- each state is reached -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ((), "received"),
        (("concern.acknowledged N",), "acknowledged"),
        (("concern.taken_up N",), "under_consideration"),
        (("decision.proposed D derived_from:concern:N",), "under_consideration"),
        (DECIDED, "decided"),
        (("priority.set P derived_from:concern:N",), "decided"),
        ((*DECIDED, "change.planned A derived_from:decision:D"), "action_planned"),
        ((*DECIDED, "change.planned A derived_from:decision:D", "change.started A"), "action_in_progress"),
        ((*DECIDED, *DELIVERED), "delivered"),
        ((*DECIDED, *DELIVERED, "change.measured A"), "delivered"),
        ((*DECIDED, *DELIVERED, "concern.confirmed N"), "confirmed"),
        ((*DECIDED, *DELIVERED, "concern.disputed N"), "disputed"),
        (("concern.raised M", "concern.grouped N grouped_with:concern:M"), "grouped"),
        (("referral.made R refers:concern:N",), "referred"),
        (("concern.withdrawn N",), "withdrawn"),
        (("concern.moderated N",), "moderated"),
        (("concern.closed N", "concern.reopened N"), "reopened"),
        (("concern.closed N",), "closed"),
    ],
)
def test_each_state_of_an_input_is_reached_by_its_facts(facts: tuple[str, ...], expected: str) -> None:
    assert state(*facts) == expected


def test_the_stages_of_the_vocabulary_are_in_its_order() -> None:
    order = ["received", "acknowledged", "under_consideration", "decided", "action_planned"]
    order += ["action_in_progress", "delivered"]
    assert [stage for stage in trace._STAGES if stage in order] == order


# -- and not by others ---------------------------------------------------------------------------


def test_closed_is_not_delivered() -> None:
    assert state(*DECIDED, "concern.closed N") == "closed"
    assert state(*DECIDED, *DELIVERED, "concern.closed N") == "delivered"


def test_what_was_weighed_is_decided_and_not_followed() -> None:
    weighed = "decision.made D weighed:concern:N"
    assert state(weighed) == "decided"
    assert state(weighed, *DELIVERED) == "decided"


def test_what_was_weighed_by_a_decision_that_also_followed_from_it_is_followed() -> None:
    ways = (
        "decision.made E derived_from:concern:N",
        "decision.made D weighed:concern:N derived_from:decision:E",
    )
    assert state(*ways, *DELIVERED) == "delivered"
    back = ("decision.made D weighed:concern:N", "decision.made E derived_from:concern:N")
    assert state(*back, "decision.revised D derived_from:decision:E", *DELIVERED) == "delivered"


def test_what_was_decided_on_another_input_decides_nothing_on_this_one() -> None:
    other = ("concern.raised M prompted_by:concern:N", "decision.made D derived_from:concern:M")
    assert state(*other) == "received"
    assert state(*other, ref="M") == "decided"


def test_a_contact_has_come_as_far_as_the_concern_that_was_raised_in_it() -> None:
    facts = (
        "contact.recorded C",
        "concern.raised M raised_in:contact:C",
        "decision.made D derived_from:concern:M",
    )
    assert state(*facts, ref="C") == "decided"


def test_a_change_that_was_abandoned_delivers_nothing() -> None:
    planned = (*DECIDED, "change.planned A derived_from:decision:D")
    assert state(*planned, "change.abandoned A") == "decided"


def test_whoever_left_a_group_is_no_longer_grouped() -> None:
    grouped = ("concern.raised M", "concern.grouped N grouped_with:concern:M")
    assert state(*grouped, "concern.ungrouped N") == "received"


def test_after_a_reopening_only_what_came_later_counts() -> None:
    settled = (*DECIDED, *DELIVERED, "concern.closed N", "concern.reopened N")
    assert state(*settled) == "reopened"
    assert state("concern.taken_up N", "concern.closed N", "concern.reopened N") == "reopened"
    assert state(*settled, "concern.taken_up N") == "under_consideration"
    assert state(*settled, "decision.made E derived_from:concern:N") == "decided"


def test_what_was_moderated_stays_hidden_until_it_is_reopened() -> None:
    for later in ((), ("concern.closed N",), ("concern.confirmed N",), ("concern.disputed N",)):
        row = inputs(history("concern.moderated N", *later))["N"]
        assert (row["moderated"], row["state"]) == (True, "moderated"), later
    row = inputs(history("concern.moderated N", "concern.reopened N"))["N"]
    assert (row["moderated"], row["state"]) == (False, "reopened")


def test_a_contact_that_was_moderated_and_then_taken_back_is_still_hidden() -> None:
    row = inputs(history("contact.recorded C", "contact.moderated C", "contact.withdrawn C"))["C"]
    assert (row["moderated"], row["state"]) == (True, "withdrawn")


def test_measuring_what_was_done_before_a_reopening_delivers_nothing_anew() -> None:
    settled = (*DECIDED, *DELIVERED, "concern.closed N", "concern.reopened N")
    assert state(*settled, "change.measured A") == "reopened"
    assert state(*settled, "change.implemented B derived_from:decision:D", "change.measured B") == "delivered"


def test_a_priority_of_before_a_reopening_that_is_looked_at_or_closed_decides_nothing_anew() -> None:
    settled = ("priority.set P derived_from:concern:N", "concern.closed N", "concern.reopened N")
    for later in ("priority.reviewed P", "priority.closed P"):
        assert state(*settled, later) == "reopened"


def test_closing_what_was_reopened_does_not_deliver_it() -> None:
    settled = (*DECIDED, *DELIVERED, "concern.closed N", "concern.reopened N")
    assert state(*settled, "concern.closed N") == "closed"


def test_closing_the_case_does_not_hide_that_it_was_disputed_or_confirmed() -> None:
    for fact in ("disputed", "confirmed"):
        facts = (*DECIDED, *DELIVERED, f"concern.{fact} N", "concern.closed N")
        assert state(*facts) == fact
        assert state(*facts, "concern.reopened N") == "reopened"


def test_moderating_what_was_withdrawn_does_not_give_it_back() -> None:
    row = inputs(history("concern.withdrawn N", "concern.moderated N"))["N"]
    assert (row["moderated"], row["state"]) == (True, "withdrawn")
