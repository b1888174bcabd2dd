"""How do the parts come together? One installation: its stores, its log, its loops, its clock."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path

from consumers.intake import Intake
from consumers.processes import Processes
from consumers.projector import Projector
from consumers.running import Loop
from consumers.sequencer import Sequencer
from domain.errors import ConfigurationError, IntegrityError
from domain.ids import Ids
from infra import databases
from infra.clock import FixedClock, SystemClock
from infra.event_store import PostgresRecorder, SqlEventStore, SqliteRecorder
from infra.key_store import SqliteKeyStore
from infra.local_log import LocalLog
from infra.randomness import SystemRandomness
from infra.settings import Settings
from projections.catalogue import VIEWS
from projections.store import ViewStore
from services.faults import POINTS, Probe, nothing
from services.ports import Clock, EventStore, Log

LOOPS = ("intake", "sequencer", "projector", "processes")


class Installation:
    """Everything behind the ports, opened when it is first asked for."""

    def __init__(self, settings: Settings, *, now: datetime | None = None) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock() if now is None else FixedClock(now)
        self.randomness = SystemRandomness()
        self.probe = _probe()

    @cached_property
    def dir(self) -> Path:
        """The data directory; made if it is not there."""
        path = self.settings.dir
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise ConfigurationError(
                f"the data directory {path} cannot be used", expected="a folder to write in",
                got=error.strerror or type(error).__name__, hint="heard --dir DIR …",
            ) from error  # fmt: skip
        return path

    @cached_property
    def keys(self) -> SqliteKeyStore:
        """The key store. IntegrityError if it is gone and other files of the record are there."""
        beside = [name for name in ("log.db", "write.db", "views.db") if (self.dir / name).exists()]
        if beside and not (self.dir / "keys.db").exists():
            raise IntegrityError(
                "the key store is missing", expected=f"keys.db beside {', '.join(beside)}", got="none",
                hint="restore the key store (keys.db) from its backup",
            )  # fmt: skip
        return SqliteKeyStore(
            self.dir / "keys.db", randomness=self.randomness, id_key=self.settings.id_key_bytes()
        )

    @cached_property
    def ids(self) -> Ids:
        """Ids under this installation's key."""
        return Ids(self.keys.id_key())

    @cached_property
    def log(self) -> Log:
        """Apache Kafka where its servers are given, else the local log."""
        if self.settings.kafka_servers is not None:
            from infra.kafka_log import KafkaLog  # half a second that the embedded default need not wait

            return KafkaLog(self.settings.broker())
        return LocalLog(self.dir / "log.db", keys=self.keys, randomness=self.randomness)

    @cached_property
    def store(self) -> EventStore:
        """The event store."""
        url = self.settings.database_url
        if url is not None:
            return SqlEventStore(PostgresRecorder(url.get_secret_value()))
        return SqlEventStore(SqliteRecorder(self.dir / "write.db"))

    @cached_property
    def views(self) -> ViewStore:
        """The read models."""
        url = self.settings.database_url
        engine = (
            databases.sqlite_file(self.dir / "views.db")
            if url is None
            else databases.postgresql(url.get_secret_value())
        )
        return ViewStore(engine, VIEWS)

    @cached_property
    def intake(self) -> Intake:
        """The loop from the inbox to the event store."""
        return Intake(
            self.log, self.store, self.keys, self.clock, self.randomness, self.ids, self.probe,
            self.settings.batch,
        )  # fmt: skip

    def loops(self, names: tuple[str, ...] = LOOPS) -> list[Loop]:
        """The loops of these names, in the order of the way of a fact."""
        make: dict[str, Callable[[], Loop]] = {
            "intake": lambda: self.intake,
            "sequencer": lambda: Sequencer(self.store, self.log, self.probe, self.settings.batch),
            "projector": lambda: Projector(self.log, self.views, self.probe, self.settings.batch),
            "processes": lambda: Processes(
                self.log, self.store, self.keys, self.views, self.clock, self.randomness,
                self.ids, self.probe, self.settings.batch,
            ),
        }  # fmt: skip
        return [make[name]() for name in LOOPS if name in names]

    def close(self) -> None:
        """Release every file and connection that was opened."""
        for name in ("log", "store", "keys"):
            if name in self.__dict__:
                self.__dict__[name].close()
        if "views" in self.__dict__:
            self.views.engine.dispose()


def _probe(environment: Mapping[str, str] = os.environ) -> Probe:
    """Die at the n-th time that a named point is reached: `HEARD_FAULT=intake.read:3`, for tests."""
    point, _, count = environment.get("HEARD_FAULT", "").partition(":")
    if not point:
        return nothing
    if point not in POINTS or not count.isdigit():
        raise ConfigurationError(
            "HEARD_FAULT names no point", expected="POINT:N", got=point, hint=f"one of {', '.join(POINTS)}"
        )
    left = int(count)

    def reached(name: str) -> None:
        nonlocal left
        if name == point:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reached
