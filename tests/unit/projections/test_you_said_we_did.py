"""Is each input credited with what was done because of it, and with nothing else?"""

from __future__ import annotations

from typing import Any

from tests.unit.projections.test_feedback_owed import DONE, Told


def done_for(tell: Told) -> dict[str, set[str]]:
    """What the view credits to each input, by reference."""
    found: dict[str, set[str]] = {}
    for row in tell.answers("you_said_we_did"):
        found.setdefault(str(row["said"]), set()).add(str(row["did"]))
    return found


def weighed_and_followed() -> Told:
    """A decision that followed from one concern and weighed another, and what came of it."""
    tell = Told()
    tell.concern("N", None)
    tell.concern("M", None)
    tell("decision.made", "D", "derived_from concern N", "weighed concern M", **DONE)
    tell("priority.set", "P", "derived_from decision D", issue="Noise")
    tell("change.implemented", "A", "derived_from priority P", kind="patrol")
    return tell


def test_what_came_of_an_input_is_shown_over_any_number_of_hops() -> None:
    assert done_for(weighed_and_followed())["N"] == {"D", "P", "A"}


def test_what_was_only_weighed_is_shown_its_decision_and_not_credited_with_what_came_of_it() -> None:
    assert done_for(weighed_and_followed())["M"] == {"D"}


def test_what_was_weighed_in_one_place_and_followed_in_another_is_credited() -> None:
    tell = weighed_and_followed()
    also: dict[str, Any] = {"kind": "patrol"}
    tell("change.planned", "B", "derived_from concern M", **also)
    assert done_for(tell)["M"] == {"D", "B"}
