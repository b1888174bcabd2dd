"""How much does a force's installation get through, from the inbox to committed read models and duties?

One Apache Kafka, one PostgreSQL that waits for its disk, and the four loops as four processes, all on
this machine. The three later loops stand ready when the backlog is on the inbox and intake begins. The
clock runs from the first batch that intake has committed, whose messages do not count (their events do:
they are not in the read models yet), to the moment at which no loop is behind: every message has ended,
every event, those of duties too, is in the read models.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from typing import Final

from kafka import KafkaProducer
from sqlalchemy import func, select, tuple_

from benchmarks.peers import measuring as peers
from benchmarks.telling import Measure, Sizes
from benchmarks.upstream import FORCE, Line, Upstream
from consumers.upstream import STRUCTURED
from infra.installation import LOOPS, Installation
from infra.kafka_topics import PARTITIONS
from infra.settings import read_settings
from projections.history import HISTORY
from projections.store import LIVE, Mark
from services.partitioning import partition_of
from services.topics import EVENTS, INBOX
from tests.support import kafka
from tests.support.postgres import database
from tests.support.program import heard, started

MESSAGES: Final = 1_500
"""A second, as many as are wanted."""
PROJECTED: Final = 3_000
"""Events a second, as many as are wanted."""
STEADY: Final = 200
"""Messages a second that are published to see when each is visible."""
VISIBLE: Final = 1.0
"""Seconds within which 95 of 100 are to be visible."""
PATIENCE: Final = 1_800
"""Seconds after which a backlog that is not through is a failure."""


@dataclass(frozen=True, slots=True)
class Sample:
    """How far they had come at a moment: messages that had ended, records of events in the read models."""

    at: float
    read: int
    projected: int


@dataclass
class Site:
    """An installation whose loops run as processes."""

    installation: Installation
    env: Mapping[str, str]
    broker: kafka.Broker
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def begin(self, *names: str) -> None:
        """Start a process for each of these loops."""
        directory = self.installation.settings.dir
        for name in names:
            with (directory / f"{name}.log").open("ab") as told:
                self.processes[name] = started(
                    "consume", name, dir=directory, env=self.env, stdout=told, stderr=told
                )

    def end(self) -> None:
        """End them."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)

    def memory(self) -> dict[str, float]:
        """Megabytes that each process has in memory, the broker's among them."""
        running = self.processes | ({"broker": self.broker.process} if self.broker.process else {})
        return {name: _resident(process.pid) for name, process in running.items()}

    def sample(self) -> Sample:
        """How far they are. RuntimeError if one of the processes has ended."""
        for name, process in self.processes.items():
            if process.poll() is not None:
                told = (self.installation.settings.dir / f"{name}.log").read_text()[-2000:]
                raise RuntimeError(f"{name} has ended with {process.returncode}: {told}")
        read = self.installation.store.counts().get("read", 0)
        with self.installation.views.reading() as db:
            marks: Mapping[tuple[str, int], Mark] = self.installation.views.marks(db, LIVE)
        projected = sum(mark.next for (topic, _), mark in marks.items() if topic == EVENTS.name)
        return Sample(time.monotonic(), read, projected)

    def events(self) -> int:
        """How many events the read models hold."""
        return self.installation.views.read(
            lambda db, tables: db.scalar(select(func.count()).select_from(tables[HISTORY])) or 0, "history"
        )

    def visible(self, wanted: Mapping[str, str]) -> set[str]:
        """Those of these events ({id: neighbourhood}) that the read models show."""
        keys = [(FORCE, place, id_) for id_, place in wanted.items()]
        return self.installation.views.read(
            lambda db, tables: set(
                db.scalars(
                    select(tables[HISTORY].c.id).where(
                        tuple_(*(tables[HISTORY].c[name] for name in HISTORY.key)).in_(keys)
                    )
                )
            ),
            "history",
        )

    def through(self, count: int, every: float) -> list[Sample]:
        """Wait until `count` messages have ended and no loop is behind; a sample at each look."""
        loops = self.installation.loops()
        samples = [self.sample()]
        moving = True
        # To ask the loops costs more than to look, so only when nothing moves.
        while samples[-1].read < count or moving or any(loop.behind() for loop in (*loops, *loops)):
            if samples[-1].at - samples[0].at > PATIENCE:
                raise RuntimeError(
                    f"after {PATIENCE} s only {samples[-1].read} of {count} messages had ended"
                )
            time.sleep(every)
            samples.append(self.sample())
            moving = samples[-1].projected > samples[-2].projected
        return [*samples, self.sample()]


@contextmanager
def site(directory: Path, database_url: str, **more: str) -> Iterator[Site]:
    """A new installation with its topics, and a broker of its own; everything ended at the end."""
    with ExitStack() as stack:
        broker = stack.enter_context(kafka.broker(directory / "kafka"))
        settings = {
            "database_url": database_url,
            "kafka_servers": broker.servers,
            "kafka_security_protocol": "PLAINTEXT",
            "kafka_replication": 1,
            **more,
        }
        env = {f"HEARD_{name.upper()}": str(value) for name, value in settings.items()}
        installation = Installation(read_settings(dir=directory / "heard", **settings))
        stack.callback(installation.close)
        answer = heard("topics", "create", dir=installation.dir, env=env)
        if answer.code != 0:
            raise RuntimeError(answer.err)
        made = Site(installation, env, broker)
        stack.callback(made.end)
        yield made


def measure(directory: Path, server_url: str, sizes: Sizes, wanted: Sequence[str] = ()) -> Iterator[Measure]:
    """Every measure of this file, and the wanted ones of peers on the same inbox."""
    upstream = Upstream.of(sizes.backlog, sizes.districts)
    with database(server_url) as url, site(directory, url) as where:
        publisher = producer(where.broker.servers)
        publish(publisher, [upstream.registration()])
        where.begin(*LOOPS)
        where.through(1, every=0.1)
        # Intake begins anew when the backlog is there; the others stand ready.
        where.processes["intake"].terminate()
        where.processes.pop("intake").wait(30)
        publish(publisher, upstream.lines(sizes.backlog))
        where.begin("intake")
        messages, *others = _backlog(where, 1 + sizes.backlog)
        yield from (messages, *others)
        yield from _visible(where, publisher, upstream.lines(sizes.visible))
        publisher.close()
        where.end()  # the machine is theirs
        yield from peers.measure(where.broker.servers, server_url, wanted, messages.value)


def _backlog(where: Site, messages: int) -> Iterator[Measure]:
    while (first := where.sample()).read <= 1:
        time.sleep(0.01)
    before, memory = where.events(), where.memory()
    samples = [first, *where.through(messages, every=0.2)]
    took = samples[-1].at - first.at
    through, events = messages - first.read, where.events() - before
    told = f"{through:,} messages and {events:,} events in {took:.1f} s"
    for name, count, wanted in (("messages", through, MESSAGES), ("events", events, PROJECTED)):
        rate = count / took
        against = f"{wanted:,} {name}/s that are wanted; {told}"
        yield Measure(f"end_to_end_{name}", rate, f"{name}/s", against, rate / wanted, [rate])
    one, other = _tenths(samples)
    against = f"{one:,.0f} events/s over the first tenth, from when the read models began to move"
    yield Measure("end_to_end_growth", other / one, "times", against, other / one, [other], [one])
    for name, now in where.memory().items():
        against = f"{memory[name]:.0f} MB when the clock began to run"
        ratio = now / memory[name]
        yield Measure(f"memory_{name}", now, "MB", against, ratio, [now], [memory[name]])


def _tenths(samples: Sequence[Sample]) -> tuple[float, float]:
    """The projector's rates over the first and the last tenth of what it did.

    It commits in batches, and is looked at now and then: a tenth ends where a line between two looks
    passes it.
    """
    moving = [one for one, next_ in pairwise(samples) if next_.projected > one.projected]
    begin, end = moving[0].projected, samples[-1].projected
    tenth = (end - begin) / 10
    first = _when(samples, begin + tenth) - moving[0].at
    last = _when(samples, end) - _when(samples, end - tenth)
    return tenth / first, tenth / last


def _when(samples: Sequence[Sample], projected: float) -> float:
    """The moment at which so much was projected."""
    for one, other in pairwise(samples):
        if one.projected < projected <= other.projected:
            share = (projected - one.projected) / (other.projected - one.projected)
            return one.at + share * (other.at - one.at)
    raise AssertionError("not reached")


def _visible(where: Site, publisher: KafkaProducer, lines: Iterator[Line]) -> Iterator[Measure]:
    """Publish at a steady rate, and look all the time for what is not visible yet.

    Those that make a thing of their own are looked for: their ids are known beforehand.
    """
    ids, due = where.installation.ids, time.monotonic()
    sent: dict[str, float] = {}
    wanted: dict[str, str] = {}
    took: list[float] = []
    todo: list[Line] = list(lines)[::-1]
    deadline = due + len(todo) / STEADY + 60
    while todo or wanted:
        while todo and due <= time.monotonic():
            line = todo.pop()
            send(publisher, line)
            if (stream := line.stream(ids)) is not None:
                sent[stream], wanted[stream] = time.monotonic(), line.place
            due += 1 / STEADY
        for id_ in where.visible(wanted) if wanted else ():
            took.append(time.monotonic() - sent.pop(id_))
            del wanted[id_]
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(wanted)} messages did not become visible")
        time.sleep(0.005)
    cuts = quantiles(took, n=100)
    against = f"{VISIBLE:g} s; {len(took):,} events looked for, {STEADY} messages/s published"
    for percent in (50, 95, 99):
        seconds = cuts[percent - 1]
        name = f"publish_to_visible_p{percent}"
        yield Measure(name, seconds, "s", against, seconds / VISIBLE, [seconds])


def producer(servers: str) -> KafkaProducer:
    """What upstream systems publish with."""
    return KafkaProducer(bootstrap_servers=servers, enable_idempotence=True, acks="all", linger_ms=5)


def publish(publisher: KafkaProducer, lines: Sequence[Line] | Iterator[Line]) -> None:
    """Put all of them on the inbox."""
    for line in lines:
        send(publisher, line)
    publisher.flush()


def send(publisher: KafkaProducer, line: Line) -> None:
    """Put one on the inbox, soon."""
    partition = partition_of(line.key, PARTITIONS)
    publisher.send(INBOX.name, line.body, key=line.key, headers=list(STRUCTURED), partition=partition)


def _resident(pid: int) -> float:
    told = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True)
    return int(told.stdout) / 1024
