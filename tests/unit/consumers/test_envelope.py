"""What does reading an envelope cost, and what does it say of what upstream made up?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumers import envelope
from consumers.envelope import Head, Unusable, read
from consumers.shape import MEMBERS, VALUES
from domain.catalogue import EVENTS, schema
from domain.errors import InvalidMessageError
from domain.event import Reported
from domain.ids import Ids
from services.message import Message as Read
from tests.support.messages import Message, concern

NOW = datetime(2026, 1, 10, tzinfo=UTC)
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
BINARY = (
    ("content-type", b"application/json"), ("ce_specversion", b"1.0"), ("ce_id", b"1"),
    ("ce_source", b"/s"), ("ce_type", b"heard.concern.raised.v1"),
)  # fmt: skip


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


# -- how much a message may hold -----------------------------------------------------------------


def holding(**fields: Any) -> Message:
    """A concern with these fields as well."""
    given = concern("N1")
    given["data"] |= fields
    return given


def causes(count: int) -> list[Mapping[str, str]]:
    """Causes that differ."""
    return [{"relation": "raised_in", "kind": "contact", "ref": f"C{at}"} for at in range(count)]


def _largest(model: Mapping[str, Any], whole: Mapping[str, Any]) -> tuple[int, int]:
    """How many values one of this JSON Schema has at most, itself among them, and its longest list."""
    if "$ref" in model:
        return _largest(whole["$defs"][model["$ref"].rpartition("/")[2]], whole)
    inner = [_largest(each, whole) for each in model.get("anyOf", model.get("properties", {}).values())]
    if "anyOf" in model:
        return max(inner)
    if model.get("type") == "array":
        values, longest = _largest(model["items"], whole)
        many = model.get("maxItems", MEMBERS)  # of causes there may be more than stay when equal ones go
        return 1 + many * values, max(many, longest)
    return 1 + sum(values for values, _ in inner), max((0, *(longest for _, longest in inner)))


@pytest.mark.parametrize(
    "type_", sorted(name for name, event in EVENTS.items() if issubclass(event, Reported))
)
def test_every_message_that_the_catalogue_allows_is_of_a_shape_that_is_read(type_: str) -> None:
    parts = [_largest(each, each) for each in (Head.model_json_schema(), schema(EVENTS[type_]))]
    assert max(longest for _, longest in parts) <= MEMBERS
    assert sum(values for values, _ in parts) + 100 <= VALUES  # and a hundred attributes besides


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"causes": causes(200)}, None, None),
        ({"causes": causes(200) * 2}, None, None),
        ({"causes": causes(201)}, "too_large", "data.causes"),
        ({"causes": causes(500)}, "too_large", "data.causes"),
        ({"causes": causes(501)}, "too_large", "data.causes"),
        ({"causes": [0] * 501}, "too_large", "data.causes"),
        ({"causes": [{"ref": [0] * 501}]}, "field_invalid", "data.causes.0.ref"),
        ({"kind": [0] * 500}, "field_invalid", "data.kind"),
        ({"kind": [0] * 501}, "field_invalid", "data.kind"),
        ({"contributor": {"ref": "c1", "maria": [0] * 501}}, "field_invalid", "data.contributor.?"),
        ({f"maria{at}": 0 for at in range(501)}, "field_invalid", "data"),
        ({"contributor": {f"maria{at}": 0 for at in range(501)}}, "field_invalid", "data.contributor"),
        ({"words": [[0] * 500] * 10}, "field_invalid", ""),
        ({"words": [[[]] * 500] * 10}, "field_invalid", ""),
        ({"words": [[[[[[[[[[0] * 501]]]]]]]]]}, "field_invalid", "data.words.0.0.0.0.0.0"),
        ({"words": ",[{" * 5_000}, None, None),
        ({"words": '"[\\"{' * 3_000}, None, None),
    ],
    ids=range(17),
)
def test_a_list_an_object_or_a_body_holds_no_more_than_a_message_may(
    fields: Mapping[str, Any], code: str | None, field: str | None
) -> None:
    error = outcome(holding(**fields))
    if error is None:
        assert code is None
        return
    assert (error.code, error.field) == (code, field)
    assert "maria" not in f"{error.message} {error.expected} {error.got} {error.hint}"


def test_what_no_message_has_in_the_data_of_binary_mode_is_named_by_its_field() -> None:
    data = orjson.dumps(holding(kind=[0] * 501)["data"])
    found = read(data, BINARY, Ids(bytes(32)), NOW)
    assert isinstance(found, Unusable)
    assert (found.error.code, found.error.field) == ("field_invalid", "data.kind")


def test_text_with_the_character_nul_in_the_data_of_binary_mode_is_named_by_its_field() -> None:
    data = orjson.dumps(holding(words="x\0")["data"])
    found = read(data, BINARY, Ids(bytes(32)), NOW)
    assert isinstance(found, Unusable)
    assert (found.error.code, found.error.field) == ("field_invalid", "data.words")
    assert (found.source, found.id) == ("/s", "1")


# -- what is kept, and what is ambiguous ---------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"", b"\xff", b"{", b"[" * 300 + b"]" * 300, b'{"a":1,"a":2}',
        orjson.dumps(holding(kind="no such")), orjson.dumps(holding(occurred={"kind": "date", "from": "?"})),
        orjson.dumps(holding(kind=[0] * 501)), orjson.dumps(holding(words=[[[]] * 500] * 10)),
        orjson.dumps(concern("N1") | {"time": "yesterday"}),
    ],
    ids=range(10),
)  # fmt: skip
def test_of_how_an_error_came_about_nothing_is_kept(body: bytes) -> None:
    found = read(body, STRUCTURED, Ids(bytes(32)), NOW)
    assert isinstance(found, Unusable)
    assert (found.error.__traceback__, found.error.__context__, found.error.__cause__) == (None, None, None)


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ((*BINARY, ("ce_id", b"2")), True),
        ((*BINARY, ("ce_id", b"1")), True),
        ((*BINARY, ("content-type", b"application/cloudevents+json")), True),
        ((*BINARY, ("ce_traceparent", b"x"), ("ce_traceparent", b"x")), True),
        ((*BINARY, ("traceparent", b"x"), ("traceparent", b"y")), False),
        (BINARY, False),
    ],
)
def test_a_header_that_is_read_stands_once(headers: tuple[tuple[str, bytes], ...], refused: bool) -> None:
    found = read(orjson.dumps(concern("N1")["data"]), headers, Ids(bytes(32)), NOW)
    assert isinstance(found, Unusable) is refused
    assert isinstance(found, Read) or found.error.code == "not_a_cloudevent"


def test_in_structured_mode_only_the_type_of_content_is_read_of_the_headers() -> None:
    body, ids = orjson.dumps(concern("N1")), Ids(bytes(32))
    assert isinstance(read(body, (*STRUCTURED, ("ce_id", b"1"), ("ce_id", b"2")), ids, NOW), Read)
    assert isinstance(read(body, STRUCTURED * 2, ids, NOW), Unusable)


@given(
    st.binary(max_size=60)
    | st.sampled_from([orjson.dumps(concern("N1")), orjson.dumps(concern("N1")["data"])]),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["content-type", "ce_type", "ce_id", "ce_source", "ce_specversion", "ce_data", "ce_"]
            )
            | st.text(st.characters(), max_size=9).map("ce_".__add__),
            st.binary(max_size=9)
            | st.sampled_from([b"1.0", b"application/json", b"heard.concern.raised.v1"]),
        ),
        max_size=7,
    ),
)
def test_whatever_comes_is_answered(body: bytes, headers: list[tuple[str, bytes]]) -> None:
    assert isinstance(read(body, headers, Ids(bytes(32)), NOW), Read | Unusable)
