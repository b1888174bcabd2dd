"""What could not be done, why, and when is it looked at again?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson
from sqlalchemy import Connection, select

from domain import decision, referral
from domain.event import Envelope
from domain.values import NOT_DELIVERING
from projections.view import TEXT, Asked, Row, Rows, Shape, Tables, View, here

CONSTRAINTS: Final = Shape(
    "constraints",
    {
        "ref": TEXT, "kind": TEXT, "outcome": TEXT, "reasons": TEXT, "role": TEXT, "review_on": TEXT,
        "known_at": TEXT, "reason_words_at": TEXT,
    },
    folded=True,
    index=(("id",),),
)  # fmt: skip


def _decided(rows: Rows, e: Envelope, event: decision.Made | decision.Revised) -> None:
    # A revision that delivers after all stays in the list with its new outcome left out of the answer.
    rows.put(
        CONSTRAINTS,
        e,
        ref=event.ref,
        kind="decision",
        outcome=event.outcome,
        reasons=orjson.dumps(event.reasons).decode(),
        role=e.actor.role,
        review_on=None if event.review_on is None else str(event.review_on),
        known_at=e.known_at,
        reason_words_at=f"{e.id}/reason_words" if "reason_words" in e.sealed else None,
    )


def _answered(rows: Rows, e: Envelope, event: referral.Answered) -> None:
    rows.put(
        CONSTRAINTS,
        e,
        ref=event.ref,
        kind="referral",
        reasons=orjson.dumps(event.reasons).decode(),
        role=e.actor.role,
        known_at=e.known_at,
        reason_words_at=f"{e.id}/words" if "words" in e.sealed else None,
    )


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    table = tables[CONSTRAINTS]
    refused = table.c.outcome.in_(sorted(NOT_DELIVERING)) | (
        (table.c.kind == "referral") & (table.c.reasons != "[]")
    )
    query = select(table).where(refused, *here(table, asked)).order_by(table.c.ref, table.c.id)
    return [dict(row) | {"reasons": orjson.loads(row["reasons"])} for row in db.execute(query).mappings()]


VIEW: Final = View(
    name="constraints",
    version=1,
    about="What the police or a partner could not do, or not fully, and why.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "ref": "reference of the decision or referral",
        "id": "id in Heard",
        "kind": "decision or referral",
        "outcome": "what was decided",
        "reasons": "reason codes",
        "role": "who decided or answered",
        "review_on": "when it is looked at again",
        "known_at": "when it became known",
        "reason_words_at": "where the reasons in plain words lie",
    },
    shapes=(CONSTRAINTS,),
    handlers={decision.Made: _decided, decision.Revised: _decided, referral.Answered: _answered},
    question=_question,
)
