"""What does `make bench` measure, and which figures does it insist on?

    python -m benchmarks [--quick] [--only NAME]… [--require NAME=RATIO]… [--out FILE] [--note TEXT]

Exit 0 when every figure is on the right side of its threshold, else 1; 3 when PostgreSQL does not wait
for its disk, as then nothing would be proved, when there is no Apache Kafka, or when pip
cannot install the peers. The machine should be quiet.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import orjson
from rich.console import Console
from sqlalchemy import Engine

from benchmarks import concurrent, end_to_end, rebuilding
from benchmarks.ground import Ground, copied, ground, rebuild_all, views_at_the_end
from benchmarks.peers import measuring as peers
from benchmarks.rounds import alternating, compared
from benchmarks.runners import bare_loop, library_loop_on_sqlite, library_runner_on_postgresql
from benchmarks.telling import (
    END_TO_END,
    FULL,
    NAMES,
    ON_KAFKA,
    PEERS,
    QUICK,
    REBUILT,
    Measure,
    Sizes,
    document,
    judged,
    shown,
    table,
)  # fmt: skip
from benchmarks.threads import START
from domain.ids import Ids
from domain.values import stamp
from infra import databases
from infra.clock import SystemClock
from infra.logging import configure
from projections.store import ViewStore
from services.questions import Moment, Questions
from tests.support import kafka
from tests.support.postgres import database, server

LATEST: Final = Path(__file__).with_name("results") / "latest.json"


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
                found = alternating(self.sizes.runs, rates["large"], lambda: self.runner(kind))
                yield compared(f"rebuild_all_views_{kind}", found, _RUNNER[kind])
            if f"growth_{kind}" in wanted:
                yield _growth(f"growth_{kind}", alternating(self.sizes.runs, rates["large"], rates["small"]))
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

        long, short = alternating(self.sizes.questions, asked("large"), asked("small"))
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


def _growth(name: str, found: Sequence[list[float]]) -> Measure:
    long, short = found
    ratio = median(long) / median(short)
    against = f"{median(short):,.0f} events/s with a tenth of the log"
    return Measure(name, ratio, "times", against, ratio, long, short)


def _all(wanted: Sequence[str], sizes: Sizes, folder: Path, url: str) -> Iterator[Measure]:
    """Every wanted measure, and those that are taken along with it."""
    if set(wanted) & set(REBUILT):
        with (
            ground(folder / "small", threads=sizes.threads // 10, places=sizes.places // 10) as small,
            ground(folder / "large", threads=sizes.threads, places=sizes.places) as large,
        ):
            yield from Bench(sizes, folder, url, small, large).measure(wanted)
    yield from concurrent.measure(url, wanted, sizes)
    if "rebuild_kafka_postgresql" in wanted:
        yield from rebuilding.measure(folder / "rebuild", url, sizes)
    if set(wanted) & {*END_TO_END, *PEERS}:
        yield from end_to_end.measure(folder, url, sizes, wanted)


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
        if not args.quick and shown(url)["fsync"] != "on":
            say.print(
                "fsync is off: the server that HEARD_TEST_DATABASE_URL names does not wait for its disk"
            )
            return 3
        if set(args.only or NAMES) & set(ON_KAFKA) and not kafka.available():
            say.print("no Apache Kafka can be started: install Java 17 and Maven")
            return 3
        try:
            peers.prepare(args.only or NAMES)
        except RuntimeError as error:
            say.print(f"the peers cannot be measured: {error}", highlight=False, markup=False)
            return 3
        for measure in _all(args.only or NAMES, sizes, folder, url):
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
