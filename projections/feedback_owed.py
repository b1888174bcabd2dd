"""Who was told what became of their input, and who is still owed an answer?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection, select

from domain import change, concern, contact, decision, feedback, priority, referral
from domain.event import Envelope, Event
from projections.store import among
from projections.trace import SAYS_NOTHING, THINGS, adjacent, closure, thread, walk, with_groups
from projections.view import NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View, here

TELLINGS: Final = Shape(
    "feedback_owed_tellings",
    {"audience": TEXT, "subject": TEXT, "sent_at": TEXT, "failed": NUMBER},
    folded=True,
    index=(("id",),),
)
MOVES: Final = Shape("feedback_owed_moves", {"moved_at": TEXT}, folded=True, index=(("id",),))

MOVING: Final[tuple[type[Event], ...]] = (
    decision.Made, decision.Revised, change.Planned, change.Started, change.Implemented,
    change.Measured, change.Abandoned, referral.Made, referral.Answered, referral.Withdrawn,
    priority.Set, priority.ActionRecorded, priority.Closed,
)  # fmt: skip
"""Facts by which the inputs that they rest on move on."""
MODERATING: Final[tuple[type[Event], ...]] = (concern.Moderated, contact.Moderated)
"""Facts about an input by which it moves on itself, and nothing that rests on it."""


def _sent(rows: Rows, e: Envelope, event: feedback.Sent) -> None:
    subject = None if event.contributor is None else event.contributor.subject
    rows.put(TELLINGS, e, audience=event.audience, subject=subject, sent_at=e.known_at, failed=0)


def _failed(rows: Rows, e: Envelope, event: feedback.Failed) -> None:
    rows.change(TELLINGS, e, failed=1)


def _moved(rows: Rows, e: Envelope, event: Event) -> None:
    row = rows.own(MOVES, e)
    rows.put(MOVES, e, moved_at=max(e.known_at, row["moved_at"] if row else ""))


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    things = tables[THINGS]
    where = (things.c.kind.in_(("contact", "concern")), *here(things, asked))
    inputs = {r["id"]: dict(r) for r in db.execute(select(things).where(*where)).mappings()}
    whole = thread(db, tables, with_groups(db, tables, inputs))
    ids = whole.things
    t, m = tables[TELLINGS], tables[MOVES]
    tellings = {r["id"]: dict(r) for r in db.execute(select(t).where(among(t.c.id, ids, db))).mappings()}
    moves = dict(db.execute(select(m.c.id, m.c.moved_at).where(among(m.c.id, ids, db))).all())
    effects: defaultdict[str, list[str]] = defaultdict(list)
    for edge in whole.edges:
        if edge["relation"] != "grouped_with":
            effects[edge["cause"]].append(edge["effect"])
        elif whole.things[edge["effect"]]["grouped"] == edge["cause"]:
            # What becomes of one of a group is owed to all of it, for as long as it is one.
            effects[edge["cause"]].append(edge["effect"])
            effects[edge["effect"]].append(edge["cause"])
    others = {id_ for id_, row in whole.things.items() if row["kind"] in ("contact", "concern")}
    meetings = _raised_in_meetings(db, tables, inputs)
    for id_, row in sorted(inputs.items(), key=lambda item: (item[1]["ref"], item[0])):
        downstream = walk({id_}, lambda each: effects.get(each, ()))
        told = _last_told(row, [tellings[d] for d in downstream if d in tellings])
        moved = max(
            (moves[d] for d in downstream if d in moves and (d == id_ or d not in others)), default=None
        )
        yield {
            "force": row["force"],
            "place": row["place"],
            "ref": row["ref"],
            "id": id_,
            "owed": _owed(row, told, moved, in_public=id_ in meetings),
            "told_at": told,
            "moved_at": moved,
        }


def _raised_in_meetings(db: Connection, tables: Tables, inputs: Mapping[str, Row]) -> set[str]:
    """The concerns of nobody in particular that came up in an engagement, directly or prompted by one."""
    nameless = {id_ for id_, row in inputs.items() if row["kind"] == "concern" and not row["contributor"]}
    whole = thread(db, tables, closure(db, tables, nameless, forward=False, without=SAYS_NOTHING))
    from_there = adjacent(e for e in whole.edges if e["relation"] in ("raised_in", "prompted_by"))
    meetings = {id_ for id_, row in whole.things.items() if row["kind"] == "engagement"}
    return nameless & walk(meetings, from_there)


def tells(input_: Row, told: Row) -> bool:
    """Whether this feedback (its audience and subject) is meant for this input.

    Who has a name and may be contacted is told in person; public feedback tells all others.
    """
    if told["audience"] == "contributor":
        return bool(told["subject"] == input_["contributor"])
    return not (input_["contributor"] and input_["may_contact"])


def _last_told(row: Row, tellings: Iterable[Row]) -> str | None:
    """When this input was last told of: what failed told nobody."""
    return max((t["sent_at"] for t in tellings if not t["failed"] and tells(row, t)), default=None)


def _owed(row: Row, told: str | None, moved: str | None, *, in_public: bool) -> str:
    if told is not None:
        return "moved_on_since" if moved is not None and moved > told else "told"
    reachable = bool(row["contributor"] and row["may_contact"]) or in_public
    return "never_told" if reachable else "cannot_be_told"


VIEW: Final = View(
    name="feedback_owed",
    version=1,
    about="Each input, and whether whoever brought it has been told what became of it.",
    columns={
        "force": "the police force",
        "neighbourhood": "the neighbourhood",
        "ref": "reference of the input",
        "id": "id in Heard",
        "owed": "never_told, moved_on_since, told, or cannot_be_told (then by public means)",
        "told_at": "when it was last told",
        "moved_at": "when it last moved on",
    },
    shapes=(TELLINGS, MOVES),
    handlers={
        feedback.Sent: _sent,
        feedback.Failed: _failed,
        **dict.fromkeys((*MOVING, *MODERATING), _moved),
    },
    question=_question,
    reads=("trace",),
)
