"""You said, we did: which input led to which decision, change or referral, and was it told?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

import orjson
from sqlalchemy import Connection, select

from domain import feedback
from domain.event import Envelope
from projections.store import among
from projections.trace import SAYS_NOTHING, THINGS, by_cause, came_of, closure, thread
from projections.view import NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View, here

REPORTS: Final = Shape(
    "you_said_we_did_reports",
    {"channel": TEXT, "sent_at": TEXT, "failed": NUMBER, "agrees": NUMBER, "disagrees": NUMBER},
    folded=True,
    index=(("id",),),
)


def _sent(rows: Rows, e: Envelope, event: feedback.Sent) -> None:
    rows.put(REPORTS, e, channel=event.channel, sent_at=e.known_at, failed=0, agrees=0, disagrees=0)


def _failed(rows: Rows, e: Envelope, event: feedback.Failed) -> None:
    rows.change(REPORTS, e, failed=1)


def _answered(rows: Rows, e: Envelope, event: feedback.Answered) -> None:
    row = rows.own(REPORTS, e)
    if row is not None:
        name = "agrees" if event.agrees else "disagrees"
        rows.change(REPORTS, e, **{name: row[name] + 1})


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    """One row for each input and each thing that was done because of it, directly or further on."""
    things, r = tables[THINGS], tables[REPORTS]
    where = (things.c.kind.in_(("contact", "concern")), *here(things, asked))
    roots = dict(db.execute(select(things.c.id, things.c.ref).where(*where)).all())
    whole = thread(db, tables, closure(db, tables, roots, back=False, without=SAYS_NOTHING))
    reports = {
        row["id"]: dict(row)
        for row in db.execute(select(r).where(among(r.c.id, whole.things, db), r.c.failed == 0)).mappings()
    }
    effects = by_cause(whole.edges)
    reported: defaultdict[str, list[str]] = defaultdict(list)
    for edge in whole.edges:
        if edge["relation"] == "reports_on" and edge["effect"] in reports:
            reported[edge["cause"]].append(edge["effect"])
    for root, ref in sorted(roots.items(), key=lambda item: (item[1], item[0])):
        for id_ in sorted(came_of(whole.things, effects, root), key=lambda i: (whole.things[i]["ref"], i)):
            thing = whole.things[id_]
            told = [reports[f] for f in reported[id_]]
            yield {
                "force": whole.things[root]["force"],
                "place": whole.things[root]["place"],
                "said": ref,
                "said_words_at": whole.things[root]["words_at"],
                "did": thing["ref"],
                "did_kind": thing["kind"],
                "state": thing["fact"],
                "outcome": thing["outcome"],
                "reasons": orjson.loads(thing["reasons"]),
                "did_words_at": thing["words_at"],
                "known_at": thing["known_at"],
                "told_by": sorted(whole.things[f]["ref"] for f in reported[id_]),
                "told_at": max((t["sent_at"] for t in told), default=None),
                "agrees": sum(t["agrees"] for t in told),
                "disagrees": sum(t["disagrees"] for t in told),
            }


VIEW: Final = View(
    name="you_said_we_did",
    version=1,
    about="Each input with each thing that was done because of it, and the feedback that told of it.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood of the input",
        "said": "reference of the input",
        "said_words_at": "where the input's words lie",
        "did": "reference of what was done",
        "did_kind": "decision, change, referral or priority",
        "state": "its last fact",
        "outcome": "of a decision: what became of what was asked",
        "reasons": "reason codes, where it does not deliver",
        "did_words_at": "where its words lie",
        "known_at": "when it became known",
        "told_by": "references of the feedback that reports on it",
        "told_at": "when that was last told",
        "agrees": "answers that agree",
        "disagrees": "answers that disagree",
    },
    shapes=(REPORTS,),
    handlers={feedback.Sent: _sent, feedback.Failed: _failed, feedback.Answered: _answered},
    question=_question,
    reads=("trace",),
)
