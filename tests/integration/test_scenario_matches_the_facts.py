"""Does the bundled scenario say what the real ward's facts say, in words of its own?"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from infra import scenario
from tests.support.requires import shared_data

Fact = dict[str, Any]

TYPES = {
    "contact": "engagement.held",
    "contact_planned": "engagement.planned",
    "concern": "concern.raised",
    "preference": "concern.raised",
    "request": "concern.raised",
    "question": "concern.raised",
    "proposed_response": "decision.proposed",
    "priority_set": "decision.made",
    "explained_constraint": "decision.made",
    "referred": "referral.made",
    "action": "change.implemented",
    "action_offered": "change.planned",
    "feedback": "feedback.sent",
}
"""What each kind of fact becomes."""
OUTCOMES = {"P1": "adopted_as_priority", "P2": "adopted_as_priority", "D1": "declined", "D2": "no_change"}
CHANNELS = {"F1": "website", "F2": "meeting", "F3": "meeting_note"}
LEFT_OUT = {("reasons", "F3"): "it is the answer to D3", ("change", "F3"): "not mapped"}
RUN = 6
"""So many words in a row would be a copy."""


@pytest.fixture(scope="module")
def facts() -> dict[str, Fact]:
    """The facts, by id."""
    chain = shared_data("stmargarets-plg-derived") / "chain.jsonl"
    return {fact["id"]: fact for fact in map(orjson.loads, chain.read_text().splitlines())}


@pytest.fixture(scope="module")
def told(facts: dict[str, Fact]) -> dict[str, list[Fact]]:
    """The scenario's messages about each of the facts, the one that makes it first."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for message in scenario.messages():
        if message["data"]["ref"] in facts:
            found[message["data"]["ref"]].append(message)
    return dict(found)


def type_of(message: Fact) -> str:
    """`aggregate.fact`."""
    return str(message["type"]).removeprefix("heard.").removesuffix(".v1")


def derived() -> list[Fact]:
    """The messages about priorities, each of which a decision sets, reviews or closes."""
    return [message for message in scenario.messages() if type_of(message).startswith("priority.")]


def day(text: str) -> dict[str, str]:
    """That it occurred on a day."""
    return {"kind": "date", "from": text}


def test_every_fact_is_there_and_nothing_else_but_the_place_and_the_priorities(
    facts: dict[str, Fact], told: dict[str, list[Fact]]
) -> None:
    assert told.keys() == facts.keys()
    others = [m for m in scenario.messages() if m["data"]["ref"] not in facts]
    assert [m for m in others if m not in derived()] == scenario.messages()[:2]


def test_every_fact_becomes_what_the_mapping_says(
    facts: dict[str, Fact], told: dict[str, list[Fact]]
) -> None:
    for id_, fact in facts.items():
        first, *later = told[id_]
        assert type_of(first) == TYPES[fact["kind"]], id_
        if type_of(first) == "concern.raised":
            assert first["data"]["kind"] == fact["kind"], id_
        assert [type_of(message) for message in later] == {
            "A1": ["change.measured", "change.measured"],
            "A3": ["change.measured", "change.measured"],
            "D3": ["referral.answered"],
        }.get(id_, []), id_


def test_it_became_known_when_it_was_published(facts: dict[str, Fact], told: dict[str, list[Fact]]) -> None:
    known = {id_: f"{fact['known_from']}T00:00:00Z" for id_, fact in facts.items()}
    assert {id_: messages[0]["time"] for id_, messages in told.items()} == known
    later = {message["id"]: message["time"] for messages in told.values() for message in messages[1:]}
    assert set(later.values()) == {known["F2"]} == {known["F3"]}


def test_it_occurred_when_the_fact_says(facts: dict[str, Fact], told: dict[str, list[Fact]]) -> None:
    for id_, fact in facts.items():
        occurred = told[id_][0]["data"]["occurred"]
        if fact["kind"] == "contact_planned":
            assert occurred == day(fact["known_from"])
            assert told[id_][0]["data"]["planned_for"] == fact["occurred_on"]
        elif "occurred_between" in fact:
            start, end = fact["occurred_between"]
            assert fact["occurred_on"] is None
            assert occurred == {"kind": "interval", "from": start, "to": end}, id_
        else:
            assert occurred == day(fact["occurred_on"]), id_


def test_it_rests_on_what_the_fact_is_linked_to(facts: dict[str, Fact], told: dict[str, list[Fact]]) -> None:
    links = {
        id_: sorted(cause["ref"] for message in messages for cause in message["data"].get("causes", ()))
        for id_, messages in told.items()
    }
    assert links == {id_: sorted(fact["links"]) for id_, fact in facts.items()}


def test_each_link_has_the_relation_that_the_mapping_gives_it(told: dict[str, list[Fact]]) -> None:
    usual = {
        "concern.raised": "raised_in",
        "decision.proposed": "derived_from",
        "decision.made": "derived_from",
        "change.implemented": "derived_from",
        "change.planned": "derived_from",
        "feedback.sent": "reports_on",
    }
    named = {
        "N1q N1": "prompted_by", "N4 A1": "prompted_by", "N4 A3": "prompted_by", "N6 N4": "prompted_by",
        "C4 C3": "prompted_by", "D1 N6": "weighed", "D2 N5": "weighed", "D3 N7": "refers",
        "P2 P1": "supersedes", "F2 C3": "told_at", "F3 N7": "answers",
    }  # fmt: skip
    for id_, messages in told.items():
        for cause in messages[0]["data"].get("causes", ()):
            link = f"{id_} {cause['ref']}"
            assert cause["relation"] == (named.get(link) or usual[type_of(messages[0])]), link


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("method", "method"), ("attendance", "attendance"), ("theme", "theme"), ("section", "section"),
        ("partner", "partner"), ("reasons", "reasons"), ("change", "kind"),
    ],
)  # fmt: skip
def test_codes_and_counts_are_kept(
    facts: dict[str, Fact], told: dict[str, list[Fact]], theirs: str, ours: str
) -> None:
    for id_, fact in facts.items():
        if (theirs, id_) in LEFT_OUT:
            assert ours not in told[id_][0]["data"]
        elif theirs in fact:
            wanted = fact[theirs].replace(" ", "_") if isinstance(fact[theirs], str) else fact[theirs]
            assert told[id_][0]["data"][ours] == wanted, id_
        elif ours != "kind":
            assert ours not in told[id_][0]["data"], id_


def test_a_place_is_called_by_its_letter(facts: dict[str, Fact], told: dict[str, list[Fact]]) -> None:
    places = {
        id_: fact["place"] for id_, fact in facts.items() if "place" in fact and fact["kind"] != "action"
    }
    data = {id_: messages[0]["data"] for id_, messages in told.items()}
    named = {
        id_: d.get("address", d.get("place")) for id_, d in data.items() if "address" in d or "place" in d
    }
    assert named == places


def test_outcomes_and_channels_are_those_of_the_mapping(told: dict[str, list[Fact]]) -> None:
    data = {id_: messages[0]["data"] for id_, messages in told.items()}
    assert {id_: d["outcome"] for id_, d in data.items() if "outcome" in d} == OUTCOMES
    assert {id_: d["channel"] for id_, d in data.items() if "channel" in d} == CHANNELS
    assert {d["audience"] for d in data.values() if "audience" in d} == {"public"}


def test_the_partner_answered_with_the_reason_that_people_were_told(
    facts: dict[str, Fact], told: dict[str, list[Fact]]
) -> None:
    answer = told["D3"][1]["data"]
    assert answer["reasons"] == facts["F3"]["reasons"]
    assert answer["occurred"] == day(facts["F3"]["occurred_on"])
    assert "causes" not in answer


def test_the_figures_that_people_were_told_are_measured_on_both_changes(
    facts: dict[str, Fact], told: dict[str, list[Fact]]
) -> None:
    for id_ in ("A1", "A3"):
        measured = [message["data"] for message in told[id_][1:]]
        assert {data["measure"]: data["after"] for data in measured} == facts["F2"]["result"]
        assert not any("before" in data or "causes" in data for data in measured)
        assert all(data["occurred"] == day(facts["F2"]["occurred_on"]) for data in measured)


def test_each_issue_is_a_priority_of_its_own_because_of_the_decision_that_names_it(
    facts: dict[str, Fact],
) -> None:
    for id_ in ("P1", "P2"):
        because = [{"relation": "derived_from", "ref": id_, "kind": "decision"}]
        mine = [message for message in derived() if message["data"]["causes"] == because]
        assert {message["time"] for message in mine} == {f"{facts[id_]['known_from']}T00:00:00Z"}
        assert all(message["data"]["occurred"] == day(facts[id_]["occurred_on"]) for message in mine)
        done: dict[str, set[str]] = defaultdict(set)
        for message in mine:
            done[type_of(message)].add(message["data"]["ref"])
        before = set(facts["P1"]["priorities"]) if id_ == "P2" else set()
        after = set(facts[id_]["priorities"])
        expected = {"set": after - before, "reviewed": after & before, "closed": before - after}
        assert done == {f"priority.{fact}": refs for fact, refs in expected.items() if refs}


def test_robbery_was_closed_because_it_fell_from_15_to_2() -> None:
    (closed,) = [message["data"] for message in derived() if type_of(message) == "priority.closed"]
    assert closed["ref"] == "robbery"
    assert (closed["measure"], closed["before"], closed["after"]) == ("personal_robbery", 15, 2)


def runs(text: str) -> Iterator[tuple[str, ...]]:
    """Every run of so many words in the text, whatever stands between the words."""
    words = re.findall(r"[^\W_]+", text.lower())
    return (tuple(words[at : at + RUN]) for at in range(len(words) - RUN + 1))


def texts(given: object) -> Iterator[str]:
    """Every text in a message."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        for inner in given.values():
            yield from texts(inner)
    elif isinstance(given, list):
        for inner in given:
            yield from texts(inner)


def test_the_words_are_our_own(facts: dict[str, Fact]) -> None:
    theirs = {run for fact in facts.values() for run in runs(fact["text"])}
    ours = {run for message in scenario.messages() for text in texts(message) for run in runs(text)}
    assert theirs & ours == set()


def test_a_copied_sentence_is_found(facts: dict[str, Fact]) -> None:
    copied = {"words": [f"As it says: {facts['A2']['text'].upper()}"]}
    assert set(runs(facts["A2"]["text"])) & {run for text in texts(copied) for run in runs(text)}
