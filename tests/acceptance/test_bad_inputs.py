"""What becomes of a message that cannot be used, however it comes in, and does every count still add up?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest

from domain.errors import DEAD_LETTER_CODES, InvalidMessageError
from infra.installation import Installation
from infra.settings import Settings
from services.ports import Outgoing
from services.topics import INBOX
from tests.support.messages import SOURCE, Message, concern, lines, message
from tests.support.program import Answer, environment, heard
from tests.support.requires import ROOT

NOW = "2026-01-10"
LATER = "2026-02-10"
"""More than 30 days after NOW."""
OUTCOMES = ("accepted", "no_change", "duplicates", "parked", "dead_letters")
LONG = "x" * 400

Row = dict[str, Any]


@dataclass(frozen=True)
class Bad:
    """A bad input: what it is, its bytes, why it cannot be used, and what has to be there for that."""

    what: str
    code: str
    field: str
    body: bytes
    seen: bool = True
    """Whether the message alone shows it, so that `publish` refuses it."""
    before: tuple[Message, ...] = ()
    reason: str = ""
    then: str = NOW
    """When the message has ended."""


def bad(what: str, code: str, field: str, given: Message, **rest: Any) -> Bad:
    """A bad input that is a message."""
    return Bad(what, code, field, orjson.dumps(given), **rest)


def without(given: Message, *path: str) -> Message:
    """The message without that field."""
    changed: Message = orjson.loads(orjson.dumps(given))
    holder = changed
    for name in path[:-1]:
        holder = holder[name]
    del holder[path[-1]]
    return changed


def decision(ref: str, *causes: str, **fields: Any) -> Message:
    """A decision that delivers."""
    return message("decision.made", ref, *causes, **{"outcome": "changed_delivery", **fields})


def heavy(ref: str) -> Message:
    """A decision of 200 causes whose event passes 32 kB."""
    given = decision(ref, id=f"{ref}/{LONG}", source=f"/heavy/{LONG}")
    given["data"]["causes"] = [
        {
            "relation": "derived_from", "kind": "concern", "ref": f"{ref}.{n}", "influence": "influenced",
            "source": "/test/upstream",
        }
        for n in range(200)
    ]  # fmt: skip
    return given


NEVER = "a message that makes concern absent"

TABLE: tuple[Bad, ...] = (
    Bad("no JSON", "not_json", "", b'{"specversion": "1.0", '),
    Bad("two documents", "not_json", "", b"{} {}"),
    Bad("a number that is none", "not_json", "", b'{"id": NaN}'),
    Bad("half a character", "not_json", "", rb'{"id": "\ud800"}'),
    Bad("Latin-1", "not_utf8", "", orjson.dumps(concern("b1")).replace(b"dark", "düster".encode("latin-1"))),
    Bad("a list", "not_a_cloudevent", "", b"[]"),
    Bad("only text", "not_a_cloudevent", "", b'"Hello"'),
    bad("another version of CloudEvents", "not_a_cloudevent", "", concern("b2") | {"specversion": "0.3"}),
    bad("no id", "not_a_cloudevent", "", without(concern("b3"), "id")),
    bad("a number for an id", "not_a_cloudevent", "", concern("b4") | {"id": 4}),
    bad("no source", "not_a_cloudevent", "", without(concern("b5"), "source")),
    bad("an empty type", "not_a_cloudevent", "", concern("b6") | {"type": ""}),
    bad("a type of nobody's", "unknown_type", "type", message("concern.exploded", "b7")),
    bad("another word for a type", "unknown_type", "type", concern("b8") | {"type": "concern raised"}),
    bad("what only Heard may write", "unknown_type", "type", message("duty.discharged", "b9")),
    bad("a type to come", "newer_version", "type", concern("b10") | {"type": "heard.concern.raised.v2"}),
    bad("no data", "field_missing", "data", without(concern("b11"), "data")),
    bad("no reference", "field_missing", "data.ref", without(concern("b12"), "data", "ref")),
    bad("no force", "field_missing", "data.force", without(concern("b13"), "data", "force")),
    bad("nobody who did it", "field_missing", "data.actor", without(concern("b14"), "data", "actor")),
    bad("no kind", "field_missing", "data.kind", without(concern("b15"), "data", "kind")),
    bad(
        "a neighbourhood that is not named", "field_missing", "data.neighbourhood",
        message("neighbourhood.registered", "b16", name="B", neighbourhood=None),
    ),
    bad("a kind that is none", "field_invalid", "data.kind", concern("b17", kind="complaint")),
    bad("a field too many", "field_invalid", "data.?", concern("b18", word="Light!")),
    bad("words for a number", "field_invalid", "data.attendance",
        message("engagement.held", "b19", method="survey", attendance="many")),
    bad("a fraction of a person", "field_invalid", "data.attendance",
        message("engagement.held", "b20", method="survey", attendance=2.5)),
    bad("data that is a list", "field_invalid", "data", concern("b21") | {"data": ["b21"]}),
    bad("not JSON inside", "field_invalid", "datacontenttype",
        concern("b22") | {"datacontenttype": "text/xml"}),
    bad("a NUL in the words", "field_invalid", "data.words", concern("b23", words="dark\0")),
    Bad("lists in lists without end", "field_invalid", "",
        orjson.dumps(concern("b24")).replace(b'"It is dark."', b"[" * 900 + b"]" * 900)),
    bad("lists in lists", "field_invalid", "data.words",
        concern("b25", words=orjson.loads(b"[" * 150 + b"]" * 150))),
    bad("a relation that is none", "field_invalid", "data.causes.0.relation",
        concern("b26", "caused_by concern N")),
    bad("a cause of no kind", "field_invalid", "data.causes.0.kind", concern("b27", "raised_in meeting C")),
    bad("a name that upstream made up", "field_invalid", "data.?",
        concern("b28", **{"Mrs Example, 1 High Street": "dark"})),
    bad("text for a date: occurred", "field_invalid", "data.occurred", concern("b29", occurred="yesterday")),
    bad("text for a date: a day", "field_invalid", "data.occurred",
        concern("b30", occurred={"kind": "date", "from": "last Tuesday"})),
    bad("text for a date: a moment", "field_invalid", "data.occurred",
        concern("b31", occurred={"kind": "instant", "from": "noon"})),
    bad("text for a date: an interval", "field_invalid", "data.occurred",
        concern("b32", occurred={"kind": "interval", "from": "2025-01-01", "to": "Christmas"})),
    bad("text for a date: a plan", "field_invalid", "data.planned_for",
        message("engagement.planned", "b33", method="survey", planned_for="soon")),
    bad("text for a date: a review", "field_invalid", "data.review_on",
        decision("b34", none_because="None came.", review_on="in spring")),
    bad("text for a date: known", "field_invalid", "time", concern("b35", time="today")),
    bad("a date without its time", "field_invalid", "time", concern("b36", time="2026-01-05")),
    bad("a 30th of February", "field_invalid", "data.occurred",
        concern("b37", occurred={"kind": "date", "from": "2025-02-30"})),
    bad("an interval that ends before it begins", "field_invalid", "data.occurred",
        concern("b38", occurred={"kind": "interval", "from": "2025-02-02", "to": "2025-02-01"})),
    bad("known tomorrow", "in_the_future", "time", concern("b39", time="2026-01-10T00:05:01Z")),
    bad("next week", "in_the_future", "data.occurred",
        concern("b40", occurred={"kind": "date", "from": "2026-01-17"})),
    bad("201 causes", "too_large", "data.causes",
        decision("b41", *(f"derived_from concern b41.{n}" for n in range(201)))),
    bad("an event over 32 kB", "too_large", "data", heavy("b42"), seen=False,
        before=tuple(concern(f"b42.{n}") for n in range(200))),
    bad("an id twice", "id_reused", "id", concern("b43", id="b43", words="Too bright."), seen=False,
        before=(concern("b43", id="b43"),)),
    bad("an address for a reference", "personal_reference", "data.ref", concern("jo@example.org", id="b44")),
    bad("a number for a person", "personal_reference", "data.contributor.ref",
        concern("b44", contributor={"ref": "+44 7700 900123"})),
    bad("a number for an officer", "personal_reference", "data.actor.ref",
        concern("b45", actor={"role": "officer", "ref": "020 7946 0000"})),
    bad("an address for a cause", "personal_reference", "data.causes.0.ref",
        concern("b46", "raised_in contact jo@example.org")),
    bad("an address for an id", "personal_reference", "id", concern("b47", id="jo@example.org/1")),
    bad("a decision raised in a meeting", "relation_not_allowed", "data.causes.0",
        decision("b48", "raised_in engagement C")),
    bad("feedback that is weighed", "relation_not_allowed", "data.causes.1",
        decision("b49", "derived_from feedback F", "weighed feedback F")),
    bad("a decision on nothing", "rule_broken", "", decision("b50"), seen=False,
        reason="a_decision_names_its_inputs"),
    bad("a cause that never comes", "reference_never_came", "data.causes",
        decision("b51", "derived_from concern absent"), seen=False, then=LATER, reason=NEVER),
    bad("what happened to nothing", "reference_never_came", "data.causes",
        message("concern.closed", "absent"), seen=False, then=LATER, reason=NEVER),
)  # fmt: skip


def each(table: Iterable[Bad]) -> pytest.MarkDecorator:
    """A test for each of them."""
    return pytest.mark.parametrize("given", tuple(table), ids=lambda given: f"{given.code}: {given.what}")


def balance(folder: Path, now: str = NOW) -> Row:
    """What became of the messages, as doctor says it; the counts add up."""
    answer = heard("doctor", dir=folder, now=now)
    counts: Row = answer.json["messages"]
    assert counts["read"] == sum(counts[outcome] for outcome in OUTCOMES)
    assert counts["balanced"] is True
    assert answer.code == 0
    return counts


def dead(folder: Path, *options: str) -> list[Row]:
    """The dead letters."""
    rows: list[Row] = heard("dead-letters", "list", *options, dir=folder, now=NOW).json["rows"]
    return rows


def prepare(given: Bad, folder: Path) -> None:
    """Have in the record what the bad input needs; the same again makes only duplicates."""
    if given.before:
        assert heard("publish", "-", dir=folder, now=NOW, stdin=lines(given.before)).code == 0
        consume(folder)


def consume(folder: Path, now: str = NOW, env: Mapping[str, str] | None = None) -> None:
    """Until idle."""
    answer = heard("consume", "--until-idle", dir=folder, now=now, env=env)
    assert answer.code == 0, answer.err


def ends_as_a_dead_letter(given: Bad, folder: Path) -> None:
    """Consume; it is the one dead letter, as the table says, and the counts add up."""
    consume(folder)
    expected = {"read": len(given.before) + 1, "accepted": len(given.before), "parked": 0, "dead_letters": 1}
    if given.then != NOW:
        assert balance(folder).items() >= (expected | {"parked": 1, "dead_letters": 0}).items()
        consume(folder, given.then)
    assert balance(folder, given.then).items() >= expected.items()
    (letter,) = dead(folder)
    assert (letter["code"], letter["field"], letter["status"]) == (given.code, given.field, "open")
    assert given.reason in letter["reason"]
    assert not re.search("example.org|Mrs|7700|7946", str(letter))
    shown = heard("dead-letters", "show", letter["id"], dir=folder, now=given.then).json
    assert shown == letter | {"body": given.body.decode("utf-8", "replace"), "cut": None}


# -- each way in ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def refused(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Row]:
    """What `publish` says of each input that it can see to be bad, all in one file with a good one."""
    folder = tmp_path_factory.mktemp("refused")
    seen = [given for given in TABLE if given.seen]
    file = folder / "messages.ndjson"
    file.write_bytes(lines([concern("good")]) + b"".join(given.body + b"\n" for given in seen))
    answer = heard("publish", file, dir=folder, now=NOW)
    assert (answer.code, answer.json["sent"]) == (1, 0)
    counts = balance(folder)
    assert (counts["read"], counts["waiting"]) == (0, 0)
    rejected = {row["line"]: row for row in answer.json["rejected"]}
    assert rejected.keys() == set(range(2, len(seen) + 2))
    return {given.what: rejected[line] for line, given in enumerate(seen, 2)}


@each(given for given in TABLE if given.seen)
def test_publish_refuses_what_the_message_alone_shows(given: Bad, refused: dict[str, Row]) -> None:
    line = refused[given.what]
    assert (line["code"], line["field"]) == (given.code, given.field)
    assert line["reason"]
    assert not re.search("example.org|Mrs|7700|7946", str(line))


NOTHING_IS_RUN = pytest.mark.embedded("code and documentation are read, nothing is run")
ALONE = pytest.mark.embedded("each has a record of its own; on servers all share one, in a test below")


@ALONE
@each(given for given in TABLE if not given.seen)
def test_what_only_the_record_shows_is_published_and_ends_as_a_dead_letter(
    given: Bad, tmp_path: Path
) -> None:
    prepare(given, tmp_path)
    answer = heard("publish", "-", dir=tmp_path, now=NOW, stdin=given.body + b"\n")
    assert (answer.code, answer.json) == (0, {"sent": 1, "rejected": []})
    ends_as_a_dead_letter(given, tmp_path)


@ALONE
@each(TABLE)
def test_as_raw_bytes_on_the_log_each_ends_as_a_dead_letter(given: Bad, tmp_path: Path) -> None:
    prepare(given, tmp_path)
    answer = heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=given.body + b"\n")
    assert (answer.code, answer.json) == (0, {"sent": 1, "rejected": []})
    ends_as_a_dead_letter(given, tmp_path)


def test_all_in_one_record_each_ends_as_its_own_dead_letter(tmp_path: Path) -> None:
    before = [each for given in TABLE for each in given.before]
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines(before)).code == 0
    consume(tmp_path)
    bad = b"".join(given.body + b"\n" for given in TABLE)
    assert heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=bad).json["sent"] == len(TABLE)
    told: dict[str, Row] = {}
    for now in (NOW, LATER):
        consume(tmp_path, now)
        for letter in dead(tmp_path):
            if letter["id"] not in {each["id"] for each in told.values()}:
                body = heard("dead-letters", "show", letter["id"], dir=tmp_path, now=now).json["body"]
                told[body] = letter
        ended = [given for given in TABLE if given.then <= now]
        counts = balance(tmp_path, now)
        assert (counts["accepted"], counts["dead_letters"]) == (len(before), len(ended))
        assert counts["parked"] == len(TABLE) - len(ended)
    for given in TABLE:
        letter = told[given.body.decode("utf-8", "replace")]
        assert (letter["code"], letter["field"], letter["status"]) == (given.code, given.field, "open")
        assert given.reason in letter["reason"]


ON_KAFKA = {"unreadable"}
"""What only a record of another producer can be: see tests/integration/test_hostile_records.py."""


@NOTHING_IS_RUN
def test_the_table_has_every_code_and_every_code_is_explained() -> None:
    page = (ROOT / "docs" / "dead-letters.md").read_text()
    explained = dict(re.findall(r"^\| `(\w+)` \|.*?\| (yes|no|body and causes) \|", page, re.MULTILINE))
    assert {given.code for given in TABLE} | ON_KAFKA == set(DEAD_LETTER_CODES) == explained.keys()
    for code, told in explained.items() - ((code, "no") for code in ON_KAFKA):
        seen = {given.seen for given in TABLE if given.code == code}
        assert seen == {"yes": {True}, "no": {False}, "body and causes": {True, False}}[told], code


@NOTHING_IS_RUN
def test_no_code_is_used_that_is_not_listed() -> None:
    used = set()
    for room in ("domain", "services", "consumers", "infra"):
        for path in (ROOT / room).rglob("*.py"):
            used |= set(re.findall(r'InvalidMessageError\(\s*"(\w+)"', path.read_text()))
    listed = set(DEAD_LETTER_CODES)
    assert used <= listed
    assert listed - used == ({"not_utf8", "rule_broken"} | ON_KAFKA) - used


# -- the log -------------------------------------------------------------------------------------


def on_the_log(folder: Path, value: bytes | None, **headers: bytes) -> None:
    """Put a record on the inbox as any other producer could."""
    with patch.dict(os.environ, environment(folder), clear=True):
        installation = Installation(Settings(dir=folder))
    try:
        named = tuple((name.replace("content_type", "content-type"), text) for name, text in headers.items())
        installation.log.append([Outgoing(INBOX.name, b"", value, named)])
    finally:
        installation.close()


def binary(given: Message) -> tuple[bytes, dict[str, bytes]]:
    """A message in binary mode: its data as the body, its attributes as headers."""
    attributes = {
        f"ce_{name}": str(value).encode()
        for name, value in given.items()
        if name not in ("data", "datacontenttype")
    }
    body = orjson.dumps(given["data"], option=orjson.OPT_INDENT_2)
    return body, {"content_type": b"application/json; charset=utf-8", **attributes}


def test_a_message_may_have_line_ends_and_may_come_in_binary_mode(tmp_path: Path) -> None:
    on_the_log(tmp_path, orjson.dumps(concern("N1"), option=orjson.OPT_INDENT_2))
    body, headers = binary(concern("N2"))
    on_the_log(tmp_path, body, **headers)
    # The same message in the other mode is the same message.
    on_the_log(tmp_path, orjson.dumps(concern("N2")), content_type=b"application/cloudevents+json")
    consume(tmp_path)
    counts = balance(tmp_path)
    assert (counts["accepted"], counts["duplicates"]) == (2, 1)
    assert {row["ref"] for row in heard("query", "inputs", dir=tmp_path).json["rows"]} == {"N1", "N2"}


def _on_the_log() -> Iterator[Any]:
    body, headers = binary(concern("N3"))
    yield pytest.param(None, {}, "not_json", id="a tombstone")
    yield pytest.param(b"", {}, "not_json", id="nothing")
    yield pytest.param(b"\n\n", {}, "not_json", id="only line ends")
    yield pytest.param(b"\x00\x01\x02", {}, "not_json", id="no text")
    yield pytest.param(b"PK\x03\x04\xff\xfe", {}, "not_utf8", id="an archive")
    yield pytest.param(b"\xef\xbb\xbf" + orjson.dumps(concern("N3")), {}, "not_json", id="a byte order mark")
    yield pytest.param(b"[" * 100_000, {}, "not_json", id="deeper than any document")
    yield pytest.param(
        orjson.dumps([concern("N3")]),
        {"content_type": b"application/cloudevents-batch+json"},
        "not_a_cloudevent",
        id="a batch",
    )
    yield pytest.param(
        body, {"content_type": b"application/json"}, "not_a_cloudevent", id="binary mode without attributes"
    )
    yield pytest.param(b"{\n", headers, "not_json", id="binary mode with half of its data")
    yield pytest.param(body, headers | {"ce_id": b"\xff"}, "not_utf8", id="an id that is no text")
    yield pytest.param(
        body, headers | {"content_type": b"\xff\xfe"}, "not_utf8", id="a content type that is no text"
    )
    yield pytest.param(
        body, headers | {"content_type": b"text/csv"}, "field_invalid", id="data that is no JSON"
    )


@pytest.mark.parametrize(("value", "headers", "code"), list(_on_the_log()))
def test_whatever_another_producer_puts_on_the_log_ends(
    value: bytes | None, headers: dict[str, bytes], code: str, tmp_path: Path
) -> None:
    on_the_log(tmp_path, value, **headers)
    on_the_log(tmp_path, orjson.dumps(concern("N1")))
    consume(tmp_path)
    counts = balance(tmp_path)
    assert (counts["read"], counts["accepted"], counts["dead_letters"]) == (2, 1, 1)
    (letter,) = dead(tmp_path)
    assert letter["code"] == code
    shown = heard("dead-letters", "show", letter["id"], dir=tmp_path, now=NOW)
    assert shown.json["body"] == (value or b"").decode("utf-8", "replace")


def test_a_body_of_two_megabytes_is_refused_and_nothing_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "large.ndjson"
    file.write_bytes(lines([concern("N1"), concern("N2", words="dark " * 400_000)]))
    for options in ((), ("--unchecked",)):
        answer = heard("publish", file, *options, dir=tmp_path, now=NOW)
        assert answer.code == 1
        assert answer.json["sent"] == 0
        (line,) = answer.json["rejected"]
        assert (line["line"], line["code"]) == (2, "too_large")
    with pytest.raises(InvalidMessageError) as refused:
        on_the_log(tmp_path, file.read_bytes().splitlines()[1])
    assert refused.value.code == "too_large"
    counts = balance(tmp_path)
    assert (counts["read"], counts["waiting"]) == (0, 0)


def test_a_body_of_exactly_256_kilobytes_is_taken_and_one_byte_more_is_not(tmp_path: Path) -> None:
    body = orjson.dumps(concern("N1")).ljust(INBOX.max_bytes)
    more = heard("publish", "-", dir=tmp_path, now=NOW, stdin=body + b" \n")
    assert (more.code, more.json["rejected"][0]["code"]) == (1, "too_large")
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=body + b"\n").code == 0
    consume(tmp_path)
    assert balance(tmp_path)["accepted"] == 1


# -- what refers to something to come ------------------------------------------------------------

CHAIN = (
    concern("N1"),
    message("concern.acknowledged", "N1", time="2026-01-06T09:00:00Z"),
    decision(
        "D1", "derived_from concern N1", neighbourhood="uptown", time="2026-01-07T09:00:00Z"
    ),
    message(
        "feedback.sent", "F1", "reports_on decision D1", audience="public", channel="website",
        time="2026-01-08T09:00:00Z",
    ),
)  # fmt: skip
SOME_ORDERS = pytest.mark.embedded("on servers each takes seconds, and two of them do")
KEY = {"HEARD_ID_KEY": "77" * 32}
ORDERS = [
    order if order in ((3, 2, 1, 0), (1, 3, 0, 2)) else pytest.param(order, marks=SOME_ORDERS)
    for order in permutations(range(len(CHAIN)))
]


def story(folder: Path) -> list[Answer]:
    """What the record says of the chain."""
    calls = (("trace", "N1"), ("query", "feedback_owed"), ("query", "worklist"))
    return [heard(*call, dir=folder, now=NOW) for call in calls]


@pytest.fixture(scope="module")
def in_order(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> list[Answer]:
    """What the record says when everything comes in its order."""
    folder = tmp_path_factory.mktemp("in-order")
    assert heard("publish", "-", dir=folder, now=NOW, env=KEY, stdin=lines(CHAIN)).code == 0
    consume(folder)
    told = story(folder)
    assert {edge["effect"] for edge in told[0].json["edges"]} == {"D1", "F1"}
    assert all(answer.code == 0 for answer in told)
    return told


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(map(str, order)))
def test_in_one_batch_the_order_makes_no_difference(
    order: tuple[int, ...], in_order: list[Answer], tmp_path: Path
) -> None:
    given = lines(CHAIN[at] for at in order)
    assert heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, env=KEY, stdin=given).code == 0
    consume(tmp_path, env=KEY)  # on servers it is the first to need the id key
    counts = balance(tmp_path)
    assert (counts["accepted"], counts["parked"]) == (len(CHAIN), 0)
    assert story(tmp_path) == in_order


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: "-".join(map(str, order)))
def test_one_by_one_each_waits_for_what_it_refers_to(
    order: tuple[int, ...], in_order: list[Answer], tmp_path: Path
) -> None:
    needs = {0: set[int](), 1: {0}, 2: {0}, 3: {0, 2}}
    come: set[int] = set()
    for at in order:
        given = lines([CHAIN[at]])
        assert heard("publish", "-", dir=tmp_path, now=NOW, env=KEY, stdin=given).code == 0
        consume(tmp_path)
        come.add(at)
        counts = balance(tmp_path)
        waiting = {each for each in come if not needs[each] <= come}
        assert (counts["accepted"], counts["parked"]) == (len(come - waiting), len(waiting))
    assert story(tmp_path) == in_order


def test_what_waits_is_listed_with_what_it_waits_for(tmp_path: Path) -> None:
    given = lines([CHAIN[3], CHAIN[1], concern("N2", "raised_in contact K1")])
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=given).code == 0
    consume(tmp_path)
    rows = heard("parked", "list", dir=tmp_path, now=NOW).json["rows"]
    assert {row["message_id"]: row["waiting_for"] for row in rows} == {
        CHAIN[3]["id"]: "decision D1", CHAIN[1]["id"]: "concern N1", "N2.concern.raised": "contact K1",
    }  # fmt: skip
    assert {(row["source"], row["since"]) for row in rows} == {(SOURCE, "2026-01-10T00:00:00.000000Z")}


def test_what_comes_on_the_thirtieth_day_is_in_time_and_a_moment_later_it_is_not(tmp_path: Path) -> None:
    waits = decision("D1", "derived_from concern N1")
    for name, now, state in (
        ("in-time", "2026-02-09T00:00:00Z", "accepted"),
        ("late", "2026-02-09T00:00:00.000001Z", "dead_letters"),
    ):
        folder = tmp_path / name
        assert heard("publish", "-", dir=folder, now=NOW, stdin=lines([waits])).code == 0
        consume(folder)
        (row,) = heard("parked", "list", dir=folder, now=NOW).json["rows"]
        assert (row["waiting_for"], row["since"]) == ("concern N1", "2026-01-10T00:00:00.000000Z")
        assert heard("publish", "-", dir=folder, now=now, stdin=lines([concern("N1")])).code == 0
        consume(folder, now)
        assert balance(folder, now)[state] == (2 if state == "accepted" else 1)


# -- retry and discard ---------------------------------------------------------------------------


def the_letter(folder: Path) -> str:
    """The id of the one open dead letter."""
    (row,) = dead(folder, "--status", "open")
    return str(row["id"])


def test_what_came_too_early_is_accepted_when_it_is_tried_again(tmp_path: Path) -> None:
    early = concern("N1", time="2026-01-11T09:00:00Z")
    heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=lines([early]))
    consume(tmp_path)
    id_ = the_letter(tmp_path)
    again = heard("dead-letters", "retry", id_, dir=tmp_path, now=NOW)
    assert (again.code, again.json["status"]) == (1, "open")
    assert balance(tmp_path)["dead_letters"] == 1
    later = heard("dead-letters", "retry", id_, dir=tmp_path, now="2026-01-12")
    assert (later.code, later.json["status"]) == (0, "retried")
    counts = balance(tmp_path)
    assert (counts["read"], counts["accepted"], counts["dead_letters"]) == (1, 1, 0)
    assert [row["status"] for row in dead(tmp_path)] == ["retried"]
    consume(tmp_path, "2026-01-12")
    assert heard("show", "N1", dir=tmp_path).json["known_at"] == "2026-01-11T09:00:00.000000Z"
    # The same message again is a duplicate of what the retry made of it.
    heard("publish", "-", dir=tmp_path, now="2026-01-12", stdin=lines([early]))
    consume(tmp_path, "2026-01-12")
    assert balance(tmp_path)["duplicates"] == 1


def test_a_reference_that_came_after_all_is_retried_and_sets_free_what_waited_for_it(tmp_path: Path) -> None:
    heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([CHAIN[2]]))
    consume(tmp_path)
    consume(tmp_path, LATER)
    heard("publish", "-", dir=tmp_path, now=LATER, stdin=lines([CHAIN[3], CHAIN[0]]))
    consume(tmp_path, LATER)
    counts = balance(tmp_path, LATER)
    assert (counts["accepted"], counts["parked"], counts["dead_letters"]) == (1, 1, 1)
    assert heard("dead-letters", "retry", the_letter(tmp_path), dir=tmp_path, now=LATER).code == 0
    counts = balance(tmp_path, LATER)
    assert (counts["accepted"], counts["parked"], counts["dead_letters"]) == (3, 0, 0)


def test_a_retried_message_that_waits_and_never_gets_what_it_waits_for_is_dead_again(tmp_path: Path) -> None:
    heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([CHAIN[2]]))
    consume(tmp_path)
    consume(tmp_path, LATER)
    id_ = the_letter(tmp_path)
    retried = heard("dead-letters", "retry", id_, dir=tmp_path, now=LATER)
    assert retried.json["status"] == "retried"
    counts = balance(tmp_path, LATER)
    assert (counts["parked"], counts["dead_letters"]) == (1, 0)
    consume(tmp_path, "2026-03-20")
    counts = balance(tmp_path, "2026-03-20")
    assert (counts["parked"], counts["dead_letters"]) == (0, 1)
    assert the_letter(tmp_path) == id_


def test_an_id_that_was_reused_stays_so_however_often_it_is_tried(tmp_path: Path) -> None:
    both = [concern("N1", id="one"), concern("N2", id="one")]
    heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines(both))
    consume(tmp_path)
    before = balance(tmp_path)
    again = heard("dead-letters", "retry", the_letter(tmp_path), dir=tmp_path, now=NOW)
    assert (again.code, again.json["status"]) == (1, "open")
    assert balance(tmp_path) == before
    assert heard("show", "N2", dir=tmp_path).code == 1


def test_discarding_needs_a_reason_is_an_event_and_cannot_be_undone(tmp_path: Path) -> None:
    heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([decision("D1")]))
    consume(tmp_path)
    id_, before = the_letter(tmp_path), balance(tmp_path)
    assert heard("dead-letters", "discard", id_, dir=tmp_path, now=NOW).code == 2
    assert heard("dead-letters", "discard", id_, "--reason", " ", dir=tmp_path, now=NOW).code == 2
    assert the_letter(tmp_path) == id_
    answer = heard("dead-letters", "discard", id_, "--reason", "sent twice", dir=tmp_path, now=NOW)
    assert (answer.code, answer.json["status"]) == (0, "discarded")
    assert balance(tmp_path) == before
    consume(tmp_path)
    types = [row["type"] for row in heard("query", "history", dir=tmp_path).json["rows"]]
    assert types == ["heard.message.discarded.v1"]
    for verb in (("retry", id_), ("discard", id_, "--reason", "again")):
        answer = heard("dead-letters", *verb, "--format", "json", dir=tmp_path, now=NOW)
        assert (answer.code, answer.error["code"]) == (2, "not_open")
    assert balance(tmp_path) == before


def test_after_thirty_days_the_body_is_gone_and_code_field_and_reason_stay(tmp_path: Path) -> None:
    heard("publish", "--unchecked", "-", dir=tmp_path, now=NOW, stdin=lines([concern("N1", kind="rumour")]))
    consume(tmp_path)
    id_, rows = the_letter(tmp_path), dead(tmp_path)
    consume(tmp_path, LATER)
    assert dead(tmp_path) == rows
    for verb in ("show", "retry"):
        answer = heard("dead-letters", verb, id_, "--format", "json", dir=tmp_path, now=LATER)
        assert (answer.code, answer.error["code"]) == (1, "key_destroyed"), verb
    answer = heard("dead-letters", "discard", id_, "--reason", "too old", dir=tmp_path, now=LATER)
    assert answer.code == 0
    assert balance(tmp_path, LATER)["dead_letters"] == 1


@pytest.mark.parametrize("verb", ["show", "retry"])
def test_a_dead_letter_that_is_not_there_is_not_found(verb: str, tmp_path: Path) -> None:
    heard("consume", "--until-idle", dir=tmp_path)  # an installation without a message
    answer = heard("dead-letters", verb, "nothing", "--format", "json", dir=tmp_path, now=NOW)
    assert (answer.code, answer.error["code"]) == (1, "not_found")
    assert answer.error["next"] == "heard dead-letters list"
