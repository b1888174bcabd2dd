"""What does `make bench` measure, and which figures does it insist on?

    python -m benchmarks [--quick] [--only NAME]… [--require NAME=RATIO]… [--out FILE] [--note TEXT]

Exit 0 when every figure is on the right side of its threshold, else 1; 3 when PostgreSQL does not wait
for its disk, as then nothing would be proved. The machine should be quiet.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, Final

import orjson
import psycopg
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine

from benchmarks.ground import Ground, copied, ground, rebuild_all, views_at_the_end
from benchmarks.runners import bare_loop, library_loop_on_sqlite, library_runner_on_postgresql
from benchmarks.threads import LENGTH, START
from domain.ids import Ids
from domain.values import stamp
from infra import databases
from infra.clock import SystemClock
from infra.logging import configure
from projections.store import ViewStore
from services.questions import Moment, Questions
from tests.support.postgres import database, server

LATEST: Final = Path(__file__).with_name("results") / "latest.json"
AT_LEAST: Final = {"rebuild_all_views_postgresql": 20.0, "growth_postgresql": 0.9, "growth_sqlite": 0.9}
AT_MOST: Final = {"asat_growth": 1.2}
NAMES: Final = (
    "rebuild_all_views_postgresql", "rebuild_all_views_sqlite", "growth_postgresql", "growth_sqlite",
    "asat_growth", "bare_loop_postgresql", "bare_loop_sqlite",
)  # fmt: skip


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


FULL: Final = Sizes(threads=10_000, places=200, runner=3_000, runs=3, questions=15)
QUICK: Final = Sizes(threads=200, places=20, runner=100, runs=1, questions=3)


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


# -- measuring -----------------------------------------------------------------------------------


@dataclass
class Bench:
    """Two logs, one ten times as long as the other, and the databases to measure on."""

    sizes: Sizes
    directory: Path
    server: str
    small: Ground
    large: Ground

    @contextmanager
    def engine(self, kind: str) -> Iterator[tuple[Engine, str]]:
        """A new, empty database for read models, and its address."""
        if kind == "postgresql":
            with database(self.server) as url:
                engine = databases.postgresql(url)
                try:
                    yield engine, url
                finally:
                    engine.dispose()
            return
        with tempfile.TemporaryDirectory(dir=self.directory) as folder:
            engine = databases.sqlite_file(Path(folder) / "views.db")
            try:
                yield engine, folder
            finally:
                engine.dispose()

    def runner(self, kind: str) -> float:
        """The library's way, on a database of its own."""
        with self.engine(kind) as (engine, url):
            if kind == "postgresql":
                copied(self.large, url, self.sizes.runner)
                return library_runner_on_postgresql(url, engine)
            return library_loop_on_sqlite(self.large, engine, self.sizes.runner)

    def measure(self, wanted: Sequence[str]) -> Iterator[Measure]:
        """Every wanted measure."""
        for kind in ("postgresql", "sqlite"):
            names = {name for name in wanted if name.endswith(kind) or name == "asat_growth"}
            if names:
                yield from self._measure(kind, names)

    def _measure(self, kind: str, wanted: set[str]) -> Iterator[Measure]:
        with self.engine(kind) as (large_engine, _), self.engine(kind) as (small_engine, _):
            large, small = (
                views_at_the_end(engine, of)
                for engine, of in ((large_engine, self.large), (small_engine, self.small))
            )
            rates = {"large": lambda: _rate(large, self.large), "small": lambda: _rate(small, self.small)}
            if f"rebuild_all_views_{kind}" in wanted:
                found = _alternating(self.sizes.runs, rates["large"], lambda: self.runner(kind))
                yield _compared(f"rebuild_all_views_{kind}", found, _RUNNER[kind])
            if f"growth_{kind}" in wanted:
                yield _growth(f"growth_{kind}", _alternating(self.sizes.runs, rates["large"], rates["small"]))
            if "asat_growth" in wanted and kind == "sqlite":
                _rate(large, self.large), _rate(small, self.small)
                yield self._as_at({"large": (large, self.large), "small": (small, self.small)})
            if f"bare_loop_{kind}" in wanted:
                with self.engine(kind) as (engine, _):
                    rate = bare_loop(self.large, engine)
                what = "nothing: one row an event, 1,000 events and the position a transaction, for scale"
                yield Measure(f"bare_loop_{kind}", rate, "events/s", what, 1.0, [rate])

    def _as_at(self, views: Mapping[str, tuple[ViewStore, Ground]]) -> Measure:
        def asked(which: str) -> Callable[[], float]:
            store, of = views[which]
            questions = Questions(
                store, of.store, of.keys, Ids(of.keys.id_key()), SystemClock(), databases.sqlite_memory
            )
            moment = Moment(known_by=stamp(START.replace(month=7)))

            def ask() -> float:
                start = time.perf_counter()
                answer = questions.query("inputs", {"neighbourhood": "place-0001"}, moment)
                took = time.perf_counter() - start
                assert answer["rows"]
                return took

            return ask

        long, short = _alternating(self.sizes.questions, asked("large"), asked("small"))
        ratio = median(long) / median(short)
        against = f"{median(short):.4f} s with a tenth of the log"
        return Measure("asat_growth", ratio, "times", against, ratio, long, short)


_RUNNER: Final = {
    "postgresql": "a ProjectionRunner that writes the same rows with the same handlers, one transaction an"
    " event",
    "sqlite": "the library's pull loop that writes the same rows with the same handlers, one transaction an"
    " event (its SQLite recorders have no subscription, so no ProjectionRunner)",
}


def _rate(views: ViewStore, of: Ground) -> float:
    start = time.perf_counter()
    rebuild_all(views, of)
    return of.events / (time.perf_counter() - start)


def _alternating(runs: int, *takes: Callable[[], float]) -> tuple[list[float], ...]:
    samples: tuple[list[float], ...] = tuple([] for _ in takes)
    for _ in range(runs):
        for take, kept in zip(takes, samples, strict=True):
            kept.append(take())
    return samples


def _compared(name: str, found: Sequence[list[float]], what: str) -> Measure:
    ours, theirs = found
    against = f"{what}: {median(theirs):,.0f} events/s"
    return Measure(name, median(ours), "events/s", against, median(ours) / median(theirs), ours, theirs)


def _growth(name: str, found: Sequence[list[float]]) -> Measure:
    long, short = found
    ratio = median(long) / median(short)
    against = f"{median(short):,.0f} events/s with a tenth of the log"
    return Measure(name, ratio, "times", against, ratio, long, short)


# -- telling -------------------------------------------------------------------------------------


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
    postgresql = _shown(server_url)
    libraries = ("heard", "eventsourcing", "sqlalchemy", "psycopg", "pydantic", "orjson")
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%d}",
        "note": note,
        "versions": {
            "python": platform.python_version(),
            "postgresql": postgresql["server_version"],
            "sqlite": sqlite3.sqlite_version,
            **{name: version(name) for name in libraries},
        },
        "sizes": {
            "events": sizes.threads * LENGTH,
            "threads": sizes.threads,
            "neighbourhoods": sizes.places,
            "events_smaller": sizes.threads * LENGTH // 10,
            "events_of_the_runner": sizes.runner,
            "runs": sizes.runs,
            "postgresql_fsync": postgresql["fsync"],
        },
        "measures": [measure.document() for measure in measures],
    }


def _shown(server_url: str) -> dict[str, str]:
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


def main(argv: Sequence[str]) -> int:
    """Measure, print, write, judge."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this measure; may be repeated")
    parser.add_argument(
        "--require", action="append", default=[], metavar="NAME=RATIO", help="another threshold"
    )
    parser.add_argument(
        "--out", type=Path, help="where to write (default: results/latest.json, if not --quick)"
    )
    parser.add_argument("--note", default="", help="what a reader of the results should know")
    args = parser.parse_args(argv)
    sizes = QUICK if args.quick else FULL
    required = {name: float(ratio) for name, _, ratio in (given.partition("=") for given in args.require)}
    configure("console", "error")

    say = Console(stderr=True)
    measures: list[Measure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heard-bench-")))
        url = stack.enter_context(server(durable=True))
        if not args.quick and _shown(url)["fsync"] != "on":
            say.print(
                "fsync is off: the server that HEARD_TEST_DATABASE_URL names does not wait for its disk"
            )
            return 3
        small = stack.enter_context(
            ground(folder / "small", threads=sizes.threads // 10, places=sizes.places // 10)
        )
        large = stack.enter_context(ground(folder / "large", threads=sizes.threads, places=sizes.places))
        say.print(f"{large.events:,} events of {sizes.threads:,} threads are on the log", highlight=False)
        for measure in Bench(sizes, folder, url, small, large).measure(args.only or NAMES):
            measures.append(measure)
            say.print(f"{measure.name}: {measure.ratio:.2f}", highlight=False)
        results = document(measures, sizes, url, args.note)
    Console(width=150).print(table(measures))
    out = args.out or (None if args.quick else LATEST)
    if out is not None:
        out.parent.mkdir(exist_ok=True)
        out.write_bytes(orjson.dumps(results, option=orjson.OPT_INDENT_2) + b"\n")
    found = judged(measures, required)
    for fault in found:
        say.print(fault, highlight=False)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
