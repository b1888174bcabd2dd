"""What must an adapter bring to be held to the contract of the `Log` port?"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

from services.ports import Consumer, Log, Outgoing, Record
from services.topics import EVENTS

TRIES: Final = 300
"""Polls of a tenth of a second before a test gives up: a broker may take its time over a group."""
PIECES: Final = 60
"""Records in each batch of `send_for_ever`."""


@dataclass(frozen=True)
class Harness:
    """A log whose topics are empty, and what the port offers no verb for."""

    connect: Callable[[], Log]
    """Another view of the same log; it can be pickled, for use in another process."""
    log: Log
    """A first view."""
    overwrites: bool
    """Whether `redact` takes the body away at once."""
    make_gap: Callable[[str, int], None]
    """Burns offsets at the end of a (topic, partition): no record will ever have them."""
    make_stale: Callable[[str], None]
    """Takes the partitions of the group's only member away without its noticing."""


def from_the_first(topic: str, partition: int) -> int:
    """A start for consumers: everything."""
    return 0


def drain(consumer: Consumer, count: int) -> list[Record]:
    """`count` records, or as many as come in good time."""
    records: list[Record] = []
    for _ in range(TRIES):
        if len(records) >= count:
            break
        records += consumer.poll(500, timeout=0.1)
    return records


def read(
    log: Log, topic: str, count: int, *, start: Callable[[str, int], int] = from_the_first
) -> list[Record]:
    """The first `count` records of `topic` from `start` on, by a group that nobody else is in."""
    consumer = log.consumer("reader", [topic], start)
    try:
        return drain(consumer, count)
    finally:
        consumer.close()


def look_in(members: Sequence[Consumer], done: Callable[[], bool], *, seconds: float = 30.0) -> None:
    """Poll them side by side, as processes do, until it is done or the time is over."""
    deadline = time.monotonic() + seconds

    def look(member: Consumer) -> None:
        while not done() and time.monotonic() < deadline:
            member.poll(1, timeout=0.02)

    with ThreadPoolExecutor(len(members)) as pool:
        list(pool.map(look, members))


def keys_of(log: Log, count: int) -> list[bytes]:
    """`count` keys that between them fall into every partition."""
    assert count >= 8 * log.partitions(EVENTS.name)
    return [b"west-mercia/%d" % number for number in range(count)]


def in_partition(partition: int, values: Sequence[bytes], topic: str = EVENTS.name) -> list[Outgoing]:
    """A record for each value, all in one partition."""
    return [Outgoing(topic, b"k%d" % number, value, (), partition) for number, value in enumerate(values)]


@contextmanager
def process(
    target: Callable[[Callable[[], Log], Connection], None], harness: Harness
) -> Iterator[tuple[Connection, Callable[[], None]]]:
    """`target` in a real process: what it says, and `kill -9`. It is killed at the end in any case."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    child = spawn.Process(target=target, args=(harness.connect, there), daemon=True)
    child.start()
    there.close()

    def kill() -> None:
        child.kill()
        child.join()

    try:
        yield here, kill
    finally:
        kill()
        child.close()
        here.close()


def hold_group(connect: Callable[[], Log], pipe: Connection) -> None:
    """Join the group "held", say how many records came, and hold on for ever without a commit."""
    _hold(connect().consumer("held", [EVENTS.name], from_the_first), pipe)


def hold_alone(connect: Callable[[], Log], pipe: Connection) -> None:
    """The same for a group of which one member is alone."""
    _hold(connect().consumer("held", [EVENTS.name], from_the_first, alone=True), pipe)


def _hold(consumer: Consumer, pipe: Connection) -> None:
    pipe.send(len(drain(consumer, 20)))
    while True:
        consumer.poll(10, timeout=0.1)


def send_for_ever(connect: Callable[[], Log], pipe: Connection) -> None:
    """Send batch after batch over all partitions; each record's key is its batch's number."""
    log = connect()
    producer = log.producer("sender")
    partitions = log.partitions(EVENTS.name)
    first = sum(log.end_offsets(EVENTS.name).values())
    pipe.send(first)
    number = first
    while True:
        producer.send(
            [
                Outgoing(EVENTS.name, b"%d" % number, bytes(5_000), (), piece % partitions)
                for piece in range(PIECES)
            ]
        )
        number += 1
