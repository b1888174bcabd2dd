"""Can Heard use every message of the bundled scenario, and do they come in the promised order?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from consumers.envelope import read
from domain.ids import Ids
from domain.relations import allowed
from infra import scenario
from services.message import Message

IDS = Ids(bytes(32))
MESSAGES = scenario.messages()


def kind(message: dict[str, Any]) -> str:
    """The aggregate that the message is about."""
    return str(message["type"]).split(".")[1]


def causes(message: dict[str, Any]) -> list[tuple[str, str]]:
    """(kind, reference) of what the message rests on."""
    return [(cause["kind"], cause["ref"]) for cause in message["data"].get("causes", ())]


@pytest.mark.parametrize("line", scenario.lines(), ids=lambda line: str(orjson.loads(line)["id"]))
def test_every_line_is_a_message_that_heard_can_use(line: str) -> None:
    message = read(line.encode(), (), IDS, scenario.CLOCK)
    assert isinstance(message, Message), message.error
    assert (message.source, message.force) == (scenario.SOURCE, scenario.FORCE)
    assert (message.neighbourhood is None) == (message.kind == "force")
    assert message.neighbourhood in (None, scenario.NEIGHBOURHOOD)
    assert all(allowed(cause.relation, message.kind, cause.kind) for cause in message.causes)


def test_the_demo_runs_on_the_first_of_march_2009() -> None:
    assert datetime(2009, 3, 1, tzinfo=UTC) == scenario.CLOCK


def test_the_force_and_the_neighbourhood_come_first() -> None:
    assert [(message["type"], message["data"]["ref"]) for message in MESSAGES[:2]] == [
        ("heard.force.registered.v1", scenario.FORCE),
        ("heard.neighbourhood.registered.v1", scenario.NEIGHBOURHOOD),
    ]


def test_no_two_messages_share_an_id() -> None:
    ids = [message["id"] for message in MESSAGES]
    assert sorted(set(ids)) == sorted(ids)


def test_messages_come_in_the_order_in_which_they_became_known_and_then_happened() -> None:
    order = [(message["time"], message["data"]["occurred"]["from"]) for message in MESSAGES]
    assert order == sorted(order)


def test_every_cause_is_something_that_a_message_makes() -> None:
    things = {(kind(message), message["data"]["ref"]) for message in MESSAGES}
    assert {cause for message in MESSAGES for cause in causes(message)} <= things


def test_the_changes_come_in_before_the_decision_that_they_rest_on() -> None:
    seen: set[tuple[str, str]] = set()
    early = []
    for message in MESSAGES:
        early += [(message["data"]["ref"], ref) for what, ref in causes(message) if (what, ref) not in seen]
        seen.add((kind(message), message["data"]["ref"]))
    assert early == [("A1", "P1"), ("A3", "P1"), ("A4", "P1")]


def test_the_whole_loop_follows_from_the_first_meeting() -> None:
    thread = {"C1"}
    while (
        more := {
            message["data"]["ref"] for message in MESSAGES if thread & {ref for _, ref in causes(message)}
        }
        - thread
    ):
        thread |= more
    priorities = {message["data"]["ref"] for message in MESSAGES if kind(message) == "priority"}
    assert " ".join(sorted(thread - priorities)) == (
        "A1 A2 A3 A4 A5 C1 D1 F1 F2 N1 N1q N2 N3 N4 N6 O1 O2 O3 O4 P1 P2"
    )


def test_the_messages_are_the_lines_and_nobody_can_spoil_them_for_the_next() -> None:
    scenario.messages()[0].clear()
    assert scenario.messages() == [orjson.loads(line) for line in scenario.lines()] == MESSAGES
