"""Which things led to which, and so: what does a fact say to inputs that it never names?

The memory of the workflows: things, links, and the facts that move, decide or tell. It belongs to the
processes loop alone and is no read model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Final, Literal, NamedTuple

from sqlalchemy import Connection, Table, select, true

from consumers.ways import Link, Links, Ways, joined_anew, reversed_
from domain import concern, feedback
from domain.catalogue import EVENTS
from domain.event import Envelope, Reported
from domain.values import DutyRule
from projections.feedback_owed import tells
from projections.store import among, reach, upsert
from projections.view import NUMBER, TEXT, Key, Row, Rows, Shape
from services.ports import EventStore
from services.workflows import (
    AGAIN,
    DECIDES,
    MOVES,
    TELLS,
    Signal,
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
TABLES: Final[Mapping[Shape, Table]] = {shape: shape.table(0) for shape in (THINGS, EDGES, FACTS)}


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

    # -- adding ----------------------------------------------------------------------------------

    def add(self, events: Sequence[tuple[int, Envelope]]) -> list[Heard]:
        """Take events in; what they say to the rules, directly and through links."""
        found: list[Heard] = []
        new: defaultdict[str, list[Row]] = defaultdict(list)
        joints: set[tuple[str, str]] = set()
        events = [(position, e) for position, e in events if e.type not in _OWN]
        self._rows.held[THINGS] = self._begun({e.stream for _, e in events if e.version > 1})
        links = self._links_of({e.stream for _, e in events if e.version > 1 and e.causes})
        for position, e in events:
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

    # -- through the links -----------------------------------------------------------------------

    def _through(self, new: Mapping[str, list[Row]], joints: set[tuple[str, str]]) -> Iterable[Heard]:
        """What facts further on say to the inputs that they rest on.

        New is: a fact on a thing that is known (`new`: by thing), or a link (or a thing) between
        inputs and facts that are known (`joints`: effect, cause). What is joined anew hears every
        fact; what was joined before hears the new ones only.
        """
        down = self._reach({effect for effect, _ in joints}, "cause", "effect")
        below = {effect for effect, _ in joints}.union(link.far for links in down.values() for link in links)
        facts = self._facts(
            below.union(id_ for id_, rows in new.items() if any(row["again"] for row in rows))
        )
        up = self._reach({*facts, *new, *(cause for _, cause in joints)}, "effect", "cause")
        endings = self._endings_of({link.grouped for links in up.values() for link in links})
        from_facts, from_inputs = Ways(up, endings), Ways(reversed_(up), endings)

        reached = {thing: from_facts.since(thing).keys() for thing in new}
        anew = list(joined_anew(joints, up, down, facts))
        inputs = {
            id_: row
            for id_, row in self.things(
                set().union(*reached.values(), *(leading for leading, _ in anew))
            ).items()
            if row["kind"] in ("concern", "contact")
        }
        pairs: dict[tuple[str, str], tuple[list[Row], bool]] = {}
        for thing, ids in reached.items():
            pairs |= dict.fromkeys(((id_, thing) for id_ in ids & inputs.keys()), (new[thing], False))
        for above, ends in anew:
            asked = above & inputs.keys()
            # A way is the same from both of its ends: begin where there are fewer.
            fewer = len(asked) < len(ends)
            for thing in ends:
                pairs |= dict.fromkeys(((id_, thing) for id_ in asked), (facts[thing], fewer))

        direct = self._decided({thing for _, thing in pairs})
        for (id_, thing), (said, from_input) in sorted(pairs.items(), key=itemgetter(0)):
            ways = from_inputs if from_input else from_facts
            root, end = (id_, thing) if from_input else (thing, id_)
            for fact in said:
                since = max(fact["position"], ways.since(root)[end])
                if (
                    fact["moves"]
                    and (not fact["again"] or _was_told(inputs[id_], facts[thing]))
                    and end in ways.at(root, fact["position"])
                ):
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

    def _reach(self, roots: set[str], near: str, far: str) -> Links:
        """All links that `roots` reach in one direction, by their near ends."""
        if not roots:
            return {}
        edges = TABLES[EDGES]
        reached = roots | reach(self._db, edges.c[near], edges.c[far], roots, true())
        columns = (edges.c[near], edges.c[far], edges.c.grouped, edges.c.position)
        found: defaultdict[str, list[Link]] = defaultdict(list)
        for near_, *link in self._db.execute(select(*columns).where(among(edges.c[near], reached, self._db))):
            found[near_].append(Link(*link))
        return found

    def _endings_of(self, grouped: Iterable[str | None]) -> Mapping[str, list[int]]:
        """Where in the record groupings of these concerns ended; one query in all.

        The event store is asked, not this loop's own rows: it holds everything that was recorded before
        a fact, whatever partition has been read.
        """
        wanted = sorted({stream for stream in grouped if stream is not None})
        return self._store.positions_of(wanted, concern.Ungrouped.TOPIC) if wanted else {}

    def things(self, ids: Collection[str]) -> dict[str, Row]:
        """What is known of these things, by id."""
        if not ids:
            return {}
        table = TABLES[THINGS]
        rows = self._db.execute(select(table).where(among(table.c.id, ids, self._db))).mappings()
        return {row["id"]: dict(row) for row in rows}


_OWN: Final = frozenset(type_ for type_, event in EVENTS.items() if not issubclass(event, Reported))
"""Types that say nothing to the rules, so that their fields need not be read."""


def _said(rule: DutyRule, about: str, says: Literal["starts", "meets"], fact: Row) -> Signal:
    return signal(
        rule, about, says, fact["id"], fact["digest"], fact["known_at"], fact["position"],
        fact["correlation"], says == "starts" and bool(fact["again"]), fact["since"],
    )  # fmt: skip


def _was_told(input_: Row, facts: Iterable[Row]) -> bool:
    """Whether feedback with these facts was meant for this input: only then does its failure matter."""
    return any(fact["tells"] and tells(input_, fact) for fact in facts)
