"""How fast do handlers of other libraries write the same rows, out of the same inbox, into the same tables?

One after the other, each a process in an environment of its own, which pip makes from a pinned list the
first time. The clock runs from the first offsets that a handler has committed, whose messages do not
count, to the last; each commits its offsets after its rows.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Final

from kafka import KafkaConsumer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import RetriableError

from benchmarks.peers.rows import GENERATION, TOPIC
from benchmarks.telling import PEERS, Measure
from infra import databases
from projections.decisions import DECISIONS
from projections.inputs import SUPPORTS
from projections.trace import EDGES, THINGS
from tests.support.kafka import JARS
from tests.support.postgres import database
from tests.support.requires import ROOT

TABLES: Final = (THINGS, EDGES, SUPPORTS, DECISIONS)
PATIENCE: Final = 1_800
"""Seconds after which a handler that is not through is a failure."""
_LEFT_OUT: Final = (
    "it writes 4 tables and leaves out rules, duties, sealing, events and their proof of order, and that"
    " a message counts once"
)


def environment(name: str) -> Path:
    """The Python of a peer's environment, made the first time. RuntimeError if pip cannot."""
    requirements = Path(__file__).with_name(f"requirements-{name}.txt")
    made = JARS.with_name(f"{name}-{sha256(requirements.read_bytes()).hexdigest()[:12]}")
    if not made.exists():
        building = made.with_name(f"{made.name}.{os.getpid()}")
        building.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", building], check=True)
        pip = [str(building / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        call = [*pip, "install", "--require-hashes", "--requirement", str(requirements)]
        told = subprocess.run(call, capture_output=True, text=True)
        if told.returncode != 0:
            shutil.rmtree(building)
            raise RuntimeError(f"pip cannot install what {requirements.name} names: {told.stderr[-500:]}")
        building.rename(made)
    return made / "bin" / "python"


def prepare(wanted: Sequence[str]) -> None:
    """Make the environments that are not there. RuntimeError if pip cannot."""
    for name in PEERS:
        if name in wanted:
            environment(name.removeprefix("peer_"))


def measure(
    servers: str, server_url: str, wanted: Sequence[str], heard: float | None = None
) -> Iterator[Measure]:
    """Those of `PEERS` that are wanted, beside Heard's messages a second over the same inbox."""
    for name in PEERS:
        if name not in wanted:
            continue
        with tables(server_url) as url:
            rate, count = _rate(servers, url, name.removeprefix("peer_"))
        beside = f"Heard, which got through {heard:,.0f} messages/s" if heard else "nothing"
        against = f"{beside}; {_LEFT_OUT}; {count:,} messages"
        yield Measure(name, rate, "messages/s", against, rate / heard if heard else 1.0, [rate])


@contextmanager
def tables(server_url: str) -> Iterator[str]:
    """The address of a new database that has the tables of the rows, with the keys and indexes of Heard's."""
    with database(server_url) as url:
        engine = databases.postgresql(url)
        for shape in TABLES:
            shape.table(GENERATION).create(engine)
        engine.dispose()
        yield url


def _rate(servers: str, url: str, name: str) -> tuple[float, int]:
    """Messages a second, and how many there were while the clock ran."""
    with closing(_Offsets(servers, f"peer-{name}")) as offsets, _running(name, servers, url) as process:
        end, began, first, done = offsets.end(), time.monotonic(), 0, 0
        deadline = began + PATIENCE
        while done < end:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} had written {done} of {end} messages")
            time.sleep(0.05)
            done = offsets.committed()
            if first == 0 < done < end:  # where it commits all at once its start is counted too
                began, first = time.monotonic(), done
        return (end - first) / (time.monotonic() - began), end - first


@contextmanager
def _running(name: str, servers: str, url: str) -> Iterator[subprocess.Popen[bytes]]:
    """The handler's process; what it said is in the error if it fails."""
    call = [str(environment(name)), "-m", f"benchmarks.peers.with_{name}", servers, f"peer-{name}", url]
    with tempfile.TemporaryFile() as told:
        process = subprocess.Popen(call, cwd=ROOT, stdout=told, stderr=told)
        try:
            yield process
        except RuntimeError as error:
            told.seek(0)
            raise RuntimeError(f"{error}: {told.read().decode()[-2000:]}") from error
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


class _Offsets:
    """How far a group has come on the inbox."""

    def __init__(self, servers: str, group: str) -> None:
        self._group = group
        self._admin = KafkaAdminClient(bootstrap_servers=servers)
        with closing(KafkaConsumer(bootstrap_servers=servers)) as consumer:
            partitions = [TopicPartition(TOPIC, p) for p in consumer.partitions_for_topic(TOPIC)]
            self._ends = consumer.end_offsets(partitions)

    def end(self) -> int:
        """How many messages there are."""
        return sum(self._ends.values())

    def committed(self) -> int:
        """How many of them are done."""
        try:
            found = self._admin.list_group_offsets(self._group)[self._group]
        except RetriableError:
            return 0  # the broker is only now making the topic in which it keeps them
        return sum(max(0, told.offset) for place, told in found.items() if place in self._ends)

    def close(self) -> None:
        """Release every connection."""
        self._admin.close()
