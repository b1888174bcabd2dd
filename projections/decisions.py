"""What was decided, by which role, on how many inputs, and what for?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson
from sqlalchemy import Connection, select

from domain import decision
from domain.event import Envelope
from projections.store import among
from projections.trace import EDGES, THINGS
from projections.view import NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View, here

DECISIONS: Final = Shape(
    "decisions",
    {
        "ref": TEXT, "state": TEXT, "outcome": TEXT, "reasons": TEXT, "business_area": TEXT,
        "role": TEXT, "review_on": TEXT, "known_at": TEXT, "revisions": NUMBER, "words_at": TEXT,
        "reason_words_at": TEXT, "none_because_at": TEXT,
    },
    folded=True,
    index=(("id",),),
)  # fmt: skip


def _opened(rows: Rows, e: Envelope, event: decision.Proposed | decision.InputsWeighed) -> None:
    state = "proposed" if isinstance(event, decision.Proposed) else "inputs_weighed"
    if e.version == 1:
        rows.put(DECISIONS, e, ref=event.ref, state=state, reasons="[]", revisions=0)
    rows.change(DECISIONS, e, state=state, known_at=e.known_at)
    _words(rows, e, "words")


def _made(rows: Rows, e: Envelope, event: decision.Made) -> None:
    if e.version == 1:
        rows.put(DECISIONS, e, ref=event.ref, revisions=0)
    rows.change(
        DECISIONS,
        e,
        state="made",
        outcome=event.outcome,
        reasons=orjson.dumps(event.reasons).decode(),
        business_area=event.business_area,
        role=e.actor.role,
        review_on=None if event.review_on is None else str(event.review_on),
        known_at=e.known_at,
        words_at=None,
        reason_words_at=None,
    )
    _words(rows, e, "words", "reason_words", "none_because")


def _revised(rows: Rows, e: Envelope, event: decision.Revised) -> None:
    row = rows.own(DECISIONS, e)
    if row is None:
        return
    rows.change(
        DECISIONS,
        e,
        state="revised",
        outcome=event.outcome,
        reasons=orjson.dumps(event.reasons).decode(),
        role=e.actor.role,
        review_on=None if event.review_on is None else str(event.review_on),
        known_at=e.known_at,
        revisions=row["revisions"] + 1,
        # The earlier words were about the earlier decision; they stay in the record.
        words_at=None,
        reason_words_at=None,
    )
    _words(rows, e, "words", "reason_words")


def _words(rows: Rows, e: Envelope, *paths: str) -> None:
    rows.change(DECISIONS, e, **{f"{path}_at": f"{e.id}/{path}" for path in paths if path in e.sealed})


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    d, edges, things = tables[DECISIONS], tables[EDGES], tables[THINGS]
    query = select(d).where(*here(d, asked)).order_by(d.c.ref, d.c.id)
    rows = [dict(row) for row in db.execute(query).mappings()]
    inputs: dict[str, list[dict[str, str | None]]] = {}
    for effect, ref, relation, influence in db.execute(
        select(edges.c.effect, things.c.ref, edges.c.relation, edges.c.influence)
        .join(things, things.c.id == edges.c.cause)
        .where(among(edges.c.effect, [row["id"] for row in rows], db))
        .order_by(edges.c.effect, things.c.ref, edges.c.relation, things.c.id)
    ):
        inputs.setdefault(effect, []).append({"ref": ref, "relation": relation, "influence": influence})
    for row in rows:
        row["reasons"] = orjson.loads(row["reasons"])
        row["inputs"] = inputs.get(row["id"], [])
        yield row


VIEW: Final = View(
    name="decisions",
    version=1,
    about="Every decision: the outcome, the deciding role, the reasons, and the inputs that it rests on.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "ref": "reference in its source",
        "id": "id in Heard",
        "state": "proposed, inputs_weighed, made or revised",
        "outcome": "what became of what was asked",
        "reasons": "reason codes, once it is made",
        "business_area": "the area of police business",
        "role": "the deciding role",
        "review_on": "when it is looked at again",
        "known_at": "when its last fact became known",
        "revisions": "how often it was revised",
        "inputs": "what it rests on: reference, relation, influence",
        "words_at": "where its words lie",
        "reason_words_at": "where the reasons in plain words lie",
        "none_because_at": "where it says why no input was weighed",
    },
    shapes=(DECISIONS,),
    handlers={
        decision.Proposed: _opened,
        decision.InputsWeighed: _opened,
        decision.Made: _made,
        decision.Revised: _revised,
    },
    question=_question,
    reads=("trace",),
)
