"""Does a process that hangs come to an end, by itself and when it is told to, with nothing lost?

A real process hangs at a named point: in Python code, in a wait, in a statement of a database, in C
code that lets no other thread on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from consumers.projector import rebuild
from infra import scenario
from infra.installation import Installation
from infra.settings import Settings
from infra.watchdog import GRACE
from projections.catalogue import VIEWS
from tests.support.program import heard, started
from tests.support.requires import ROOT

NOW = f"{scenario.CLOCK:%Y-%m-%d}"
PROMISED = 5.0
"""Seconds from the signal to the end of a process that hangs."""
ON_A_BUSY_MACHINE = 2.0
"""As many more until somebody has seen that."""
LONG = 60.0
"""Seconds until a process that should have ended by then is a failure."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An installation with the scenario in its inbox."""
    messages = "\n".join(scenario.lines()).encode()
    assert heard("publish", "-", dir=tmp_path, now=NOW, stdin=messages).code == 0
    return tmp_path


@contextmanager
def consuming(
    folder: Path, env: Mapping[str, str], stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """`heard consume`, which is killed at the end whatever happens."""
    streams = {"stdout": subprocess.DEVNULL, "stderr": stderr}
    with started("consume", dir=folder, now=NOW, env=env, **streams) as process:
        try:
            yield process
        finally:
            process.kill()


def hanging(process: subprocess.Popen[bytes]) -> None:
    """Wait until it hangs, which it says."""
    assert process.stderr is not None
    line = process.stderr.readline().decode()
    assert " at intake." in line, line


def at_work(process: subprocess.Popen[bytes]) -> None:
    """Wait until its loops go round: nothing is left to do, and the sequencer says that it has begun."""
    assert process.stderr is not None
    assert any(b"sequencer began" in line for line in process.stderr)


def ended(process: subprocess.Popen[bytes], *signals: int) -> tuple[int, float, str]:
    """Send signals; the exit code, the seconds to it, and what it said."""
    began = time.monotonic()
    for number in signals:
        process.send_signal(number)
        time.sleep(0.2)
    _, talk = process.communicate(timeout=LONG)
    return process.returncode, time.monotonic() - began, talk.decode()


def nothing_is_lost(folder: Path) -> None:
    answer = heard("consume", "--until-idle", dir=folder, now=NOW)
    assert answer.code == 0, answer.err
    found = heard("doctor", dir=folder, now=NOW).json
    assert found["ok"], found
    assert found["messages"]["balanced"]
    assert found["messages"]["accepted"] == len(scenario.lines())


# -- told to end ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hang", "wait"])
def test_one_that_hangs_ends_within_five_seconds_of_being_told_to(folder: Path, how: str) -> None:
    with consuming(folder, {"HEARD_FAULT": f"intake.read:1:{how}"}) as process:
        hanging(process)
        code, seconds, talk = ended(process, signal.SIGTERM)
    assert code == 128 + signal.SIGTERM
    assert GRACE - 0.5 < seconds < PROMISED + ON_A_BUSY_MACHINE
    assert talk.endswith(
        "heard: ended 4 seconds after it was told to: it was in the middle of something;"
        " nothing is lost, what was in hand is taken again\n"
    )
    nothing_is_lost(folder)


def test_an_interrupt_has_its_own_code_and_a_second_one_waits_for_nothing(folder: Path) -> None:
    with consuming(folder, {"HEARD_FAULT": "intake.before_commit:1:hang"}) as process:
        hanging(process)
        code, seconds, talk = ended(process, signal.SIGINT, signal.SIGINT)
    assert code == 128 + signal.SIGINT
    assert seconds < GRACE - 0.5
    assert "heard: ended at once, being told twice" in talk
    nothing_is_lost(folder)


def test_one_that_is_idle_obeys_at_once(folder: Path) -> None:
    nothing_is_lost(folder)
    with consuming(folder, {"HEARD_WATCHDOG": "3", "HEARD_LOG_LEVEL": "info"}) as process:
        at_work(process)
        time.sleep(3.5)  # longer than a round may take
        assert process.poll() is None
        code, seconds, talk = ended(process, signal.SIGTERM)
    assert code == 0
    assert seconds < GRACE - 0.5
    assert "ended" not in talk


def script(text: str, *signals: int) -> tuple[int, str]:
    """The end of a process in which a signal comes at once, and the grace is short."""
    code = f"""
    import os, signal, sqlite3, sys, time
    from infra import watchdog
    watchdog.GRACE = 1.0
    ending = watchdog.Ending()
    {textwrap.indent(textwrap.dedent(text), "    ").strip()}
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT,
        capture_output=True,
        timeout=LONG,
        check=False,
    )
    return done.returncode, done.stderr.decode()


def test_a_statement_that_a_database_works_on_holds_up_no_end() -> None:
    code, talk = script("""
    with ending.heeding():
        os.kill(os.getpid(), signal.SIGTERM)  # heeded by Python once the statement is over: never
        query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        sqlite3.connect(":memory:").execute(query).fetchone()
    """)
    assert code == 128 + signal.SIGTERM, talk


def test_what_is_closed_after_the_loops_is_held_to_the_same() -> None:
    code, talk = script("""
    with ending.heeding():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ending.asked
    time.sleep(60)
    """)
    assert code == 128 + signal.SIGTERM, talk


def test_one_that_came_to_its_end_is_let_be() -> None:
    code, talk = script("""
    for _ in range(2):
        with ending.heeding():
            assert not ending.asked
            os.kill(os.getpid(), signal.SIGTERM)
            assert ending.asked
        ending.over()
    time.sleep(1.5)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    sys.exit(7)
    """)
    assert (code, talk) == (7, "")


def test_a_stderr_that_nobody_reads_holds_up_no_end(folder: Path) -> None:
    reading, writing = os.pipe()
    try:
        with consuming(folder, {"HEARD_FAULT": "intake.read:1:hang"}, writing) as process:
            assert os.read(reading, 100) == b"hang at intake.read\n"
            os.set_blocking(writing, False)
            with suppress(BlockingIOError):
                while True:
                    os.write(writing, b"x")
            os.set_blocking(writing, True)
            process.send_signal(signal.SIGTERM)
            assert process.wait(PROMISED + ON_A_BUSY_MACHINE) == 128 + signal.SIGTERM
    finally:
        os.close(reading)
        os.close(writing)


# -- by itself -----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["hang", "seize"])
def test_the_watchdog_ends_one_that_hangs_and_says_where(folder: Path, how: str) -> None:
    with consuming(folder, {"HEARD_FAULT": f"intake.read:1:{how}", "HEARD_WATCHDOG": "3"}) as process:
        hanging(process)
        _, talk = process.communicate(timeout=LONG)
    assert process.returncode == 1
    assert talk.startswith(b"Timeout (0:00:03)!\n")
    assert b"intake.py" in talk
    nothing_is_lost(folder)


def test_a_rebuild_of_the_read_models_says_at_each_batch_that_it_goes_on(folder: Path) -> None:
    nothing_is_lost(folder)
    with closing(Installation(Settings(dir=folder), now=scenario.CLOCK)) as i:
        told: list[None] = []
        rebuild(i.log, i.views, list(VIEWS), batch=1, alive=lambda: told.append(None))
        assert len(told) == i.store.end() + len(VIEWS)
        assert i.loops(("projector",))[0].alive == i.watchdog.alive  # type: ignore[attr-defined]


@pytest.mark.parametrize("fault", ["intake.read:1:sleep", "intake.read:now", "intake.red:1", "intake.read"])
def test_a_fault_that_there_is_not_is_no_fault(folder: Path, fault: str) -> None:
    answer = heard("consume", "--until-idle", dir=folder, now=NOW, env={"HEARD_FAULT": fault})
    assert answer.code == 3
    assert answer.error["got"] == fault
