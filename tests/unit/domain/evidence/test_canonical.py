"""Is a value written in one way only, and is what has no such way refused?"""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import HeardError
from domain.evidence.canonical import NotCanonicalError, encode

LARGEST = 2**53 - 1
documents = st.recursive(
    st.none() | st.booleans() | st.integers(-LARGEST, LARGEST) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(max_codepoint=127)), inner),
)


class Colour(StrEnum):
    RED = "red"


class Name(str):
    __slots__ = ()


@given(documents)
def test_the_bytes_are_those_of_rfc_8785(document: Any) -> None:
    assert encode(document) == rfc8785.dumps(document)


def test_keys_are_sorted_and_nothing_is_spaced() -> None:
    assert encode({"b": [1, (True, None)], "a": "é\u2028\x7f\n\x01"}) == (
        '{"a":"é\u2028\x7f\\n\\u0001","b":[1,[true,null]]}'.encode()
    )


@pytest.mark.parametrize(
    "value",
    [
        1.0,
        float("nan"),
        LARGEST + 1,
        -LARGEST - 1,
        2**70,
        {"é": 1},
        {1: 1},
        {Name("a"): 1},
        {None: 1},
        "\ud800",
        {"\ud800": 1},
        b"bytes",
        {1, 2},
        Colour.RED,
        Name("a"),
        datetime(2026, 11, 1, tzinfo=UTC),
        date(2026, 11, 1),
        UUID(int=1),
        Decimal(1),
        pytest.param(object(), id="object"),
    ],
    ids=repr,
)
def test_what_has_no_canonical_form_is_refused_at_any_depth(value: object) -> None:
    for document in (value, [value], {"a": {"b": (1, [value])}}):
        with pytest.raises(NotCanonicalError):
            encode(document)


def test_the_refusal_says_what_is_at_fault_and_where_but_not_the_value() -> None:
    with pytest.raises(NotCanonicalError) as refusal:
        encode({"pub": {"counts": [1, 2, 51.4779]}})
    assert refusal.value.got == "/pub/counts/2: a float"
    assert "51.4779" not in repr(vars(refusal.value))
    assert isinstance(refusal.value, HeardError)
    assert isinstance(refusal.value, ValueError)


def test_a_document_within_itself_is_refused() -> None:
    document: list[object] = []
    document.append(document)
    with pytest.raises(NotCanonicalError):
        encode(document)


def test_a_document_deeper_than_any_event_is_refused() -> None:
    document: object = 1
    for _ in range(5_000):
        document = [document]
    with pytest.raises(NotCanonicalError):
        encode(document)
