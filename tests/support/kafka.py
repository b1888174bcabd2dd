"""Where does a real Apache Kafka come from in tests?

From the address in HEARD_TEST_KAFKA_SERVERS, else from a Docker engine, else from Maven's jars on Java.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from fcntl import LOCK_EX, flock
from pathlib import Path

import pytest

from tests.support import containers
from tests.support.containers import free_ports
from tests.support.requires import absent

VERSION = "4.3.1"
LOGGING = "2.25.4"
PATIENCE = 120
"""Seconds in which a broker has to listen: it takes three, and many times that on a busy machine."""
JARS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "heard" / f"kafka-{VERSION}"

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>heard</groupId><artifactId>broker</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>{VERSION}</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOGGING}</version></dependency>
  </dependencies>
</project>
"""

_PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:{controller}{listener}
advertised.listeners=PLAINTEXT://{host}:{port}{listener}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
inter.broker.listener.name=PLAINTEXT
log.dirs={dir}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=2000
broker.heartbeat.interval.ms=500
"""


def available() -> bool:
    """Whether this machine can run a broker: Java, and the jars, which Maven fetches the first time."""
    try:
        jars()
    except (OSError, subprocess.SubprocessError):
        return False
    return shutil.which("java") is not None


def jars() -> Path:
    """The folder of the broker's jars, fetched by their coordinates the first time."""
    if JARS.exists():
        return JARS
    JARS.parent.mkdir(parents=True, exist_ok=True)
    with (JARS.parent / "lock").open("w") as lock:
        flock(lock, LOCK_EX)  # until it is closed: Maven's own store does not bear two at once
        if not JARS.exists():
            with tempfile.TemporaryDirectory(dir=JARS.parent, ignore_cleanup_errors=True) as directory:
                building = Path(directory) / JARS.name
                building.mkdir()
                (building / "pom.xml").write_text(_POM)
                subprocess.run(
                    ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={building}",
                     "-DincludeScope=runtime"],
                    cwd=building, check=True, capture_output=True, timeout=300,
                )  # fmt: skip
                building.rename(JARS)
    return JARS


@dataclass(frozen=True)
class Guard:
    """Who may speak to a broker: its users with their passwords, and what else it has to be told."""

    users: dict[str, str]
    properties: str


@dataclass
class Broker:
    """One broker and controller in one process, with its own folder and ports."""

    dir: Path
    port: int
    guarded: int | None = None
    """The port that asks for TLS and a password."""
    host: str = "127.0.0.1"
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def servers(self) -> str:
        """Where clients find it."""
        return f"{self.host}:{self.port}"

    @property
    def command(self) -> list[str]:
        """What starts it on the data that it has."""
        java = ["java", "-Xms256m", "-Xmx512m", "-cp", f"{jars()}/*"]
        return [*java, "kafka.Kafka", str(self.dir / "server.properties")]

    def start(self) -> None:
        """Start it, on the data that it has, and wait until it takes connections."""
        with (self.dir / "broker.log").open("ab") as out:
            self.process = subprocess.Popen(self.command, stdout=out, stderr=out)
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            if listening(self.host, self.port):
                return
            time.sleep(0.1)
        self.kill()
        raise RuntimeError((self.dir / "broker.log").read_text()[-2000:])

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


def formatted(directory: Path, host: str = "127.0.0.1", guard: Guard | None = None) -> Broker:
    """A new broker in `directory`, which listens on `host` once it is started."""
    directory.mkdir(parents=True, exist_ok=True)
    port, controller, guarded = free_ports(3)
    listener = f",SASL_SSL://127.0.0.1:{guarded}" if guard else ""
    properties = directory / "server.properties"
    properties.write_text(
        _PROPERTIES.format(host=host, port=port, controller=controller, dir=directory, listener=listener)
        + (guard.properties if guard else "")
    )
    cluster = _java("kafka.tools.StorageTool", "random-uuid").strip()
    users = guard.users if guard else {}
    scram = [
        argument
        for name, password in users.items()
        for argument in ("--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]")
    ]
    _java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), "--standalone", *scram)
    return Broker(directory, port, guarded if guard else None, host)


@contextmanager
def broker(directory: Path, guard: Guard | None = None) -> Iterator[Broker]:
    """A new broker in `directory`, with a second listener if it is guarded; ended at the end."""
    running = formatted(directory, guard=guard)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """Where a real broker is, for the whole run."""
    with cluster() as servers:
        yield servers


@contextmanager
def cluster() -> Iterator[str]:
    """The first broker that can be had: named by the environment, in a container, or on this machine.

    Where there is none the test is skipped with a message; in CI it fails.
    """
    if given := os.environ.get("HEARD_TEST_KAFKA_SERVERS"):
        yield given
    elif containers.offers("kafka"):
        with _contained() as servers:
            yield servers
    elif available():
        with (
            tempfile.TemporaryDirectory(prefix="heard-kafka-", ignore_cleanup_errors=True) as directory,
            broker(Path(directory)) as running,
        ):
            yield running.servers
    else:
        absent("no Apache Kafka: start Docker, install Java 17 and Maven, or set HEARD_TEST_KAFKA_SERVERS")


@contextmanager
def _contained() -> Iterator[str]:
    """A broker in a container, with the settings of a local one but for where it listens."""
    (port,) = free_ports(1)
    text = _PROPERTIES.format(host="127.0.0.1", port=port, controller=9093, dir="/var/lib/kafka", listener="")
    settings = dict(line.split("=", 1) for line in text.splitlines())
    # It speaks to itself as well, and from inside the port of this machine leads nowhere.
    inside = "INSIDE://127.0.0.1:9092"
    settings["listeners"] = f"{inside},PLAINTEXT://:19092,CONTROLLER://127.0.0.1:9093"
    settings["advertised.listeners"] = f"{inside},PLAINTEXT://127.0.0.1:{port}"
    settings["listener.security.protocol.map"] += ",INSIDE:PLAINTEXT"
    settings["inter.broker.listener.name"] = "INSIDE"
    # The image formats its folder by itself, and only for voters that are named beforehand.
    del settings["controller.quorum.bootstrap.servers"]
    settings["controller.quorum.voters"] = "1@127.0.0.1:9093"
    environment = {f"KAFKA_{name.upper().replace('.', '_')}": value for name, value in settings.items()}
    with containers.started("kafka", environment, {19092: port}):
        yield f"127.0.0.1:{port}"


def _java(*arguments: str) -> str:
    call = ["java", "-cp", f"{jars()}/*", *arguments]
    return subprocess.run(call, check=True, capture_output=True, text=True, timeout=60).stdout


def listening(host: str, port: int) -> bool:
    """Whether somebody takes connections there."""
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0
