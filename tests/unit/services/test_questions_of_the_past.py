"""Does a question as at a date see what it would see now, also across neighbourhoods?"""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import Any

import structlog

from domain.values import stamp
from infra.clock import FixedClock
from infra.databases import sqlite_memory
from services.questions import Moment, Questions
from tests.support.interleaving import NOW, Loops
from tests.unit.projections.test_feedback_owed import ANNA, BEN, DONE, Told, in_person

WARD = {"force": "met", "neighbourhood": "ward-0"}


def owed(tell: Told, at: Moment) -> dict[str, Any]:
    """What `feedback_owed` answers for one neighbourhood, by reference."""
    with structlog.testing.capture_logs(), closing(Loops(tell.author.history())) as loops:
        loops.settle()
        questions = Questions(
            loops.views, loops.store, loops.history.keys, loops.history.ids, FixedClock(NOW), sqlite_memory
        )
        rows = questions.query("feedback_owed", WARD, at)["rows"]
        return {row["ref"]: row["owed"] for row in rows}


def grouped_with_one_elsewhere() -> Told:
    """A concern that was told, then grouped with one of another neighbourhood that was decided on."""
    tell = Told()
    tell.concern("N", ANNA, at="ward-0")
    tell.concern("M", BEN, at="ward-1")
    tell("feedback.sent", "F", "answers concern N", **in_person(ANNA))
    tell("concern.grouped", "N", "grouped_with concern M")
    tell("decision.made", "D", "derived_from concern M", at="ward-1", **DONE)
    return tell


def test_what_became_of_the_rest_of_its_group_elsewhere_is_owed_now_and_as_at_a_date() -> None:
    tell = grouped_with_one_elsewhere()
    at = Moment(known_by=stamp(tell.author.clock.now()))
    assert owed(tell, Moment()) == {"N": "moved_on_since"}
    assert owed(tell, at) == {"N": "moved_on_since"}


def test_it_is_owed_as_at_a_date_also_if_the_group_has_ended_since() -> None:
    tell = grouped_with_one_elsewhere()
    at = Moment(known_by=stamp(tell.author.clock.now()))
    tell.author.clock.advance(timedelta(days=1))
    tell("concern.ungrouped", "N")
    assert owed(tell, Moment()) == {"N": "told"}
    assert owed(tell, at) == {"N": "moved_on_since"}
