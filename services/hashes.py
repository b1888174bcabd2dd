"""Do two installations hold the same? One hash of all event streams, and one of each read model."""

from __future__ import annotations

import hashlib
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Table, select

from projections.store import SEALED_VALUES, ViewStore
from services.ports import EventStore

_BATCH: Final = 5_000


def of_events(store: EventStore) -> dict[str, Any]:
    """{"count", "position", "sha256"}: over a line `position digest` for each event, in commit order.

    The digest of an event covers its stream, its version and the digest of the one before, so that
    this is a hash of every stream, and of where each stands among the others.
    """
    hashed, count, position = hashlib.sha256(), 0, 0
    while events := store.after(position, _BATCH):
        for stored in events:
            hashed.update(f"{stored.position} {stored.envelope.digest}\n".encode())
        count, position = count + len(events), events[-1].position
    return {"count": count, "position": position, "sha256": hashed.hexdigest()}


def of_views(views: ViewStore) -> list[dict[str, Any]]:
    """{"view", "rows", "sha256"} of each that is built, and of the sealed values; all of one moment.

    Over the name of each table and its rows, sorted by their keys: a line of JSON with the values in
    the order of the columns, bytes in hex. Positions count, for a restore keeps them.
    """
    with views.reading() as db:
        live = views.live(db)
        tables = {
            name: {shape.name: table for shape, table in views.tables_of(name, live[name]).items()}
            for name in views.views
            if name in live
        }
        tables["sealed_values"] = {SEALED_VALUES.name: SEALED_VALUES}
        return [_hashed(db, name, its) for name, its in tables.items()]


def _hashed(db: Connection, view: str, tables: dict[str, Table]) -> dict[str, Any]:
    hashed, count = hashlib.sha256(), 0
    for name, table in tables.items():
        hashed.update(f"{name}\n".encode())
        # What has no key while it is rebuilt has a unique index of that name instead.
        keys = [index.columns for index in table.indexes if index.unique] or [table.primary_key.columns]
        rows = select(table).order_by(*keys[0])
        for row in db.execution_options(yield_per=_BATCH).execute(rows):
            hashed.update(orjson.dumps(list(row), default=_hex) + b"\n")
            count += 1
    return {"view": view, "rows": count, "sha256": hashed.hexdigest()}


def _hex(value: Any) -> str:
    return bytes(value).hex()
