"""Does each room import only what it may, and would we notice if it did not?

Each import contract of pyproject.toml has twins here: the packages are copied, one forbidden import
is planted in the copy, and that contract, and no other, must be the one that breaks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
ROOMS: list[str] = CONFIG["root_packages"]
CONTRACTS: dict[str, str] = {contract["id"]: contract["name"] for contract in CONFIG["contracts"]}

PLANTS = [
    ("rooms", "domain", "import projections"),
    ("rooms", "projections", "import services"),
    ("rooms", "services", "import consumers"),
    ("rooms", "consumers", "import infra"),
    ("edges", "consumers", "from kafka import KafkaConsumer"),
    ("edges", "services", "import fastapi"),
    ("edges", "projections", "import sqlite3"),
    ("edges", "domain", "import typer"),
    ("recorder", "services", "from eventsourcing.persistence import StoredEvent"),
    ("pure", "domain", "from time import time"),
    ("pure", "domain", "from sqlalchemy import select"),
    ("cryptography", "domain", "from cryptography.hazmat.primitives import hashes"),
]


def lint(folder: Path, contract: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages in `folder`, which come before any installed ones."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command as m; m()",
        "--no-cache",
    ]
    if contract:
        command += ["--contract", contract]
    environment = {**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The five packages and the contracts, to be spoilt."""
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_holds() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(CONTRACTS)} kept, 0 broken" in result.stdout


def test_every_contract_has_a_twin() -> None:
    assert {contract for contract, _, _ in PLANTS} == set(CONTRACTS)


@pytest.mark.parametrize(("contract", "room", "line"), PLANTS)
def test_a_planted_import_breaks_its_contract(copy: Path, contract: str, room: str, line: str) -> None:
    (copy / room / "planted.py").write_text(f"{line}\n")

    result = lint(copy, contract)

    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{CONTRACTS[contract]} BROKEN" in result.stdout
    assert f"{room}.planted ->" in result.stdout


def test_the_evidence_may_use_cryptography(copy: Path) -> None:
    (copy / "domain" / "evidence").mkdir(exist_ok=True)
    (copy / "domain" / "evidence" / "__init__.py").touch()
    (copy / "domain" / "evidence" / "planted.py").write_text(
        "from cryptography.hazmat.primitives import hashes\n"
    )
    (copy / "domain" / "planted.py").write_text("import domain.evidence.planted\n")

    result = lint(copy, "cryptography")

    assert result.returncode == 0, result.stdout + result.stderr
