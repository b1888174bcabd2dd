"""Does a question about a place or a force read what belongs to it, and nothing else?"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from sqlalchemy import Connection

from infra.databases import sqlite_memory
from projections import history
from projections.store import ViewStore
from projections.view import Asked, Tables
from tests.support.histories import by_hand

NOW = "2030-01-01T00:00:00.000000Z"


@pytest.fixture
def views() -> Iterator[ViewStore]:
    """The history of two neighbourhoods."""
    with structlog.testing.capture_logs():
        author = by_hand()
        assert author.tell("concern.raised", "N1", at="ward-0", kind="concern")
        assert author.tell("concern.raised", "N2", at="ward-1", kind="concern")
    engine = sqlite_memory()
    store = ViewStore(engine, {"history": history.VIEW})
    store.begin()
    with store.writing() as db:
        store.apply(db, store.live(db), list(enumerate(author.history().events)))
    yield store
    engine.dispose()


def test_the_history_of_a_neighbourhood_reads_no_other(views: ViewStore) -> None:
    def places(**where: str) -> set[str]:
        return {row["place"] for row in views.ask("history", Asked(NOW, where))}

    assert {"-", "ward-0", "ward-1"} <= places()
    assert places(neighbourhood="ward-1") == {"ward-1"}
    assert places(neighbourhood="") == places(neighbourhood="-") == {"-"}


def test_the_history_of_a_force_is_read_as_far_as_it_was_known(views: ViewStore) -> None:
    def events(force: str | None, known_by: str = NOW) -> int:
        def asked(db: Connection, tables: Tables) -> int:
            return len(history.of_force(db, tables, force, known_by=known_by))

        return views.read(asked, "history")

    all_of_it = views.ask("history", Asked(NOW))
    forces = {row["force"] for row in all_of_it}
    assert events(None) == sum(map(events, forces)) == len(all_of_it)
    assert events("another") == events(None, "2000-01-01T00:00:00.000000Z") == 0
