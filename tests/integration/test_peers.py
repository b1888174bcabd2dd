"""Do the handlers of other libraries, which the benchmarks run, write the rows that Heard writes?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Table, select

from benchmarks.peers.measuring import TABLES, tables
from benchmarks.peers.rows import BATCH, GENERATION, IDS, write
from benchmarks.telling import PEERS
from benchmarks.upstream import Line, Upstream
from consumers.running import run
from consumers.upstream import STRUCTURED
from infra import databases
from infra.installation import Installation
from infra.logging import configure
from infra.settings import read_settings
from projections.catalogue import VIEWS
from services.ports import Outgoing
from services.topics import INBOX
from tests.support.requires import ROOT

MESSAGES = 2_000
OPENED = {"words_at", "words_key", "reason_words_at", "contributor"}
"""Where Heard has the place of a sealed value or a person's random id, and the handlers what was said."""


def contents(db: Connection, table: Table) -> Counter[tuple[Any, ...]]:
    found: Counter[tuple[Any, ...]] = Counter()
    for row in db.execute(select(table)).mappings():
        # A support is one person's, and so its id is drawn from that person's.
        of_a_person = "stance" in row or row.get("kind") == "support" or row.get("relation") == "supports"
        hidden = OPENED | ({"id", "effect"} if of_a_person else set())
        found[tuple(value for name, value in row.items() if name not in hidden)] += 1
    return found


def written_by_heard(directory: Path, lines: list[Line]) -> list[Counter[tuple[Any, ...]]]:
    configure("console", "error")
    i = Installation(read_settings(dir=directory, id_key=IDS.key.hex()))
    try:
        i.log.append([Outgoing(INBOX.name, line.key, line.body, STRUCTURED) for line in lines])
        run(i.loops(("intake", "sequencer", "projector")), until_idle=True)
        of = {shape: name for name, view in VIEWS.items() for shape in view.shapes}
        with i.views.reading() as db:
            live = i.views.live(db)
            return [contents(db, shape.table(live[of[shape]])) for shape in TABLES]
    finally:
        i.close()


def test_the_rows_are_those_of_heard_also_when_messages_come_again(
    postgresql_server: str, tmp_path: Path
) -> None:
    upstream = Upstream.of(MESSAGES, places=20)
    lines = [upstream.registration(), *upstream.lines(MESSAGES)]
    ours = written_by_heard(tmp_path, lines)
    assert all(sum(rows.values()) > 20 for rows in ours)
    with tables(postgresql_server) as url:
        with psycopg.connect(url, autocommit=True) as db:
            for start in range(0, len(lines), BATCH):
                write(db, [line.body for line in lines[start : start + BATCH]])
            write(db, [line.body for line in lines if b"concern.grouped" not in line.body])
        engine = databases.postgresql(url)
        with engine.connect() as db_:
            theirs = [contents(db_, shape.table(GENERATION)) for shape in TABLES]
        engine.dispose()
    assert theirs == ours


@pytest.mark.parametrize("name", PEERS)
def test_each_peer_has_a_handler_and_a_list_of_hashed_pins_without_an_address(name: str) -> None:
    folder = ROOT / "benchmarks" / "peers"
    short = name.removeprefix("peer_")
    lock = (folder / f"requirements-{short}.txt").read_text()
    assert "://" not in lock
    assert lock.count("==") <= lock.count("    --hash=sha256:")
    assert short in lock
    assert (folder / f"with_{short}.py").exists()
