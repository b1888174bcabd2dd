"""Does every verb keep what its help, the contract and the reference promise?"""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import orjson
import pytest
from typer.main import get_command

from infra import scenario
from infra.cli.app import app
from infra.settings import Settings
from projections.catalogue import VIEWS
from tests.support.messages import Message, concern, lines, message
from tests.support.program import Answer, heard, started
from tests.support.requires import ROOT

NOW = "2026-01-10"
REFERENCE = (ROOT / "docs" / "reference.md").read_text()

Row = dict[str, Any]
PERSON: Row = {"ref": "person-17", "name": "Jo Example", "contact": "jo@example.org", "may_contact": True}
REQUEST: Row = {
    "service_request_id": "17", "status": "open", "service_name": "Street lights", "service_code": "4",
    "description": "Two lamps are out.", "requested_datetime": "2026-01-04T09:00:00Z",
    "updated_datetime": "2026-01-04T09:00:00Z", "address": None, "lat": None, "long": None,
}  # fmt: skip
WORLD: tuple[Message, ...] = (
    concern("N40", contributor=PERSON, words="The lamp at the corner is out."),
    message("decision.made", "D40", outcome="declined"),
    message("feedback.sent", "F40", "answers concern missing", audience="public", channel="website"),
)
"""Beside the scenario: somebody's concern, a dead letter and a message that waits."""


def published(folder: Path, *messages: Message) -> None:
    """Publish and consume."""
    answer = heard("publish", "--unchecked", "-", dir=folder, now=NOW, stdin=lines(messages))
    assert answer.code == 0, answer.err
    assert heard("consume", "--until-idle", dir=folder, now=NOW).code == 0


def recorded(data: Path) -> Path:
    """A record of the scenario and of WORLD."""
    assert heard("demo", dir=data).code == 0
    published(data, *WORLD)
    return data


@pytest.fixture(scope="module")
def _data(underneath: object, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded(tmp_path_factory.mktemp("world") / "data")


@pytest.fixture
def asked(_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a newcomer tries the examples: files of their own, and a record that others ask as well."""
    folder = tmp_path / "world"
    folder.mkdir()
    (folder / "data").symlink_to(_data)
    (folder / "messages.ndjson").write_bytes(lines([concern("N41"), concern("N42")]))
    (folder / "requests.json").write_bytes(orjson.dumps([REQUEST]))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def world(asked: Path, underneath: object) -> Path:
    """The same with a record to do anything with: a copy, or on servers one that was made anew."""
    data = asked / "data"
    if underneath is None:
        original = data.resolve()
        data.unlink()
        shutil.copytree(original, data)
    else:
        data.unlink()
        recorded(data)
    return asked


# -- the examples of the help --------------------------------------------------------------------


def verbs(command: Any = None, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every verb with its command: `publish`, `views list` …"""
    command = command or get_command(app)
    if not hasattr(command, "commands"):
        yield name.strip(), command
        return
    for inner, found in command.commands.items():
        yield from verbs(found, f"{name} {inner}")


VERBS = dict(verbs())


def examples() -> dict[str, str]:
    """The example of each verb's help."""
    return {
        verb: "; ".join(re.findall(r"^\s*Example: heard (.+)$", command.help or "", re.MULTILINE))
        for verb, command in VERBS.items()
    }


def _demo(a: Answer, world: Path) -> None:
    assert a.text.startswith("Meeting C1 · 19 July 2006")
    assert "Try next:" in a.err


def _publish(a: Answer, world: Path) -> None:
    assert a.json == {"sent": 2, "rejected": []}


def _import(a: Answer, world: Path) -> None:
    (line,) = a.text.splitlines()
    sent = orjson.loads(line)
    assert (sent["type"], sent["source"]) == ("heard.concern.raised.v1", "/import/open311/met/n1")
    assert (sent["data"]["ref"], sent["data"]["words"]) == ("open311:17", "Two lamps are out.")


def _consume(a: Answer, world: Path) -> None:
    assert a.out == b""
    assert "47 accepted, 1 dead letters, 1 parked, 49 read" in a.err


def _trace(a: Answer, world: Path) -> None:
    assert {"C1", "N1", "A5", "D1"} <= {node["ref"] for node in a.json["nodes"]}
    assert "N7" not in {node["ref"] for node in a.json["nodes"]}


def _log(a: Answer, world: Path) -> None:
    assert a.json["ref"] == "P2"
    assert [e["type"] for e in a.json["events"]] == ["heard.decision.made.v1"]


def _show(a: Answer, world: Path) -> None:
    assert a.json["fields"]["reasons"] == ["needs_assessment", "would_displace"]


def _replay(a: Answer, world: Path) -> None:
    assert [(s["version"], s["type"]) for s in a.json["steps"]] == [(1, "heard.concern.raised.v1")]
    assert a.json["steps"][0]["state"]["last"] == "raised"


def _query(a: Answer, world: Path) -> None:
    assert {row["ref"] for row in a.json["rows"]} == {"N1q", "N4", "N5", "N6", "N40"}


def _export(a: Answer, world: Path) -> None:
    written = list(csv.DictReader((world / "inputs.csv").read_text().splitlines()))
    assert {row["ref"] for row in written} >= {"N1", "N7", "N40"}
    dictionary = json.loads((world / "inputs.csv.dictionary.json").read_text())
    assert list(dictionary["columns"]) == list(written[0]) == list(VIEWS["inputs"].columns)


def _doctor(a: Answer, world: Path) -> None:
    assert a.json["ok"] is True
    assert a.json["messages"] == {
        "read": 49, "accepted": 47, "no_change": 0, "duplicates": 0, "parked": 1, "dead_letters": 1,
        "waiting": 0, "balanced": True,
    }  # fmt: skip


def _erase(a: Answer, world: Path) -> None:
    assert a.json["ref"] == "person-17"
    shown = heard("show", "N40", dir=world / "data", now=NOW).json
    assert shown["erased"] is True
    assert {shown["fields"][name] for name in ("words", "contributor.name", "contributor.contact")} == {
        "[erased]"
    }


def _views_list(a: Answer, world: Path) -> None:
    assert [row["view"] for row in a.json["rows"]] == list(VIEWS)
    assert {row["lag"] for row in a.json["rows"]} == {0}


def _views_rebuild(a: Answer, world: Path) -> None:
    assert a.out == b""
    assert "inputs" in a.err
    assert heard("views", "compare", "inputs", dir=world / "data").json["equal"] is True


def _views_compare(a: Answer, world: Path) -> None:
    assert a.json == {
        "view": "inputs", "equal": True, "only_live": 0, "only_rebuilt": 0, "different": 0,
    }  # fmt: skip


def _dead_list(a: Answer, world: Path) -> None:
    assert [(r["message_id"], r["code"]) for r in a.json["rows"]] == [("D40.decision.made", "rule_broken")]


def _dead_show(a: Answer, world: Path) -> None:
    assert orjson.loads(a.json["body"]) == WORLD[1]


def _dead_retry(a: Answer, world: Path) -> None:
    assert a.json["status"] == "open"


def _dead_discard(a: Answer, world: Path) -> None:
    assert a.json["status"] == "discarded"


def _parked(a: Answer, world: Path) -> None:
    assert [(r["message_id"], r["waiting_for"]) for r in a.json["rows"]] == [
        ("F40.feedback.sent", "concern missing")
    ]


def _schema_list(a: Answer, world: Path) -> None:
    types = {row["type"]: row["reported_by"] for row in a.json["rows"]}
    assert types["heard.concern.raised.v1"] == "upstream"
    assert types["heard.duty.opened.v1"] == "heard"


def _schema_show(a: Answer, world: Path) -> None:
    data = a.json["properties"]["data"]
    assert {"ref", "force", "actor", "kind"} <= set(data["required"])
    assert {"words", "causes", "contributor", "occurred"} <= data["properties"].keys()


def _no_database(a: Answer, world: Path) -> None:
    assert a.error["expected"] == "HEARD_DATABASE_URL"  # with one: tests/contract/test_migrations.py


def _migrated(a: Answer, world: Path) -> None:
    assert a.json["from"] == a.json["to"] is not None


def _fewer_partitions(a: Answer, world: Path) -> None:
    assert {tuple(row["differs"]) for row in a.json["rows"]} == {("partitions: 4 instead of 12",)}


def _restore(a: Answer, world: Path) -> None:
    # Refused: databases that hold something are not restored over; how it works: test_restore.py.
    assert a.error["expected"] == "nothing in it"


def _no_cluster(answer: Answer, world: Path) -> None:
    assert answer.error["expected"] == "HEARD_KAFKA_SERVERS"  # with one: tests/contract/test_kafka_topics.py


def _rights(answer: Answer, world: Path) -> None:
    of_publisher = {row["name"] for row in answer.json["rows"] if row["principal"] == "User:heard-publisher"}
    assert of_publisher == {"heard.inbox.v1", "heard.append."}


EXAMPLES: dict[str, tuple[int, Callable[[Answer, Path], None]]] = {
    "demo": (0, _demo),
    "publish": (0, _publish),
    "import": (0, _import),
    "consume": (0, _consume),
    "trace": (0, _trace),
    "log": (0, _log),
    "show": (0, _show),
    "replay": (0, _replay),
    "query": (0, _query),
    "export": (0, _export),
    "doctor": (0, _doctor),
    "migrate": (3, _no_database),
    "restore": (3, _restore),
    "erase": (0, _erase),
    "views list": (0, _views_list),
    "views rebuild": (0, _views_rebuild),
    "views compare": (0, _views_compare),
    "dead-letters list": (0, _dead_list),
    "dead-letters show": (0, _dead_show),
    "dead-letters retry": (1, _dead_retry),
    "dead-letters discard": (0, _dead_discard),
    "parked list": (0, _parked),
    "topics create": (3, _no_cluster),
    "topics rights": (0, _rights),
    "schema list": (0, _schema_list),
    "schema show": (0, _schema_show),
}
"""By verb: the exit code of its example, and what must have come out."""
ON_SERVERS: dict[str, tuple[int, Callable[[Answer, Path], None]]] = {
    "migrate": (0, _migrated),
    "topics create": (1, _fewer_partitions),
}
"""Where that is another."""


@pytest.mark.embedded("no record is opened")
def test_every_verb_s_help_has_an_example_and_each_is_tried_here() -> None:
    assert examples().keys() == EXAMPLES.keys()
    assert [verb for verb, example in examples().items() if not example.startswith(verb)] == []


CHANGE = ("publish", "erase", "dead-letters discard")
"""The verbs whose examples change the record."""


RIGHTS = pytest.param("topics rights", marks=pytest.mark.embedded("it only prints, for any cluster"))


@pytest.mark.parametrize("verb", [RIGHTS if verb == "topics rights" else verb for verb in EXAMPLES])
def test_the_example_of_the_help_does_what_the_help_says(
    verb: str, asked: Path, underneath: object, request: pytest.FixtureRequest
) -> None:
    world: Path = request.getfixturevalue("world") if verb in CHANGE else asked
    # In an empty directory the demo, else in the newcomer's.
    data = world / ("new" if verb == "demo" else "data")
    (letter,) = heard("dead-letters", "list", dir=world / "data", now=NOW).json["rows"]
    call = [letter["id"] if word == "ID" else word for word in shlex.split(examples()[verb])]
    code, check = (EXAMPLES if underneath is None else EXAMPLES | ON_SERVERS)[verb]
    answer = heard(*call, dir=data, now=None if verb == "demo" else NOW)
    assert answer.code == code, answer.err
    check(answer, world)


@pytest.mark.embedded("no record is opened")
@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_is_given_for_every_verb_on_stdout(verb: str, tmp_path: Path) -> None:
    answer = heard(*verb.split(), "--help", dir=tmp_path / "none")
    assert answer.code == 0
    assert answer.text.startswith("Usage: heard")
    assert not (tmp_path / "none").exists()


@pytest.mark.embedded("no record is opened")
def test_a_call_without_a_verb_shows_the_help_and_is_wrong_use() -> None:
    answer = heard(dir=None)
    assert (answer.code, answer.out) == (2, b"")
    assert answer.err.startswith("Usage: heard")
    assert all(verb.split()[0] in answer.err for verb in VERBS)


# -- the shapes that the contract promises -------------------------------------------------------

THING = {"ref", "id", "kind", "occurred", "known_at"}
SHAPES: dict[str, tuple[set[str], dict[str, set[str]]]] = {
    "publish messages.ndjson": ({"sent", "rejected"}, {}),
    "publish bad.ndjson": ({"sent", "rejected"}, {"rejected": {"line", "code", "field", "reason"}}),
    "trace N1": (
        {"root", "at", "nodes", "edges"},
        {
            "nodes": THING | {"neighbourhood", "state", "text", "outcome", "reasons", "counts"},
            "edges": {"cause", "effect", "relation"},
        },
    ),
    "query inputs": (
        {"view", "version", "at", "rows"},
        {
            "rows": {"ref", "kind", "neighbourhood", "state", "agrees", "disagrees", "passes", "supporters",
                     "moderated"},
        },
    ),
    "query feedback_owed": ({"view", "version", "at", "rows"}, {"rows": {"ref", "owed"}}),
    "query priorities": (
        {"view", "version", "at", "rows"},
        {
            "rows": {"ref", "issue", "state", "days_to_action", "closed_because", "before", "after"},
        },
    ),
    "show A1": (THING | {"version", "erased", "fields", "causes"}, {"causes": {"relation", "ref"}}),
    "log A1": (
        {"ref", "events"},
        {
            "events": {"id", "type", "version", "occurred", "known_at", "recorded_at", "actor", "causes",
                       "digest"},
        },
    ),
    "dead-letters list": (
        {"rows"}, {"rows": {"id", "source", "message_id", "code", "field", "reason", "status"}},
    ),
    "parked list": ({"rows"}, {"rows": {"id", "source", "message_id", "waiting_for", "since"}}),
    "views list": ({"rows"}, {"rows": {"view", "version", "columns", "position", "lag"}}),
    "views compare trace": ({"view", "equal", "only_live", "only_rebuilt", "different"}, {}),
    "doctor": ({"ok", "messages", "checks"}, {"checks": {"name", "ok", "detail", "remedy"}}),
}  # fmt: skip
"""By call: the fields of the document, and those of each item of its lists."""


@pytest.mark.parametrize("call", SHAPES)
def test_every_field_that_the_contract_promises_is_there(
    call: str, asked: Path, request: pytest.FixtureRequest
) -> None:
    world: Path = request.getfixturevalue("world") if call == "publish messages.ndjson" else asked
    (world / "bad.ndjson").write_bytes(b"{}\n")
    document = heard(*call.split(), dir=world / "data", now=NOW).json
    fields, lists = SHAPES[call]
    assert fields <= document.keys()
    for name, wanted in lists.items():
        assert document[name], name
        assert [item for item in document[name] if not wanted <= item.keys()] == []


def test_every_occurred_has_the_contract_s_form(world: Path) -> None:
    nodes = heard("trace", "C1", dir=world / "data", now=NOW).json["nodes"]
    registered = heard("show", "N40", dir=world / "data", now=NOW).json
    for occurred in (*(node["occurred"] for node in nodes), registered["occurred"]):
        assert occurred.keys() == {"kind", "from", "to"}
        assert occurred["kind"] in ("instant", "date", "interval", "unknown")
    published(world / "data", concern("N50", occurred=None), concern("N51", occurred={
        "kind": "instant", "from": "2026-01-05T10:00:00+01:00",
    }))  # fmt: skip
    shown = {ref: heard("show", ref, dir=world / "data", now=NOW).json["occurred"] for ref in ("N50", "N51")}
    at = "2026-01-05T09:00:00.000000Z"
    assert shown["N50"] == {"kind": "unknown", "from": None, "to": None}
    assert shown["N51"] == {"kind": "instant", "from": at, "to": at}


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_s_rows_have_the_columns_that_views_list_names(view: str, asked: Path) -> None:
    answer = heard("query", view, dir=asked / "data", now=NOW).json
    assert answer["rows"]
    assert {tuple(row) for row in answer["rows"]} == {tuple(VIEWS[view].columns)}
    past = heard("query", view, "--at", NOW, dir=asked / "data", now=NOW).json
    assert {tuple(row) for row in past["rows"]} <= {tuple(VIEWS[view].columns)}
    assert past["at"] == "2026-01-10T23:59:59.999999Z"


def test_every_edge_of_every_thread_ends_in_nodes_and_no_duty_is_one(asked: Path) -> None:
    for ref in ("C1", "N7", "N40", "P2"):
        thread = heard("trace", ref, dir=asked / "data", now=NOW).json
        names = {node["ref"] for node in thread["nodes"]}
        assert {edge[end] for edge in thread["edges"] for end in ("cause", "effect")} <= names
        assert "duty" not in {node["kind"] for node in thread["nodes"]}
        assert thread["root"] in names


# -- in which form -------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_csv_json_and_table_have_the_same_rows(view: str, asked: Path) -> None:
    in_json, in_csv, in_table = (
        heard("query", view, "--format", form, dir=asked / "data", now=NOW)
        for form in ("json", "csv", "table")
    )
    rows = in_json.json["rows"]
    read = list(csv.reader(io.StringIO(in_csv.text)))
    assert read[0] == list(VIEWS[view].columns)
    assert len(read) == len(rows) + 1
    assert not any(len(line) != len(read[0]) for line in read)
    header, *_ = in_table.text.split("\n")
    filled = [c for c in VIEWS[view].columns if any(row[c] not in (None, "", []) for row in rows)]
    assert header.split() == filled
    assert in_table.text.count("\n") >= len(rows) + 1
    assert "\x1b" not in in_table.text


def test_a_csv_without_rows_still_has_its_header(tmp_path: Path) -> None:
    heard("consume", "--until-idle", dir=tmp_path)  # an installation without a message
    answer = heard("query", "inputs", "--format", "csv", dir=tmp_path)
    assert answer.text == ",".join(VIEWS["inputs"].columns) + "\n"
    assert heard("query", "inputs", "--format", "table", dir=tmp_path).text == "(nothing)\n"


def test_a_table_shows_what_is_recorded_letter_by_letter(tmp_path: Path) -> None:
    published(tmp_path, message("priority.set", "case:x:1", issue="[b]Light[/b] :warning:"))
    told = heard("query", "priorities", "--format", "table", dir=tmp_path).text
    assert "case:x:1" in told
    assert "[b]Light[/b] :warning:" in told


@pytest.mark.embedded("on servers the settings are those of the tests")
def test_settings_that_ask_for_each_other_are_named(tmp_path: Path) -> None:
    answer = heard("query", "priorities", dir=tmp_path, env={"HEARD_KAFKA_SERVERS": "127.0.0.1:1"})
    assert (answer.code, answer.error["code"]) == (3, "configuration")
    assert answer.error["expected"] == "SASL wants HEARD_KAFKA_USERNAME and HEARD_KAFKA_PASSWORD"


def test_a_cell_that_a_spreadsheet_would_run_is_harmless_in_csv(tmp_path: Path) -> None:
    published(tmp_path, message("priority.set", "P1", issue='=HYPERLINK("http://example.org","Light")'))
    (row,) = csv.DictReader(heard("query", "priorities", "--format", "csv", dir=tmp_path).text.splitlines())
    assert row["issue"].startswith("'=HYPERLINK")
    assert heard("query", "priorities", dir=tmp_path).json["rows"][0]["issue"].startswith("=HYPERLINK")


@pytest.mark.parametrize("call", ["query priorities --format table", "trace P1 --format table"])
def test_words_cannot_steer_a_terminal(call: str, tmp_path: Path) -> None:
    published(tmp_path, message("priority.set", "P1", issue="Light\x1b[2J\x07[bold]red[/bold]\u202e"))
    answer = heard(*call.split(), dir=tmp_path)
    assert answer.code == 0
    assert not {"\x1b", "\x07", "\u202e"} & set(answer.text)
    assert "[bold]red[/bold]" in answer.text


def test_a_picture_is_one_svg_document(asked: Path) -> None:
    answer = heard("trace", "C1", "--format", "svg", dir=asked / "data", now=NOW)
    assert ElementTree.fromstring(answer.out).tag.endswith("svg")  # noqa: S314 - our own


@pytest.mark.parametrize("ending", ["csv", "json"])
def test_an_export_is_what_the_query_answers(ending: str, asked: Path) -> None:
    out = asked / f"owed.{ending}"
    where = ("--where", "owed=never_told")
    assert heard("export", "feedback_owed", "-o", out, *where, dir=asked / "data", now=NOW).code == 0
    answer = heard("query", "feedback_owed", *where, "--format", ending, dir=asked / "data", now=NOW)
    if ending == "csv":
        assert out.read_text() == answer.text
    else:
        assert orjson.loads(out.read_bytes()) == answer.json


# -- when something is wrong ---------------------------------------------------------------------

WRONG: tuple[tuple[str, int, str], ...] = (
    ("trace NOPE", 1, "not_found"),
    ("trace C1 --at 2006-01-01", 1, "not_found"),
    ("show NOPE", 1, "not_found"),
    ("log NOPE", 1, "not_found"),
    ("replay NOPE", 1, "not_found"),
    ("query nothing", 1, "not_found"),
    ("views compare nothing", 1, "not_found"),
    ("dead-letters show nothing", 1, "not_found"),
    ("import open311 broken.json --force met --neighbourhood n1", 1, "field_invalid"),
    ("trace C1 --at soon", 2, "not_a_date"),
    ("query inputs --at 2008-02-30", 2, "not_a_date"),
    ("query inputs --where colour=red", 2, "no_such_column"),
    ("query inputs --where ref", 2, "usage"),
    ("dead-letters list --status lost", 2, "usage"),
    ("import morse requests.json --force met --neighbourhood n1", 2, "usage"),
    ("import open311 requests.json", 2, "usage"),
    ("consume intake nonsense", 2, "usage"),
    ("trace", 2, "usage"),
    ("fly", 2, "usage"),
    ("publish nowhere.ndjson", 3, "configuration"),
    ("import open311 nowhere.json --force met --neighbourhood n1", 3, "configuration"),
)


@pytest.mark.parametrize(("call", "code", "named"), WRONG)
def test_an_error_says_what_was_expected_what_came_and_what_to_do(
    call: str, code: int, named: str, asked: Path
) -> None:
    (asked / "broken.json").write_bytes(b'[{"colour": "red"}]')
    # No terminal: the form is JSON, whether or not the verb has the option.
    answer = heard(*call.split(), dir=asked / "data", now=NOW)
    assert (answer.code, answer.out) == (code, b"")
    assert answer.error.keys() == {"code", "message", "expected", "got", "next"}
    assert answer.error["code"] == named
    assert all(answer.error[name] for name in ("message", "expected", "next"))
    assert answer.error["next"].split()[0] in ("heard", "ask", "give") or "heard" in answer.error["next"]
    assert f"({named})" in answer.err.splitlines()[0]


@pytest.mark.embedded("no record is opened")
@pytest.mark.parametrize("empty", [["--dir", ""], ["--dir="]])
def test_a_data_directory_without_a_name_is_not_the_current_folder(
    empty: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = heard(*empty, "demo", dir=None, env={"HEARD_DIR": str(tmp_path / "data")})
    assert (answer.code, answer.out, answer.error["code"]) == (3, b"", "configuration")
    assert "a folder" in answer.error["expected"]
    assert "--dir" in answer.error["message"]
    assert answer.error["next"].startswith("heard --dir ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.embedded("the data directory of a call that names no servers")
def test_the_current_folder_can_be_named_as_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert heard("--dir", ".", "publish", "-", dir=None, now=NOW, stdin=lines([concern("N1")])).code == 0
    assert list(tmp_path.iterdir()) != []


@pytest.mark.embedded("no record is opened")
@pytest.mark.parametrize(
    ("call", "next_"),
    [
        ("trace", "heard trace --help"),
        ("trace C1 --sideways", "heard trace --help"),
        ("trace C1 --format pdf", "heard trace --help"),
        ("query inputs --where ref", "heard query --help"),
        ("dead-letters show", "heard dead-letters show --help"),
        ("dead-letters fly", "heard dead-letters --help"),
        ("fly", "heard --help"),
        ("--now soon trace C1", "heard --help"),
    ],
)
def test_wrong_use_of_a_verb_names_that_verb_s_help(call: str, next_: str, tmp_path: Path) -> None:
    answer = heard(*call.split(), dir=tmp_path)
    assert (answer.code, answer.error["code"], answer.error["next"]) == (2, "usage", next_)


@pytest.mark.embedded("no message is sent")
def test_the_demo_at_a_time_before_its_own_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    error = heard("demo", dir=tmp_path, now="1800-01-01").error
    assert error["code"] == "in_the_future"
    assert error["message"].endswith("cannot be used now: it lies in the future")
    assert error["expected"] == "at most five minutes from now"
    assert error["got"].endswith(", where now is 1800-01-01")


@pytest.mark.embedded("no record is opened")
@pytest.mark.parametrize(
    "call",
    [
        "trace \udcff",
        "publish caf\udce9.ndjson",
        "dead-letters show \udcff",
        "query inputs --where ref=\udcff",
    ],
)
def test_an_argument_that_is_not_utf8_is_wrong_use(call: str, tmp_path: Path) -> None:
    answer = heard(*call.split(), dir=tmp_path / "none", now=NOW)
    assert (answer.code, answer.out, answer.error["code"]) == (2, b"", "usage")
    assert answer.error["expected"] == "arguments in UTF-8"
    assert answer.error["got"].isascii()
    assert answer.error["got"].endswith(("\\xff", "caf\\xe9.ndjson"))
    assert answer.error["next"]
    assert not (tmp_path / "none").exists()


@pytest.mark.embedded("no record is opened")
@pytest.mark.parametrize(
    ("env", "now"),
    [({"HEARD_BATCH": "many"}, None), ({"HEARD_ID_KEY": "short"}, None), ({"HEARD_LOG_LEVEL": "loud"}, None)],
)
def test_a_setting_that_does_not_fit_is_named(env: dict[str, str], now: str | None, tmp_path: Path) -> None:
    answer = heard("consume", "--until-idle", dir=tmp_path, env=env)
    assert (answer.code, answer.error["code"]) == (3, "configuration")
    assert next(iter(env)) in answer.err
    assert next(iter(env.values())) not in answer.err


@pytest.mark.embedded("no record is opened")
def test_a_data_directory_that_cannot_be_used_is_the_environment_s_fault(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    answer = heard("query", "inputs", dir=file)
    assert (answer.code, answer.error["code"]) == (3, "configuration")


def test_a_reference_that_two_sources_use_is_ambiguous_and_each_id_is_not(tmp_path: Path) -> None:
    published(tmp_path, concern("N1", source="/one"), concern("N1", source="/other", id="other"))
    for verb in ("trace", "show", "log", "replay"):
        answer = heard(verb, "N1", dir=tmp_path)
        assert (answer.code, answer.error["code"]) == (2, "ambiguous")
        ids = re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", answer.error["next"])
        assert len(set(ids)) == 2
        for id_ in ids:
            assert heard(verb, id_, dir=tmp_path).code == 0
    nodes = [heard("trace", id_, dir=tmp_path).json["nodes"] for id_ in ids]
    assert [[node["ref"] for node in each] for each in nodes] == [["N1"], ["N1"]]


# -- publishing ----------------------------------------------------------------------------------

GOOD, BAD = concern("N1"), concern("N2", kind="rumour")


def waiting(folder: Path) -> int:
    """How many messages lie on the inbox; none where nothing was ever sent."""
    answer = heard("doctor", dir=folder, now=NOW)
    return 0 if answer.code == 3 else int(answer.json["messages"]["waiting"])


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A file with a bad line between good ones, an empty line, a line with CRLF and none at the end."""
    file = tmp_path / "mixed.ndjson"
    every = [orjson.dumps(each) for each in (GOOD, BAD, concern("N3"), {})]
    file.write_bytes(every[0] + b"\n\n" + every[1] + b"\n" + every[2] + b"\r\n" + every[3])
    return file


def test_all_lines_are_checked_first_and_nothing_is_sent_if_one_is_wrong(mixed: Path, tmp_path: Path) -> None:
    answer = heard("publish", mixed, dir=tmp_path / "data", now=NOW)
    assert (answer.code, answer.json["sent"]) == (1, 0)
    assert [(row["line"], row["code"]) for row in answer.json["rejected"]] == [
        (3, "field_invalid"), (5, "not_a_cloudevent"),
    ]  # fmt: skip
    assert waiting(tmp_path / "data") == 0
    assert not mixed.with_name("mixed.ndjson.rejected").exists()


def test_skip_invalid_sends_the_good_lines_and_writes_the_rest_beside(mixed: Path, tmp_path: Path) -> None:
    answer = heard("publish", mixed, "--skip-invalid", dir=tmp_path / "data", now=NOW)
    assert (answer.code, answer.json["sent"]) == (0, 2)
    assert [row["line"] for row in answer.json["rejected"]] == [3, 5]
    assert waiting(tmp_path / "data") == 2
    beside = mixed.with_name("mixed.ndjson.rejected")
    assert beside.read_bytes() == lines([BAD]) + b"{}\n"
    assert str(beside) in answer.err
    # What was left out can be mended and published by itself.
    beside.write_bytes(beside.read_bytes().replace(b"rumour", b"praise").replace(b"{}\n", b""))
    assert heard("publish", beside, dir=tmp_path / "data", now=NOW).json == {"sent": 1, "rejected": []}


def test_if_what_is_left_out_cannot_be_written_nothing_is_sent(mixed: Path, tmp_path: Path) -> None:
    mixed.with_name("mixed.ndjson.rejected").mkdir()
    answer = heard("publish", mixed, "--skip-invalid", dir=tmp_path / "data", now=NOW)
    assert (answer.code, answer.error["code"]) == (3, "configuration")
    assert waiting(tmp_path / "data") == 0


@pytest.mark.parametrize("options", [(), ("--skip-invalid",), ("--unchecked",)])
def test_a_dry_run_sends_nothing_and_writes_nothing(
    mixed: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    answer = heard("publish", mixed, "--dry-run", *options, dir=tmp_path / "data", now=NOW)
    assert answer.json["sent"] == 0
    assert len(answer.json["rejected"]) == (0 if "--unchecked" in options else 2)
    assert answer.code == (0 if "--unchecked" in options else 1)
    assert waiting(tmp_path / "data") == 0
    assert not mixed.with_name("mixed.ndjson.rejected").exists()


@pytest.mark.parametrize("options", [(), ("--unchecked",)])
def test_the_id_key_of_the_settings_is_kept_from_the_first_message_on(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    first, other = ({"HEARD_ID_KEY": key * 32} for key in ("5a", "a5"))
    assert heard("publish", "-", *options, dir=tmp_path, env=first, stdin=lines([GOOD])).code == 0
    answer = heard("consume", "--until-idle", dir=tmp_path, env=other)
    assert (answer.code, answer.error["code"]) == (3, "configuration")


def test_stdin_and_pipes_are_read_like_files(tmp_path: Path) -> None:
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([GOOD])).json["sent"] == 1
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = started("publish", pipe, dir=tmp_path, now=NOW, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    pipe.write_bytes(lines([concern("N3")]))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert orjson.loads(out)["sent"] == 1
    assert heard("consume", "--until-idle", dir=tmp_path, now=NOW).code == 0
    assert heard("doctor", dir=tmp_path, now=NOW).json["messages"]["accepted"] == 2


@pytest.mark.embedded("no record is opened")
def test_messages_of_an_empty_file_are_none(tmp_path: Path) -> None:
    for given in (b"", b"\n\r\n\n"):
        assert heard("publish", "-", dir=tmp_path, stdin=given).json == {"sent": 0, "rejected": []}


MARK = b"\xef\xbb\xbf"


@pytest.mark.parametrize(("options", "accepted", "dead"), [((), 2, 0), (("--unchecked",), 1, 1)])
def test_a_byte_order_mark_before_the_first_line_makes_no_difference_where_lines_are_checked(
    options: tuple[str, ...], accepted: int, dead: int, tmp_path: Path
) -> None:
    file = tmp_path / "marked.ndjson"
    file.write_bytes(MARK + lines([GOOD, concern("N3")]))
    assert heard("publish", file, *options, dir=tmp_path, now=NOW).json == {"sent": 2, "rejected": []}
    assert heard("consume", "--until-idle", dir=tmp_path, now=NOW).code == 0
    messages = heard("doctor", dir=tmp_path, now=NOW).json["messages"]
    assert (messages["accepted"], messages["dead_letters"]) == (accepted, dead)


def test_a_file_of_a_byte_order_mark_alone_holds_no_message(tmp_path: Path) -> None:
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=MARK + b"\n").json["sent"] == 0


@pytest.mark.embedded("no record is opened")
def test_a_byte_order_mark_on_a_later_line_is_no_part_of_a_message(tmp_path: Path) -> None:
    answer = heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([GOOD]) + MARK + lines([concern("N3")]))
    assert [(row["line"], row["code"]) for row in answer.json["rejected"]] == [(2, "not_json")]


@pytest.mark.embedded("no record is opened")
@pytest.mark.parametrize(
    ("given", "code"),
    [
        (b"[%s]" % orjson.dumps(GOOD), "not_a_cloudevent"),
        (b"{}", "not_a_cloudevent"),
        (orjson.dumps(GOOD, option=orjson.OPT_INDENT_2), "not_json"),
    ],
)
def test_a_line_that_is_no_message_is_told_that_each_line_is_one(
    given: bytes, code: str, tmp_path: Path
) -> None:
    first = heard("publish", "-", dir=tmp_path, now=NOW, stdin=given).json["rejected"][0]
    assert (first["line"], first["code"]) == (1, code)
    assert first["reason"].endswith("; each line is one message (a JSON object)")


def test_messages_about_one_place_keep_their_order(tmp_path: Path) -> None:
    stances = ["agree", "disagree", "pass"] * 30
    votes = [
        message(
            "support.given" if at == 0 else "support.changed", "S1", "supports concern N1",
            id=f"vote-{at}", stance=stance, contributor={"ref": "person-1"},
        )
        for at, stance in enumerate(stances)
    ]  # fmt: skip
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=lines([GOOD, *votes])).code == 0
    assert heard("consume", "--until-idle", dir=tmp_path, now=NOW).code == 0
    steps = heard("replay", "S1", dir=tmp_path, now=NOW).json["steps"]
    assert [step["state"]["stance"] for step in steps] == stances


# -- in a terminal, in a pipe, and interrupted ---------------------------------------------------


def in_a_terminal(*call: str, dir: Path, columns: int = 200, **env: str) -> str:
    """What the installed program writes to a terminal."""
    ours, theirs = pty.openpty()
    env["COLUMNS"] = str(columns)
    with started(*call, dir=dir, now=NOW, env={"TERM": "xterm-256color"} | env, stdout=theirs) as process:
        os.close(theirs)
        written = b""
        try:
            while chunk := os.read(ours, 65536):
                written += chunk
        except OSError:  # Linux says so when the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


@pytest.mark.embedded("how it is written, whatever the record stands on")
def test_on_a_terminal_the_answer_is_a_table_and_no_color_is_honoured(world: Path) -> None:
    data = world / "data"
    plain, coloured = (
        in_a_terminal("query", "priorities", dir=data, NO_COLOR="1"),
        in_a_terminal("query", "priorities", dir=data),
    )
    assert plain.split("\n")[0].split()[:3] == ["force", "neighbourhood", "ref"]
    assert "robbery" in plain
    assert "\x1b" not in plain
    assert without_colour(coloured) == without_colour(plain) != coloured
    thread = in_a_terminal("trace", "C1", dir=data)
    assert "\x1b[" in thread
    assert without_colour(thread) == without_colour(in_a_terminal("trace", "C1", dir=data, NO_COLOR="1"))
    assert without_colour(thread).startswith("Meeting C1")


def without_colour(text: str) -> str:
    """Without the sequences that colour or embolden."""
    return "\n".join(line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n"))


@pytest.mark.embedded("how it is written, whatever the record stands on")
@pytest.mark.parametrize("view", ["priorities", "worklist", "inputs"])
def test_on_a_narrow_terminal_no_line_is_broken(view: str, world: Path) -> None:
    data = world / "data"
    given = in_a_terminal("query", view, dir=data, columns=80, NO_COLOR="1")
    assert max(map(len, given.splitlines())) <= 80
    for row in heard("query", view, dir=data, now=NOW).json["rows"]:
        assert re.search(rf"(^|\s){re.escape(row['ref'])}(\s|$)", given)
    assert "neighbourhood" in given


@pytest.mark.embedded("how it is written, whatever the record stands on")
def test_in_a_pipe_the_answer_is_json_and_talk_goes_to_stderr(world: Path) -> None:
    with started(
        "trace", "NOPE", dir=world / "data", stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, b"")
    assert orjson.loads(err.splitlines()[-1])["error"]["code"] == "not_found"


@pytest.mark.embedded("how it is written, whatever the record stands on")
def test_a_reader_that_has_had_enough_is_no_error(world: Path) -> None:
    process = started(
        "query", "history", dir=world / "data", now=NOW, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_consume_goes_on_until_it_is_told_to_end(number: int, tmp_path: Path) -> None:
    with started("consume", dir=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        heard("publish", "-", dir=tmp_path, stdin=lines([GOOD]))
        until = time.monotonic() + 60
        while heard("show", "N1", dir=tmp_path).code != 0:
            assert time.monotonic() < until, "the message never came through"
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.stderr is not None
        err = process.stderr.read().decode()
    assert process.returncode == 0
    assert "1 accepted" in err


# -- nothing undocumented ------------------------------------------------------------------------


def section(title: str) -> str:
    """A section of the reference."""
    return REFERENCE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def table(title: str) -> dict[str, str]:
    """The first two columns of a section's table."""
    return dict(re.findall(r"^\| `([^`]+)` \| ([^|]*?) \|", section(title), re.MULTILINE))


@pytest.mark.embedded("no record is opened")
def test_the_reference_has_every_verb_and_no_other() -> None:
    assert table("Verbs").keys() == VERBS.keys()


@pytest.mark.embedded("no record is opened")
def test_the_reference_has_every_setting_with_its_default() -> None:
    documented = table("Settings")
    assert documented.keys() == {f"HEARD_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        if field.default is not None:
            default = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
            assert documented[f"HEARD_{name.upper()}"].strip("`") == (default or "none")


@pytest.mark.embedded("no record is opened")
def test_the_reference_has_every_error_code_with_its_exit_code() -> None:
    code = "".join(
        path.read_text()
        for room in ("domain", "services", "consumers", "projections", "infra")
        for path in sorted((ROOT / room).rglob("*.py"))
    )
    used = set(re.findall(r'\bcode(?:: str)? ?= ?"(\w+)"', code)) - {"rule_broken", "field_invalid"}
    documented = table("Error codes")
    assert documented.keys() == used


@pytest.mark.embedded("no record is opened")
def test_the_scenario_s_messages_are_what_the_schemas_say(tmp_path: Path) -> None:
    for each in scenario.messages():
        schema = heard("schema", "show", each["type"], dir=tmp_path).json
        data = schema["properties"]["data"]
        assert set(data["required"]) <= each["data"].keys() <= data["properties"].keys()


# -- what a careful reader would stumble over ----------------------------------------------------


def test_a_column_cannot_be_asked_for_with_two_values(asked: Path) -> None:
    answer = heard("query", "inputs", "--where", "ref=N1", "--where", "ref=N2", dir=asked / "data", now=NOW)
    assert (answer.code, answer.error["code"]) == (2, "usage")


@pytest.mark.embedded("no record is opened")
def test_a_setting_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    for env in ({"HEARD_TYPO": "1"}, {"HEARD_DIR": ""}):
        answer = heard("doctor", dir=tmp_path, env=env)
        assert (answer.code, answer.error["code"]) == (3, "configuration")


def test_a_table_of_what_has_no_reference_shows_its_ids_in_full(asked: Path) -> None:
    (letter,) = heard("dead-letters", "list", dir=asked / "data", now=NOW).json["rows"]
    assert (
        letter["id"] in heard("dead-letters", "list", "--format", "table", dir=asked / "data", now=NOW).text
    )


@pytest.mark.embedded("how it is written, whatever the record stands on")
def test_a_full_stdout_is_an_error_of_the_environment(world: Path) -> None:
    with (
        Path("/dev/full").open("wb") as full,
        started(
            "query", "inputs", dir=world / "data", now=NOW, stdout=full, stderr=subprocess.PIPE
        ) as process,
    ):
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert b"cannot be written" in err
