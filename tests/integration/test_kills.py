"""Is anything lost, or done twice, when the program is killed while it works?

The inbox holds the scenario and the imports many times over, so dealt that effects come in before
their causes. `heard consume` is killed at a named point, and started again, until every kill is
done; then it runs to the end. A run that nobody disturbed, in another directory, gives the measure.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import orjson
import pytest

from consumers.running import run
from infra import scenario
from infra.cli import health
from infra.cli.session import Session
from infra.installation import Installation
from infra.logging import configure
from infra.settings import read_settings
from services.faults import POINTS
from tests.support.compared import contents, differences, loose_ends, shown
from tests.support.multiplied import NOW, Inbox, multiplied, publish
from tests.support.program import started
from tests.support.told import TOLD, Tell

ID_KEY = "5e" * 32
CONSUMING = tuple(point for point in POINTS if not point.startswith(("erasure.", "restore.")))
"""The points that `heard consume` comes by."""
OUTSIDE = "anywhere, from outside"
PATIENCE = 120
"""Seconds until a run that should have ended by then is a failure."""


@contextmanager
def opened(directory: Path) -> Iterator[Installation]:
    configure("console", "error")
    i = Installation(read_settings(dir=directory, id_key=ID_KEY), now=datetime.fromisoformat(NOW))
    try:
        yield i
    finally:
        i.close()


def published(directory: Path, times: int, most: int | None = None) -> Inbox:
    with opened(directory) as i:
        inbox = multiplied(times, i.ids, i.clock.now(), most)
        publish(i.log, inbox.first)
        run(i.loops(), until_idle=True)
        publish(i.log, inbox.then)
    return inbox


def consuming(directory: Path, **settings: object) -> subprocess.Popen[bytes]:
    env = {"HEARD_ID_KEY": ID_KEY} | {f"HEARD_{name.upper()}": str(value) for name, value in settings.items()}
    return started(
        "consume", "--until-idle", dir=directory, now=NOW, env=env,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip


def killed_at(directory: Path, point: str, count: int, batch: int) -> None:
    """Kill it when it comes by the point for the `count`-th time; it always has a batch in hand there."""
    process = consuming(directory, fault=f"{point}:{count}", batch=batch)
    _, talk = process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, f"not killed at {point}:{count}: {talk.decode()[-2000:]}"


def killed_after(directory: Path, seconds: float, batch: int) -> None:
    """Kill it from outside, wherever it is by then."""
    process = consuming(directory, batch=batch)
    time.sleep(seconds)
    process.kill()
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL, "there was not enough to do: it ended before it was killed"


def undisturbed(directory: Path, times: int) -> None:
    published(directory, times)
    ended(directory)


def ended(directory: Path) -> None:
    process = consuming(directory)
    _, talk = process.communicate(timeout=PATIENCE * 10)
    assert process.returncode == 0, talk.decode()[-2000:]


def kill(tmp_path: Path, times: int, kills: int, from_outside: int) -> Counter[str]:
    """Kill it so often, at each point about equally often, and compare; how often at which point."""
    undisturbed(tmp_path / "undisturbed", times)
    disturbed = tmp_path / "disturbed"
    inbox = published(disturbed, times)
    batch = max(4, len(inbox.then) // (kills + from_outside) // 4)
    chance = random.Random(kills)
    plan = [CONSUMING[at % len(CONSUMING)] for at in range(kills)] + [OUTSIDE] * from_outside
    chance.shuffle(plan)
    counts: Counter[str] = Counter()
    for point in plan:
        if point == OUTSIDE:
            killed_after(disturbed, chance.uniform(0.4, 1.2), batch)
        else:
            killed_at(disturbed, point, chance.randint(1, 3), batch)
        counts[point] += 1
    ended(disturbed)
    with opened(tmp_path / "undisturbed") as one, opened(disturbed) as other:
        assert loose_ends(one) == []
        assert loose_ends(other) == []
        assert differences(contents(one, inbox.people), contents(other, inbox.people)) == {}
        assert shown(one, inbox.people, 2_500) == shown(other, inbox.people, 2_500)
        for i in (one, other):
            answer = health.doctor(Session(i.settings, i.clock.now()))
            assert answer["ok"], answer
            assert answer["messages"]["read"] == len(inbox.first) + len(inbox.then)
            assert (answer["messages"]["waiting"], answer["messages"]["parked"]) == (0, 0)
    return counts


def test_killed_20_times_it_holds_what_an_undisturbed_run_holds(
    tmp_path: Path, record_property: Tell
) -> None:
    counts = kill(tmp_path, times=2, kills=20, from_outside=2)
    record_property(TOLD, {f"kill -9 at {point}": count for point, count in sorted(counts.items())})
    assert counts.total() - counts[OUTSIDE] == 20
    assert set(counts) == {*CONSUMING, OUTSIDE}


@pytest.mark.slow
def test_killed_200_times_it_holds_what_an_undisturbed_run_holds(
    tmp_path: Path, record_property: Tell
) -> None:
    counts = kill(tmp_path, times=50, kills=200, from_outside=40)
    record_property(TOLD, {f"kill -9 at {point}": count for point, count in sorted(counts.items())})
    assert counts.total() - counts[OUTSIDE] == 200
    assert min(counts.values()) >= 10
    assert set(counts) == {*CONSUMING, OUTSIDE}


def test_what_was_to_be_parked_when_it_was_killed_and_then_was_not_is_not_parked_on_the_log(
    tmp_path: Path,
) -> None:
    # given an effect right before its cause, and a kill when the effect was set aside
    with opened(tmp_path) as i:
        known = {message["id"]: orjson.dumps(message) for message in scenario.messages()}
        publish(i.log, [(b"here", known["N1.raised"]), (b"here", known["C1.held"])])
    killed_at(tmp_path, "intake.set_aside", 1, batch=1)
    with opened(tmp_path) as i:
        assert loose_ends(i) == ["parked records: 0 missing, 1 too many", "inbox/2: 2 bodies are still there"]

    # when both are taken together
    ended(tmp_path)

    # then nobody waits for anything
    with opened(tmp_path) as i:
        assert loose_ends(i) == []
        assert i.store.counts()["accepted"] == 2
