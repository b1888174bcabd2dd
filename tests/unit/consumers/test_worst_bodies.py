"""What is the most that one body can cost, however it is shaped, and what is kept of it?"""

from __future__ import annotations

import gc
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from consumers.envelope import Unusable, read
from consumers.shape import MEMBERS
from domain.catalogue import EVENTS
from domain.event import MAX_CAUSES, Reported
from domain.ids import Ids
from services.message import Message as Read
from services.topics import INBOX
from tests.support.messages import concern, message

NOW: Final = datetime(2026, 1, 10, tzinfo=UTC)
IDS: Final = Ids(bytes(32))
STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)
COST: Final = 0.05
"""Seconds of processor time that a body may cost at most."""
TRIES: Final = 3
"""How often one is read: a busy machine makes each of them longer, and none shorter."""
MOST: Final = INBOX.max_bytes


def filled(begin: bytes, piece: bytes, end: bytes) -> bytes:
    """As many pieces, with commas in between, as an inbox body has room for."""
    count = (MOST - len(begin) - len(end) + 1) // (len(piece) + 1)
    return begin + b",".join([piece] * count) + end


def numbered(begin: bytes, piece: str, end: bytes) -> bytes:
    """The same of pieces that differ by the number in them."""
    pieces: list[bytes] = []
    left = MOST - len(begin) - len(end)
    while left > 0:
        pieces.append((piece % len(pieces)).encode())
        left -= len(pieces[-1]) + 1
    return begin + b",".join(pieces[:-1]) + end


def around(field: str, given: Any = None, **fields: Any) -> tuple[bytes, bytes]:
    """A message up to where the value of a field of its data stands, and what follows."""
    whole = orjson.dumps(concern("N1", **{**fields, field: "@here@" if given is None else given}))
    begin, _, end = whole.partition(b'"@here@"')
    return begin, end


def listed(field: str, piece: bytes) -> bytes:
    begin, end = around(field)
    return filled(begin + b"[", piece, b"]" + end)


def mapped(field: str, piece: str) -> bytes:
    begin, end = around(field)
    return numbered(begin + b"{", piece, b"}" + end)


def at_the_bounds(variant: int) -> bytes:
    """As many causes as a message may name, and texts as long as there is room for."""
    causes = [f"raised_in contact {variant}-{n}-{'c' * 60}" for n in range(MAX_CAUSES)]
    whole = orjson.dumps(concern("N1", *causes))
    return whole[:-1] + b',"x":"' + b"a" * (MOST - len(whole) - 7) + b'"}'


def causes_at_the_bound(variant: int) -> bytes:
    """Causes of many made-up names, or with references that are a telephone number but for the end."""
    names: dict[str, Any] = {f"a{n}": 0 for n in range(8)}
    cause = names if variant % 2 else {"ref": "+00"[variant % 3] + "-/"[variant % 4 // 2] * (400 + variant)}
    return orjson.dumps(message("feedback.sent", "F1", causes=[cause] * MEMBERS)).ljust(MOST)


def escapes(piece: bytes, variant: int) -> bytes:
    """One text of nothing but escapes."""
    begin, end = around(("words", "theme", "x", "neighbourhood")[variant // 5])
    return begin + b'"' + piece * ((MOST - len(begin) - len(end) - 2) // len(piece)) + b'"' + end


WORST: Final[dict[str, Callable[[int], bytes]]] = {
    "values where words belong": lambda n: listed(
        ("words", "sections", "reasons", "kind", "theme")[n % 5], (b"0", b'""', b"[]", b"null")[n % 4]
    ),
    "causes without what causes have": lambda n: listed(
        "causes", (b"{}", b'{"ref":1}', b'{"a":0,"b":[]}', b'{"a%d":0}' % n)[n % 4]
    ),
    "as many causes as are looked at": causes_at_the_bound,
    "a text of escapes": lambda n: escapes((b"\\\\", b'\\"', b"\\\\\\u003a", b"\\n")[n % 4], n),
    "lists in lists": lambda n: listed("occurred", b"[" * (2 + n * 12) + b"]" * (2 + n * 12)),
    "names that upstream made up": lambda n: mapped(("x", "contributor", "occurred")[n % 3], '"a%d":0'),
    "objects in objects": lambda n: mapped("contributor", '"b%d":' + '{"a":' * (1 + n) + "0" + "}" * (1 + n)),
    "U+0000 in many texts": lambda n: listed(("words", "x")[n % 2], b'"\\u0000' + b"a" * n + b'"'),
    "one name many times": lambda n: filled(
        around("x")[0] + b"{", b'"a%d":{"b":0}' % n, b"}" + around("x")[1]
    ),
    "everything at its bound": at_the_bounds,
}  # fmt: skip
"""The ten worst kinds of bodies that a search has found; each takes the number of a variant."""


def cost(body: bytes) -> float:
    """Seconds of processor time that reading it takes, the least of some tries."""
    assert len(body) <= MOST
    return min(_once(body) for _ in range(TRIES))


def _once(body: bytes) -> float:
    begun = time.process_time()
    read(body, STRUCTURED, IDS, NOW)
    return time.process_time() - begun


@pytest.mark.parametrize("kind", WORST)
def test_of_the_worst_bodies_none_costs_more_than_it_may(kind: str) -> None:
    for variant in range(20):
        body = WORST[kind](variant)
        assert len(body) > MOST - 2_000
        assert cost(body) < COST, variant


def test_nothing_is_kept_of_them() -> None:
    bodies = [make(variant) for make in WORST.values() for variant in range(20)]
    read(bodies[0], STRUCTURED, IDS, NOW)  # what is made once is made by now
    gc.collect()
    tracemalloc.start()
    try:
        kept = [read(body, STRUCTURED, IDS, NOW) for body in bodies]
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2_000_000
    assert peak < 50_000_000
    unusable = [found for found in kept if isinstance(found, Unusable)]
    assert len(unusable) == len(bodies) - 20  # of those at every bound each is a message
    for found in unusable:
        assert (found.error.__traceback__, found.error.__context__, found.error.__cause__) == (None,) * 3


def fields_of(schema: object) -> Iterator[str]:
    """Every name of a field in a JSON Schema, at any depth."""
    if isinstance(schema, dict):
        yield from schema.get("properties", ())
        for inner in schema.values():
            yield from fields_of(inner)
    elif isinstance(schema, list):
        for inner in schema:
            yield from fields_of(inner)


REPORTED: Final = sorted(name for name, event in EVENTS.items() if issubclass(event, Reported))
NAMES: Final = sorted(
    {"causes", "contributor", "actor", "occurred", "ref", "x"}.union(
        *(fields_of(EVENTS[name].model_json_schema()) for name in REPORTED)
    )
)
fragments = st.recursive(
    st.sampled_from([0, -1, 1.5, 2**63, None, True, "", "a", "é", "\0", "a@b.cd", "2026-01-05", "a" * 600]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    type_=st.sampled_from(REPORTED),
    place=st.sampled_from(NAMES),
    fragment=fragments,
    how=st.sampled_from(["list", "object", "beside", "nested"]),
    count=st.sampled_from([3, 30, 200, 499, 1_000_000]),
)
@settings(max_examples=150)
def test_a_search_for_a_worse_one_finds_none(
    type_: str, place: str, fragment: Any, how: str, count: int
) -> None:
    whole = message(type_.removeprefix("heard.").removesuffix(".v1"), "N1")
    text = orjson.dumps(fragment, option=orjson.OPT_PASSTHROUGH_DATETIME)
    room = MOST - 2_000
    times = max(1, min(count, room // (len(text) + 12)))
    match how:
        case "list":
            piece = b"[" + b",".join([text] * times) + b"]"
        case "object":
            piece = b"{" + b",".join(b'"n%d":%s' % (n, text) for n in range(times)) + b"}"
        case "beside":
            piece = text + b"".join(b',"n%d":%s' % (n, text) for n in range(times))
        case _:
            depth = min(times, 900)
            piece = b"[" * depth + text + b"]" * depth
    whole["data"][place] = "@here@"
    body = orjson.dumps(whole).replace(b'"@here@"', piece, 1)
    if len(body) > MOST:
        return
    seconds = cost(body.ljust(MOST))
    target(seconds)
    assert seconds < COST


# -- a name twice ---------------------------------------------------------------------------------

documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(st.sampled_from('ab"\\:{}[], \n\té\u2028'), max_size=6),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.sampled_from('ab"\\: é'), max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def said_twice(body: bytes) -> bool:
    """Whether it is refused because a name stands twice in one object."""
    found = read(body, STRUCTURED, IDS, NOW)
    assert isinstance(found, Unusable | Read)
    return isinstance(found, Unusable) and "twice" in found.error.message


@given(document=documents, indent=st.sampled_from([None, 0, 2]), ascii_=st.booleans())
def test_a_document_of_names_that_differ_is_never_said_to_have_one_twice(
    document: Any, indent: int | None, ascii_: bool
) -> None:
    whole = concern("N1", x=document)
    assert not said_twice(json.dumps(whole, indent=indent, ensure_ascii=ascii_).encode())


@given(document=documents, name=st.sampled_from(["a", 'a"b', "\\", "é:", ""]), depth=st.integers(0, 4))
def test_a_name_that_stands_twice_is_found_at_any_depth(document: Any, name: str, depth: int) -> None:
    told = json.dumps(name)
    twice = f"{{{told}: {json.dumps(document)}, {told} : 1}}"
    for _ in range(depth):
        twice = f'[0, {{"in": {twice}}}]'
    body = json.dumps(concern("N1", x="@here@")).replace('"@here@"', twice, 1)
    assert said_twice(body.encode())


@pytest.mark.parametrize(
    ("data", "twice"),
    [
        (r'{"x":"\u003a"}', False),
        (r'{"x":"\u003A\u003a:"}', False),
        (r'{"a\u003ab":1}', False),
        (r'{"x":"\\u003a"}', False),
        (r'{"x":"\\\u003a"}', False),
        (r'{"\u003a":1,":":2}', True),
        (r'{"x":"\\u003a","x":1}', True),
        (r'{"a":"b","\u0061":"c"}', True),
    ],
)
def test_a_colon_in_text_is_none_however_it_is_written(data: str, twice: bool) -> None:
    body = json.dumps(concern("N1", x="@here@")).replace('"@here@"', data, 1)
    assert said_twice(body.encode()) is twice


@pytest.mark.parametrize("field", ["specversion", "id", "source", "type", "data"])
def test_an_attribute_that_stands_twice_is_found(field: str) -> None:
    body = orjson.dumps(concern("N1"))
    again = orjson.dumps({field: "x"})[1:-1]
    assert said_twice(body[:-1] + b"," + again + b"}")


def test_a_name_that_stands_twice_in_the_data_of_binary_mode_is_found() -> None:
    headers = (
        ("content-type", b"application/json"), ("ce_specversion", b"1.0"), ("ce_id", b"1"),
        ("ce_source", b"/s"), ("ce_type", b"heard.concern.raised.v1"),
    )  # fmt: skip
    found = read(b'{"ref":"a","ref":"b"}', headers, IDS, NOW)
    assert isinstance(found, Unusable)
    assert (found.error.code, "twice" in found.error.message) == ("not_json", True)
    twice = read(b"{}", (*headers, ("ce_id", b"2")), IDS, NOW)
    assert isinstance(twice, Unusable)
    assert twice.error.code == "not_a_cloudevent"


# -- whatever it is, it is answered ---------------------------------------------------------------

ODD: Final[Sequence[bytes | None]] = (
    None, b"", b"[]", b'"x"', b"1", b"null", b"NaN", b"Infinity", b'{"a":1e400}',
    b'{"a":' + b"9" * 400 + b"}",
    b'{"a":"\\ud800"}', b"\xef\xbb\xbf{}", b"{}", b'{"id":1}', b"\xff", b"[" * 5_000, b"{" * 5_000,
)  # fmt: skip


@pytest.mark.parametrize("body", ODD, ids=lambda body: repr(body)[:20])
@pytest.mark.parametrize(
    "headers",
    [
        (),
        STRUCTURED,
        (("content-type", b"\xff\xfe"),),
        (("content-type", b"application/json"), ("ce_id", b"\xff")),
        (("content-type", b"application/json"), ("ce_data", b"x"), ("ce_", b"")),
        STRUCTURED * 2,
    ],
)
def test_what_is_no_message_is_said_to_be_none(
    body: bytes | None, headers: tuple[tuple[str, bytes], ...]
) -> None:
    assert isinstance(read(body, headers, IDS, NOW), Unusable)
