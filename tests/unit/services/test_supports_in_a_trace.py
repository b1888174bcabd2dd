"""Does one node say how many people support a concern, now and as at a date, without opening each?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import event

from domain.values import stamp
from infra.clock import FixedClock
from infra.databases import sqlite_memory
from infra.picture import svg, terminal
from services.questions import Moment, Questions
from tests.support.histories import History, write
from tests.support.interleaving import NOW, Loops
from tests.unit.projections.test_feedback_owed import ANNA, DONE, Told

LATER = Moment(known_by="2030-01-01T00:00:00.000000Z")
"""As at a date, and after everything."""
EVER = Moment(recorded_by="2030-01-01T00:00:00.000000Z")
STANCES = ("agree", "disagree", "pass")


def person(number: int) -> dict[str, Any]:
    return {"contributor": {"ref": f"U{number}", "may_contact": False}}


def some() -> Told:
    """A concern that was decided on; five people say something of it, one of them two things."""
    tell = Told()
    tell.concern("N", ANNA)
    tell("decision.made", "D", "derived_from concern N", **DONE)
    for number, stance in enumerate(("agree", "agree", "agree", "disagree", "pass")):
        tell("support.given", f"S{number}", "supports concern N", stance=stance, **person(number))
    tell("support.changed", "S0", "supports concern N", stance="pass", **person(0))
    tell("support.withdrawn", "S1", "supports concern N", **person(1))
    return tell


@contextmanager
def asked(history: History) -> Iterator[tuple[Questions, list[int]]]:
    """The questions, and a list that grows by the rows that each statement brings."""
    brought: list[int] = []
    with structlog.testing.capture_logs(), closing(Loops(history)) as loops:
        loops.settle()
        engine = loops.views.engine

        @event.listens_for(engine, "before_cursor_execute", retval=True)
        def told(_: Any, cursor: Any, statement: str, parameters: Any, *__: Any) -> tuple[str, Any]:
            def row(_: Any, values: Any) -> Any:
                brought.append(1)
                return values

            cursor.row_factory = row
            return statement, parameters

        yield (
            Questions(
                loops.views, loops.store, loops.history.keys, loops.history.ids, FixedClock(NOW),
                sqlite_memory,
            ),
            brought,
        )  # fmt: skip


def trace(tell: Told, ref: str, at: Moment | None = None, **ways: bool) -> dict[str, Any]:
    with asked(tell.author.history()) as (questions, _):
        return questions.trace(ref, at or Moment(), **ways)


def counts(answer: dict[str, Any]) -> dict[str, dict[str, int]]:
    """What each node counts, by its reference."""
    return {node["ref"]: node["counts"] for node in answer["nodes"] if node["counts"]}


def refs(answer: dict[str, Any]) -> set[str]:
    return {node["ref"] for node in answer["nodes"]}


def of(agree: int = 0, disagree: int = 0, pass_: int = 0, withdrawn: int = 0) -> dict[str, int]:
    return {"agree": agree, "disagree": disagree, "pass": pass_, "withdrawn": withdrawn}


@pytest.mark.parametrize("at", [Moment(), LATER, EVER], ids=["now", "at", "recorded at"])
def test_one_node_counts_the_people_behind_a_concern_each_with_what_they_said_last(at: Moment) -> None:
    tell = some()
    answer = trace(tell, "N", at)
    assert refs(answer) == {"N", "D", "supports of N"}
    assert counts(answer) == {"supports of N": of(agree=1, disagree=1, pass_=2, withdrawn=1)}
    assert {"cause": "N", "effect": "supports of N", "relation": "supports"} in answer["edges"]
    (node,) = (node for node in answer["nodes"] if node["counts"])
    assert {tuple(each) for each in answer["nodes"]} == {tuple(node)}
    assert node["kind"] == "support"
    assert node["id"] is node["state"] is node["text"] is node["outcome"] is None
    assert node["neighbourhood"] == "ward-0"
    assert node["occurred"] == {"kind": "unknown", "from": None, "to": None}
    assert node["known_at"] == stamp(tell.author.clock.now())


def test_as_at_a_date_it_counts_what_was_known_or_recorded_by_then() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    told: list[tuple[str, dict[str, int]]] = []

    def fact(name: str, number: int, **expected: int) -> None:
        *_, stance = name.split()
        fields = {} if stance == name else {"stance": stance}
        tell(f"support.{name.split()[0]}", f"S{number}", "supports concern N", **fields, **person(number))
        told.append((stamp(tell.author.clock.now()), of(**expected)))

    fact("given agree", 1, agree=1)
    fact("given disagree", 2, agree=1, disagree=1)
    fact("changed pass", 1, pass_=1, disagree=1)
    fact("withdrawn", 2, pass_=1, withdrawn=1)
    fact("changed agree", 1, agree=1, withdrawn=1)
    fact("given agree", 2, agree=2)
    with asked(tell.author.history()) as (questions, _):
        for instant, expected in told:
            for at in (Moment(known_by=instant), Moment(recorded_by=instant)):
                assert counts(questions.trace("N", at)) == {"supports of N": expected}
        before = stamp(tell.author.clock.now() - timedelta(hours=6))
        assert refs(questions.trace("N", Moment(known_by=before))) == {"N"}


def test_what_became_known_late_and_what_was_recorded_late_are_told_apart() -> None:
    tell = Told()
    tell.concern("N", ANNA)
    known = tell.author.clock.now()
    tell.author.clock.advance(timedelta(days=3))
    supports = ("support.given", "S", "supports concern N")
    with structlog.testing.capture_logs():
        assert tell.author.tell(*supports, at="ward-0", time=known, stance="agree", **person(1))
    one = {"supports of N": of(agree=1)}
    then = stamp(known + timedelta(days=1))
    assert counts(trace(tell, "N", Moment(known_by=then))) == one
    assert counts(trace(tell, "N", Moment(known_by=then, recorded_by=then))) == {}


def test_each_concern_has_its_own_node_also_in_a_group() -> None:
    tell = Told()
    tell("engagement.held", "E", method="survey")
    for ref in ("N", "M", "L"):
        tell.concern(ref, ANNA, "raised_in engagement E")
    tell("concern.grouped", "N", "grouped_with concern M")
    tell("support.given", "S1", "supports concern N", stance="agree", **person(1))
    tell("support.given", "S2", "supports concern M", stance="agree", **person(1))
    tell("support.given", "S3", "supports concern M", stance="disagree", **person(2))
    both = {"supports of N": of(agree=1), "supports of M": of(agree=1, disagree=1)}
    for at in (Moment(), LATER):
        assert counts(trace(tell, "E", at)) == counts(trace(tell, "M", at)) == both
        assert counts(trace(tell, "N", at)) == {"supports of N": both["supports of N"]}


def test_a_support_that_moved_to_another_concern_counts_there() -> None:
    tell = Told()
    for ref in ("N", "M"):
        tell.concern(ref, ANNA)
    tell("support.given", "S", "supports concern N", stance="agree")  # nobody's in particular
    early = Moment(known_by=stamp(tell.author.clock.now()))
    tell("support.changed", "S", "supports concern M", stance="pass")
    assert counts(trace(tell, "N", early)) == {"supports of N": of(agree=1)}
    for at in (Moment(), LATER):
        assert counts(trace(tell, "N", at)) == {}
        assert counts(trace(tell, "M", at)) == {"supports of M": of(pass_=1)}


def test_a_way_back_leads_to_no_support() -> None:
    tell = some()
    assert refs(trace(tell, "D")) == {"D", "N"}
    assert refs(trace(tell, "N", forward=False)) == {"N"}


@pytest.mark.parametrize("at", [Moment(), LATER], ids=["now", "at"])
def test_a_support_that_is_asked_for_is_shown_as_itself_with_what_it_rests_on(at: Moment) -> None:
    answer = trace(some(), "S3", at)
    assert answer["root"] == "S3"
    assert {node["ref"]: node["state"] for node in answer["nodes"]} == {"S3": "given", "N": "decided"}
    assert answer["edges"] == [{"cause": "N", "effect": "S3", "relation": "supports"}]
    assert counts(answer) == {}
    assert refs(trace(some(), "S3", at, back=False)) == {"S3"}


@pytest.mark.parametrize("at", [Moment(), LATER], ids=["now", "at"])
@pytest.mark.parametrize("root", ["N", "S0", "D"])
def test_no_more_is_read_and_shown_however_many_the_supports_are(root: str, at: Moment) -> None:
    tell, seen = some(), []
    for more in (0, 60):
        for number in range(more):
            tell("support.given", f"T{number}", "supports concern N", stance="pass", **person(100 + number))
        with asked(tell.author.history()) as (questions, brought):
            answer = questions.trace(root, at)
            seen.append((len(brought), len(answer["nodes"]), len(answer["edges"])))
    assert seen[0] == seen[1]
    assert seen[0][0] > 0


def test_a_picture_says_how_many_they_are() -> None:
    answer = trace(some(), "N")
    text = terminal(answer, width=200, colour=False)
    words = "1 agrees, 1 disagrees, 2 have no opinion, 1 took it back"
    assert "Supports of N, about N · latest known " in text
    assert words in text
    picture = svg(answer, title="N")
    assert 'data-ref="supports of N"' in picture
    assert "Supports of N; latest known " in picture
    assert words in picture


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happened_a_trace_counts_what_the_inputs_count_at_any_moment(seed: int) -> None:
    with structlog.testing.capture_logs():
        history = write(seed, 400)
    supports = [e for e in history.events if e.kind == "support"]
    moments = [Moment(), LATER, EVER]
    for e in supports[len(supports) // 2 :: 9]:
        moments += [Moment(known_by=e.known_at), Moment(recorded_by=e.recorded_at)]
    with asked(history) as (questions, _):
        for at in moments:
            rows = [r for r in questions.query("inputs", {}, at)["rows"] if r["kind"] == "concern"]
            found = questions._supports([row["id"] for row in rows], at)
            said = {id_: [each.counts[stance] for stance in STANCES] for id_, each in found.items()}
            expected = {row["id"]: [row["agrees"], row["disagrees"], row["passes"]] for row in rows}
            assert {id_: said.get(id_, [0, 0, 0]) for id_ in expected} == expected, at
        assert found
        assert questions._supports(list(expected), Moment()) == questions._supports(list(expected), LATER)
