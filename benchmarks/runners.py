"""What is a rebuild compared with? The library's runner, which commits once an event, and a bare loop.

All of them write with the same handlers through `ViewStore.apply`; the runner keeps its position in
the library's own tracking table, in the transaction of the rows.
"""

from __future__ import annotations

import time
from contextlib import closing
from typing import Any, ClassVar, Final

from eventsourcing.application import Application
from eventsourcing.persistence import Mapper, StoredEvent, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import SQLiteDatastore, SQLiteTrackingRecorder
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import Engine

from benchmarks.ground import Ground, empty_views
from consumers.following import follow
from domain.event import Envelope, Event
from infra.event_store import EnvelopeMapper, PostgresRecorder, SqliteRecorder
from projections.store import LIVE, Mark, ViewStore
from projections.view import TEXT, Asked, Rows, Shape, View

PAGE: Final = 500
"""As many notifications as the library's subscription reads at once."""


class Envelopes(Mapper[str]):
    """The library's mapper that gives our envelopes."""

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The envelope of the stored bytes."""
        return EnvelopeMapper.to_domain_event(stored_event)


class Stored(Application[str]):
    """The application whose events are read; its name makes the library read `stored_events`."""

    name = "stored"


class Tracked(PostgresTrackingRecorder):
    """The library's tracking table, beside the read models."""

    views: ClassVar[ViewStore]
    began: float | None = None
    ended: float = 0.0

    def fold(self, envelope: Envelope, tracking: Tracking) -> None:
        """One event into every read model, and its position, in one transaction."""
        self.began = self.began or time.perf_counter()
        with self.views.writing() as db:
            self.views.apply(db, self.views.live(db), [(tracking.notification_id, envelope)])
            cursor: Any = db.connection.cursor()
            self._insert_tracking(cursor, tracking)
        self.ended = time.perf_counter()


class Folded(Projection[Tracked]):
    """Every read model, as the library's runner drives it."""

    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        """See `Tracked.fold`."""
        self.view.fold(domain_event, tracking)


def library_runner_on_postgresql(url: str, engine: Engine) -> float:
    """Events a second of a `ProjectionRunner` over all that lies there, into empty read models.

    From the first event to the last: its start is not counted.
    """
    given = conninfo_to_dict(url)
    env = {
        "PERSISTENCE_MODULE": "eventsourcing.postgres",
        "ORIGINATOR_ID_TYPE": "text",
        "MAPPER_TOPIC": f"{__name__}:{Envelopes.__name__}",
        "POSTGRES_DBNAME": str(given.get("dbname", "")),
        "POSTGRES_HOST": str(given.get("host", "")),
        "POSTGRES_PORT": str(given.get("port", "5432")),
        "POSTGRES_USER": str(given.get("user", "")),
        "POSTGRES_PASSWORD": str(given.get("password") or "none"),
        "POSTGRES_SCHEMA": "public",
    }
    with closing(PostgresRecorder(url)) as recorder:
        last = recorder.max_notification_id()
        (first,) = recorder.select_notifications(start=None, limit=1)
        events = len(recorder.select_notifications(start=first.id, limit=10_000_000))
    Tracked.views = empty_views(engine)
    with ProjectionRunner(
        application_class=Stored, projection_class=Folded, view_class=Tracked, env=env
    ) as runner:
        runner.wait(last, timeout=3600)
    assert runner.view.began is not None
    assert len(Tracked.views.ask("history", Asked(""))) == events
    return events / (runner.view.ended - runner.view.began)


def library_loop_on_sqlite(ground: Ground, engine: Engine, events: int) -> float:
    """Events a second of the same over SQLite.

    The library's SQLite recorders have no subscription, and so its runner cannot be used there: this
    is its loop, with its pages, its mapper and its tracking table, but without its thread.
    """
    views = empty_views(engine)
    tracking = SQLiteTrackingRecorder(SQLiteDatastore(":memory:"))
    with views.writing() as db:
        for statement in tracking.create_table_statements:
            db.exec_driver_sql(statement)
    mapper = Envelopes(transcoder=None)  # type: ignore[arg-type]
    with closing(SqliteRecorder(ground.directory / "write.db")) as recorder:
        start, done, position = time.perf_counter(), 0, 0
        while done < events:
            page = recorder.select_notifications(
                start=position, limit=min(PAGE, events - done), inclusive_of_start=False
            )
            for notification in page:
                with views.writing() as db:
                    envelope = mapper.to_domain_event(notification)
                    views.apply(db, views.live(db), [(notification.id, envelope)])
                    cursor: Any = db.connection.cursor()
                    tracking._insert_tracking(cursor, Tracking(Stored.name, notification.id))
            position, done = page[-1].id, done + len(page)
        took = time.perf_counter() - start
    tracking.datastore.close()
    assert len(views.ask("history", Asked(""))) == events
    return events / took


# -- a bare loop ---------------------------------------------------------------------------------

_BARE: Final = Shape("bare", {"type": TEXT, "known_at": TEXT})


def _one_row(rows: Rows, e: Envelope, event: Event) -> None:
    rows.put(_BARE, e, id=e.id, type=e.type, known_at=e.known_at)


_BARE_VIEW: Final = View("bare", 1, "One row an event.", {}, (_BARE,), {Event: _one_row}, lambda *_: ())


def bare_loop(ground: Ground, engine: Engine) -> float:
    """Events a second of reading the log and writing one row an event: 1,000 and the position at a time."""
    views = empty_views(engine, {"bare": _BARE_VIEW})
    start = time.perf_counter()
    marks: dict[tuple[str, int], Mark] = {}
    for (topic, partition), end in sorted(ground.ends().items()):
        at = 0
        while at < end.next:
            batch = follow(ground.log.read(topic, partition, at, end.next, 1_000), marks)
            with views.writing() as db:
                views.move(db, LIVE, batch.moves)
                views.apply(db, views.live(db), batch.events)
            marks |= {place: after for place, (_, after) in batch.moves.items()}
            at = marks[topic, partition].next
    return ground.events / (time.perf_counter() - start)
