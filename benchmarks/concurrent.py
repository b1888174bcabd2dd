"""What do eight writers get done at once, beside the library's recorder, which locks its table?

Each writer is a process and commits single commands; a reader follows the tail, and one more writer
keeps its transaction open for two seconds, again and again. The library's recorder is used as it
comes: its insert, its lock, its way to read on. Both write the same rows into the same table.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.synchronize import Barrier, Event
from typing import Any, Final, Protocol

import psycopg
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from benchmarks.rounds import alternating, compared
from benchmarks.telling import CONCURRENT, Measure, Sizes
from domain.event import Envelope
from infra.event_store import EnvelopeMapper, PostgresRecorder, SqlEventStore
from services.ports import Stored, Work
from tests.support.envelopes import raised
from tests.support.postgres import database

WRITERS: Final = 8
HELD: Final = 2.0
"""Seconds for which the slow writer keeps its transaction open, and then for which it rests."""
PAGE: Final = 500
EVERY: Final = 0.01
"""Seconds that a reader waits who has found nothing."""

# -- two ways to write and to follow ---------------------------------------------------------------


class Way(Protocol):
    """An event store that is opened in each process."""

    def __init__(self, url: str) -> None: ...

    @classmethod
    def prepare(cls, url: str) -> None:
        """Make what the database lacks; once, before anybody opens it."""
        ...

    def commit(self, events: Sequence[Envelope]) -> None:
        """One command's events in a transaction."""
        ...

    def holding(self, events: Sequence[Envelope]) -> Any:
        """A context in which they are inserted and not yet committed."""
        ...

    def after(self, position: int) -> list[Stored]:
        """At most a page of events after `position`, none ever missed."""
        ...

    def close(self) -> None:
        """Release every connection."""
        ...


class Ours:
    """The event store as the program uses it."""

    def __init__(self, url: str) -> None:
        self._recorder = PostgresRecorder(url)
        self._store = SqlEventStore(self._recorder)

    @classmethod
    def prepare(cls, url: str) -> None:
        """See `Way`: nothing is missing."""

    def commit(self, events: Sequence[Envelope]) -> None:
        """See `Way`."""
        self._store.commit(Work(events=list(events)))

    @contextmanager
    def holding(self, events: Sequence[Envelope]) -> Iterator[None]:
        """See `Way`."""
        with self._recorder.transaction(write=True) as cursor:
            self._recorder.insert(cursor, [EnvelopeMapper.to_stored_event(e) for e in events])
            yield

    def after(self, position: int) -> list[Stored]:
        """See `Way`."""
        return self._store.after(position, PAGE)

    def close(self) -> None:
        """See `Way`."""
        self._store.close()


class Locked:
    """The library's recorder."""

    def __init__(self, url: str) -> None:
        given = conninfo_to_dict(url)
        datastore = PostgresDatastore(
            dbname=str(given.get("dbname", "")),
            host=str(given.get("host", "")),
            port=str(given.get("port", "5432")),
            user=str(given.get("user", "")),
            password=str(given.get("password") or "none"),
            pool_size=2,
            max_overflow=8,
            schema="public",
            originator_id_type="text",
        )
        self._recorder = PostgresApplicationRecorder(datastore)

    @classmethod
    def prepare(cls, url: str) -> None:
        """See `Way`: the table is there; the type that the library's insert names is not."""
        with closing(cls(url)) as made:
            made._recorder.create_table()

    def commit(self, events: Sequence[Envelope]) -> None:
        """See `Way`."""
        self._recorder.insert_events([EnvelopeMapper.to_stored_event(e) for e in events])

    @contextmanager
    def holding(self, events: Sequence[Envelope]) -> Iterator[None]:
        """See `Way`."""
        with self._recorder.datastore.transaction(commit=True) as cursor:
            rows = [EnvelopeMapper.to_stored_event(e) for e in events]
            self._recorder._insert_stored_events(cursor, rows)
            yield

    def after(self, position: int) -> list[Stored]:
        """See `Way`."""
        page = self._recorder.select_notifications(position, PAGE, inclusive_of_start=False)
        return [Stored(row.id, EnvelopeMapper.to_domain_event(row)) for row in page]

    def close(self) -> None:
        """See `Way`."""
        self._recorder.datastore.close()


# -- what each process does ------------------------------------------------------------------------

_start: Barrier
_enough: Event
"""The writers have ended: the slow one may."""
_ended: Event
"""Everything is committed: the reader may end when it has seen it."""


def _shared(start: Barrier, enough: Event, ended: Event) -> None:
    global _start, _enough, _ended
    _start, _enough, _ended = start, enough, ended


def _write(way: type[Way], url: str, writer: int, commands: int, size: int) -> tuple[float, float]:
    """When it began and when it had committed the last one."""
    work = [[raised(f"{writer}-{at}-{n}") for n in range(size)] for at in range(commands)]
    with closing(way(url)) as store:
        _start.wait()
        began = time.monotonic()
        for events in work:
            store.commit(events)
        return began, time.monotonic()


def _hold(way: type[Way], url: str, size: int) -> int:
    """How often its transaction was open for as long as it should be."""
    times = 0
    with closing(way(url)) as store:
        _start.wait()
        while not _enough.is_set():
            with store.holding([raised(f"slow-{times}-{n}") for n in range(size)]):
                time.sleep(HELD)
            times += 1
            _enough.wait(HELD)
    return times


def _follow(way: type[Way], url: str) -> int:
    """How many events a reader saw who reads on from the last one, until there is nothing more."""
    seen = position = 0
    with closing(way(url)) as store:
        _start.wait()
        while True:
            last_look = _ended.is_set()
            while page := store.after(position):
                seen, position = seen + len(page), page[-1].position
            if last_look:
                return seen
            time.sleep(EVERY)


# -- rounds ----------------------------------------------------------------------------------------


@dataclass
class Rounds:
    """A process for each writer, for the slow one and for the reader, kept from round to round."""

    server: str
    sizes: Sizes
    written: int = 0
    """Events that our readers had to see."""
    _context: Any = field(default_factory=lambda: multiprocessing.get_context("forkserver"))

    @contextmanager
    def running(self, *, slow: bool) -> Iterator[None]:
        """The processes are there."""
        processes = WRITERS + 1 + slow
        self._context.set_forkserver_preload([__name__])
        self._slow, self._enough, self._ended = slow, self._context.Event(), self._context.Event()
        shared = (self._context.Barrier(processes, timeout=60), self._enough, self._ended)
        with ProcessPoolExecutor(processes, self._context, _shared, shared) as self._pool:
            yield

    def rate(self, way: type[Way], size: int) -> float:
        """Events a second of the writers in one round; fails if the reader missed one."""
        self._enough.clear()
        self._ended.clear()
        commands = self.sizes.commands if size == 1 else max(1, self.sizes.commands // 4)
        with database(self.server) as url:
            way.prepare(url)
            reader = self._pool.submit(_follow, way, url)
            slow = self._pool.submit(_hold, way, url, size) if self._slow else None
            writers = [
                self._pool.submit(_write, way, url, writer, commands, size) for writer in range(WRITERS)
            ]
            try:
                times = [writer.result() for writer in writers]
                self._enough.set()
                held = slow.result() if slow else 0
            finally:
                self._enough.set()
                self._ended.set()
            seen, written = reader.result(), _written(url)
        assert written == (WRITERS * commands + held) * size, f"{written:,} events were written"
        assert seen == written, f"{written - seen} missed of {written:,}"
        self.written += written if way is Ours else 0
        return WRITERS * commands * size / (max(end for _, end in times) - min(began for began, _ in times))


def _written(url: str) -> int:
    with psycopg.connect(url) as db:
        row = db.execute("SELECT count(*) FROM stored_events").fetchone()
    assert row is not None
    return int(row[0])


def measure(server: str, wanted: Sequence[str], sizes: Sizes) -> Iterator[Measure]:
    """Those of `CONCURRENT` that are wanted. AssertionError if a reader missed an event."""
    for slow in (True, False):
        names = [name for name in CONCURRENT if name in wanted and name.endswith("_alone") is not slow]
        rounds = Rounds(server, sizes)
        if names:
            with rounds.running(slow=slow):
                yield from (_measured(name, rounds, 10 if "_10" in name else 1) for name in names)


def _measured(name: str, rounds: Rounds, size: int) -> Measure:
    rounds.written = 0
    ours, theirs = (partial(rounds.rate, way, size) for way in (Ours, Locked))
    found = alternating(rounds.sizes.rounds, ours, theirs)
    beside = "" if name.endswith("_alone") else f", one that keeps its transaction open for {HELD:g} s"
    against = (
        f"the library's PostgresApplicationRecorder and its lock on the table; {WRITERS} processes that write"
        f" single commands of {size} event{'s' * (size > 1)}{beside}, a reader that follows (0 missed of"
        f" {rounds.written:,})"
    )
    return compared(name, found, against)
