"""Did an importer give messages that Heard can use, each under an id of its own?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TypedDict

import orjson

from consumers.envelope import read
from domain.ids import Ids
from services.message import Message

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Where(TypedDict):
    """Where an import belongs, as an importer takes it."""

    force: str
    neighbourhood: str
    source: str


def usable(messages: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The messages, once each has come through the envelope as a line of NDJSON would."""
    given = list(messages)
    ids = Ids(b"0" * 32)
    for one in given:
        result = read(orjson.dumps(one), [], ids, NOW)
        assert isinstance(result, Message), (result.error.message, result.error.field, one)
    names = [(one["source"], one["id"]) for one in given]
    assert len(set(names)) == len(names)
    return given


def of(messages: Iterable[dict[str, Any]], fact: str) -> list[dict[str, Any]]:
    """Those that report one fact: `concern.raised`, `support.given` …"""
    return [one for one in messages if one["type"] == f"heard.{fact}.v1"]
