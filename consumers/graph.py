"""Which things led to which, and so: what does a fact say to inputs that it never names?

The memory of the workflows: things, links, the facts that move, decide or tell, and the news of which not
everything has come yet. It belongs to the processes loop alone and is no read model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, TypeVar

import orjson
from sqlalchemy import Connection, Table, select, true

from consumers.net import Fact, Link, News, Region
from domain import concern, feedback
from domain.catalogue import EVENTS
from domain.event import Envelope, Event, Reported
from projections.store import ViewStore, among, keyed, reach, upsert
from projections.trace import INPUTS, walk
from projections.view import NUMBER, TEXT, Key, Row, Rows, Shape
from services.ports import EventStore
from services.workflows import AGAIN, DECIDES, MOVES, TELLS, says

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
NEWS: Final = Shape(
    "process_news",
    {
        "thing": TEXT, "type": TEXT, "audience": TEXT, "subject": TEXT, "digest": TEXT, "known_at": TEXT,
        "position": NUMBER, "correlation": TEXT, "since": TEXT, "begins": NUMBER, "links": TEXT,
    },
    index=(("force", "position"),),
)  # fmt: skip
"""Events that were taken in, and of which not everything has come yet that the rules ask for, by id."""
TABLES: Final[Mapping[Shape, Table]] = {shape: shape.table(0) for shape in (THINGS, EDGES, FACTS, NEWS)}
AT_HAND: Final = 300_000
"""Things and links that may be kept at hand, each from either end: some 100 MB."""
LINKS: Final = 7_000
"""As many links as the news of one turn may have made, or one event's."""
LOOKS: Final = 3
"""How many links on we look step by step before the database is asked for all that follows."""

_T = TypeVar("_T")
_OWN: Final = frozenset(type_ for type_, event in EVENTS.items() if not issubclass(event, Reported))
"""Types that say nothing to the rules, so that their fields need not be read."""


class Graph:
    """What is remembered of the record, and a part of it at hand: what was asked for last.

    Whoever holds it is the only one that adds to it: what is at hand is given up with the role.
    """

    def __init__(self, views: ViewStore, store: EventStore) -> None:
        self._views = views
        self._store = store
        self._rows = Rows()
        self._unfollowed: set[int] = set()
        """The positions of all news of which not everything has come yet."""
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._up: dict[str, list[Link]] = {}
        """All links to what each thing rests on, by effect."""
        self._down: dict[str, list[Link]] = {}
        """All links to what rests on each thing, by cause."""
        self._facts: dict[str, list[Fact]] = {}
        """All facts of each thing."""
        self._kinds: dict[str, str | None] = {}
        """What each thing is, None for what is not known yet."""
        self._count = 0

    # -- adding ----------------------------------------------------------------------------------

    def add(self, db: Connection, events: Sequence[tuple[int, Envelope]]) -> list[News]:
        """Take events in; those that say something to the rules, directly or through links."""
        news: list[News] = []
        events = [(position, e) for position, e in events if e.type not in _OWN]
        self._rows = Rows()
        self._rows.held[THINGS] = self._begun(db, {e.stream for _, e in events if e.version > 1})
        links = self._links_of(db, {e.stream for _, e in events if e.version > 1 and e.causes})
        for position, e in events:
            self._rows.position = position
            since = self._since(e)
            made = tuple(self._links(e, links))
            begins = e.version == 1 and e.kind in INPUTS
            fact = self._fact(e, since) if isinstance(e.event, (*MOVES, *TELLS)) else None
            if made or begins or fact or says(type(e.event)):
                news.append(
                    News(
                        force=e.force,
                        place=e.place,
                        id=e.id,
                        thing=e.stream,
                        type=type(e.event).TOPIC,
                        digest=e.digest,
                        known_at=e.known_at,
                        position=position,
                        correlation=e.correlation,
                        since=since,
                        begins=begins,
                        links=made,
                        fact=fact,
                    )
                )
                self._rows.put(NEWS, e, **_row_of(news[-1]))
        self._unfollowed |= {each.position for each in news}
        self._flush(db)
        return news

    def _begun(self, db: Connection, streams: Collection[str]) -> dict[Key, Row | None]:
        """The things whose streams go on."""
        return {THINGS.key_of(row): row for row in things(db, streams).values()}

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
        if e.stream in self._kinds:
            self._kinds[e.stream] = e.kind

    def _links(self, e: Envelope, known: set[tuple[str, str, str]]) -> Iterable[Link]:
        if isinstance(e.event, concern.Ungrouped):
            return
        for cause in e.causes:
            grouped = cause.relation == "grouped_with"
            said = (e.stream, cause.thing, cause.relation)
            if cause.relation == "supports" or (said in known and not grouped):
                continue  # support moves nothing on, and what is said again joins nothing anew
            known.add(said)
            pairs = [(e.stream, cause.thing)] + ([(cause.thing, e.stream)] if grouped else [])
            for effect, from_ in pairs:  # what becomes of one of a group is owed to all of it
                link = Link(effect, from_, e.stream if grouped else None, self._rows.position)
                self._rows.put(EDGES, e, relation=cause.relation, **link._asdict())
                for at_hand, end in ((self._up, effect), (self._down, from_)):
                    if end in at_hand:
                        at_hand[end].append(link)
                        self._count += 1
                yield link

    def _links_of(self, db: Connection, things: Collection[str]) -> set[tuple[str, str, str]]:
        """(effect, cause, relation) of what these things are known to rest on."""
        if not things:
            return set()
        edges = TABLES[EDGES]
        query = select(edges.c.effect, edges.c.cause, edges.c.relation)
        rows = db.execute(query.where(among(edges.c.effect, things, db)))
        return {(effect, cause, relation) for effect, cause, relation in rows}

    def _fact(self, e: Envelope, since: str) -> Fact:
        sent = e.event if isinstance(e.event, feedback.Sent) else None
        subject = sent.contributor.subject if sent and sent.contributor else None
        fact = _fact_of(
            type(e.event), e.id, e.stream, sent.audience if sent else None, subject, e.digest, e.known_at,
            self._rows.position, e.correlation, since,
        )  # fmt: skip
        self._rows.put(FACTS, e, **fact._asdict())
        if e.stream in self._facts:
            self._facts[e.stream].append(fact)
            self._count += 1
        return fact

    def _flush(self, db: Connection) -> None:
        for shape, keys in self._rows.changed.items():
            held = self._rows.held[shape]
            upsert(db, shape, TABLES[shape], [row for key in keys if (row := held[key]) is not None])

    # -- what is left to be followed -------------------------------------------------------------

    def left(self) -> list[str]:
        """The forces that have news of which not everything has come yet, left by whoever was here before."""
        with self._views.reading() as db:
            rows = db.execute(select(TABLES[NEWS].c.force, TABLES[NEWS].c.position)).all()
        self._unfollowed = {position for _, position in rows}
        return sorted({force for force, _ in rows})

    def next(self, force: str, limit: int) -> list[News]:
        """The first of a force's news of which not everything has come yet: so many, or fewer with LINKS."""
        table = TABLES[NEWS]
        query = select(table).where(table.c.force == force).order_by(table.c.position).limit(limit)
        with self._views.reading() as db:
            news = [_news_of(dict(row)) for row in db.execute(query).mappings()]
        links = accumulate(len(each.links) for each in news)
        return news[: 1 + sum(count < LINKS for count in links)]

    def followed(self, db: Connection, news: Sequence[News]) -> None:
        """Everything has come of these."""
        where, parameter = keyed(db, NEWS.key, [(each.force, each.place, each.id) for each in news])
        db.exec_driver_sql(f"DELETE FROM {TABLES[NEWS].name} WHERE {where}", parameter)  # noqa: S608 - own names
        self._unfollowed -= {each.position for each in news}

    # -- the part of it that news concern --------------------------------------------------------

    def region(self, news: Sequence[News]) -> Region:
        """What has to be known to follow these, in time that grows with its links; as if no other news were.

        New is a fact on a thing; or a link (or an input) that leads to facts. So this is all that leads to
        these facts and links, and what lies between the links and the facts that they lead to.
        """
        if self._count > AT_HAND:
            self._begin_anew()
        begun = {each.thing for each in news if each.begins}
        made = [link for each in news for link in each.links]
        below = self._all(self._down, {link.effect for link in made} | begun, "cause", "effect")
        said = self._facts_of(below)
        between = [link for thing in below for link in self._down[thing]]
        back = _by(between, "effect")
        leading = walk(
            [thing for thing in below if said[thing]],
            lambda thing: [link.cause for link in back.get(thing, ())],
        )
        roots = {each.thing for each in news if each.fact} | (begun & leading)
        roots |= {link.cause for link in made if link.effect in leading}
        if not roots:
            return Region()
        above = self._all(self._up, roots, "effect", "cause")
        links = {link for thing in above for link in self._up[thing]}
        links |= {link for link in between if link.effect in leading}
        grouped = {link.grouped for link in (*links, *made) if link.grouped is not None}
        return Region(
            inputs=sorted(thing for thing, kind in self._kinds_of(above).items() if kind in INPUTS),
            # Not those of other news either: else two links that lead to one fact would each leave it to
            # the other to say so.
            links=[link for link in links if link.position not in self._unfollowed],
            facts=[fact for at in leading for fact in said[at] if fact.position not in self._unfollowed],
            # The event store is asked, not this loop's own rows: it holds everything that was recorded
            # before a fact, whatever partition has been read.
            endings=self._store.positions_of(sorted(grouped), concern.Ungrouped.TOPIC) if grouped else {},
        )

    def _all(self, at_hand: dict[str, list[Link]], roots: Collection[str], near: str, far: str) -> set[str]:
        """All that `roots` lead to in one direction, and they; their links are at hand then."""
        edges, looks = TABLES[EDGES], 0

        def further(thing: str) -> list[str]:
            return [getattr(link, far) for link in at_hand.get(thing, ())]

        columns = (edges.c.effect, edges.c.cause, edges.c.grouped, edges.c.position)
        while True:
            found = walk(roots, further)
            if not (new := found - at_hand.keys()):
                return found
            with self._views.reading() as db:
                if (looks := looks + 1) > LOOKS:
                    new |= reach(db, edges.c[near], edges.c[far], new, true()) - at_hand.keys()
                rows = db.execute(select(*columns).where(among(edges.c[near], new, db))).all()
            links = _by((Link(*row) for row in rows), near, new)
            at_hand.update(links)
            self._count += sum(map(len, links.values())) + len(links)

    def _facts_of(self, things: Collection[str]) -> dict[str, list[Fact]]:
        if new := things - self._facts.keys():
            table = TABLES[FACTS]
            columns = [table.c[name] for name in Fact._fields]
            with self._views.reading() as db:
                rows = db.execute(select(*columns).where(among(table.c.thing, new, db))).all()
            found = _by((Fact(*row) for row in rows), "thing", new)
            self._facts |= found
            self._count += sum(map(len, found.values())) + len(found)
        return {thing: self._facts[thing] for thing in things}

    def _kinds_of(self, ids: Collection[str]) -> dict[str, str | None]:
        if new := ids - self._kinds.keys():
            table = TABLES[THINGS]
            self._kinds |= dict.fromkeys(new)
            with self._views.reading() as db:
                query = select(table.c.id, table.c.kind).where(among(table.c.id, new, db))
                self._kinds.update((id_, kind) for id_, kind in db.execute(query))
            self._count += len(new)
        return {id_: self._kinds[id_] for id_ in ids}

    def told_of(self, things: Collection[str]) -> dict[str, list[Fact]]:
        """The facts of these things that tell."""
        return {
            thing: [fact for fact in facts if fact.tells]
            for thing, facts in self._facts_of(set(things)).items()
        }


def _by(each: Iterable[_T], end: str, ends: Iterable[str] = ()) -> dict[str, list[_T]]:
    """Links or facts by one of their ends; with none for those of `ends` that have none."""
    found: defaultdict[str, list[_T]] = defaultdict(list, {name: [] for name in ends})
    for one in each:
        found[getattr(one, end)].append(one)
    return dict(found)


def _fact_of(event: type[Event], id_: str, thing: str, *rest: Any) -> Fact:
    """The fact that an event of this type is; `rest` as it stands in `Fact`."""
    moves, decides, tells, again = (int(issubclass(event, types)) for types in (MOVES, DECIDES, TELLS, AGAIN))
    return Fact(id_, thing, moves, decides, tells, again, *rest)


def _row_of(news: News) -> Row:
    """The row of an event, as `_news_of` reads it."""
    row = news._asdict()
    fact = row.pop("fact")
    return row | {
        "audience": fact and fact.audience,
        "subject": fact and fact.subject,
        "begins": int(news.begins),
        "links": orjson.dumps([(link.effect, link.cause, link.grouped) for link in news.links]).decode(),
    }


def _news_of(row: Row) -> News:
    event = EVENTS[row["type"]]
    told = [row.pop(name) for name in ("audience", "subject")]
    rest = [row[name] for name in ("digest", "known_at", "position", "correlation", "since")]
    speaks = issubclass(event, (*MOVES, *TELLS))
    row["fact"] = _fact_of(event, row["id"], row["thing"], *told, *rest) if speaks else None
    row["links"] = tuple(
        Link(effect, cause, grouped, row["position"]) for effect, cause, grouped in orjson.loads(row["links"])
    )
    row["begins"] = bool(row["begins"])
    return News(**row)


def things(db: Connection, ids: Collection[str]) -> dict[str, Row]:
    """What is known of these things, by id."""
    if not ids:
        return {}
    table = TABLES[THINGS]
    rows = db.execute(select(table).where(among(table.c.id, ids, db))).mappings()
    return {row["id"]: dict(row) for row in rows}


def decided(db: Connection, inputs: Collection[str], decisions: Collection[str]) -> set[tuple[str, str]]:
    """(input, decision) where the one is named by the other."""
    edges = TABLES[EDGES]
    rows = db.execute(
        select(edges.c.cause, edges.c.effect).where(
            among(edges.c.cause, inputs, db),
            among(edges.c.effect, decisions, db),
            edges.c.relation.in_(("derived_from", "weighed", "prompted_by")),
        )
    )
    return {(cause, effect) for cause, effect in rows}
