"""Does intake bear whatever lies on the inbox, on a real Apache Kafka, and does every record end?"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from infra.kafka_topics import PARTITIONS
from services.topics import INBOX, KEPT
from tests.contract.kafka_harness import topics_of_its_own
from tests.support.hostile import HOSTILE, Raw, anything, flood, send
from tests.support.messages import concern
from tests.support.program import Answer, heard, started
from tests.support.told import TOLD, Tell

SOON: Final = 10.0
"""Seconds in which every good message has to be accepted, whatever lies beside it."""
OBEYS: Final = 5.0
"""Seconds in which a process has to end that is told to."""
MEMORY: Final = 400
"""Megabytes of memory that intake may ever hold."""


class World:
    """An installation on the broker, with a file for a database, and a process of its intake."""

    def __init__(self, dir: Path, settings: dict[str, str]) -> None:
        self.dir, self.settings = dir, settings
        self.topic = settings["HEARD_KAFKA_PREFIX"] + INBOX.name
        for verb in (("topics", "create"), ("consume", "--until-idle")):  # the doctor wants a beginning
            made = self.heard(*verb)
            assert made.code == 0, made.err

    def heard(self, *arguments: str) -> Answer:
        """Call the program."""
        return heard(*arguments, dir=self.dir, env=self.settings)

    def send(self, *records: tuple[int, Raw]) -> None:
        """Put records on the inbox, each in its partition."""
        send(self.settings["HEARD_KAFKA_SERVERS"], self.topic, records)

    def messages(self) -> dict[str, Any]:
        """How they ended, as the doctor counts them."""
        return dict(self.heard("doctor").json["messages"])

    @contextmanager
    def intake(self) -> Iterator[subprocess.Popen[bytes]]:
        """A process that takes what comes, and that obeys when it is told to end."""
        process = started(
            "consume", "intake", dir=self.dir, env=self.settings, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            self.send((0, good("at-work")))
            until(lambda: self.messages()["accepted"] == 1, 60)
            yield process
            assert process.poll() is None, process.communicate()[1].decode()[-3000:]
            assert peak(process) < MEMORY
            process.send_signal(signal.SIGTERM)
            told = time.monotonic()
            process.communicate(timeout=60)
            assert time.monotonic() - told < OBEYS
        finally:
            process.kill()
            process.communicate()


def peak(process: subprocess.Popen[bytes]) -> int:
    """The most memory that it has held so far, in megabytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) // 1024


@pytest.fixture
def world(kafka_servers: str, tmp_path: Path) -> Iterator[World]:
    with topics_of_its_own(kafka_servers) as settings:
        yield World(tmp_path, settings)


def until(done: Callable[[], bool], seconds: float) -> float:
    """Wait for it; how long it took."""
    begun = time.monotonic()
    while not done():
        assert time.monotonic() - begun < seconds, f"not within {seconds} s"
        time.sleep(0.2)
    return time.monotonic() - begun


def good(ref: str) -> Raw:
    return Raw(orjson.dumps(concern(ref)))


def test_twelve_hostile_records_each_alone_and_between_good_ones_end_as_dead_letters(
    world: World, record_property: Tell
) -> None:
    assert len(HOSTILE) == PARTITIONS
    hostile = [(partition, raw) for partition, (_, raw) in enumerate(HOSTILE.values())]
    codes = Counter(code for code, _ in HOSTILE.values())

    # given an intake at work, when each comes alone, one in each partition
    with world.intake() as process:
        world.send(*hostile)
        alone = until(lambda: world.messages()["dead_letters"] == PARTITIONS, SOON)

        # and when each comes between good ones
        world.send(
            *[
                record
                for partition, raw in hostile
                for record in (
                    (partition, good(f"a{partition}")),
                    (partition, raw),
                    (partition, good(f"b{partition}")),
                )
            ]
        )
        between = until(lambda: world.messages()["accepted"] == 1 + 2 * PARTITIONS, SOON)
        until(lambda: world.messages()["dead_letters"] == 2 * PARTITIONS, SOON)
        record_property(
            TOLD,
            {
                "all ended, alone": f"{alone:.1f} s",
                "between good ones": f"{between:.1f} s",
                "memory": f"{peak(process)} MB",
            },
        )

    # then each is a dead letter that says where it lay, and the messages add up
    dead = world.heard("dead-letters", "list").json["rows"]
    assert Counter(row["code"] for row in dead) == codes + codes
    for row in dead:
        if row["code"] in ("too_large", "unreadable"):
            assert "in partition" in row["reason"]
            assert "at offset" in row["reason"]
            shown = world.heard("dead-letters", "show", row["id"]).json
            assert len(shown["body"].encode()) <= 3 * KEPT
            assert shown["cut"]["size"] > 0
            assert len(shown["cut"]["digest"]) == 64
    assert world.messages()["balanced"]


def test_intake_obeys_while_hostile_records_are_in_hand(world: World) -> None:
    hostile = [(partition, raw) for partition, (_, raw) in enumerate(HOSTILE.values())]
    with world.intake() as process:
        for _ in range(3):
            world.send(*hostile)
    # After the batch in hand, or in its middle where that takes more than seconds.
    assert process.returncode in (0, 128 + signal.SIGTERM)
    assert world.heard("consume", "intake", "--until-idle").code == 0
    messages = world.messages()
    assert (messages["read"], messages["balanced"]) == (1 + 3 * PARTITIONS, True)


def test_ten_thousand_records_of_random_bytes_codecs_and_headers_balance(
    world: World, record_property: Tell
) -> None:
    count = 10_000
    records = anything(random.Random(9), count, PARTITIONS)
    flood(world.settings["HEARD_KAFKA_SERVERS"], world.topic, records)
    ended = world.heard("consume", "--until-idle")
    assert ended.code == 0, ended.err[-3000:]
    messages = world.messages()
    record_property(TOLD, {name: messages[name] for name in messages if messages[name]})
    assert (messages["read"], messages["balanced"], messages["waiting"]) == (count, True, 0)
    assert messages["accepted"] > count / 10
    codes = {row["code"] for row in world.heard("dead-letters", "list").json["rows"]}
    assert codes >= {"not_json", "not_utf8", "too_large", "unreadable"}
