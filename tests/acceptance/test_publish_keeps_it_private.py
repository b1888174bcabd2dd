"""Who else could read what `publish` puts into files on its way?"""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from infra.cli import feeding
from tests.support.messages import concern, lines
from tests.support.program import heard

pytestmark = pytest.mark.embedded("nothing is sent before the files that it is about are closed")

NOW = "2026-01-10"
MANY = [concern(f"N{at}") for at in range(300)]


def test_what_comes_by_a_pipe_goes_into_no_folder_that_others_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "IN_MEMORY", 1000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    answer = heard("publish", "-", dir=tmp_path / "data", now=NOW, stdin=lines(MANY))
    assert (answer.code, answer.json) == (0, {"sent": len(MANY), "rejected": []})


def test_what_does_not_fit_into_memory_has_no_name_and_one_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeding, "IN_MEMORY", 1000)
    source = tmp_path / "source"
    source.write_bytes(b"line\n" * 1000)
    folder = tmp_path / "data"
    folder.mkdir()
    with source.open("rb") as stream, feeding._spooled(stream, folder) as spooled:
        assert list(spooled) == [b"line\n"] * 1000
        there = os.fstat(spooled.fileno())
        assert (stat.S_IMODE(there.st_mode), there.st_nlink) == (0o600, 0)
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("before", [None, 0o644])
def test_the_lines_that_are_left_out_are_for_this_user_alone(tmp_path: Path, before: int | None) -> None:
    file = tmp_path / "messages"
    file.write_bytes(lines(MANY[:2]) + b"Maria Gonzalez\n")
    rejected = tmp_path / "messages.rejected"
    if before is not None:
        rejected.write_bytes(b"from last time")
        rejected.chmod(before)

    answer = heard("publish", file, "--skip-invalid", dir=tmp_path / "data", now=NOW)

    assert answer.json["sent"] == 2
    assert rejected.read_bytes() == b"Maria Gonzalez\n"
    assert stat.S_IMODE(rejected.stat().st_mode) == 0o600
