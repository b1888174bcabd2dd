"""What is owed, by whom and to whom, and what is overdue?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, func, select

from domain import duty
from domain.event import Envelope
from domain.values import stamp
from projections.view import NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View, here

DUTIES: Final = Shape(
    "worklist_duties",
    {
        "rule": TEXT, "about": TEXT, "about_kind": TEXT, "ref": TEXT, "owed_by": TEXT, "owed_to": TEXT,
        "due": TEXT, "settings_version": NUMBER, "started_by": TEXT, "discharged": NUMBER,
        "lapsed": NUMBER,
    },
    folded=True,
    index=(("id",), ("due",)),
)  # fmt: skip


def _opened(rows: Rows, e: Envelope, event: duty.Opened) -> None:
    rows.put(
        DUTIES,
        e,
        rule=event.rule,
        about=event.about,
        about_kind=event.about_kind,
        ref=event.about_ref,
        owed_by=event.owed_by,
        owed_to=event.owed_to,
        due=stamp(event.due),
        settings_version=event.settings_version,
        started_by=e.causes[0].id if e.causes else None,
        discharged=0,
        lapsed=0,
    )


def _discharged(rows: Rows, e: Envelope, event: duty.Discharged) -> None:
    rows.change(DUTIES, e, discharged=1)


def _lapsed(rows: Rows, e: Envelope, event: duty.Lapsed) -> None:
    rows.change(DUTIES, e, lapsed=1)


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    table = tables[DUTIES]
    query = select(table).where(*here(table, asked))
    if "state" not in asked.where:
        query = query.where(table.c.discharged == 0, table.c.lapsed == 0)
    now = datetime.fromisoformat(asked.now)
    for row in db.execute(query.order_by(table.c.due, table.c.ref, table.c.rule, table.c.id)).mappings():
        # Discharged and lapsed are facts of their own; done is done, even if it also lapsed.
        done = "discharged" if row["discharged"] else "lapsed" if row["lapsed"] else None
        late = now - datetime.fromisoformat(row["due"])
        overdue = done is None and late.total_seconds() > 0
        yield dict(row) | {
            "state": done or ("overdue" if overdue else "due"),
            "overdue_days": late.days if overdue else 0,
        }


def overdue(db: Connection, tables: Tables, now: str) -> Mapping[str, int]:
    """{rule: how many duties are open and were due before `now`}, all forces together."""
    table = tables[DUTIES]
    late = (table.c.due < now, table.c.discharged == 0, table.c.lapsed == 0)
    query = select(table.c.rule, func.count().label("duties")).where(*late).group_by(table.c.rule)
    return {str(row.rule): int(row.duties) for row in db.execute(query)}


VIEW: Final = View(
    name="worklist",
    version=1,
    about="Every duty that is open: what is due, what is overdue by how many days, and to whom. "
    "Ask for another state (discharged, lapsed) to see those.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "id": "id of the duty",
        "ref": "reference of the thing that it is about",
        "about_kind": "the kind of that thing",
        "rule": "which rule asks for it",
        "owed_by": "the role that owes it",
        "owed_to": "the person to whom it is owed; none: the public",
        "due": "until when",
        "state": "due, overdue, discharged or lapsed",
        "overdue_days": "whole days since it was due",
        "settings_version": "the version of the force's settings that its time was taken from",
        "started_by": "id of the event that it rests on",
    },
    shapes=(DUTIES,),
    handlers={duty.Opened: _opened, duty.Discharged: _discharged, duty.Lapsed: _lapsed},
    question=_question,
)
