"""What happened, event by event? The bytes as published, by stream and by place, for any date."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import Connection, and_, select, true

from domain.event import Envelope, Event, read
from projections.store import among
from projections.view import BYTES, NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View, here

HISTORY: Final = Shape(
    "history",
    {
        "stream": TEXT, "version": NUMBER, "type": TEXT, "known_at": TEXT, "recorded_at": TEXT,
        "position": NUMBER, "bytes": BYTES,
    },
    index=(("stream", "version"),),
)  # fmt: skip


def _event(rows: Rows, e: Envelope, event: Event) -> None:
    rows.put(
        HISTORY,
        e,
        id=e.id,
        stream=e.stream,
        version=e.version,
        type=e.type,
        known_at=e.known_at,
        recorded_at=e.recorded_at,
        position=rows.position,
        bytes=e.bytes,
    )


def of_streams(
    db: Connection,
    tables: Tables,
    streams: Collection[str],
    *,
    known_by: str | None = None,
    recorded_by: str | None = None,
) -> list[tuple[int, Envelope]]:
    """(position, event) of these streams, in order of position; only those known and recorded by then."""
    table = tables[HISTORY]
    return _read(db, table, among(table.c.stream, streams, db), known_by, recorded_by)


def of_place(
    db: Connection,
    tables: Tables,
    force: str,
    place: str,
    *,
    known_by: str | None = None,
    recorded_by: str | None = None,
) -> list[tuple[int, Envelope]]:
    """(position, event) of a neighbourhood, in order of position; only those known and recorded by then."""
    table = tables[HISTORY]
    there = and_(table.c.force == force, table.c.place == place)
    return _read(db, table, there, known_by, recorded_by)


def of_force(
    db: Connection,
    tables: Tables,
    force: str | None,
    *,
    known_by: str | None = None,
    recorded_by: str | None = None,
) -> list[tuple[int, Envelope]]:
    """(position, event) of a force, or of all forces, in order; only those known and recorded by then."""
    table = tables[HISTORY]
    whose = true() if force is None else table.c.force == force
    return _read(db, table, whose, known_by, recorded_by)


def _read(
    db: Connection, table: Any, where: Any, known_by: str | None, recorded_by: str | None
) -> list[tuple[int, Envelope]]:
    query = select(table.c.position, table.c.bytes).where(where)
    if known_by is not None:
        query = query.where(table.c.known_at <= known_by)
    if recorded_by is not None:
        query = query.where(table.c.recorded_at <= recorded_by)
    rows = db.execute(query.order_by(table.c.position))
    return [(position, read(bytes(data))) for position, data in rows]


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    table = tables[HISTORY]
    columns = [column for column in table.c if column.name not in ("bytes", "position")]
    rows = db.execute(select(*columns).where(*here(table, asked)).order_by(table.c.position)).mappings()
    return [dict(row) for row in rows]


VIEW: Final = View(
    name="history",
    version=1,
    about="Every event, by stream and by place, with its times: what questions as at a date are asked of.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "id": "id of the event",
        "stream": "id of the thing that it is about",
        "version": "1, 2, … within the stream",
        "type": "type of the event",
        "known_at": "when its source says that it became known",
        "recorded_at": "when Heard wrote it",
    },
    shapes=(HISTORY,),
    handlers={Event: _event},
    question=_question,
)
