"""Can a line of the log be followed back to the message that it is about?"""

from __future__ import annotations

import io
from pathlib import Path

import orjson
import pytest
import structlog

from consumers.running import run
from infra import scenario
from infra.installation import Installation
from infra.logging import configure
from infra.settings import Settings
from services.ports import Outgoing
from services.topics import INBOX


@pytest.fixture(autouse=True)
def _restored() -> object:
    yield
    structlog.reset_defaults()


def lines_of_the_scenario(dir: Path) -> list[dict[str, object]]:
    """Every line that the loops log at the level of debug."""
    stream = io.StringIO()
    configure("json", "debug", stream)
    installation = Installation(Settings(dir=dir), now=scenario.CLOCK)
    messages = [Outgoing(INBOX.name, b"", line.encode()) for line in scenario.lines()]
    installation.log.append([*messages, messages[0], Outgoing(INBOX.name, b"", b"no message")])
    try:
        run(installation.loops(), until_idle=True)
    finally:
        installation.close()
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_every_line_has_both_ids_and_those_about_a_message_name_it(tmp_path: Path) -> None:
    lines = lines_of_the_scenario(tmp_path)

    assert all({"correlation", "causation"} <= line.keys() for line in lines)
    decided = {line["correlation"] for line in lines if line["event"] == "decided"}
    assert {orjson.loads(line)["id"] for line in scenario.lines()} <= decided
    assert [line["correlation"] for line in lines if line["event"] == "duplicate"] == [
        "river-police.registered"
    ]
    assert any(line["event"] == "dead letter" for line in lines)


def test_a_duty_is_logged_with_the_event_that_started_it(tmp_path: Path) -> None:
    duties = [
        line for line in lines_of_the_scenario(tmp_path) if str(line.get("type", "")).startswith("heard.duty")
    ]

    assert duties
    assert all(line["causation"] for line in duties)
    assert all(line["correlation"] for line in duties)
