"""How fast are all views rebuilt from Apache Kafka while facts keep coming in, and what do readers see?

Messages are published at a steady rate and go through intake, sequencer and projector, each a process.
One more process asks every 5 ms about a neighbourhood that no message is about: there the old version and
the new one hold the same, and a view that is not whole, or half old and half new, would answer otherwise.
Of the neighbourhood that most of them are about it asks as well: what it was told once must not be gone.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from benchmarks.end_to_end import STEADY, Site, producer, publish, send, site
from benchmarks.ground import BATCH, Ground, copied, rebuild_all, record, views_at_the_end
from benchmarks.rounds import alternating, compared
from benchmarks.runners import library_runner_on_postgresql
from benchmarks.telling import Measure, Sizes
from benchmarks.threads import IDS, LENGTH, interleaved
from benchmarks.upstream import Upstream
from consumers.sequencer import Sequencer
from infra import databases
from infra.installation import Installation
from projections.catalogue import VIEWS
from projections.store import ViewStore
from projections.view import Tables
from tests.support.postgres import database
from tests.support.site import until

EVERY: Final = 0.005
"""Seconds from one question to the next."""


def measure(directory: Path, server_url: str, sizes: Sizes) -> Iterator[Measure]:
    """The measure of this file. AssertionError if a reader saw what it must not."""
    with database(server_url) as url, site(directory, url, id_key=IDS.key.hex()) as where:
        of = _ground(where.installation, sizes)
        views = views_at_the_end(where.installation.postgresql, of)
        rebuild_all(views, of)
        where.begin("intake", "sequencer", "projector")
        with _live(where, url, sizes) as asked:
            until(lambda: where.sample().read > 1, 60, "the first message to be handled")
            found = alternating(
                sizes.runs, partial(_rate, where, views, of), partial(_runner, server_url, of, sizes.runner)
            )
        answers, handled = asked.result(), where.sample().read
        assert handled > 1, "nothing came in meanwhile"
    against = (
        f"a ProjectionRunner that writes the same rows, one transaction an event; beside both {STEADY}"
        f" messages/s were published ({handled:,} of them handled), and a reader was given {answers:,}"
        " answers, each of the old version or the new"
    )
    yield compared("rebuild_kafka_postgresql", found, against)


def _ground(i: Installation, sizes: Sizes) -> Ground:
    record(i.store, interleaved(sizes.threads, places=sizes.places))
    with closing(Sequencer(i.store, i.log, batch=BATCH)) as sequencer:
        while sequencer.step():
            pass
    return Ground(sizes.threads * LENGTH, i.dir, i.log, i.store, i.keys)


def _rate(where: Site, views: ViewStore, of: Ground) -> float:
    """Events a second; those that come in while it builds are not counted."""
    events, start = where.events(), time.perf_counter()
    rebuild_all(views, of)
    return events / (time.perf_counter() - start)


def _runner(server_url: str, of: Ground, events: int) -> float:
    with database(server_url) as url:
        copied(of, url, events)
        engine = databases.postgresql(url)
        try:
            return library_runner_on_postgresql(url, engine)
        finally:
            engine.dispose()


# -- what goes on meanwhile, each in a process of its own ------------------------------------------

_begun: Event
_ended: Event


def share(begun: Event, ended: Event) -> None:
    """Give a process what says that the reader has begun, and that all has ended."""
    global _begun, _ended
    _begun, _ended = begun, ended


@contextmanager
def _live(where: Site, url: str, sizes: Sizes) -> Iterator[Future[int]]:
    """Messages come in and a reader asks; how many answers it was given."""
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    begun, ended = context.Event(), context.Event()
    with ProcessPoolExecutor(2, context, share, (begun, ended)) as pool:
        asked = pool.submit(ask, url, f"place-{sizes.places - 1:04}")
        fed = pool.submit(_feed, where.broker.servers, sizes.places // 2)
        try:
            assert begun.wait(120), "the reader has not begun"
            yield asked
        finally:
            ended.set()
        fed.result()


def _feed(servers: str, places: int) -> None:
    upstream = Upstream.of(100_000, places)
    with closing(producer(servers)) as out:
        publish(out, [upstream.registration()])
        due = time.monotonic()
        for line in upstream.lines(10_000_000):
            if _ended.wait(max(0.0, due - time.monotonic())):
                return
            send(out, line)
            due += 1 / STEADY


def ask(url: str, quiet: str) -> int:
    """How many answers there were; each is as it was before, and comes of two versions at least."""
    engine = databases.postgresql(url)
    views = ViewStore(engine, VIEWS)
    before = {name: _answer(views, name, quiet) for name in VIEWS}
    versions = {(name, version) for name, (version, _) in before.items()}
    _begun.set()
    answers = known = 0
    last = False
    while not last:
        last = _ended.is_set()
        for name in VIEWS:
            version, rows = _answer(views, name, quiet)
            assert rows == before[name][1], f"{name} answered otherwise than before in version {version}"
            versions.add((name, version))
            answers += 1
            time.sleep(EVERY)
        _, (busy,) = _answer(views, "history", "place-0000")
        assert len(busy) >= known, f"history had {known} rows, and now {len(busy)}"
        known = len(busy)
    engine.dispose()
    assert len(versions) >= 2 * len(VIEWS), "the reader has not seen every new version"
    return answers


def _answer(views: ViewStore, name: str, place: str) -> tuple[int, list[Any]]:
    """The generation that a view is of, and all that it holds of a neighbourhood."""

    def asked(db: Connection, tables: Tables) -> tuple[int, list[Any]]:
        found = (tables[shape] for shape in VIEWS[name].shapes)
        rows = [db.execute(select(t).where(t.c.place == place)).all() for t in found]
        return views.live(db)[name], [sorted(map(tuple, table), key=repr) for table in rows]

    return views.read(asked, name)
