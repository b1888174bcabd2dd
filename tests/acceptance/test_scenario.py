"""Does the program tell the bundled scenario as the real ward's facts went?"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from infra import scenario
from tests.support.program import Answer, heard
from tests.support.requires import shared_data

NOW = f"{scenario.CLOCK:%Y-%m-%d}"
KEY = {"HEARD_ID_KEY": "5a" * 32}
FORWARD = {
    "A1", "A2", "A3", "A4", "A5", "D1", "F1", "F2", "N1", "N1q", "N2", "N3", "N4", "N6", "O1", "O2", "O3",
    "O4", "P1", "P2",
}  # fmt: skip
PRIORITIES = {"asb", "burglary", "cycle_theft", "fear_of_crime", "littering", "robbery"}

Fact = dict[str, Any]
Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def demo(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Answer]:
    """The data directory in which the demo has run, and what it printed."""
    folder = tmp_path_factory.mktemp("demo")
    return folder, heard("demo", dir=folder, env=KEY)


@pytest.fixture(scope="module")
def ask(demo: tuple[Path, Answer]) -> Ask:
    """Ask the demo's record, on the demo's day."""
    folder, answer = demo
    assert answer.code == 0, answer.err
    return lambda *args: heard(*args, dir=folder, now=NOW)


@pytest.fixture(scope="module")
def facts() -> dict[str, Fact]:
    """The real facts, by id."""
    chain = shared_data("stmargarets-plg-derived") / "chain.jsonl"
    return {fact["id"]: fact for fact in map(orjson.loads, chain.read_text().splitlines())}


def refs(thread: dict[str, Any]) -> set[str]:
    """The references of its nodes."""
    return {node["ref"] for node in thread["nodes"]}


def node(thread: dict[str, Any], ref: str) -> dict[str, Any]:
    """The one node of that reference."""
    (found,) = [node for node in thread["nodes"] if node["ref"] == ref]
    return dict(found)


# -- the demo ------------------------------------------------------------------------------------


def test_the_demo_reads_every_message_and_draws_the_thread_of_c1(demo: tuple[Path, Answer]) -> None:
    folder, answer = demo
    assert answer.code == 0
    assert answer.text.startswith("Meeting C1 · 19 July 2006")
    named = {ref for ref in FORWARD | PRIORITIES if re.search(rf"\b{ref}\b", answer.text)}
    assert named == FORWARD | PRIORITIES
    messages = heard("doctor", dir=folder, now=NOW).json["messages"]
    assert (messages["read"], messages["accepted"]) == (len(scenario.lines()), len(scenario.lines()))
    assert messages["balanced"]


def test_the_demo_ends_with_three_commands_that_work(demo: tuple[Path, Answer], ask: Ask) -> None:
    _, answer = demo
    told = answer.err.partition("Try next:")[2].strip().splitlines()
    calls = [shlex.split(line.partition(">")[0]) for line in told]
    assert len(calls) == 3
    answers = []
    for program, option, folder, fixed, now, *rest in calls:
        assert (program, option, fixed, now) == (".venv/bin/heard", "--dir", "--now", NOW)
        answers.append(heard(*rest, dir=Path(folder), now=now))
    assert [each.code for each in answers] == [0, 0, 0]
    assert node(answers[0].json, "D3")["state"] == "answered"
    assert {row["owed"] for row in answers[1].json["rows"]} == {"never_told"}
    assert answers[2].text.startswith("<svg")


def test_the_demo_prints_the_scenario_s_messages_and_publishes_none(tmp_path: Path) -> None:
    answer = heard("demo", "--print", dir=tmp_path / "data")
    assert answer.code == 0
    assert answer.text.splitlines() == scenario.lines()
    assert not (tmp_path / "data").exists()


def test_a_second_demo_in_the_same_directory_finds_only_duplicates(tmp_path: Path) -> None:
    first, second = (heard("demo", dir=tmp_path) for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert first.out == second.out
    messages = heard("doctor", dir=tmp_path, now=NOW).json["messages"]
    lines = len(scenario.lines())
    assert [messages[n] for n in ("read", "accepted", "duplicates")] == [2 * lines, lines, lines]


# -- what must come out --------------------------------------------------------------------------


def test_forward_from_c1_come_exactly_these(ask: Ask) -> None:
    thread = ask("trace", "C1", "--forward").json
    assert thread["root"] == "C1"
    assert refs(thread) == FORWARD | PRIORITIES | {"C1"}
    assert {n["ref"] for n in thread["nodes"] if n["kind"] == "priority"} == PRIORITIES


def test_n7_was_passed_on_and_answered_with_no_legal_power(ask: Ask) -> None:
    thread = ask("trace", "N7").json
    assert refs(thread) == {"C3", "N7", "D3", "F3"}
    assert node(thread, "D3")["state"] == "answered"
    assert node(thread, "D3")["reasons"] == ["no_legal_power"]


def test_never_told_are_exactly_these_four(ask: Ask) -> None:
    rows = ask("query", "feedback_owed").json["rows"]
    assert {row["ref"] for row in rows} == {"N1", "N1q", "N2", "N3", "N4", "N5", "N6", "N7"}
    assert {row["ref"] for row in rows if row["owed"] == "never_told"} == {"N1q", "N4", "N5", "N6"}
    narrowed = ask("query", "feedback_owed", "--where", "owed=never_told").json["rows"]
    assert narrowed == [row for row in rows if row["owed"] == "never_told"]


def test_robbery_was_closed_because_of_p2_from_15_to_2(ask: Ask) -> None:
    rows = {row["ref"]: row for row in ask("query", "priorities").json["rows"]}
    assert rows.keys() == PRIORITIES
    robbery = rows["robbery"]
    assert (robbery["state"], robbery["closed_because"]) == ("closed", "P2")
    assert (robbery["before"], robbery["after"]) == (15, 2)
    assert {ref for ref, row in rows.items() if row["state"] == "open"} == PRIORITIES - {"robbery"}


@pytest.mark.parametrize("ref", ["A1", "N1"])
def test_in_october_2008_a1_is_known_and_p1_not_yet(ask: Ask, ref: str) -> None:
    thread = ask("trace", ref, "--at", "2008-10-15").json
    causes = {edge["cause"] for edge in thread["edges"] if edge["effect"] == "A1"}
    assert "A1" in refs(thread)
    assert "P1" not in refs(thread)
    assert causes == ({"C2", "N1"} if ref == "A1" else {"N1"})
    ends = {edge[end] for edge in thread["edges"] for end in ("cause", "effect")}
    assert ends <= refs(thread)


def test_today_a1_is_known_with_p1_as_well(ask: Ask) -> None:
    thread = ask("trace", "A1", "--back").json
    assert {e["cause"] for e in thread["edges"] if e["effect"] == "A1"} == {"C2", "N1", "P1"}


def test_at_the_start_of_november_2008_n7_is_not_found(ask: Ask) -> None:
    answer = ask("trace", "N7", "--at", "2008-11-01", "--format", "json")
    assert (answer.code, answer.out) == (1, b"")
    assert answer.error["code"] == "not_found"
    assert ask("show", "N7", "--at", "2008-11-01").code == 1
    assert ask("trace", "N7", "--at", "2008-11-10").code == 0


def test_as_at_a_date_the_views_show_what_was_known_then(ask: Ask) -> None:
    then = ask("query", "inputs", "--at", "2008-10-15").json["rows"]
    assert {row["ref"]: row["state"] for row in then} == {
        "N1": "delivered", "N1q": "received", "N2": "delivered", "N3": "delivered",
    }  # fmt: skip
    assert ask("query", "priorities", "--at", "2008-11-09").json["rows"] == []
    assert {r["owed"] for r in ask("query", "feedback_owed", "--at", "2008-10-09").json["rows"]} == {
        "never_told"
    }


def test_before_anything_was_recorded_nothing_is_found(ask: Ask) -> None:
    # Everything was written on the demo's day, whatever day it became known.
    assert ask("trace", "C1", "--recorded-at", "2009-02-28").code == 1
    assert ask("trace", "C1", "--recorded-at", NOW).code == 0
    assert ask("query", "inputs", "--recorded-at", "2009-02-28").json["rows"] == []


# -- the facts, one by one -----------------------------------------------------------------------


def test_every_fact_is_in_the_record_when_it_occurred_and_became_known(
    ask: Ask, facts: dict[str, Fact]
) -> None:
    for id_, fact in facts.items():
        shown = ask("show", id_).json
        first = ask("log", id_).json["events"][0]
        traced = node(ask("trace", id_).json, id_)
        assert shown["ref"] == id_
        if fact["kind"] == "contact_planned":
            occurred = {"kind": "date", "from": fact["known_from"], "to": fact["known_from"]}
            assert shown["fields"]["planned_for"] == fact["occurred_on"]
        elif fact["occurred_on"] is None:
            start, end = fact["occurred_between"]
            occurred = {"kind": "interval", "from": start, "to": end}
        else:
            occurred = {"kind": "date", "from": fact["occurred_on"], "to": fact["occurred_on"]}
        for each in (shown, first, traced):
            assert each["occurred"] == occurred, id_
            assert each["known_at"] == f"{fact['known_from']}T00:00:00.000000Z", id_


def test_every_fact_rests_on_exactly_what_it_is_linked_to(ask: Ask, facts: dict[str, Fact]) -> None:
    for id_, fact in facts.items():
        thread = ask("trace", id_, "--back").json
        links = sorted(fact["links"])
        assert sorted(e["cause"] for e in thread["edges"] if e["effect"] == id_) == links
        assert sorted(cause["ref"] for cause in ask("show", id_).json["causes"]) == links


def test_the_words_are_opened_for_whoever_asks_and_reasons_are_given(ask: Ask) -> None:
    shown = ask("show", "D1", "--at", "2008-11-30").json
    assert shown["fields"]["outcome"] == "declined"
    assert shown["fields"]["reasons"] == ["needs_assessment", "would_displace"]
    words = {m["data"]["ref"]: m["data"].get("words") for m in scenario.messages() if "D1" in m["id"]}
    assert shown["fields"]["words"] == words["D1"]
    assert shown["erased"] is False


# -- another key ----------------------------------------------------------------------------------


def test_another_id_key_gives_other_ids_and_the_same_story(ask: Ask, tmp_path: Path) -> None:
    assert heard("demo", dir=tmp_path, now=NOW, env={"HEARD_ID_KEY": "a5" * 32}).code == 0
    one, other = ask("trace", "C1").json, heard("trace", "C1", dir=tmp_path, now=NOW).json
    assert {n["id"] for n in one["nodes"]} & {n["id"] for n in other["nodes"]} == set()
    assert one["edges"] == other["edges"]
