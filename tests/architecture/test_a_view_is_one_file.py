"""Is one new file all that a new read model needs?"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("domain", "projections", "consumers", "services", "infra")

NEW_VIEW = '''
"""How often did each channel bring something?"""

from sqlalchemy import func, select

from domain import contact, feedback
from projections.view import TEXT, Shape, View, here

USES = Shape("channels_uses", {"channel": TEXT})


def _used(rows, e, event):
    rows.put(USES, e, channel=event.channel)


def _question(db, tables, asked):
    table = tables[USES]
    columns = (table.c.force, table.c.place, table.c.channel)
    query = select(*columns, func.count().label("uses")).where(*here(table, asked)).group_by(*columns)
    return [dict(row) for row in db.execute(query.order_by(table.c.channel)).mappings()]


VIEW = View(
    name="channels",
    version=1,
    about="How often each channel was used.",
    columns={"force": "force", "neighbourhood": "place", "channel": "channel", "uses": "how often"},
    shapes=(USES,),
    handlers={contact.Recorded: _used, feedback.Sent: _used},
    question=_question,
)
'''


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The five packages, copied."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / "copy" / room, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "copy"


def heard(copy: Path, *arguments: str) -> bytes:
    """stdout of the program in the copy."""
    program = "import sys; from infra.cli import main; sys.exit(main(sys.argv[1:]))"
    call = [sys.executable, "-c", program, "--dir", str(copy / "data"), "--now", "2009-03-01", *arguments]
    return subprocess.run(call, cwd=copy, check=True, capture_output=True).stdout


def test_a_file_with_a_view_is_a_new_read_model_built_from_the_whole_log(copy: Path) -> None:
    heard(copy, "demo")

    (copy / "projections" / "channels.py").write_text(NEW_VIEW)
    heard(copy, "consume", "--until-idle")

    rows = orjson.loads(heard(copy, "query", "channels"))["rows"]
    assert {row["channel"]: row["uses"] for row in rows} == {"meeting": 1, "meeting_note": 1, "website": 1}
    assert orjson.loads(heard(copy, "views", "compare", "channels"))["equal"] is True
    listed = {row["view"]: row for row in orjson.loads(heard(copy, "views", "list"))["rows"]}
    assert listed["channels"]["lag"] == 0
