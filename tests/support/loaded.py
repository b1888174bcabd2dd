"""What becomes of a steady load on a real broker and database, and how far has each loop come with it?

An `Undertaking` is one installation at a site: its own topics and database, a process for each loop,
and an upstream system that publishes messages at a fixed rate.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import orjson
from kafka import KafkaAdminClient, KafkaProducer

from consumers.processes import GROUP
from consumers.upstream import STRUCTURED
from consumers.wholeness import published_until
from domain.errors import TransientError
from domain.ids import Ids
from infra.cli import health
from infra.cli.session import Session
from infra.installation import LOOPS, Installation
from infra.kafka_topics import PARTITIONS
from infra.settings import read_settings
from projections.store import LIVE
from services.partitioning import partition_of
from services.topics import EVENTS, INBOX, TOPICS
from tests.support import postgres
from tests.support.compared import contents, differences, loose_ends, shown
from tests.support.kept import Kept
from tests.support.multiplied import NOW, Line, copies, of_the_force, people, publish
from tests.support.program import heard, started
from tests.support.site import Site, until

ID_KEY: Final = "5e" * 32
RATE: Final = 200
"""Messages a second."""
TIMES: Final = 8
"""The messages of a short fault: so many times the scenario and the imports, 6,192, in 31 s."""
WARM: Final = 5.0
"""Seconds of load before the fault."""
SESSION_MS: Final = 2_000
"""After which silence a process counts as gone: a force's is 10 s, and every recovery so much longer."""
PATIENCE: Final = 180
"""Seconds until something that should have come by then is a failure."""


def messages(times: int | None = None) -> Iterator[Line]:
    """What upstream has to say: so many times the scenario and the imports, else without an end."""
    return copies(Ids(bytes.fromhex(ID_KEY)), datetime.fromisoformat(NOW), times)


class Load(threading.Thread):
    """An upstream system: it publishes the lines in order, so many a second, each once.

    Its producer is idempotent and waits two minutes for a broker that is away, as upstream's has to.
    """

    def __init__(self, servers: str, topic: str, lines: Iterable[Line], count: int) -> None:
        super().__init__(name="load", daemon=True)
        self._lines, self._topic, self._count = lines, topic, count
        self._producer = KafkaProducer(
            bootstrap_servers=servers, enable_idempotence=True, acks="all", linger_ms=5,
            delivery_timeout_ms=120_000, request_timeout_ms=5_000, max_block_ms=120_000,
            reconnect_backoff_max_ms=500,
        )  # fmt: skip
        self._sent: list[tuple[Line, Any]] = []
        self._enough = threading.Event()

    @property
    def sent(self) -> int:
        """How many messages it has published so far, those included that the broker has still to take."""
        return len(self._sent)

    def run(self) -> None:
        """Publish all, or until it is `enough`."""
        begun = time.monotonic()
        for number, line in enumerate(self._lines):
            time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
            if self._enough.is_set():
                return
            key, body = line
            place = partition_of(key, self._count)
            taken = self._producer.send(self._topic, body, key=key, headers=list(STRUCTURED), partition=place)
            self._sent.append((line, taken))

    def enough(self) -> None:
        """Let it end early."""
        self._enough.set()

    def finish(self) -> list[Line]:
        """Wait until the broker has taken everything that was to be sent; what that was."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the load does not end"
        self._producer.flush(timeout=PATIENCE)
        for _, taken in self._sent:
            taken.get(timeout=0)
        self._producer.close()
        return [line for line, _ in self._sent]


@dataclass(frozen=True, slots=True)
class Held:
    """What an installation holds in the end, under names that all runs share."""

    contents: dict[str, Any]
    shown: Any


@dataclass
class Undertaking:
    """One installation at a site, and whatever runs for it."""

    site: Site
    dir: Path
    prefix: str
    database_url: str
    processes: dict[str, Kept] = field(default_factory=dict)
    first: list[Line] = field(init=False)
    """What the force says of itself."""

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of each of its processes."""
        return {
            "id_key": ID_KEY,
            "database_url": self.database_url,
            "kafka_servers": self.site.servers,
            "kafka_security_protocol": "PLAINTEXT",
            "kafka_replication": 1,
            "kafka_session_ms": SESSION_MS,
            "kafka_prefix": self.prefix,
        }

    @property
    def env(self) -> dict[str, str]:
        """The same as a process reads them."""
        return {f"HEARD_{name.upper()}": str(value) for name, value in self.settings.items()}

    @contextmanager
    def opened(self) -> Iterator[Installation]:
        """The installation as another process sees it. What it asks is asked from one thread."""
        i = Installation(read_settings(dir=self.dir, **self.settings), now=datetime.fromisoformat(NOW))
        try:
            yield i
        finally:
            i.close()

    def prepare(self) -> None:
        """Make topics, tables and keys; what the force says of itself is recorded."""
        answer = heard("topics", "create", dir=self.dir, now=NOW, env=self.env)
        assert answer.code == 0, answer.err
        with self.opened() as i:
            self.first = of_the_force(i.ids, i.clock.now())
            publish(i.log, self.first)
        self.to_its_end()

    def to_its_end(self) -> None:
        """Handle what is there, in one process that nobody disturbs."""
        with started("consume", "--until-idle", dir=self.dir, now=NOW, env=self.env) as process:
            assert process.wait(PATIENCE * 4) == 0

    def begin(self, *names: str) -> None:
        """Start a process for each of the loops; a second of its kind is called `NAME.2`."""
        program = [str(Path(sys.executable).with_name("heard")), "--dir", str(self.dir), "--now", NOW]
        for name in names or LOOPS:
            command = [*program, "consume", name.partition(".")[0]]
            self.processes[name] = Kept(name, command, self.dir / f"{name}.log", self._surroundings())
        for name in names or LOOPS:
            until(partial(self._started, name), 10, f"{name} to start")

    def _started(self, name: str) -> bool:
        return self.processes[name].starts > 0

    def load(self, lines: Iterable[Line]) -> Load:
        """Begin to publish."""
        load = Load(self.site.servers, self.prefix + INBOX.name, lines, PARTITIONS)
        load.start()
        return load

    # -- how far is it? --------------------------------------------------------------------------

    def moved_on(self, i: Installation, name: str) -> int:
        """A number that grows when the loop `name` has done something; -1 while nobody can tell."""
        try:
            match name:
                case "intake":
                    return i.store.counts().get("read", 0)
                case "sequencer":
                    return published_until(i.log)
                case _:
                    return sum(self._marks(i, LIVE if name == "projector" else GROUP).values())
        except TransientError:
            return -1

    def caught_up(self, load: Load) -> float:
        """Wait for everything that upstream has sent by now to have come to its end; the seconds it took."""
        due = load.sent + len(self.first)
        begun = time.monotonic()
        with self.opened() as i:
            until(lambda: self.moved_on(i, "intake") >= due, PATIENCE, f"{due} messages to be read")
            recorded = i.store.end()
            until(lambda: self.moved_on(i, "sequencer") >= recorded, PATIENCE, "all to be published")
            ends = {partition: last.offset for partition, last in i.log.last_records(EVENTS.name).items()}
            for who in (LIVE, GROUP):
                until(partial(self._reached, i, who, ends), PATIENCE, f"{who} to read all")
        return time.monotonic() - begun

    def shared(self, group: str, members: int) -> float:
        """Wait until so many members share all partitions of the group; the seconds it took."""
        admin = KafkaAdminClient(bootstrap_servers=self.site.servers)
        name = f"{self.prefix}heard.{group}"

        def agreed() -> bool:
            found = admin.describe_groups([name])[name]
            return found["group_state"] == "Stable" and len(found["members"]) == members

        try:
            return until(agreed, PATIENCE, f"{members} members of {group}")
        finally:
            admin.close()

    def _reached(self, i: Installation, who: str, ends: dict[int, int]) -> bool:
        try:
            marks = self._marks(i, who)
        except TransientError:
            return False
        return all(marks.get(partition, 0) > offset for partition, offset in ends.items())

    @staticmethod
    def _marks(i: Installation, who: str) -> dict[int, int]:
        with i.views.reading() as db:
            marks = i.views.marks(db, who)
        return {partition: mark.next for (topic, partition), mark in marks.items() if topic == EVENTS.name}

    # -- what is there in the end? ---------------------------------------------------------------

    def finish(self, load: Load) -> list[Line]:
        """Let the load end, and everything that it brought; what that was."""
        sent = load.finish()
        self.caught_up(load)
        self.stop()
        self.to_its_end()  # what the rules wrote last goes round once more
        return sent

    def held(self, lines: Iterable[Line]) -> Held:
        """What it holds after these: every table, and what `show` answers for some hundreds of things.

        And nothing is missing, there twice or left behind.
        """
        with self.opened() as i:
            loose = loose_ends(i)
            assert not loose, loose
            answer = health.doctor(Session(i.settings, i.clock.now()))
            assert answer["ok"], orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode()
            assert answer["messages"]["balanced"]
            assert answer["messages"]["waiting"] == 0
            who = people(lines)
            return Held(contents(i, who), shown(i, who, 500))

    def stop(self) -> None:
        """End its processes."""
        stopping = [threading.Thread(target=process.stop) for process in self.processes.values()]
        for each in stopping:
            each.start()
        for each in stopping:
            each.join()

    def told(self) -> str:
        """The last that each process wrote."""
        return "\n".join(f"--- {name}\n{process.told}" for name, process in self.processes.items())

    def _surroundings(self) -> dict[str, str]:
        plain = {name: value for name, value in os.environ.items() if not name.startswith("HEARD_")}
        return plain | self.env


@contextmanager
def undertaking(site: Site, directory: Path) -> Iterator[Undertaking]:
    """A new installation with topics and a database of its own; everything gone at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    prefix = f"run{random.randrange(10**9)}."
    with postgres.database(site.database_url) as url:
        made = Undertaking(site, directory, prefix, url)
        try:
            yield made
        except BaseException:
            print(made.told())  # noqa: T201 - shown with the failure
            raise
        finally:
            made.stop()
            admin = KafkaAdminClient(bootstrap_servers=site.servers)
            try:
                admin.delete_topics([prefix + topic.name for topic in TOPICS])
            finally:
                admin.close()


def undisturbed(site: Site, directory: Path, lines: list[Line]) -> Held:
    """What an installation holds that nobody disturbed, over the same messages."""
    with undertaking(site, directory) as run:
        run.prepare()
        with run.opened() as i:
            publish(i.log, lines)
        run.to_its_end()
        return run.held(lines)


def same(one: Held, other: Held) -> None:
    """Fail, with what differs, unless both hold the same."""
    different = differences(one.contents, other.contents)
    assert not different, f"only in the first, only in the second: {different}"
    assert one.shown == other.shown, "what `show` answers"


@contextmanager
def loaded(place: Site, directory: Path, measure: Held | None = None) -> Iterator[tuple[Undertaking, Load]]:
    """Every loop under a load that has gone on for a while; afterwards all is as if nothing had been.

    Without a `measure` the load goes on for as long as the fault, and what was sent is run undisturbed.
    """
    with undertaking(place, directory / "disturbed") as run:
        run.prepare()
        run.begin()
        load = run.load(messages(TIMES if measure else None))
        try:
            time.sleep(WARM)
            run.caught_up(load)
            assert load.is_alive(), "the load ended before the fault began"
            yield run, load
            assert measure or load.is_alive(), "the load ended before the fault did"
        finally:
            if measure is None:
                load.enough()
        sent = run.finish(load)
        disturbed = run.held(sent)
    same(measure or undisturbed(place, directory / "undisturbed", sent), disturbed)
