"""What does the neighbourhood team work on first, what was done, and what came of it?"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from sqlalchemy import Connection, select

from domain import priority
from domain.event import Envelope
from projections.store import among
from projections.trace import THINGS
from projections.view import NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View, day, here

PRIORITIES: Final = Shape(
    "priorities",
    {
        "ref": TEXT, "issue": TEXT, "state": TEXT, "set_on": TEXT, "action": TEXT, "action_on": TEXT,
        "reviewed_at": TEXT, "closed_by": TEXT, "measure": TEXT, "before": NUMBER, "after": NUMBER,
        "known_at": TEXT,
    },
    folded=True,
    index=(("id",),),
)  # fmt: skip


def _set(rows: Rows, e: Envelope, event: priority.Set) -> None:
    rows.put(
        PRIORITIES, e, ref=event.ref, issue=event.issue, state="open", set_on=day(e.occurred),
        known_at=e.known_at,
    )  # fmt: skip


def _acted(rows: Rows, e: Envelope, event: priority.ActionRecorded) -> None:
    row = rows.own(PRIORITIES, e)
    if row is None:
        return
    first = row["action_on"] or day(e.occurred)
    rows.change(PRIORITIES, e, state="actioned", action=event.action, action_on=first, known_at=e.known_at)


def _reviewed(rows: Rows, e: Envelope, event: priority.Reviewed) -> None:
    rows.change(PRIORITIES, e, reviewed_at=e.known_at, known_at=e.known_at)


def _closed(rows: Rows, e: Envelope, event: priority.Closed) -> None:
    rows.change(
        PRIORITIES,
        e,
        state="closed",
        closed_by=" ".join(cause.thing for cause in e.causes) or None,
        measure=event.measure,
        before=event.before,
        after=event.after,
        known_at=e.known_at,
    )


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    table, things = tables[PRIORITIES], tables[THINGS]
    query = select(table).where(*here(table, asked)).order_by(table.c.ref, table.c.id)
    rows = [dict(row) for row in db.execute(query).mappings()]
    causes = {id_ for row in rows for id_ in (row["closed_by"] or "").split()}
    refs: dict[str, str] = {}
    if causes:
        found = db.execute(select(things.c.id, things.c.ref).where(among(things.c.id, causes, db)))
        refs = dict(found.all())
    for row in rows:
        because = [refs[id_] for id_ in (row["closed_by"] or "").split() if id_ in refs]
        row["closed_because"] = ", ".join(because) or None
        row["days_to_action"] = _days(row["set_on"], row["action_on"])
        yield row


def _days(start: str | None, end: str | None) -> int | None:
    if start is None or end is None:
        return None
    return (date.fromisoformat(end) - date.fromisoformat(start)).days


VIEW: Final = View(
    name="priorities",
    version=1,
    about="Each priority: since when, what was done how soon, and why it was closed.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "ref": "reference in its source",
        "id": "id in Heard",
        "issue": "the issue as published",
        "state": "open, actioned or closed",
        "set_on": "the day on which it became a priority",
        "action": "what was done, as published",
        "action_on": "the day of the first action",
        "days_to_action": "days from the one to the other",
        "reviewed_at": "when its last review became known",
        "closed_because": "references of what it was closed because of",
        "measure": "what was counted",
        "before": "the count before",
        "after": "the count after",
        "known_at": "when its last fact became known",
    },
    shapes=(PRIORITIES,),
    handlers={
        priority.Set: _set,
        priority.ActionRecorded: _acted,
        priority.Reviewed: _reviewed,
        priority.Closed: _closed,
    },
    question=_question,
    reads=("trace",),
)
