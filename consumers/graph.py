"""Which things led to which, and so: what does a fact say to inputs that it never names?

The memory of the workflows: things, links, the facts that move, decide or tell, and how each case
stands. It belongs to the processes loop alone and is no read model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from heapq import heappop, heappush
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, Table, and_, or_, select

from domain import concern, feedback
from domain.event import Envelope, Reported
from domain.values import DutyRule
from projections.feedback_owed import tells
from projections.store import among, upsert
from projections.trace import walk
from projections.view import NUMBER, TEXT, Key, Row, Rows, Shape
from services.ports import EventStore
from services.workflows import (
    AGAIN,
    DECIDES,
    MOVES,
    RULES,
    TELLS,
    Case,
    Owed,
    Signal,
    Step,
    initial,
    signal,
    signals,
)  # fmt: skip

THINGS: Final = Shape(
    "process_things",
    {
        "kind": TEXT, "ref": TEXT, "neighbourhood": TEXT, "contributor": TEXT, "may_contact": NUMBER,
        "since": TEXT,
    },
    index=(("id",),),
)  # fmt: skip
"""`since`: the latest time at which one of its events so far became known."""
EDGES: Final = Shape(
    "process_edges",
    {"effect": TEXT, "cause": TEXT, "relation": TEXT, "grouped": TEXT, "position": NUMBER},
    # One row for each event that links: a concern may be grouped with the same one twice, or by both.
    also=("effect", "cause", "relation", "position"),
    index=(("cause",), ("effect",)),
)
FACTS: Final = Shape(
    "process_facts",
    {
        "thing": TEXT, "moves": NUMBER, "decides": NUMBER, "tells": NUMBER, "audience": TEXT,
        "subject": TEXT, "digest": TEXT, "known_at": TEXT, "position": NUMBER, "correlation": TEXT,
        "again": NUMBER, "since": TEXT,
    },
    index=(("thing",),),
)  # fmt: skip
"""Events that move on, decide or tell, by event id."""
CASES: Final = Shape(
    "process_cases",
    {
        "rule": TEXT, "about": TEXT,
        "met_id": TEXT, "met_digest": TEXT, "met_known_at": TEXT, "met_position": NUMBER,
        "met_correlation": TEXT, "met_since": TEXT, "ended_correlation": TEXT, "ended_since": TEXT,
        "ended_id": TEXT, "ended_digest": TEXT, "ended_known_at": TEXT, "ended_position": NUMBER,
    },
    also=("rule", "about"),
    index=(("about",),),
)  # fmt: skip
OWED: Final = Shape(
    "process_owed",
    {
        "rule": TEXT, "about": TEXT, "start_id": TEXT, "digest": TEXT, "known_at": TEXT,
        "position": NUMBER, "correlation": TEXT, "again": NUMBER, "since": TEXT,
        "opened": NUMBER, "discharged": NUMBER, "lapsed": NUMBER,
    },
    also=("rule", "about", "start_id"),
    index=(("about",),),
)  # fmt: skip
TABLES: Final[Mapping[Shape, Table]] = {
    shape: shape.table(0) for shape in (THINGS, EDGES, FACTS, CASES, OWED)
}


class Heard(NamedTuple):
    """A signal, and the position of the event that made it heard: its fact's, or a later link's."""

    since: int
    signal: Signal


class Graph:
    """What the rules need to know of other things, within one transaction."""

    def __init__(self, db: Connection, store: EventStore) -> None:
        self._db = db
        self._store = store
        self._rows = Rows()
        self._kept: dict[Shape, list[Row]] = {CASES: [], OWED: []}
        self._endings: dict[str, list[int]] = {}

    # -- adding ----------------------------------------------------------------------------------

    def add(self, events: Sequence[tuple[int, Envelope]]) -> list[Heard]:
        """Take events in; what they say to the rules, directly and through links."""
        found: list[Heard] = []
        new: defaultdict[str, list[Row]] = defaultdict(list)
        joints: set[tuple[str, str]] = set()
        self._rows.held[THINGS] = self._begun({e.stream for _, e in events if e.version > 1})
        links = self._links_of({e.stream for _, e in events if e.version > 1 and e.causes})
        for position, e in events:
            if not isinstance(e.event, Reported):
                continue
            self._rows.position = position
            since = self._since(e)
            found.extend(Heard(position, said) for said in signals(e, position, since))
            if e.version == 1 and e.kind in ("concern", "contact"):
                joints.add((e.stream, e.stream))
            joints.update(self._links(e, links))
            if isinstance(e.event, (*MOVES, *TELLS)):
                new[e.stream].append(self._fact(e, since))
        self.flush()
        found.extend(self._through(new, joints))
        return found

    def _begun(self, streams: Collection[str]) -> dict[Key, Row | None]:
        """The things whose streams go on."""
        return {THINGS.key_of(row): row for row in self.things(streams).values()}

    def _since(self, e: Envelope) -> str:
        """When it became known, but no sooner than what stands before it in its stream; kept."""
        if e.version == 1:
            self._thing(e)
            return e.known_at
        row = self._rows.own(THINGS, e)
        assert row is not None  # noqa: S101 - a stream is read from its beginning
        if row["since"] < e.known_at:
            self._rows.change(THINGS, e, since=e.known_at)
        return str(row["since"])

    def _thing(self, e: Envelope) -> None:
        contributor = getattr(e.event, "contributor", None)
        self._rows.put(
            THINGS,
            e,
            kind=e.kind,
            ref=getattr(e.event, "ref", None),
            neighbourhood=e.neighbourhood,
            contributor=None if contributor is None else contributor.subject,
            may_contact=0 if contributor is None else int(contributor.may_contact),
            since=e.known_at,
        )

    def _links(self, e: Envelope, known: set[tuple[str, str, str]]) -> Iterable[tuple[str, str]]:
        if isinstance(e.event, concern.Ungrouped):
            return
        for cause in e.causes:
            grouped = cause.relation == "grouped_with"
            link = (e.stream, cause.thing, cause.relation)
            if cause.relation == "supports" or (link in known and not grouped):
                continue  # support moves nothing on, and what is said again joins nothing anew
            known.add(link)
            pairs = [(e.stream, cause.thing)] + ([(cause.thing, e.stream)] if grouped else [])
            for effect, from_ in pairs:  # what becomes of one of a group is owed to all of it
                self._rows.put(
                    EDGES, e, effect=effect, cause=from_, relation=cause.relation,
                    grouped=e.stream if grouped else None, position=self._rows.position,
                )  # fmt: skip
                yield effect, from_

    def _links_of(self, things: Collection[str]) -> set[tuple[str, str, str]]:
        """(effect, cause, relation) of what these things are known to rest on."""
        if not things:
            return set()
        edges = TABLES[EDGES]
        query = select(edges.c.effect, edges.c.cause, edges.c.relation)
        rows = self._db.execute(query.where(among(edges.c.effect, things, self._db)))
        return {(effect, cause, relation) for effect, cause, relation in rows}

    def _fact(self, e: Envelope, since: str) -> Row:
        sent = e.event if isinstance(e.event, feedback.Sent) else None
        self._rows.put(
            FACTS,
            e,
            id=e.id,
            thing=e.stream,
            moves=int(isinstance(e.event, MOVES)),
            decides=int(isinstance(e.event, DECIDES)),
            tells=int(isinstance(e.event, TELLS)),
            again=int(isinstance(e.event, AGAIN)),
            audience=sent.audience if sent else None,
            subject=sent.contributor.subject if sent and sent.contributor else None,
            digest=e.digest,
            known_at=e.known_at,
            position=self._rows.position,
            correlation=e.correlation,
            since=since,
        )
        row = self._rows.held[FACTS][e.force, e.place, e.id]
        assert row is not None  # noqa: S101 - for the type checker
        return row

    def flush(self) -> None:
        """Write what was added, so that queries see it."""
        for shape, keys in self._rows.changed.items():
            held = self._rows.held[shape]
            upsert(self._db, shape, TABLES[shape], [row for key in keys if (row := held[key]) is not None])
        self._rows = Rows(self._rows.position)
        for shape, rows in self._kept.items():
            upsert(self._db, shape, TABLES[shape], rows)
            rows.clear()

    # -- through the links -----------------------------------------------------------------------

    def _through(self, new: Mapping[str, list[Row]], joints: set[tuple[str, str]]) -> Iterable[Heard]:
        """What facts further on say to the inputs that they rest on.

        New is: a fact on a thing that is known (`new`: by thing), or a link (or a thing) between
        inputs and facts that are known (`joints`: effect, cause). What is joined anew hears every
        fact; what was joined before hears the new ones only.
        """
        down = self._reach({effect for effect, _ in joints}, "cause", "effect")
        below = {effect: _walk(down, effect) for effect, _ in joints}
        failed = {thing for thing, rows in new.items() if any(row["again"] for row in rows)}
        facts = self._facts(failed.union(*below.values()))
        heads = {cause for effect, cause in joints if below[effect] & facts.keys()}
        up = self._reach({*facts, *new, *heads}, "effect", "cause")
        heard = {(id_, thing) for thing in new for id_ in _walk(up, thing)}
        pairs: set[tuple[str, str]] = set()
        above: dict[str, set[str]] = {}
        for effect, cause in joints:
            if with_facts := below[effect] & facts.keys():
                if cause not in above:
                    above[cause] = _walk(up, cause)
                pairs |= {(id_, thing) for id_ in above[cause] for thing in with_facts}
        inputs = {
            id_: row
            for id_, row in self.things({id_ for id_, _ in heard | pairs}).items()
            if row["kind"] in ("concern", "contact")
        }
        direct = self._decided({thing for _, thing in heard | pairs})
        linked: dict[str, set[str]] = {}
        joined: dict[str, dict[str, int]] = {}
        for id_, thing in sorted(heard | pairs):
            if id_ not in inputs:
                continue
            if thing not in joined:
                joined[thing] = _joined(up, thing)
            for fact in facts[thing] if (id_, thing) in pairs else new[thing]:
                since = max(fact["position"], joined[thing][id_])
                if fact["moves"] and (not fact["again"] or _was_told(inputs[id_], facts[thing])):
                    if fact["id"] not in linked:
                        linked[fact["id"]] = self._linked(up, thing, fact["position"])
                    if id_ in linked[fact["id"]]:
                        yield Heard(since, _said("tell_contributor", id_, "starts", fact))
                if fact["decides"] and (id_, thing) in direct:
                    yield Heard(since, _said("decide_concern", id_, "meets", fact))
                if fact["tells"] and tells(inputs[id_], fact):
                    yield Heard(since, _said("tell_contributor", id_, "meets", fact))

    def _facts(self, things: set[str]) -> dict[str, list[Row]]:
        table = TABLES[FACTS]
        found: defaultdict[str, list[Row]] = defaultdict(list)
        rows = self._db.execute(select(table).where(among(table.c.thing, things, self._db))).mappings()
        for row in rows:
            found[row["thing"]].append(dict(row))
        return dict(found)

    def _decided(self, decisions: set[str]) -> set[tuple[str, str]]:
        """(concern, decision) where the one is named by the other."""
        edges = TABLES[EDGES]
        rows = self._db.execute(
            select(edges.c.cause, edges.c.effect).where(
                among(edges.c.effect, decisions, self._db),
                edges.c.relation.in_(("derived_from", "weighed", "prompted_by")),
            )
        )
        return {(cause, effect) for cause, effect in rows}

    def _reach(self, roots: set[str], near: str, far: str) -> Mapping[str, list[Row]]:
        """All links that `roots` reach in one direction, by their near ends; one query in all."""
        if not roots:
            return {}
        edges = TABLES[EDGES]
        columns = (edges.c[near].label("near"), edges.c[far].label("far"), edges.c.grouped, edges.c.position)
        reach = select(*columns).where(among(edges.c[near], roots, self._db)).cte("reach", recursive=True)
        reach = reach.union(select(*columns).join(reach, edges.c[near] == reach.c.far))
        found: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self._db.execute(select(reach)).mappings():
            found[row["near"]].append(dict(row))
        return found

    def _linked(self, up: Mapping[str, list[Row]], thing: str, position: int) -> set[str]:
        """What led to the thing when something happened to it; groupings that had ended left out.

        The event store is asked when a grouping ended, not this loop's own rows: it holds
        everything that was recorded before that position, whatever partition has been read.
        """

        def held(link: Row) -> bool:
            return not (link["grouped"] and self._ended(link["grouped"], link["position"], position))

        return _walk(up, thing, held)

    def _ended(self, grouped: str, since: int, position: int) -> bool:
        if grouped not in self._endings:
            self._endings[grouped] = [
                stored.position
                for stored in self._store.positioned(grouped)
                if isinstance(stored.envelope.event, concern.Ungrouped)
            ]
        return any(since < ended < position for ended in self._endings[grouped])

    # -- cases -----------------------------------------------------------------------------------

    def things(self, ids: Collection[str]) -> dict[str, Row]:
        """What is known of these things, by id."""
        if not ids:
            return {}
        table = TABLES[THINGS]
        rows = self._db.execute(select(table).where(among(table.c.id, ids, self._db))).mappings()
        return {row["id"]: dict(row) for row in rows}

    def cases(self, wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], Case]:
        """What each rule knows of each thing: (rule, about)."""
        about = {id_ for _, id_ in wanted}
        found = {key: initial() for key in wanted}
        table = TABLES[CASES]
        for row in map(
            dict, self._db.execute(select(table).where(among(table.c.about, about, self._db))).mappings()
        ):
            key = (row["rule"], row["about"])
            if key in found:
                found[key] = Case(
                    met=_signal_in(row, "met_", "meets"), ended=_signal_in(row, "ended_", "ends")
                )
        table = TABLES[OWED]
        # A duty that can change no more need not be looked at again.
        pending = or_(table.c.discharged == 0, and_(table.c.lapsed == 0, table.c.rule.in_(_CAN_END)))
        query = select(table).where(among(table.c.about, about, self._db), pending)
        for row in [dict(found_row) for found_row in self._db.execute(query).mappings()]:
            key = (row["rule"], row["about"])
            if key in found:
                start = signal(
                    row["rule"], row["about"], "starts", row["start_id"], row["digest"],
                    row["known_at"], row["position"], row["correlation"], bool(row["again"]),
                    row["since"],
                )  # fmt: skip
                owed = Owed(start, bool(row["opened"]), bool(row["discharged"]), bool(row["lapsed"]))
                case = found[key]
                found[key] = Case({**case.owed, start.event_id: owed}, case.met, case.ended)
        return found

    def keep(self, thing: Row, rule: str, case: Case, steps: Sequence[Step]) -> None:
        """Remember the case as it stands after these steps."""
        key = {"force": thing["force"], "place": thing["place"], "rule": rule, "about": thing["id"]}
        met, ended = _signal_out("met_", case.met), _signal_out("ended_", case.ended)
        self._kept[CASES].append(key | met | ended)
        for id_ in dict.fromkeys(step.start.event_id for step in steps):
            owed = case.owed[id_]
            self._kept[OWED].append(
                key
                | {
                    "start_id": id_,
                    "digest": owed.start.digest,
                    "known_at": owed.start.known_at,
                    "position": owed.start.position,
                    "correlation": owed.start.correlation,
                    "again": int(owed.start.again),
                    "since": owed.start.since,
                    "opened": int(owed.opened),
                    "discharged": int(owed.discharged),
                    "lapsed": int(owed.lapsed),
                }
            )


_CAN_END: Final = tuple(rule.name for rule in RULES.values() if rule.ends)


def _said(rule: DutyRule, about: str, says: Literal["starts", "meets"], fact: Row) -> Signal:
    return signal(
        rule, about, says, fact["id"], fact["digest"], fact["known_at"], fact["position"],
        fact["correlation"], says == "starts" and bool(fact["again"]), fact["since"],
    )  # fmt: skip


def _was_told(input_: Row, facts: Iterable[Row]) -> bool:
    """Whether feedback with these facts was meant for this input: only then does its failure matter."""
    return any(fact["tells"] and tells(input_, fact) for fact in facts)


def _walk(
    links: Mapping[str, list[Row]], root: str, usable: Callable[[Row], bool] = lambda _: True
) -> set[str]:
    """All things that `root` reaches over usable links, itself among them."""
    return walk({root}, lambda id_: [link["far"] for link in links.get(id_, ()) if usable(link)])


def _joined(links: Mapping[str, list[Row]], root: str) -> dict[str, int]:
    """All things that `root` reaches, each with the position since when it does: a way's last link."""
    since, todo = {root: 0}, [(0, root)]
    while todo:
        reached, thing = heappop(todo)
        for link in links.get(thing, ()):
            position = max(reached, link["position"])
            if position < since.get(link["far"], position + 1):
                since[link["far"]] = position
                heappush(todo, (position, link["far"]))
    return since


def _signal_out(prefix: str, given: Signal | None) -> Row:
    return {
        f"{prefix}{name}": None if given is None else value
        for name, value in (
            ("id", given and given.event_id),
            ("digest", given and given.digest),
            ("known_at", given and given.known_at),
            ("position", given and given.position),
            ("correlation", given and given.correlation),
            ("since", given and given.since),
        )
    }


def _signal_in(row: Mapping[str, Any], prefix: str, says: Literal["meets", "ends"]) -> Signal | None:
    if row[f"{prefix}id"] is None:
        return None
    return signal(
        row["rule"], row["about"], says, row[f"{prefix}id"], row[f"{prefix}digest"],
        row[f"{prefix}known_at"], row[f"{prefix}position"], row[f"{prefix}correlation"],
        since=row[f"{prefix}since"],
    )  # fmt: skip
