"""What does reading an envelope cost, and what does it say of what upstream made up?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from consumers import envelope
from consumers.envelope import Unusable, read
from domain.errors import InvalidMessageError
from domain.ids import Ids
from services.message import Message as Read
from tests.support.messages import Message, concern

NOW = datetime(2026, 1, 10, tzinfo=UTC)
STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def outcome(given: Message) -> InvalidMessageError | None:
    """What is wrong with it."""
    found = read(orjson.dumps(given), STRUCTURED, Ids(bytes(32)), NOW)
    assert isinstance(found, Unusable | Read)
    return found.error if isinstance(found, Unusable) else None


class Counting:
    """A pattern that notes how long the texts are that it is applied to."""

    def __init__(self, pattern: re.Pattern[str], seen: list[int]) -> None:
        self._pattern, self._seen = pattern, seen

    def search(self, text: str) -> re.Match[str] | None:
        self._seen.append(len(text))
        return self._pattern.search(text)

    def match(self, text: str) -> re.Match[str] | None:
        self._seen.append(len(text))
        return self._pattern.match(text)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How long each text was in which something personal was looked for."""
    lengths: list[int] = []
    for name in ("_MAIL", "_PHONE"):
        monkeypatch.setattr(envelope, name, Counting(getattr(envelope, name), lengths))
    return lengths


def _with_ref(where: str, ref: str) -> Message:
    cause = {"relation": "raised_in", "kind": "contact", "ref": "C1"}
    fields: Mapping[str, Mapping[str, Any]] = {
        "data.ref": {"ref": ref},
        "data.actor.ref": {"actor": {"role": "upstream", "ref": ref}},
        "data.contributor.ref": {"contributor": {"ref": ref}},
        "data.causes.1.ref": {"causes": [cause, {**cause, "ref": ref}]},
        "data.causes.1.source": {"causes": [cause, {**cause, "source": ref}]},
    }
    given = concern("N1")
    given["data"] |= fields[where]
    return given


WHERE = ["data.ref", "data.actor.ref", "data.contributor.ref", "data.causes.1.ref", "data.causes.1.source"]


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("length", [513, 250_000])
def test_a_reference_that_is_too_long_is_refused_before_anything_is_looked_for_in_it(
    where: str, length: int, seen: list[int]
) -> None:
    error = outcome(_with_ref(where, "a" * length))
    assert error is not None
    assert (error.code, error.field) == ("field_invalid", where)
    assert max(seen) <= 512


@pytest.mark.parametrize("where", WHERE)
def test_a_reference_of_any_length_that_is_allowed_is_looked_at(where: str, seen: list[int]) -> None:
    mail = "a" * 500 + "@b.example"
    error = outcome(_with_ref(where, mail))
    assert error is not None
    assert (error.code, error.field) == ("personal_reference", where)
    assert max(seen) == len(mail)


@pytest.mark.parametrize(
    ("text", "mail"),
    [
        ("a@b.c", True),
        ("name <maria@post.example>", True),
        ("a@b@c.d", True),
        ("a@b", False),
        ("@b.c", False),
        ("a@.c", False),
        ("a@b.", False),
        ("a @b.c", False),
        ("a@b c.d", False),
    ],
)
def test_an_address_is_known_by_what_stands_around_the_sign(text: str, mail: bool) -> None:
    assert bool(envelope._MAIL.search(text)) is mail


# -- names that upstream made up -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"maria_gonzalez": "x"}, "data.?"),
        ({"maria_gonzalez": "x\0"}, "data.?"),
        ({"actor": {"role": "upstream", "maria_gonzalez": 1}}, "data.actor.?"),
        ({"contributor": {"ref": "c1", "maria": 1}}, "data.contributor.?"),
        ({"contributor": {"ref": "c1", "maria": {"name": "x\0"}}}, "data.contributor.?.name"),
        ({"occurred": {"kind": "date", "from": 7}}, "data.occurred"),
        ({"causes": [{"relation": "raised_in", "kind": "contact", "ref": 7}]}, "data.causes.0.ref"),
        ({"contributor": {"ref": "c1", "may_contact": "x"}}, "data.contributor.may_contact"),
        ({"words": 7}, "data.words"),
        ({"words": "x\0"}, "data.words"),
        ({"properties": 7}, "data.?"),
    ],
)
def test_only_fields_that_heard_knows_are_named(fields: Mapping[str, Any], field: str) -> None:
    given = concern("N1")
    given["data"] |= fields
    error = outcome(given)
    assert error is not None
    assert error.field == field
    assert "maria" not in f"{error.message} {error.expected} {error.got} {error.hint}"
