"""Where do the measured events lie? An event store and a log, written as an installation writes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sqlalchemy import Engine

from benchmarks.threads import LENGTH, interleaved
from consumers.projector import rebuild
from consumers.sequencer import Sequencer, position_of
from domain.event import Envelope
from infra.event_store import PostgresRecorder, SqlEventStore, SqliteRecorder
from infra.key_store import SqliteKeyStore
from infra.local_log import LocalLog
from infra.randomness import SystemRandomness
from projections.catalogue import VIEWS
from projections.store import LIVE, Mark, ViewStore
from projections.view import View
from services.ports import Log, Work
from services.topics import EVENTS

BATCH = 5_000


@dataclass(frozen=True)
class Ground:
    """Events of a size, in an event store and on the log."""

    events: int
    directory: Path
    log: Log
    store: SqlEventStore
    keys: SqliteKeyStore

    def ends(self) -> Mapping[tuple[str, int], Mark]:
        """Where each partition of the log ends."""
        ends = self.log.end_offsets(EVENTS.name)
        return {
            (EVENTS.name, partition): Mark(ends[partition], position_of(last))
            for partition, last in self.log.last_records(EVENTS.name).items()
        }


@contextmanager
def ground(directory: Path, *, threads: int, places: int) -> Iterator[Ground]:
    """So many interleaved threads over so many neighbourhoods."""
    directory.mkdir()
    keys = SqliteKeyStore(directory / "keys.db", randomness=SystemRandomness())
    log = LocalLog(directory / "log.db", keys=keys, randomness=SystemRandomness())
    store = SqlEventStore(SqliteRecorder(directory / "write.db"))
    with closing(keys), closing(log), closing(store):
        record(store, interleaved(threads, places=places))
        sequencer = Sequencer(store, log, batch=BATCH)
        while sequencer.step():
            pass
        sequencer.close()
        yield Ground(threads * LENGTH, directory, log, store, keys)


def record(store: SqlEventStore, events: Iterable[Envelope]) -> None:
    """Commit events in batches."""
    events = iter(events)
    while batch := list(islice(events, BATCH)):
        store.commit(Work(events=batch))


def copied(ground: Ground, url: str, limit: int) -> None:
    """The first events in an event store on PostgreSQL as well."""
    with closing(SqlEventStore(PostgresRecorder(url))) as store:
        record(store, (stored.envelope for stored in ground.store.after(0, limit)))


def views_at_the_end(engine: Engine, ground: Ground) -> ViewStore:
    """Live read models that stand at the end of the log, so that a rebuild has all of it to do."""
    views = ViewStore(engine, VIEWS)
    views.begin()
    with views.writing() as db:
        views.move(db, LIVE, {place: (Mark(), mark) for place, mark in ground.ends().items()})
    return views


def rebuild_all(views: ViewStore, ground: Ground) -> None:
    """What `heard views rebuild` does."""
    rebuild(ground.log, views, list(VIEWS))


def empty_views(engine: Engine, views: Mapping[str, View] = VIEWS) -> ViewStore:
    """Live read models in which nothing is."""
    made = ViewStore(engine, views)
    made.begin()
    return made
