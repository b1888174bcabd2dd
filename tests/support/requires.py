"""What does a test need that may be absent, and what happens then? The only place that may skip."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]


def absent(message: str) -> NoReturn:
    """Skip the test with a message; with CI=true it fails instead, for there everything must be."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{message}; in CI nothing may skip")
    pytest.skip(message)


def shared_data(name: str) -> Path:
    """The folder or file `name` of the real data that lies beside the project, at ../shared/data.

    Where it is absent the test is skipped with a message; with CI=true it fails instead, for there
    the data must be.
    """
    path = ROOT.parent / "shared" / "data" / name
    if not path.exists():
        absent(f"the real data {name!r} is not at ../shared/data, beside the project")
    return path
