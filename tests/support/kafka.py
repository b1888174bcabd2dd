"""Where does a real Apache Kafka come from in tests? From Maven's jars, on Java, on this machine."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.requires import absent

VERSION = "4.3.1"
LOGGING = "2.25.4"
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
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
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
    """Whether this machine can run a broker: Java, and Maven or jars that were fetched before."""
    return shutil.which("java") is not None and (JARS.exists() or shutil.which("mvn") is not None)


def jars() -> Path:
    """The folder of the broker's jars, fetched by their coordinates the first time."""
    if not JARS.exists():
        building = JARS.with_name(f"{JARS.name}.{os.getpid()}")
        building.mkdir(parents=True)
        (building / "pom.xml").write_text(_POM)
        subprocess.run(
            ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={building}",
             "-DincludeScope=runtime"],
            cwd=building, check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        try:
            building.rename(JARS)
        except OSError:
            shutil.rmtree(building)  # somebody else was faster
    return JARS


@dataclass
class Broker:
    """One broker and controller in one process, with its own folder and ports."""

    dir: Path
    port: int
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def servers(self) -> str:
        """Where clients find it."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, on the data that it has, and wait until it takes connections."""
        with (self.dir / "broker.log").open("ab") as out:
            self.process = subprocess.Popen(
                ["java", "-Xms256m", "-Xmx512m", "-cp", f"{jars()}/*", "kafka.Kafka",
                 str(self.dir / "server.properties")],
                stdout=out, stderr=out,
            )  # fmt: skip
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise RuntimeError((self.dir / "broker.log").read_text()[-2000:])

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def broker(directory: Path) -> Iterator[Broker]:
    """A new broker in `directory`; ended at the end."""
    directory.mkdir(parents=True, exist_ok=True)
    port, controller = _free_ports(2)
    properties = directory / "server.properties"
    properties.write_text(_PROPERTIES.format(port=port, controller=controller, dir=directory))
    cluster = _java("kafka.tools.StorageTool", "random-uuid").strip()
    _java("kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), "--standalone")
    running = Broker(directory, port)
    running.start()
    try:
        yield running
    finally:
        running.kill()


@pytest.fixture(scope="session")
def kafka_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a real broker is: HEARD_TEST_KAFKA_SERVERS, or one started for the whole run.

    Where none can be started the test is skipped with a message; in CI it fails.
    """
    if given := os.environ.get("HEARD_TEST_KAFKA_SERVERS"):
        yield given
        return
    if not available():
        absent("no Apache Kafka: install Java 17 and Maven, or set HEARD_TEST_KAFKA_SERVERS")
    with broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running.servers


def _java(*arguments: str) -> str:
    call = ["java", "-cp", f"{jars()}/*", *arguments]
    return subprocess.run(call, check=True, capture_output=True, text=True, timeout=60).stdout


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
