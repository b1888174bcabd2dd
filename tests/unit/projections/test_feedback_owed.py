"""Who is still owed an answer: is each input told, told again when it moves on, or never?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from contextlib import closing
from datetime import timedelta
from operator import attrgetter
from random import Random
from types import ModuleType
from typing import Any, Final

import pytest
import structlog
from sqlalchemy import Connection, select

from domain import feedback
from projections import feedback_owed, inputs, trace, you_said_we_did
from projections.feedback_owed import MOVES, TELLINGS, VIEW, Said, last_heard, tells
from projections.trace import EDGES, THINGS, together, walk
from projections.view import Row, Tables
from services import workflows
from tests.support.histories import Author, by_hand, write
from tests.support.interleaving import Loops

ANNA: Final = {"ref": "P1", "may_contact": True}
BEN: Final = {"ref": "P2", "may_contact": True}
CARA: Final = {"ref": "P3", "may_contact": False}
DONE: Final[dict[str, Any]] = {"outcome": "changed_delivery"}
PUBLIC: Final[dict[str, Any]] = {"audience": "public", "channel": "website"}


def in_person(contributor: dict[str, Any]) -> dict[str, Any]:
    return {"audience": "contributor", "channel": "email", "contributor": contributor}


class Told:
    """A history that is told fact by fact, each an hour after the one before."""

    def __init__(self) -> None:
        with structlog.testing.capture_logs():
            self.author: Author = by_hand()

    def __call__(self, fact: str, ref: str, *causes: str, at: str = "ward-0", **fields: Any) -> None:
        self.author.clock.advance(timedelta(hours=1))
        with structlog.testing.capture_logs():
            assert self.author.tell(fact, ref, *causes, at=at, **fields)

    def concern(self, ref: str, contributor: dict[str, Any] | None, *causes: str, **fields: Any) -> None:
        given: dict[str, Any] = {} if contributor is None else {"contributor": contributor}
        self("concern.raised", ref, *causes, kind="concern", **given, **fields)

    def worklist(self, state: str = "due") -> list[tuple[str, str]]:
        """(rule, reference) of the duties in that state."""
        with structlog.testing.capture_logs(), closing(Loops(self.author.history())) as loops:
            loops.settle()
            return loops.worklist(state)

    def answers(self, view: str) -> list[dict[str, Any]]:
        """What a view answers."""
        with structlog.testing.capture_logs(), closing(Loops(self.author.history())) as loops:
            loops.settle()
            return loops.answers()[view]

    def owed(self) -> dict[str, str]:
        """What the view answers, by reference."""
        return {str(row["ref"]): str(row["owed"]) for row in self.answers("feedback_owed")}


def test_a_contributor_is_told_in_person_and_again_each_time_it_moves_on() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    assert tell.owed() == {"N": "never_told"}
    tell("decision.made", "D", "derived_from concern N", **DONE)
    assert tell.owed() == {"N": "never_told"}
    tell("feedback.sent", "F", "reports_on decision D", **in_person(ANNA))
    assert tell.owed() == {"N": "told"}
    tell("change.implemented", "A", "derived_from decision D", kind="patrol")
    assert tell.owed() == {"N": "moved_on_since"}
    tell("feedback.sent", "F2", "reports_on change A", **in_person(ANNA))
    assert tell.owed() == {"N": "told"}


def test_what_another_contributor_was_told_and_what_the_public_was_told_does_not_tell_her() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    tell("decision.made", "D", "derived_from concern N", **DONE)
    tell("feedback.sent", "F", "reports_on decision D", **in_person(BEN))
    tell("feedback.sent", "F2", "reports_on decision D", **PUBLIC)
    assert tell.owed() == {"N": "never_told"}


def test_feedback_that_failed_told_nobody() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    tell("feedback.sent", "F", "answers concern N", **in_person(ANNA))
    assert tell.owed() == {"N": "told"}
    tell("feedback.failed", "F")
    assert tell.owed() == {"N": "never_told"}


def test_whoever_cannot_be_contacted_is_told_in_public() -> None:
    tell = Told()
    tell.concern("N", CARA)
    tell.concern("M", None)
    assert tell.owed() == {"N": "cannot_be_told", "M": "cannot_be_told"}
    for ref in ("N", "M"):
        tell("feedback.sent", f"F{ref}", f"answers concern {ref}", **PUBLIC)
    assert tell.owed() == {"N": "told", "M": "told"}


def test_what_came_up_in_a_meeting_is_owed_feedback_in_public() -> None:
    tell = Told()
    tell("engagement.held", "C", method="public_meeting")
    tell.concern("N", None, "raised_in engagement C")
    tell.concern("M", None, "prompted_by concern N")
    assert tell.owed() == {"N": "never_told", "M": "never_told"}
    tell("feedback.sent", "F", "answers concern N", **PUBLIC)
    assert tell.owed() == {"N": "told", "M": "never_told"}


def test_what_becomes_of_one_of_a_group_is_owed_to_all_of_it_also_in_another_neighbourhood() -> None:
    tell = Told()
    for ref, contributor, place in (("N", ANNA, "ward-0"), ("M", BEN, "ward-1"), ("K", CARA, "ward-4")):
        tell.concern(ref, contributor, at=place)
    tell("concern.grouped", "N", "grouped_with concern M")
    tell("concern.grouped", "K", "grouped_with concern M")
    tell("decision.made", "D", "derived_from concern M", **DONE)
    tell("feedback.sent", "F", "reports_on decision D", **in_person(ANNA))
    assert tell.owed() == {"N": "told", "M": "never_told", "K": "cannot_be_told"}
    tell("feedback.sent", "F2", "reports_on decision D", **PUBLIC)
    assert tell.owed() == {"N": "told", "M": "never_told", "K": "told"}
    tell("change.implemented", "A", "derived_from decision D", kind="patrol")
    assert tell.owed() == {"N": "moved_on_since", "M": "never_told", "K": "moved_on_since"}


def test_whoever_left_a_group_is_owed_nothing_of_what_becomes_of_it() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    tell.concern("M", BEN)
    tell("feedback.sent", "F", "answers concern N", **in_person(ANNA))
    tell("concern.grouped", "N", "grouped_with concern M")
    tell("concern.ungrouped", "N")
    tell("decision.made", "D", "derived_from concern M", **DONE)
    assert tell.owed() == {"N": "told", "M": "never_told"}


def test_whoever_is_moderated_is_owed_that_and_the_rest_of_the_group_is_not() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    tell.concern("M", BEN)
    tell("concern.grouped", "N", "grouped_with concern M")
    for ref, contributor in (("N", ANNA), ("M", BEN)):
        tell("feedback.sent", f"F{ref}", f"answers concern {ref}", **in_person(contributor))
    tell("concern.moderated", "N", reason="spam")
    assert tell.owed() == {"N": "moved_on_since", "M": "told"}
    assert [ref for rule, ref in tell.worklist() if rule == "tell_contributor"] == ["N"]
    tell("feedback.sent", "F2", "answers concern N", **in_person(ANNA))
    assert tell.owed() == {"N": "told", "M": "told"}
    assert [ref for rule, ref in tell.worklist() if rule == "tell_contributor"] == []


def test_what_the_workflows_and_the_read_model_count_as_moving_on_is_one_list() -> None:
    # Failed feedback does not move an input on: it told nobody, and so it has to be given again.
    assert set(workflows.MOVES) == {*feedback_owed.MOVING, feedback.Failed}
    assert workflows.RULES["tell_contributor"].starts == feedback_owed.MODERATING


@pytest.mark.parametrize("view", [inputs, feedback_owed, you_said_we_did])
def test_a_view_of_inputs_does_not_read_who_supports_them(
    view: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = Told()
    tell.concern("N", ANNA)
    tell("decision.made", "D", "derived_from concern N", **DONE)
    for number in range(5):
        person = {"ref": f"S{number}"}
        tell("support.given", f"U{number}", "supports concern N", stance="agree", contributor=person)
    read: list[str] = []

    def thread(db: Connection, tables: Tables, ids: Collection[str]) -> trace.Thread:
        whole = trace.thread(db, tables, ids)
        read.extend(str(row["ref"]) for row in whole.things.values())
        return whole

    monkeypatch.setattr(view, "thread", thread)
    tell.answers(view.VIEW.name)
    assert set(read) == {"N", "D"}


# -- a walk for each input, which is what all of it stands for -----------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_of_any_history_it_tells_what_a_walk_from_each_input_finds(seed: int) -> None:
    with structlog.testing.capture_logs(), closing(Loops(write(seed, 300))) as loops:
        loops.tell_all()
        while loops.projectors[0].step():
            pass
        found = {row["id"]: (row["told_at"], row["moved_at"]) for row in loops.answers()[VIEW.name]}
        assert found == walked(loops)


def walked(loops: Loops) -> dict[str, tuple[str | None, str | None]]:
    """{input: when it was last told, and when it last moved on}."""

    def rows(shape: Any) -> list[Row]:
        owner = VIEW.name if shape in VIEW.shapes else "trace"
        table = loops.views.tables_of(owner, generations[owner])[shape]
        return [dict(row) for row in db.execute(select(table)).mappings()]

    with loops.views.reading() as db:
        generations = loops.views.live(db)
        things = {row["id"]: row for row in rows(THINGS)}
        tellings = {row["id"]: row for row in rows(TELLINGS) if not row["failed"]}
        moves = {row["id"]: row["moved_at"] for row in rows(MOVES)}
        edges = rows(EDGES)
    effects: defaultdict[str, list[str]] = defaultdict(list)
    for edge in edges:
        effect, cause = edge["effect"], edge["cause"]
        if edge["relation"] != "grouped_with":
            effects[cause].append(effect)
        elif things[effect]["grouped"] == cause:
            effects[cause].append(effect)
            effects[effect].append(cause)
    asked = {id_: row for id_, row in things.items() if row["kind"] in ("contact", "concern")}
    found = {}
    for id_, row in asked.items():
        below = walk({id_}, lambda each: effects.get(each, ()))
        told = [tellings[d]["sent_at"] for d in below & tellings.keys() if tells(row, tellings[d])]
        moved = [moves[d] for d in below & moves.keys() if d == id_ or d not in asked]
        found[id_] = max(told, default=None), max(moved, default=None)
    return found


@pytest.mark.parametrize("at_once", [1, 3, feedback_owed.AT_ONCE])
@pytest.mark.parametrize("seed", range(100))
def test_in_any_net_each_hears_the_last_that_was_said_further_on(
    seed: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_owed, "AT_ONCE", at_once)
    random = Random(seed)
    effects = net(random)
    people = [None, "Anna", "Ben", feedback_owed.PUBLIC]
    asked = {
        id_: random.sample(people, random.randrange(4))
        for id_ in random.sample(sorted(effects), k=len(effects) // 2)
    }
    said = [
        Said(f"{random.randrange(6)}", random.choice(list(effects)), random.choice(people))
        for _ in range(random.randrange(12))
    ]
    below = {id_: walk({id_}, effects.__getitem__) for id_ in asked}
    expected: dict[tuple[str, str | None], str] = {}
    for fact in sorted(said, key=attrgetter("at")):
        for id_, whom in asked.items():
            if fact.thing in below[id_] and fact.whom in whom:
                expected[id_, fact.whom] = fact.at
    assert last_heard(asked, effects, said) == expected


@pytest.mark.parametrize("seed", range(100))
def test_what_leads_to_each_other_is_together_and_comes_after_what_it_leads_to(seed: int) -> None:
    effects = net(Random(seed))
    below = {id_: walk({id_}, effects.__getitem__) for id_ in effects}
    found = together(effects)
    assert sorted(id_ for circle in found for id_ in circle) == sorted(effects)
    place = {id_: number for number, circle in enumerate(found) for id_ in circle}
    for id_ in effects:
        assert {other for other in effects if place[other] == place[id_]} == {
            other for other in below[id_] if id_ in below[other]
        }
        assert all(place[other] <= place[id_] for other in below[id_])


def net(random: Random) -> dict[str, list[str]]:
    """What each of some things leads to, in circles too; some links lead both ways, as in a group."""
    things = [f"T{number}" for number in range(random.randrange(2, 12))]
    effects: dict[str, list[str]] = {id_: [] for id_ in things}
    for _ in range(random.randrange(2 * len(things))):
        one, other = random.choices(things, k=2)
        effects[one].append(other)
        if random.random() < 0.3:
            effects[other].append(one)
    return effects
