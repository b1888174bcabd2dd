"""Is the README's walk of one fact what the code does?"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from consumers.running import run
from infra import scenario
from infra.installation import Installation
from infra.settings import Settings
from services.ports import Outgoing
from services.topics import INBOX

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^\| \d \| `([a-z_/]+\.py)` \| `([a-z_]+)` \|", re.MULTILINE)


def steps() -> list[tuple[str, str]]:
    """(file, function) of each step of the README's table."""
    return STEP.findall((ROOT / "README.md").read_text())


def raised(lines: list[str]) -> list[str]:
    """The scenario up to its first concern."""
    last = next(at for at, line in enumerate(lines) if "heard.concern.raised.v1" in line)
    return lines[: last + 1]


def test_the_readme_names_at_most_five_files() -> None:
    assert 1 < len({file for file, _ in steps()}) <= 5


def test_a_concern_goes_the_way_that_the_readme_says(tmp_path: Path) -> None:
    called: list[tuple[str, str]] = []

    def watch(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            file = Path(frame.f_code.co_filename)
            if file.is_relative_to(ROOT):
                called.append((str(file.relative_to(ROOT)), frame.f_code.co_name))

    installation = Installation(Settings(dir=tmp_path), now=scenario.CLOCK)
    lines = raised(list(scenario.lines()))
    installation.log.append([Outgoing(INBOX.name, b"", line.encode()) for line in lines])
    sys.setprofile(watch)
    try:
        run(installation.loops(), until_idle=True)
    finally:
        sys.setprofile(None)
        installation.close()

    at = -1
    for step in steps():
        assert step in called[at + 1 :], f"{step} is not called after the step before it"
        at = called.index(step, at + 1)
