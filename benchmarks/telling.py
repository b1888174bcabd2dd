"""What is measured and at which size, which figures are insisted on, and how are they told?"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, Final

import psycopg
from rich.table import Table

from benchmarks.threads import LENGTH
from tests.support import kafka

AT_LEAST: Final = {
    "rebuild_all_views_postgresql": 20.0, "growth_postgresql": 0.9, "growth_sqlite": 0.9,
    "end_to_end_messages": 1.0, "end_to_end_events": 1.0, "end_to_end_growth": 0.9,
    "concurrent_commands_1": 1.3, "concurrent_commands_10": 1.5,
}  # fmt: skip
AT_MOST: Final = {"asat_growth": 1.2, "publish_to_visible_p95": 1.0}
REBUILT: Final = (
    "rebuild_all_views_postgresql", "rebuild_all_views_sqlite", "growth_postgresql", "growth_sqlite",
    "asat_growth", "bare_loop_postgresql", "bare_loop_sqlite",
)  # fmt: skip
END_TO_END: Final = (
    "end_to_end_messages", "end_to_end_events", "end_to_end_growth",
    "memory_intake", "memory_sequencer", "memory_projector", "memory_processes", "memory_broker",
    "publish_to_visible_p50", "publish_to_visible_p95", "publish_to_visible_p99",
)  # fmt: skip
CONCURRENT: Final = (
    "concurrent_commands_1", "concurrent_commands_10",
    "concurrent_commands_1_alone", "concurrent_commands_10_alone",
)  # fmt: skip
PEERS: Final = ("peer_quixstreams", "peer_arroyo", "peer_faststream")
ON_KAFKA: Final = ("rebuild_kafka_postgresql", *END_TO_END, *PEERS)
NAMES: Final = (*REBUILT, *CONCURRENT, *ON_KAFKA)


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    threads: int
    """Of ten events each; the smaller log has a tenth of them."""
    places: int
    """Neighbourhoods; the smaller log has a tenth, so that each is as large as there."""
    runner: int
    """Events that the library's runner is measured on: its rate does not depend on their number."""
    runs: int
    questions: int
    rounds: int
    """Of writers that write beside each other."""
    commands: int
    """Of each of these in a round, at one event each; at ten a quarter of them."""
    backlog: int
    """Messages that wait in the inbox when the four loops begin."""
    districts: int
    """Neighbourhoods that these are about."""
    visible: int
    """Messages that are published at a steady rate into the running installation."""


FULL: Final = Sizes(
    threads=10_000,
    places=200,
    runner=3_000,
    runs=3,
    questions=15,
    rounds=5,
    commands=2_500,
    backlog=200_000,
    districts=200,
    visible=12_000,
)
QUICK: Final = Sizes(
    threads=200, places=20, runner=100, runs=1, questions=3, rounds=1, commands=20,
    backlog=4_000, districts=20, visible=600,
)  # fmt: skip


@dataclass(frozen=True)
class Measure:
    """A figure and what it is compared with; `ratio` is what a threshold is about."""

    name: str
    value: float
    unit: str
    against: str
    ratio: float
    samples: Sequence[float]
    baseline: Sequence[float] = field(default=())
    """The samples of what it is compared with."""

    def document(self) -> dict[str, Any]:
        """As it stands in the results."""
        return {
            "name": self.name,
            "value": _plain(self.value),
            "unit": self.unit,
            "against": self.against,
            "ratio": _plain(self.ratio),
            "samples": [_plain(sample) for sample in self.samples],
            "baseline": [_plain(sample) for sample in self.baseline],
        }


def _plain(figure: float) -> float:
    return round(figure) if figure >= 1000 else float(f"{figure:.4g}")


def judged(measures: Sequence[Measure], required: Mapping[str, float]) -> list[str]:
    """What is on the wrong side of its threshold, in words."""
    found = []
    for measure in measures:
        at_least = required.get(measure.name, AT_LEAST.get(measure.name))
        if measure.name in AT_MOST:
            at_most = required.get(measure.name, AT_MOST[measure.name])
            if measure.ratio > at_most:
                found.append(f"{measure.name}: {measure.ratio:.2f}, and at most {at_most:g} is allowed")
        elif at_least is not None and measure.ratio < at_least:
            found.append(f"{measure.name}: {measure.ratio:.2f}, and at least {at_least:g} is wanted")
    return found


def document(measures: Sequence[Measure], sizes: Sizes, server_url: str, note: str) -> dict[str, Any]:
    """The results, as the contract shapes them."""
    postgresql = shown(server_url)
    libraries = ("heard", "eventsourcing", "sqlalchemy", "psycopg", "kafka-python", "pydantic", "orjson")
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "note": note,
        "versions": {
            "python": platform.python_version(),
            "postgresql": postgresql["server_version"],
            "sqlite": sqlite3.sqlite_version,
            "kafka": kafka.VERSION,
            **{name: version(name) for name in libraries},
        },
        "sizes": {
            "events": sizes.threads * LENGTH,
            "threads": sizes.threads,
            "neighbourhoods": sizes.places,
            "events_smaller": sizes.threads * LENGTH // 10,
            "events_of_the_runner": sizes.runner,
            "runs": sizes.runs,
            "backlog": sizes.backlog,
            "postgresql_fsync": postgresql["fsync"],
        },
        "measures": [measure.document() for measure in measures],
    }


def shown(server_url: str) -> dict[str, str]:
    """What the server says of its version and of waiting for its disk."""
    with psycopg.connect(server_url) as db:
        told = {name: db.execute(f"SHOW {name}".encode()).fetchone() for name in ("server_version", "fsync")}
    return {name: row[0] for name, row in told.items() if row is not None}


def table(measures: Sequence[Measure]) -> Table:
    """The same for people."""
    made = Table("measure", "value", "unit", "ratio", "against")
    for measure in measures:
        value = f"{measure.value:,.0f}" if measure.value >= 100 else f"{measure.value:.3f}"
        made.add_row(measure.name, value, measure.unit, f"{measure.ratio:.2f}", measure.against)
    return made
