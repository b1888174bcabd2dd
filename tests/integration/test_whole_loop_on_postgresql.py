"""Does the whole loop go its way with PostgreSQL in place of the embedded databases?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from infra import scenario
from projections.catalogue import VIEWS
from tests.support.postgres import database
from tests.support.program import Answer, heard

NOW = f"{scenario.CLOCK:%Y-%m-%d}"
KEY = {"HEARD_ID_KEY": "5a" * 32}
FORWARD = {
    "C1", "A1", "A2", "A3", "A4", "A5", "D1", "F1", "F2", "N1", "N1q", "N2", "N3", "N4", "N6", "O1", "O2",
    "O3", "O4", "P1", "P2",
}  # fmt: skip
MIGRATIONS = re.compile(r'\{\s*"name": "migrations"[^}]*\},\s*')
ASKED: tuple[tuple[str, ...], ...] = (
    ("trace", "C1"),
    ("trace", "C1", "--at", "2008-10-15"),
    ("trace", "N7", "--format", "svg"),
    ("query", "inputs", "--at", "2008-10-15"),
    ("query", "inputs", "--where", f"neighbourhood={scenario.NEIGHBOURHOOD}", "--at", "2008-10-15"),
    ("query", "worklist", "--where", "state=discharged"),
    ("show", "A1"),
    ("doctor",),
    ("dead-letters", "list"),
    ("parked", "list"),
    ("views", "list"),
    *(("query", name) for name in VIEWS if name != "history"),
)


class Installed(NamedTuple):
    """Where the demo has run."""

    dir: Path
    env: dict[str, str]

    def ask(self, *args: str) -> Answer:
        return heard(*args, dir=self.dir, now=NOW, env=self.env)


@pytest.fixture(scope="module")
def on_postgresql(postgresql_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with database(postgresql_server) as url:
        installed = Installed(tmp_path_factory.mktemp("postgresql"), KEY | {"HEARD_DATABASE_URL": url})
        answer = installed.ask("demo")
        assert answer.code == 0, answer.err
        yield installed


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    installed = Installed(tmp_path_factory.mktemp("embedded"), KEY)
    assert installed.ask("demo").code == 0
    return installed


def refs(answer: Answer) -> dict[str, dict[str, Any]]:
    """The nodes of a thread, by reference."""
    return {node["ref"]: node for node in answer.json["nodes"]}


def test_events_and_read_models_lie_there_and_no_database_beside_them(on_postgresql: Installed) -> None:
    with psycopg.connect(on_postgresql.env["HEARD_DATABASE_URL"]) as db:
        found = db.execute("SELECT count(*) FROM stored_events").fetchone()
    assert found is not None
    assert found[0] > len(scenario.lines())
    assert not {"write.db", "views.db"} & {path.name for path in on_postgresql.dir.iterdir()}
    assert {"log.db", "keys.db"} <= {path.name for path in on_postgresql.dir.iterdir()}


def test_every_message_ended_and_the_balance_holds(on_postgresql: Installed) -> None:
    answer = on_postgresql.ask("doctor")
    assert answer.code == 0
    assert answer.json["messages"] == {
        "read": len(scenario.lines()), "accepted": len(scenario.lines()), "no_change": 0, "duplicates": 0,
        "parked": 0, "dead_letters": 0, "waiting": 0, "balanced": True,
    }  # fmt: skip


def test_the_scenario_comes_out_as_it_must(on_postgresql: Installed) -> None:
    forward = refs(on_postgresql.ask("trace", "C1", "--forward"))
    assert {ref for ref, node in forward.items() if node["kind"] != "priority"} == FORWARD

    answered = refs(on_postgresql.ask("trace", "N7"))
    assert (answered["D3"]["state"], answered["D3"]["reasons"]) == ("answered", ["no_legal_power"])
    assert "F3" in answered

    owed = on_postgresql.ask("query", "feedback_owed", "--where", "owed=never_told").json["rows"]
    assert {row["ref"] for row in owed} == {"N1q", "N4", "N5", "N6"}

    (robbery,) = on_postgresql.ask("query", "priorities", "--where", "ref=robbery").json["rows"]
    assert (robbery["state"], robbery["closed_because"]) == ("closed", "P2")
    assert (robbery["before"], robbery["after"]) == (15, 2)

    then = on_postgresql.ask("trace", "A1", "--back", "--at", "2008-10-15").json
    assert {edge["cause"] for edge in then["edges"] if edge["effect"] == "A1"} == {"C2", "N1"}
    assert on_postgresql.ask("trace", "N7", "--at", "2008-11-01").code == 1


@pytest.mark.parametrize("args", ASKED, ids=" ".join)
def test_it_answers_as_the_embedded_default_does(
    on_postgresql: Installed, embedded: Installed, args: tuple[str, ...]
) -> None:
    found, expected = on_postgresql.ask(*args), embedded.ask(*args)
    assert (found.code, without_dir(found, on_postgresql)) == (0, without_dir(expected, embedded))


def without_dir(answer: Answer, installed: Installed) -> str:
    """What was printed, apart from the data directory, what kind of database it is, and room on the disk."""
    text = MIGRATIONS.sub("", answer.text.replace(str(installed.dir), "DIR"))
    return re.sub(r'"(SQLite|PostgreSQL) [\d.]+"|"\d+ MB free', '"APART', text)


def test_every_view_is_rebuilt_compared_and_swapped_there(on_postgresql: Installed) -> None:
    before = on_postgresql.ask("query", "inputs").out
    assert on_postgresql.ask("views", "rebuild").code == 0
    for name in VIEWS:
        assert on_postgresql.ask("views", "compare", name).json["equal"], name
    assert on_postgresql.ask("query", "inputs").out == before


def test_the_same_demo_again_finds_only_duplicates(on_postgresql: Installed) -> None:
    before = on_postgresql.ask("query", "worklist").out
    assert on_postgresql.ask("demo").code == 0
    messages = on_postgresql.ask("doctor").json["messages"]
    assert (messages["duplicates"], messages["balanced"]) == (len(scenario.lines()), True)
    assert on_postgresql.ask("query", "worklist").out == before


def test_an_address_that_leads_nowhere_ends_with_exit_3_and_tells_no_password(tmp_path: Path) -> None:
    for address in ("postgresql://heard:hush-hush@/x?host=/nowhere", "mysql://heard:hush-hush@host/x"):
        answer = heard("query", "inputs", dir=tmp_path, now=NOW, env={"HEARD_DATABASE_URL": address})
        assert answer.code == 3, answer.err
        assert "hush-hush" not in answer.err + answer.text
