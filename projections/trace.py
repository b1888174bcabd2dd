"""How does one thing lead to another? Things, and what each rests on, in both directions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import inf
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Table, func, select, true, union

from domain import change, concern, contact, decision, engagement, feedback, priority, referral
from domain import neighbourhood as neighbourhoods
from domain.catalogue import OWN
from domain.event import Envelope, Event, Reported
from domain.rules import related
from projections.store import among, reach
from projections.view import NUMBER, TEXT, Asked, Row, Rows, Shape, Tables, View

THINGS: Final = Shape(
    "trace_things",
    {
        "kind": TEXT, "ref": TEXT, "occurred": TEXT, "known_at": TEXT, "fact": TEXT, "stage_at": TEXT,
        "subkind": TEXT, "outcome": TEXT, "reasons": TEXT, "public_text": TEXT, "words_at": TEXT,
        "words_key": TEXT, "acknowledged": NUMBER, "considered": NUMBER, "grouped": TEXT, "moderated": NUMBER,
        "own_state": TEXT, "reopened_at": TEXT, "contributor": TEXT, "may_contact": NUMBER,
        "version": NUMBER, "theme": TEXT,
    },
    index=(("id",), ("ref",)),
    folded=True,
)  # fmt: skip
EDGES: Final = Shape(
    "trace_edges",
    {"relation": TEXT, "effect": TEXT, "cause": TEXT, "influence": TEXT, "known_at": TEXT, "fact": TEXT},
    also=("effect", "cause", "relation"),
    index=(("cause",), ("effect",)),
    folded=True,
)

_OWN_STATES: Final = frozenset({"withdrawn", "reopened", "confirmed", "disputed", "closed"})
_JUDGED: Final = ("confirmed", "disputed")
_LOOKS_BACK: Final = frozenset({"measured", "reviewed", "closed", "withdrawn"})
"""Facts about what was done before: nothing comes any further by them."""
INPUTS: Final = ("concern", "contact")
SAYS_NOTHING: Final = ("supports",)
"""Relations over which no input comes any further. A concern can have many thousands of them."""
DONE: Final = ("decision", "priority", "change", "referral")
"""The kinds of what is done because of an input."""


def thing(rows: Rows, e: Envelope, event: Event) -> None:
    """Keep what the event says about its own thing, and what it rests on."""
    if e.kind in OWN:
        return
    fact = e.type.split(".")[2]
    if e.version == 1:
        fields = vars(event)  # to ask a model for a field that it does not have takes long
        contributor = fields.get("contributor")
        rows.put(
            THINGS,
            e,
            kind=e.kind,
            ref=event.ref if isinstance(event, Reported) else None,
            occurred=_when(e.occurred.kind, e.occurred.from_, e.occurred.to),
            known_at=e.known_at,
            subkind=fields.get("kind"),
            theme=fields.get("theme"),
            acknowledged=0,
            considered=0,
            moderated=0,
            reasons="[]",
            contributor=None if contributor is None else contributor.subject,
            may_contact=None if contributor is None else int(contributor.may_contact),
        )
    _told(rows, e, event, fact)
    for cause in e.causes:
        if fact == "ungrouped":
            continue
        rows.put(
            EDGES,
            e,
            effect=e.stream,
            cause=cause.thing,
            relation=cause.relation,
            influence=cause.influence,
            known_at=e.known_at,
            fact=e.type,
        )


def _told(rows: Rows, e: Envelope, event: Event, fact: str) -> None:
    """What the event says about its own thing; linking says nothing about another one."""
    values: Row = {"version": e.version, "fact": fact}
    if fact not in _LOOKS_BACK:
        values["stage_at"] = e.known_at
    if e.occurred.kind != "unknown" and fact in ("held", "implemented"):
        values["occurred"] = _when(e.occurred.kind, e.occurred.from_, e.occurred.to)
    if "words" in e.sealed:
        values |= {"words_at": f"{e.id}/words", "words_key": _key_of(rows, e, event)}
    if fact in _OWN_STATES and e.kind in INPUTS and not (fact == "closed" and _judged(rows, e)):
        values["own_state"] = fact
    match event:
        case priority.Set():
            values["public_text"] = event.issue
        case neighbourhoods.Registered():
            values["public_text"] = event.name
        case decision.Made() | decision.Revised():
            # Only now: the reasons of a proposal are not shown before its decision is made.
            values |= {"outcome": event.outcome, "reasons": _json(event.reasons)}
        case referral.Answered() | change.Abandoned():
            values["reasons"] = _json(event.reasons)
        case concern.Acknowledged():
            values["acknowledged"] = 1
        case concern.TakenUp():
            values["considered"] = 1
        case concern.Grouped():
            values["grouped"] = related(e.causes, "grouped_with")[0].thing
        case concern.Ungrouped():
            values["grouped"] = None
        case concern.Moderated() | contact.Moderated():
            values["moderated"] = 1
        case concern.Reopened():
            values |= {"moderated": 0, "considered": 0, "reopened_at": e.known_at}
        case engagement.Held() | contact.Corrected() | feedback.Answered() | _:
            pass
    rows.change(THINGS, e, **values)


def _judged(rows: Rows, e: Envelope) -> bool:
    """Whether somebody said that it is dealt with, or is not: a case that is closed does not unsay it."""
    row = rows.own(THINGS, e)
    return row is not None and row["own_state"] in _JUDGED


def _key_of(rows: Rows, e: Envelope, event: Event) -> str:
    row = rows.own(THINGS, e)
    return (row["contributor"] if row else None) or e.stream


@lru_cache(maxsize=10_000)
def _when(kind: str, start: str | None, end: str | None) -> str:
    # The same few thousand days come again and again.
    return _json({"kind": kind, "from": start, "to": end})


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


# -- asking --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Thread:
    """Things by id, and the edges between them."""

    things: Mapping[str, Row]
    edges: tuple[Row, ...]


def closure(
    db: Connection,
    tables: Tables,
    roots: Collection[str],
    *,
    forward: bool = True,
    back: bool = True,
    without: Collection[str] = (),
) -> set[str]:
    """The ids that `roots` lead to, and those that they come from, over any number of hops.

    `without`: relations over which no way goes forward.
    """
    edges = tables[EDGES]
    usable = edges.c.relation.not_in(without) if without else true()
    found = set(roots)
    if forward and roots:
        found |= reach(db, edges.c.cause, edges.c.effect, roots, usable)
    if back and roots:
        found |= reach(db, edges.c.effect, edges.c.cause, roots, true())
    return found


def with_groups(db: Connection, tables: Tables, roots: Collection[str]) -> set[str]:
    """The ids that these lead to, and those that the others of their groups lead to.

    Groups that have ended are among them: as at an earlier date they may not have.
    """
    edges, known, new = tables[EDGES], set[str](), set(roots)
    while new:
        reached = closure(db, tables, new, back=False, without=SAYS_NOTHING)
        grouped = select(edges.c.cause).where(
            among(edges.c.effect, reached - known, db), edges.c.relation == "grouped_with"
        )
        known |= reached
        new = set(db.execute(grouped).scalars()) - known
    return known


def thread(db: Connection, tables: Tables, ids: Collection[str]) -> Thread:
    """These things and the edges among them; an edge shows only when both its ends are known."""
    things = tables[THINGS]
    found = {
        row["id"]: dict(row)
        for row in db.execute(select(things).where(among(things.c.id, ids, db))).mappings()
    }
    edges = tables[EDGES]
    rows = db.execute(select(edges).where(among(edges.c.effect, found, db))).mappings()
    return Thread(found, tuple(dict(row) for row in rows if row["cause"] in found))


def reached(whole: Thread, root: str, *, forward: bool, back: bool) -> Thread:
    """The part of a thread that the root leads to or comes from, through things that are known."""
    ids = {root}
    for wanted, near, far in ((forward, "cause", "effect"), (back, "effect", "cause")):
        if wanted:
            ids |= walk({root}, adjacent(whole.edges, near, far))
    things = {id_: row for id_, row in whole.things.items() if id_ in ids}
    return Thread(things, tuple(e for e in whole.edges if e["cause"] in ids and e["effect"] in ids))


def walk(roots: Collection[str], further: Callable[[str], Iterable[str]]) -> set[str]:
    """All that the roots lead to, themselves among it; `further`: from a thing to the next ones."""
    seen, todo = set(roots), list(roots)
    while todo:
        for id_ in further(todo.pop()):
            if id_ not in seen:
                seen.add(id_)
                todo.append(id_)
    return seen


def together(effects: Mapping[str, Collection[str]]) -> list[list[str]]:
    """All things: those that lead to each other together, and behind those that they lead to.

    Every thing is a key of `effects`. After R. Tarjan, Depth-first search and linear graph algorithms, 1972.
    """
    found: list[list[str]] = []
    met: dict[str, int] = {}
    earliest: dict[str, float] = {}  # the first met that it leads to; what is found counts no more
    open_: list[str] = []
    left: set[str] = set()
    todo = list(effects)
    while todo:
        thing = todo[-1]
        if thing not in met:
            met[thing] = earliest[thing] = len(met)
            open_.append(thing)
            todo += (effect for effect in effects[thing] if effect not in met)
            continue
        todo.pop()
        if thing in left:
            continue
        left.add(thing)  # all that it leads to was met by now
        earliest[thing] = min(earliest[each] for each in (thing, *effects[thing]))
        if earliest[thing] == met[thing]:
            start = len(open_) - 1
            while open_[start] != thing:
                start -= 1
            found.append(open_[start:])
            del open_[start:]
            earliest |= dict.fromkeys(found[-1], inf)
    return found


def adjacent(edges: Iterable[Row], near: str = "cause", far: str = "effect") -> Callable[[str], list[str]]:
    """From a thing to those at the other ends of its edges; from causes to effects unless told otherwise."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for edge in edges:
        found[edge[near]].append(edge[far])
    return lambda id_: found.get(id_, [])


def by_cause(edges: Iterable[Row]) -> Mapping[str, list[Row]]:
    """The edges of each cause."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for edge in edges:
        found[edge["cause"]].append(edge)
    return found


def came_of(things: Mapping[str, Row], effects: Mapping[str, list[Row]], root: str, *also: str) -> set[str]:
    """What was done because of an input, over any number of hops.

    The way goes through what was done, and over the relations in `also`; not through other inputs.
    Weighed is not followed: the decision that weighed it is among them, and what else that led to
    is no answer to this input, unless another way leads there.
    """

    def through(id_: str) -> list[Row]:
        return [
            edge
            for edge in effects.get(id_, ())
            if (effect := things.get(edge["effect"])) and (effect["kind"] in DONE or edge["relation"] in also)
        ]

    followed = walk({root}, lambda id_: [e["effect"] for e in through(id_) if e["relation"] != "weighed"])
    return followed.union(e["effect"] for id_ in followed for e in through(id_)) - {root}


# -- the state of an input -----------------------------------------------------------------------

_STAGES: Final = (
    "received", "acknowledged", "grouped", "under_consideration", "referred", "decided",
    "action_planned", "action_in_progress", "delivered",
)  # fmt: skip
_OF_CHANGE: Final = {
    "planned": "action_planned", "started": "action_in_progress", "implemented": "delivered",
    "measured": "delivered",
}  # fmt: skip
_OF_DECISION: Final = {
    "proposed": "under_consideration", "inputs_weighed": "under_consideration", "made": "decided",
    "revised": "decided",
}  # fmt: skip


def states(whole: Thread, ids: Iterable[str]) -> dict[str, str]:
    """The state of each of these things: of an input, how far it has come; of others, their last fact.

    Decided to delivered follow from what rests on the input, never from a state that somebody
    set: closing delivers nothing. The way goes through decisions, priorities and changes, and from
    a contact to the concerns raised in it; not through other inputs. What was only weighed counts
    as decided, not as followed. After a reopening only what became known later counts.
    """
    effects = by_cause(whole.edges)
    return {id_: _state(whole.things, effects, id_) for id_ in ids if id_ in whole.things}


def _state(things: Mapping[str, Row], effects: Mapping[str, list[Row]], id_: str) -> str:
    thing = things[id_]
    if thing["kind"] not in INPUTS:
        return str(thing["fact"])
    own = thing["own_state"]
    if own == "withdrawn":
        return "withdrawn"
    if thing["moderated"]:  # whatever was said of it since, it stays hidden until it is reopened
        return "moderated"
    if own in _JUDGED:
        return str(own)
    since = thing["reopened_at"] or ""
    stage = max((_own_stage(thing), *(_progress(things, effects, id_, since))), key=_STAGES.index)
    if own == "closed" and stage != "delivered":
        return "closed"
    if own == "reopened" and _STAGES.index(stage) < _STAGES.index("under_consideration"):
        return "reopened"
    return stage


def _own_stage(thing: Row) -> str:
    if thing["considered"]:
        return "under_consideration"
    if thing["grouped"]:
        return "grouped"
    return "acknowledged" if thing["acknowledged"] else "received"


def _progress(
    things: Mapping[str, Row], effects: Mapping[str, list[Row]], id_: str, since: str
) -> Iterable[str]:
    for effect in came_of(things, effects, id_, "raised_in"):
        if things[effect]["stage_at"] > since:
            yield _stage_of(things[effect])


def _stage_of(effect: Row) -> str:
    match effect["kind"]:
        case "decision":
            return _OF_DECISION[effect["fact"]]
        case "change":
            return _OF_CHANGE.get(effect["fact"], "decided")
        case "referral":
            return "referred"
        case "priority":
            return "decided"
        case _:
            return _own_stage(effect)


# -- the view ------------------------------------------------------------------------------------


def _question(db: Connection, tables: Tables, asked: Asked) -> Iterable[Row]:
    """One row for each edge, by references."""
    edges, things = tables[EDGES], tables[THINGS]
    cause, effect = things.alias("cause"), things.alias("effect")
    rows = db.execute(
        select(
            edges.c.force, edges.c.place, cause.c.ref.label("cause"), edges.c.relation,
            effect.c.ref.label("effect"), edges.c.influence, edges.c.known_at,
        )
        .join(cause, cause.c.id == edges.c.cause)
        .join(effect, effect.c.id == edges.c.effect)
        .order_by(
            edges.c.force, edges.c.place, effect.c.ref, cause.c.ref, edges.c.relation, effect.c.id, cause.c.id
        )
    )  # fmt: skip
    return [dict(row) for row in rows.mappings()]


def forces(db: Connection, tables: Tables) -> list[str]:
    """Every force that has things; one look into the key for each, however many things there are."""
    force = tables[THINGS].c.force
    known = select(func.min(force).label("force")).cte("known", recursive=True)
    following = select(func.min(force)).where(force > known.c.force).scalar_subquery()
    known = known.union_all(select(following).where(known.c.force.is_not(None)))
    return [name for name in db.execute(select(known.c.force)).scalars() if name is not None]


def find(db: Connection, things: Table, name: str) -> list[Row]:
    """The things that are called so: by Heard's own id or by the reference of their source."""
    by_id = select(things).where(things.c.id == name)
    by_ref = select(things).where(things.c.ref == name)
    return [dict(row) for row in db.execute(union(by_id, by_ref)).mappings()]


VIEW: Final = View(
    name="trace",
    version=1,
    about="What led to what: one row for each link from a cause to its effect.",
    columns={
        "force": "the police force",
        "neighbourhood": "where the effect belongs",
        "cause": "reference of the cause",
        "relation": "how the effect rests on it",
        "effect": "reference of the effect",
        "influence": "how far the cause drove the effect, where it was said",
        "known_at": "when the link became known",
    },
    shapes=(THINGS, EDGES),
    handlers={Event: thing},
    question=_question,
)
