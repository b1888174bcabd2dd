"""What came in, how far has it come, and how many people stand behind it?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from sqlalchemy import Connection, func, select

from domain import support
from domain.event import Envelope
from domain.rules import related
from projections.store import among
from projections.trace import SAYS_NOTHING, THINGS, closure, states, thread
from projections.view import TEXT, Asked, Row, Rows, Shape, Tables, View, here

SUPPORTS: Final = Shape(
    "inputs_supports",
    {"concern": TEXT, "stance": TEXT},
    folded=True,
    index=(("concern", "stance"),),
)


def _support(rows: Rows, e: Envelope, event: support.SupportEvent) -> None:
    # One row for each concern and person: a person counts once, and with what they said last.
    concern = related(e.causes, "supports")[0].thing
    rows.put(SUPPORTS, e, concern=concern, stance=getattr(event, "stance", None))


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    things = tables[THINGS]
    where = (things.c.kind.in_(("contact", "concern")), *here(things, asked))
    rows = {r["id"]: dict(r) for r in db.execute(select(things).where(*where)).mappings()}
    whole = thread(db, tables, closure(db, tables, rows, back=False, without=SAYS_NOTHING))
    state = states(whole, rows)
    s = tables[SUPPORTS]
    counts: dict[str, dict[str, int]] = {}
    for concern, stance, n in db.execute(
        select(s.c.concern, s.c.stance, func.count())
        .where(among(s.c.concern, rows, db), s.c.stance.is_not(None))
        .group_by(s.c.concern, s.c.stance)
    ):
        counts.setdefault(concern, {})[stance] = n
    for id_, row in sorted(rows.items(), key=lambda item: (item[1]["ref"], item[0])):
        stances = counts.get(id_, {})
        yield {
            "force": row["force"],
            "place": row["place"],
            "ref": row["ref"],
            "id": id_,
            "kind": row["kind"],
            "subkind": row["subkind"],
            "theme": row["theme"],
            "known_at": row["known_at"],
            "state": state[id_],
            "agrees": stances.get("agree", 0),
            "disagrees": stances.get("disagree", 0),
            "passes": stances.get("pass", 0),
            "supporters": sum(stances.values()),
            "moderated": bool(row["moderated"]),
            "words_at": row["words_at"],
        }


VIEW: Final = View(
    name="inputs",
    version=1,
    about="Every contact and concern, with its state and its support.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "ref": "reference in its source",
        "id": "id in Heard",
        "kind": "contact or concern",
        "subkind": "of a concern: concern, request, question, preference, praise",
        "theme": "what it is about, as the source classifies it",
        "known_at": "when it became known",
        "state": "how far it has come; decided to delivered follow from what rests on it",
        "agrees": "people who agree, each counted once",
        "disagrees": "people who disagree, each counted once",
        "passes": "people who passed it over, each counted once",
        "supporters": "people who said anything of it, each counted once",
        "moderated": "whether it is not shown, for a reason that its author is told",
        "words_at": "where its words lie: event id / field",
    },
    shapes=(SUPPORTS,),
    handlers=dict.fromkeys((support.Given, support.Changed, support.Withdrawn), _support),
    question=_question,
    reads=("trace",),
)
