"""How do the parts come together? One installation: its stores, its log, its loops, its clock."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sqlalchemy import Engine

from consumers.intake import Intake
from consumers.processes import Processes
from consumers.projector import Projector
from consumers.running import Loop, Measured
from consumers.sequencer import Sequencer
from domain.errors import ConfigurationError, IntegrityError
from domain.ids import Ids
from infra import databases, migrations
from infra.clock import FixedClock, SystemClock
from infra.event_store import PostgresRecorder, SqlEventStore, SqliteRecorder
from infra.key_store import SqliteKeyStore
from infra.local_log import LocalLog
from infra.randomness import SystemRandomness
from infra.settings import Settings
from infra.watchdog import Watchdog
from projections.catalogue import VIEWS
from projections.store import ViewStore
from services.faults import POINTS, Probe
from services.ports import Clock, Log
from services.telemetry import NO_METER, NO_TRACER, Meter, Tracer

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor

LOOPS = ("intake", "sequencer", "projector", "processes")


class Installation:
    """Everything behind the ports, opened when it is first asked for."""

    def __init__(self, settings: Settings, *, now: datetime | None = None) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock() if now is None else FixedClock(now)
        self.randomness = SystemRandomness()
        self.watchdog = Watchdog(settings.watchdog)
        self.probe = _probe(self.watchdog.alive)
        self.meter: Meter = NO_METER
        """Where the loops tell what they measure."""
        self.spans: SpanProcessor | None = None
        """Where spans go instead of the collector of the settings."""

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
        found = self.dir / "keys.db"
        if beside and not (found.exists() and found.stat().st_size):
            raise IntegrityError(
                "the key store is missing", expected=f"keys.db beside {', '.join(beside)}",
                got="an empty file" if found.exists() else "none",
                hint="restore the key store (keys.db) from its backup",
            )  # fmt: skip
        return SqliteKeyStore(found, randomness=self.randomness, id_key=self.settings.id_key_bytes())

    def _file(self, name: str) -> Path:
        """Where a database of the record lies; made after the key store, never before it."""
        _ = self.keys
        return self.dir / name

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
        return LocalLog(self.dir / "log.db", keys=self.keys, randomness=self.randomness, clock=self.clock)

    @cached_property
    def store(self) -> SqlEventStore:
        """The event store."""
        if self.settings.database_url is None:
            return SqlEventStore(SqliteRecorder(self._file("write.db")))
        migrations.require(self.postgresql)
        return SqlEventStore(PostgresRecorder(self.settings.database_url.get_secret_value()))

    @cached_property
    def views(self) -> ViewStore:
        """The read models."""
        if self.settings.database_url is None:
            return ViewStore(databases.sqlite_file(self._file("views.db")), VIEWS)
        migrations.require(self.postgresql)
        return ViewStore(databases.in_service(self.postgresql), VIEWS)

    @cached_property
    def postgresql(self) -> Engine:
        """The PostgreSQL of the settings. ConfigurationError if there is none."""
        if self.settings.database_url is None:
            raise ConfigurationError(
                "there is no PostgreSQL", expected="HEARD_DATABASE_URL", got="nothing",
                hint="the embedded default makes its own tables; set HEARD_DATABASE_URL for PostgreSQL",
            )  # fmt: skip
        return databases.postgresql(self.settings.database_url.get_secret_value())

    @cached_property
    def tracer(self) -> Tracer:
        """Where the loops tell which message went through them."""
        if self.spans is None and self.settings.otlp_endpoint is None:
            return NO_TRACER
        from infra.telemetry import OtlpTracer, collector  # what is off need not be loaded

        processor = self.spans or collector(self.settings.otlp_endpoint or "")
        return OtlpTracer(self.ids, processor, share=self.settings.otlp_share)

    @cached_property
    def intake(self) -> Intake:
        """The loop from the inbox to the event store."""
        return Intake(
            self.log, self.store, self.keys, self.clock, self.randomness, self.ids, self.probe,
            self.settings.batch, self.meter, self.tracer, self.settings.dead_letters_ceiling,
        )  # fmt: skip

    def loops(self, names: tuple[str, ...] = LOOPS) -> list[Loop]:
        """The loops of these names, in the order of the way of a fact."""
        make: dict[str, Callable[[], Loop]] = {
            "intake": lambda: self.intake,
            "sequencer": lambda: Sequencer(
                self.store, self.log, self.probe, self.settings.batch, self.tracer,
            ),
            "projector": lambda: Projector(
                self.log, self.views, self.probe, self.settings.batch, self.tracer, self.watchdog.alive,
            ),
            "processes": lambda: Processes(
                self.log, self.store, self.keys, self.views, self.clock, self.randomness,
                self.ids, self.probe, self.settings.batch, self.tracer, self.watchdog.alive,
            ),
        }  # fmt: skip
        loops = {name: make[name]() for name in LOOPS if name in names}
        if self.meter is NO_METER:
            return list(loops.values())
        return [Measured(name, loop, self.meter) for name, loop in loops.items()]

    def close(self) -> None:
        """Release every file and connection that was opened."""
        for name in ("tracer", "log", "store", "keys"):
            if name in self.__dict__:
                self.__dict__[name].close()
        if "views" in self.__dict__:
            self.views.engine.dispose()
        if "postgresql" in self.__dict__:
            self.postgresql.dispose()


def _killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _hanging() -> None:
    while True:
        pass


def _waiting() -> None:
    while True:
        time.sleep(3600)


def _seized() -> None:
    deque(repeat(None), maxlen=0)  # for ever in C, where no other thread gets its turn


_FAULTS: Final = {"kill": _killed, "hang": _hanging, "wait": _waiting, "seize": _seized}


def _probe(alive: Callable[[], None], environment: Mapping[str, str] = os.environ) -> Probe:
    """Say at each point that work goes on.

    For tests, die at the n-th time that a named one is reached, `HEARD_FAULT=intake.read:3`, or hang there:
    `:hang` behind it for Python code that goes round for ever, `:wait` for a wait, `:seize` for C code.
    """
    given = environment.get("HEARD_FAULT", "")
    if not given:
        return lambda _: alive()
    point, count, how = (*given.split(":"), "kill", "")[:3]
    if point not in POINTS or not count.isdigit() or how not in _FAULTS:
        raise ConfigurationError(
            "HEARD_FAULT names no point", expected=f"POINT:N or POINT:N:{'|'.join(_FAULTS)}", got=given,
            hint=f"one of {', '.join(POINTS)}",
        )  # fmt: skip
    left = int(count)

    def reached(name: str) -> None:
        nonlocal left
        alive()
        if name == point:
            left -= 1
            if left == 0:
                sys.stderr.write(f"{how} at {point}\n")
                _FAULTS[how]()

    return reached
