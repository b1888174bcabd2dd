"""Who was told what became of their input, and who is still owed an answer?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import chain
from operator import attrgetter
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from domain import change, concern, contact, decision, feedback, priority, referral
from domain.event import Envelope, Event
from projections.store import among
from projections.trace import (
    INPUTS,
    SAYS_NOTHING,
    THINGS,
    Thread,
    adjacent,
    closure,
    thread,
    together,
    walk,
    with_groups,
)
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

PUBLIC: Final = "public"
"""For whom something is said that is said to everyone who is not told in person."""
EVERYBODY: Final = "everybody"
"""For whom it is that something moved on."""
AT_ONCE: Final = 4096
"""As many facts as are handed up at once: what each thing holds meanwhile is 512 bytes at most."""


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
    where = (things.c.kind.in_(INPUTS), *here(things, asked))
    inputs = {r["id"]: dict(r) for r in db.execute(select(things).where(*where)).mappings()}
    whole = thread(db, tables, with_groups(db, tables, inputs))
    telling = {id_: _told_as(row) for id_, row in inputs.items()}
    moving = {id_: [id_, EVERYBODY] for id_ in inputs}
    heard = last_heard(
        {id_: [*telling[id_], *moving[id_]] for id_ in inputs}, _effects(whole), _said(db, tables, whole)
    )
    meetings = _raised_in_meetings(db, tables, inputs)
    for id_, row in sorted(inputs.items(), key=lambda item: (item[1]["ref"], item[0])):
        told = max((heard[id_, whom] for whom in telling[id_] if (id_, whom) in heard), default=None)
        moved = max((heard[id_, whom] for whom in moving[id_] if (id_, whom) in heard), default=None)
        yield {
            "force": row["force"],
            "place": row["place"],
            "ref": row["ref"],
            "id": id_,
            "owed": _owed(row, told, moved, in_public=id_ in meetings),
            "told_at": told,
            "moved_at": moved,
        }


def _said(db: Connection, tables: Tables, whole: Thread) -> Iterator[Said]:
    """What was told, and what moved on."""
    t, m = tables[TELLINGS], tables[MOVES]
    for row in db.execute(select(t).where(among(t.c.id, whole.things, db))).mappings():
        if not row["failed"]:  # what failed told nobody
            in_person = row["audience"] == "contributor"
            yield Said(row["sent_at"], row["id"], row["subject"] if in_person else PUBLIC)
    for id_, at in db.execute(select(m.c.id, m.c.moved_at).where(among(m.c.id, whole.things, db))):
        own = whole.things[id_]["kind"] in INPUTS
        yield Said(at, id_, id_ if own else EVERYBODY)


def _effects(whole: Thread) -> dict[str, list[str]]:
    """What each thing leads to."""
    effects: dict[str, list[str]] = {id_: [] for id_ in whole.things}
    for edge in whole.edges:
        if edge["relation"] != "grouped_with":
            effects[edge["cause"]].append(edge["effect"])
        elif whole.things[edge["effect"]]["grouped"] == edge["cause"]:
            # What becomes of one of a group is owed to all of it, for as long as it is one.
            effects[edge["cause"]].append(edge["effect"])
            effects[edge["effect"]].append(edge["cause"])
    return effects


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


def _told_as(input_: Row) -> list[str | None]:
    """For whom feedback has to be to tell this input."""
    return [input_["contributor"], *([PUBLIC] if tells(input_, {"audience": "public"}) else [])]


def _owed(row: Row, told: str | None, moved: str | None, *, in_public: bool) -> str:
    if told is not None:
        return "moved_on_since" if moved is not None and moved > told else "told"
    reachable = bool(row["contributor"] and row["may_contact"]) or in_public
    return "never_told" if reachable else "cannot_be_told"


# -- what does each input hear? ------------------------------------------------------------------


class Said(NamedTuple):
    """A fact that is heard by all that led to its thing, as far as it is meant for them."""

    at: str
    thing: str
    whom: str | None
    """A person, PUBLIC or EVERYBODY; or the one input that it is about."""


def last_heard(
    inputs: Mapping[str, Collection[str | None]], effects: Mapping[str, Collection[str]], said: Iterable[Said]
) -> dict[tuple[str, str | None], str]:
    """{(input, for whom): when the last was said that it hears}.

    `inputs` are those of interest, and for whom something has to be said for each to hear it; every thing
    is a key of `effects`. A set of facts is one whole number with a bit for each, the latest the highest:
    so they are handed up together from effects to causes, and no input has a walk of its own.
    """
    circles = together(effects)
    circle_of = {thing: number for number, things in enumerate(circles) for thing in things}
    causes: defaultdict[str, list[str]] = defaultdict(list)
    for cause, far in effects.items():
        for effect in far:
            causes[effect].append(cause)
    last: dict[tuple[str, str | None], str] = {}
    in_order = sorted(said, key=attrgetter("at"))
    for some in (in_order[start : start + AT_ONCE] for start in range(0, len(in_order), AT_ONCE)):
        meant: defaultdict[str | None, int] = defaultdict(int)
        heard: defaultdict[int, int] = defaultdict(int)
        for number, fact in enumerate(some):
            meant[fact.whom] |= 1 << number
            heard[circle_of[fact.thing]] |= 1 << number
        above = walk({fact.thing for fact in some}, causes.__getitem__)
        for circle in sorted({circle_of[id_] for id_ in above}):
            for effect in chain.from_iterable(effects[id_] for id_ in circles[circle]):
                heard[circle] |= heard[circle_of[effect]]
        for id_ in inputs.keys() & above:
            for whom in inputs[id_]:
                if found := heard[circle_of[id_]] & meant[whom]:
                    last[id_, whom] = some[found.bit_length() - 1].at
    return last


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
