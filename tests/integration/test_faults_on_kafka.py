"""Is anything lost, or done twice, when what Heard stands on breaks while 200 messages a second come in?

Each loop is a process of its own, started again when it ends as a container engine would; below them
are a real Apache Kafka and a real PostgreSQL that belong to these tests. In the end everything is
compared with what an installation holds that nobody disturbed. How long each recovery took, from the
end of the fault until everything sent by then had come to read models and duties, is printed.
"""

from __future__ import annotations

import random
import signal
import threading
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson
import pytest
from kafka import KafkaProducer

from infra.installation import LOOPS
from infra.kafka_topics import PARTITIONS
from services.topics import TOPICS
from tests.support.loaded import TIMES, Held, Load, Undertaking, loaded, messages, undisturbed
from tests.support.requires import ROOT
from tests.support.site import Site, until
from tests.support.told import TOLD, Tell

CUT: Final = 10.0
"""Seconds for which a network is cut or a disk is full."""

# The clients' libraries drop connections that failed without closing them, and here many fail.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def measure(place: Site, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """What nobody disturbed."""
    return undisturbed(place, tmp_path_factory.mktemp("undisturbed"), list(messages(TIMES)))


def test_the_broker_is_killed(place: Site, measure: Held, tmp_path: Path, record_property: Tell) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        assert place.broker.kill()
        record_property(TOLD, recovered(place, run, load, "the broker killed and started again"))


def test_the_broker_is_stopped_for_30_seconds(place: Site, tmp_path: Path, record_property: Tell) -> None:
    with loaded(place, tmp_path) as (run, load):
        place.broker.hold()
        time.sleep(30)
        place.broker.release()
        record_property(TOLD, recovered(place, run, load, "the broker stopped for 30 s and started again"))


def test_the_database_is_killed(place: Site, measure: Held, tmp_path: Path, record_property: Tell) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        assert place.database.kill()
        record_property(TOLD, recovered(place, run, load, "PostgreSQL killed and started again"))


def test_the_network_to_the_broker_is_cut(
    place: Site, measure: Held, tmp_path: Path, record_property: Tell
) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        place.broker_wire.cut()
        time.sleep(CUT)
        place.broker_wire.heal()
        record_property(TOLD, recovered(place, run, load, f"the network to the broker cut for {CUT:.0f} s"))


def test_the_network_to_the_database_is_cut(
    place: Site, measure: Held, tmp_path: Path, record_property: Tell
) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        place.database_wire.cut()
        time.sleep(CUT)
        place.database_wire.heal()
        record_property(TOLD, recovered(place, run, load, f"the network to PostgreSQL cut for {CUT:.0f} s"))


def test_the_disk_under_the_database_is_full(
    place: Site, measure: Held, tmp_path: Path, record_property: Tell
) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        place.fill()
        try:
            until(lambda: "No space left on device" in place.database.told, 60, "the disk to be missed")
            time.sleep(CUT)
        finally:
            place.free()
        record_property(TOLD, recovered(place, run, load, f"no room on the database's disk for {CUT:.0f} s"))


def test_two_sequencers_are_started_at_once(
    place: Site, measure: Held, tmp_path: Path, record_property: Tell
) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        run.processes["sequencer"].hold(signal.SIGKILL)
        run.begin("sequencer.2")
        run.processes["sequencer"].release()
        record_property(TOLD, recovered(place, run, load, "two sequencers started at once"))
        assert [run.processes[name].starts for name in ("sequencer", "sequencer.2")] == [2, 1]


def test_five_transactions_are_aborted_at_the_end_of_every_partition_before_a_restart(
    place: Site, measure: Held, tmp_path: Path, record_property: Tell
) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        run.processes["sequencer"].hold(signal.SIGKILL)
        aborted(place, run, 5)
        run.processes["sequencer"].release()
        record_property(TOLD, recovered(place, run, load, "five aborted transactions, then a restart"))


def recovered(place: Site, run: Undertaking, load: Load, what: str) -> dict[str, str]:
    """Wait until everything has come through that was sent by the end of the fault, which is now."""
    begun = time.monotonic()
    place.answers()
    run.caught_up(load)
    return {what: f"{time.monotonic() - begun:.1f} s"}


def aborted(place: Site, run: Undertaking, times: int) -> None:
    """Write to every partition of every topic, in transactions that are aborted."""
    producer = KafkaProducer(
        bootstrap_servers=place.servers, transactional_id=f"{run.prefix}upset", max_block_ms=30_000
    )
    producer.init_transactions()
    for _ in range(times):
        producer.begin_transaction()
        for topic in TOPICS:
            for partition in range(PARTITIONS):
                headers = [("position", b"999999999"), ("previous", b"0")]
                producer.send(run.prefix + topic.name, b"{}", key=b"-", headers=headers, partition=partition)
        producer.flush()
        producer.abort_transaction()
    producer.close()


def test_the_groups_are_rebalanced_ten_times(place: Site, tmp_path: Path, record_property: Tell) -> None:
    # given as many members again, which the groups have to share their partitions with
    seconds = []
    second = ("intake.2", "projector.2")
    with loaded(place, tmp_path) as (run, load):
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
    record_property(TOLD, told_of(killed(place, tmp_path, each=25)))


@pytest.mark.slow
def test_each_process_is_killed_100_times(place: Site, tmp_path: Path, record_property: Tell) -> None:
    result = killed(place, tmp_path, each=100)
    record_property(TOLD, told_of(result))
    file = ROOT / "benchmarks" / "results" / "faults.json"
    file.write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2) + b"\n")


def killed(place: Site, directory: Path, *, each: int) -> dict[str, Any]:
    """Kill every process so often, all four beside each other, under a load that lasts as long; compare.

    A process is killed again once it has done something since it was killed last.
    """
    seconds: dict[str, list[float]] = {name: [] for name in LOOPS}
    with loaded(place, directory) as (run, load):
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
