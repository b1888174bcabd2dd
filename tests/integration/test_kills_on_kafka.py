"""Is anything lost, or done twice, when Heard's processes end while 200 messages a second come in?

As in `test_faults_on_kafka.py`, on a site of its own: the two files run side by side.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import pytest

from infra.installation import LOOPS
from tests.support.loaded import Undertaking, loaded
from tests.support.requires import ROOT
from tests.support.site import Site, until
from tests.support.told import TOLD, Tell

# The clients' libraries drop connections that failed without closing them, and here many fail.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def test_the_groups_are_rebalanced_ten_times(place: Site, tmp_path: Path, record_property: Tell) -> None:
    # given as many members again, which the groups have to share their partitions with
    seconds = []
    second = ("intake.2", "projector.2")
    with loaded(place, tmp_path, times=40) as (run, load):
        # when they join, and leave again: by turns in good order and killed
        for turn in range(5):
            if turn == 0:
                run.begin(*second)
            for name in second:
                run.processes[name].release()
            seconds.append(run.shared("intake", 2) + run.shared("projector", 2) + run.caught_up(load))
            for name in second:
                run.processes[name].hold(signal.SIGKILL if turn % 2 else signal.SIGTERM)
            seconds.append(run.shared("intake", 1) + run.shared("projector", 1) + run.caught_up(load))
        assert [run.processes[name].starts for name in second] == [5, 5]
    what = "at most until a member that joined or left was heeded, and all was through; ten times"
    record_property(TOLD, {what: f"{max(seconds):.1f} s"})


def test_the_processes_are_killed_100_times(place: Site, tmp_path: Path, record_property: Tell) -> None:
    record_property(TOLD, told_of(killed(place, tmp_path, each=25, times=120)))


@pytest.mark.slow
def test_each_process_is_killed_100_times(place: Site, tmp_path: Path, record_property: Tell) -> None:
    result = killed(place, tmp_path, each=100, times=300)
    record_property(TOLD, told_of(result))
    file = ROOT / "benchmarks" / "results" / "faults.json"
    file.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


def killed(place: Site, directory: Path, *, each: int, times: int) -> dict[str, Any]:
    """Kill every process so often, all four beside each other, under a load that lasts as long; compare.

    A process is killed again once it has done something since it was killed last.
    """
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    with loaded(place, directory, times=times) as (run, load):
        begun, before = time.monotonic(), load.sent
        killers = [
            threading.Thread(target=kill_often, args=(run, name, each, seconds[name]), daemon=True)
            for name in LOOPS
        ]
        for killer in killers:
            killer.start()
        for killer in killers:
            killer.join()
        lasted, sent = time.monotonic() - begun, load.sent - before
        assert [len(found) for found in seconds.values()] == [each] * len(LOOPS), run.told()
        again = run.caught_up(load)
    return {
        "messages": sent,
        "seconds": round(lasted, 1),
        "seconds_until_all_was_through_after_the_last": round(again, 1),
        "kills": {
            name: {
                "count": len(found),
                "seconds_to_the_next_work": {
                    "median": round(median(found), 1), "longest": round(max(found), 1)
                },
            }
            for name, found in seconds.items()
        },
    }  # fmt: skip


def kill_often(run: Undertaking, name: str, count: int, seconds: list[float]) -> None:
    """Kill one process so often, each time in the middle of its work; how long it then did nothing."""
    chance = random.Random(name)
    with run.opened() as i:

        def moved(since: int) -> bool:
            return run.moved_on(i, name) > since

        until(partial(moved, run.moved_on(i, name)), 60, f"{name} to work")
        for _ in range(count):
            time.sleep(chance.uniform(0, 0.3))
            assert run.processes[name].kill()
            begun, at = time.monotonic(), run.moved_on(i, name)
            until(partial(moved, at), 60, f"{name} to work again")
            seconds.append(time.monotonic() - begun)


def told_of(result: dict[str, Any]) -> dict[str, str]:
    """The result of the kills, in a line for each process."""
    lines = {f"messages in {result['seconds']} s": str(result["messages"])}
    for name, found in result["kills"].items():
        took = found["seconds_to_the_next_work"]
        what = f"kill -9 of {name}; at work again after {took['median']} s, at most {took['longest']} s"
        lines[what] = str(found["count"])
    again = result["seconds_until_all_was_through_after_the_last"]
    return lines | {"until everything was through after the last kill": f"{again} s"}
