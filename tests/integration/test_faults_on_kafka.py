"""Is anything lost, or done twice, when what Heard stands on breaks while 200 messages a second come in?

Each loop is a process of its own, started again when it ends as a container engine would; below them
are a real Apache Kafka and a real PostgreSQL that belong to these tests. In the end everything is
compared with what an installation holds that nobody disturbed. How long each recovery took, from the
end of the fault until everything sent by then had come to read models and duties, is printed.
What becomes of it when those processes end is in `test_kills_on_kafka.py`.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Final

import pytest
from kafka import KafkaProducer

from infra.kafka_topics import PARTITIONS
from services.topics import TOPICS
from tests.support.loaded import TIMES, Held, Load, Undertaking, loaded, undisturbed
from tests.support.site import Site, until
from tests.support.told import TOLD, Tell

CUT: Final = 10.0
"""Seconds for which a network is cut or a disk is full."""

# The clients' libraries drop connections that failed without closing them, and here many fail.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module")
def measure(place: Site, tmp_path_factory: pytest.TempPathFactory) -> Held:
    """What nobody disturbed."""
    return undisturbed(place, tmp_path_factory.mktemp("undisturbed"), TIMES)


def test_the_broker_is_killed(place: Site, measure: Held, tmp_path: Path, record_property: Tell) -> None:
    with loaded(place, tmp_path, measure) as (run, load):
        assert place.broker.kill()
        record_property(TOLD, recovered(place, run, load, "the broker killed and started again"))


def test_the_broker_is_stopped_for_30_seconds(place: Site, tmp_path: Path, record_property: Tell) -> None:
    with loaded(place, tmp_path, times=60) as (run, load):
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
