"""What can be asked of the record? Threads, histories, states and read models, now or as at a date."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson
from pydantic_core import to_jsonable_python
from sqlalchemy import Connection, Engine, select

from domain.catalogue import AGGREGATES
from domain.errors import HeardError, IntegrityError, NotFoundError
from domain.event import Envelope
from domain.evidence.sealing import open_sealed
from domain.force import Force
from domain.ids import Ids
from domain.values import instant, stamp
from projections import history, supports
from projections import trace as threads
from projections.store import SEALED_VALUES, ViewStore, among
from projections.view import Asked, Row, Tables, place_of
from services.ports import Clock, EventStore, KeyStore

ERASED = "[erased]"
MISSING = "[missing]"
MODERATED = "[moderated]"
WITHHELD = "withheld"
SMALL: Final = 5
"""A count of people by section that is smaller is not shown inside; what is published asks for more."""
DECIDED: Final = ("made", "revised")
OUTCOME: Final = ("outcome", "reasons", "reason_words", "review_on", "words")
"""What a decision says anew each time it is decided."""


class AmbiguousError(HeardError):
    """A reference that several things share: say which by its id. `found` lists them."""

    code = "ambiguous"

    def __init__(self, name: str, found: Sequence[Row]) -> None:
        super().__init__(
            f"{name} is the name of {len(found)} things",
            expected="one thing",
            got=f"{len(found)}",
            hint="ask by id: "
            + ", ".join(f"{row['id']} ({row['kind']}, {row['force']}/{row['place']})" for row in found),
        )
        self.found = [{"id": r["id"], "kind": r["kind"], "force": r["force"]} for r in found]


def suppressed(
    counts: Sequence[int], total: int | None = None, *, below: int = SMALL
) -> tuple[list[int | str], int | str | None]:
    """A breakdown and its total as they may be shown: small counts withheld, and none to be given back.

    A count under `below` reads "<5" (for 5), and the next smallest "withheld", until what is left
    over of the total fits each of them in more than one way; if nothing else is left to withhold,
    the total is. People who belong to no part, or to several, only make it harder to work one out.
    """
    order = sorted(range(len(counts)), key=lambda at: (counts[at], at))
    small = [at for at in order if counts[at] < below]
    whole: int | str | None = total
    if not small:
        return list(counts), whole
    hidden = next(
        (
            order[:n]
            for n in range(max(2, len(small)), len(counts) + 1)
            if _open_to_doubt([counts[at] for at in order[:n]], below)
        ),
        None,
    )
    if hidden is None:
        # All of it together still gives a part away: then what it adds up to goes as well.
        hidden, whole = order, None if total is None else WITHHELD
    shown: list[int | str] = list(counts)
    for at in hidden:
        shown[at] = f"<{below}" if at in small else WITHHELD
    return shown, whole


def _open_to_doubt(hidden: Sequence[int], below: int) -> bool:
    """Whether each of these could be another number, going by their sum and by how each is withheld."""
    rest = sum(hidden)
    least = [0 if n < below else below for n in hidden]
    most = [below - 1 if n < below else rest for n in hidden]
    return all(
        max(low, rest - (sum(most) - high)) < min(high, rest - (sum(least) - low))
        for low, high in zip(least, most, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Moment:
    """As at which date a question is asked: what was known by then, what was recorded by then."""

    known_by: str | None = None
    recorded_by: str | None = None

    @property
    def past(self) -> bool:
        """Whether it is about another moment than now."""
        return self.known_by is not None or self.recorded_by is not None


@dataclass(frozen=True, slots=True)
class Questions:
    """Everything that can be asked. Read models hold no opened value: texts are opened here."""

    views: ViewStore
    store: EventStore
    keys: KeyStore
    ids: Ids
    clock: Clock
    memory: Callable[[], Engine]
    """A new empty database in memory, for one question as at a date."""

    # -- when ------------------------------------------------------------------------------------

    def moment(
        self, at: str | None, recorded_at: str | None, force: str | None = None, *, about: str | None = None
    ) -> Moment:
        """A plain date is the end of that day in the time zone of the force, or of that of the thing.

        Raises HeardError (`not_a_date`) for what is neither a date nor an instant.
        """
        if about is not None and (at or recorded_at):
            force = self._force_of(about)
        return Moment(self._instant(at, force), self._instant(recorded_at, force))

    def _instant(self, text: str | None, force: str | None) -> str | None:
        if text is None:
            return None
        zone = ZoneInfo(self._force(force).time_zone)
        try:
            if len(text) > 10:
                return instant(text)
            following = datetime.combine(date.fromisoformat(text) + timedelta(days=1), time(), zone)
            return stamp(following - timedelta(microseconds=1))
        except (ValueError, OverflowError):
            raise HeardError(
                f"{text} is not a date", code="not_a_date",
                expected="a date (2008-11-10) or an instant (2008-11-10T09:30:00Z)", got=text,
                hint="heard trace C1 --at 2008-11-10",
            ) from None  # fmt: skip

    def _force_of(self, name: str) -> str | None:
        """Whose the thing is that is called so; of what is unknown the question itself will tell."""
        try:
            return str(self.find(name)["force"])
        except NotFoundError:
            own = self._events([name], Moment())
            return own[0][1].force if own else None

    def _force(self, name: str | None) -> Force:
        names = [name] if name else self.views.read(threads.forces, "trace")
        if len(names) != 1:
            return Force()
        stream = self.ids.stream("force", names[0], "", names[0])
        state: Force | None = None
        for envelope in self.store.load([stream]).get(stream, ()):
            state = AGGREGATES["force"].evolve(state, envelope.event, envelope.causes)
        return state or Force()

    # -- threads ---------------------------------------------------------------------------------

    def trace(self, name: str, at: Moment, *, forward: bool = True, back: bool = True) -> Row:
        """The thread of a thing, as the contract's JSON says it.

        One node with counts stands for all supports of a concern, of which there can be many
        thousands. The supports themselves are not read, but for one that is the root.
        """
        root = self.find(name)

        def around(db: Connection, tables: Tables) -> threads.Thread:
            return threads.thread(db, tables, _around(db, tables, root["id"], forward=forward, back=back))

        whole = self._as_at(around, root["id"], at)
        if root["id"] not in whole.things:
            raise NotFoundError(
                f"{name} was not known then", expected="a thing that was known at that date",
                got=f"one that became known on {root['known_at'][:10]}", hint=f"heard trace {name}",
            )  # fmt: skip
        shown = threads.reached(whole, root["id"], forward=forward, back=back)
        state = threads.states(whole, shown.things)
        texts = self._texts(shown.things.values())
        names = _names(shown.things)
        nodes = [
            {
                "ref": names[id_],
                "id": id_,
                "kind": row["kind"],
                "subkind": row["subkind"],
                "neighbourhood": _place(row["place"]),
                "occurred": orjson.loads(row["occurred"]),
                "known_at": row["known_at"],
                "state": state[id_],
                "text": texts[id_],
                "outcome": row["outcome"],
                "reasons": orjson.loads(row["reasons"]),
                "counts": None,
            }
            for id_, row in shown.things.items()
        ]
        edges = [
            {"cause": names[e["cause"]], "effect": names[e["effect"]], "relation": e["relation"]}
            for e in shown.edges
        ]
        ahead = threads.walk({root["id"]}, threads.adjacent(shown.edges)) if forward else set()
        concerns = {id_ for id_ in ahead if shown.things[id_]["kind"] == "concern"}
        for id_, counted in self._supports(concerns, at).items():
            nodes.append(node := _counted(counted, names[id_], shown.things[id_]))
            edges.append({"cause": names[id_], "effect": node["ref"], "relation": "supports"})
        return {
            "root": names[root["id"]],
            "at": at.known_by,
            "recorded_at": at.recorded_by,
            "nodes": sorted(nodes, key=lambda node: (node["known_at"], node["ref"])),
            "edges": sorted(edges, key=lambda e: (e["cause"], e["effect"], e["relation"])),
        }

    def find(self, name: str) -> Row:
        """The thing of that reference or id. Raises NotFoundError, AmbiguousError."""

        def found(db: Connection, tables: Tables) -> list[Row]:
            return threads.find(db, tables[threads.THINGS], name)

        rows = self.views.read(found, "trace")
        if not rows:
            raise NotFoundError(
                f"there is nothing called {name}", expected="a reference or an id in the record",
                got=name, hint="heard query inputs",
            )  # fmt: skip
        if len(rows) > 1:
            raise AmbiguousError(name, rows)
        return rows[0]

    # -- histories -------------------------------------------------------------------------------

    def log(self, name: str) -> Row:
        """Every event of a thing."""
        thing, events = self._history(name, Moment())
        return {
            "ref": thing,
            "events": [
                {
                    "id": e.id,
                    "type": e.type,
                    "version": e.version,
                    "occurred": e.occurred.model_dump(by_alias=True),
                    "known_at": e.known_at,
                    "recorded_at": e.recorded_at,
                    "actor": {"role": e.actor.role, "pseudonym": e.actor.pseudonym},
                    "causes": [{"relation": c.relation, "id": c.id, "digest": c.digest} for c in e.causes],
                    "digest": e.digest,
                }
                for e in events
            ],
        }

    def show(self, name: str, at: Moment) -> Row:
        """The fields of a thing as they stand, or stood; sealed ones opened."""
        thing, events = self._history(name, at)
        first, last = events[0], events[-1]
        boxes = {f"{e.id}/{path}" for e in events for path in e.sealed}
        opened = self._open(boxes, {e.id: e for e in events})
        if _hidden(events):
            # The moderator's own words say why, and stay.
            said = [e for e in events if _fact(e) != "moderated"]
            opened |= _moderated(
                {f"{e.id}/{path}": opened[f"{e.id}/{path}"] for e in said for path in e.sealed}
            )
        made = first.kind != "decision" or any(_fact(e) in DECIDED for e in events)
        fields: Row = {}
        for e in events:
            if e.kind == "decision" and _fact(e) in DECIDED:
                # What was decided stands in place of what was put forward, or decided before.
                fields = {k: v for k, v in fields.items() if k not in OUTCOME}
            for field, value in e.pub.items():
                if isinstance(value, dict):
                    fields |= {f"{field}.{inner}": given for inner, given in value.items()}
                elif field != "ref":
                    fields[field] = value
            for path in e.sealed:
                fields[path] = opened[f"{e.id}/{path}"]
        if not made:
            # A reason is not shown before its decision is made.
            fields = {k: v for k, v in fields.items() if k not in ("reasons", "reason_words")}
        if sections := fields.get("sections"):
            people, total = suppressed([each["people"] for each in sections], fields.get("attendance"))
            told = zip(sections, people, strict=True)
            fields["sections"] = [{**each, "people": shown} for each, shown in told]
            if total is not None:
                fields["attendance"] = total
        causes = [cause for e in events for cause in e.causes]
        refs = self._refs({cause.id for cause in causes})
        return {
            "ref": thing,
            "id": first.stream,
            "kind": first.kind,
            "version": last.version,
            "occurred": first.occurred.model_dump(by_alias=True),
            "known_at": first.known_at,
            "erased": ERASED in opened.values(),
            "fields": fields,
            "causes": [{"relation": c.relation, "ref": refs.get(c.id, c.id)} for c in causes],
        }

    def replay(self, name: str) -> Row:
        """The rebuild of a thing, step by step: each event, and the state after it."""
        thing, events = self._history(name, Moment())
        evolve = AGGREGATES[events[0].kind].evolve
        state, steps = None, []
        for e in events:
            state = evolve(state, e.event, e.causes)
            steps.append(
                {
                    "version": e.version,
                    "type": e.type,
                    "known_at": e.known_at,
                    "digest": e.digest,
                    "prev": e.prev,
                    "state": to_jsonable_python(state),
                }
            )
        return {"ref": thing, "steps": steps}

    def _history(self, name: str, at: Moment) -> tuple[str, list[Envelope]]:
        try:
            row = self.find(name)
            stream, ref = row["id"], row["ref"]
        except NotFoundError:
            stream = ref = name  # a duty, or another stream of Heard's own, by its id
        events = self._events([stream], at) or self._events([self.ids.of("message", name)], at)
        if not events or events[0][1].version != 1:
            raise NotFoundError(
                f"there is nothing called {name}" + (" at that date" if at.past else ""),
                expected="a reference or an id in the record", got=name, hint="heard query inputs",
            )  # fmt: skip
        envelopes = [envelope for _, envelope in events]
        if not at.past:
            _unbroken(envelopes)
        return ref, envelopes

    def _events(self, streams: Collection[str], at: Moment) -> list[tuple[int, Envelope]]:
        def asked(db: Connection, tables: Tables) -> list[tuple[int, Envelope]]:
            return history.of_streams(db, tables, streams, known_by=at.known_by, recorded_by=at.recorded_by)

        return self.views.read(asked, "history")

    # -- read models -----------------------------------------------------------------------------

    def query(self, view: str, where: Mapping[str, str], at: Moment) -> Row:
        """The rows of a read model that fit `where`."""
        if view not in self.views.views:
            raise NotFoundError(
                f"there is no read model {view}", expected=", ".join(self.views.views), got=view,
                hint="heard views list",
            )  # fmt: skip
        model = self.views.views[view]
        if unknown := sorted(where.keys() - model.columns.keys()):
            raise HeardError(
                f"{view} has no column {unknown[0]}", code="no_such_column",
                expected=", ".join(model.columns), got=unknown[0], hint=f"heard query {view}",
            )  # fmt: skip
        now = at.known_by or at.recorded_by or stamp(self.clock.now())
        asked = Asked(now, where)
        rows = self._query_past(view, asked, at) if at.past else self.views.ask(view, asked)
        fitting = [_shaped(row, model.columns) for row in rows if _fits(row, where)]
        return {"view": view, "version": model.version, "at": at.known_by, "rows": fitting}

    def _query_past(self, view: str, asked: Asked, at: Moment) -> list[Row]:
        """Fold what the question is about, up to the moment, in memory; ask the same question of it."""
        model = self.views.views[view]

        def events(db: Connection, tables: Tables) -> list[tuple[int, Envelope]]:
            force, neighbourhood = asked.where.get("force"), asked.where.get("neighbourhood")
            if neighbourhood is not None:
                place = place_of(neighbourhood)
                found: dict[int, Envelope] = {}
                for each in [force] if force else threads.forces(db, tables):
                    found |= history.of_place(
                        db, tables, each, place, known_by=at.known_by, recorded_by=at.recorded_by
                    )
                # What crosses neighbourhoods: where the threads of this place lead and come from.
                here = {e.stream for e in found.values()}
                beyond = threads.closure(db, tables, threads.with_groups(db, tables, here)) - here
                found |= history.of_streams(
                    db, tables, beyond, known_by=at.known_by, recorded_by=at.recorded_by
                )
                return sorted(found.items(), key=lambda item: item[0])
            return history.of_force(db, tables, force, known_by=at.known_by, recorded_by=at.recorded_by)

        past = self.views.read(events, "history", "trace")
        rows: list[Row] = self._folded([view, *model.reads], past, lambda memory: memory.ask(view, asked))
        return rows

    def _as_at(
        self, question: Callable[[Connection, Tables], threads.Thread], root: str, at: Moment
    ) -> threads.Thread:
        if not at.past:
            return self.views.read(question, "trace")

        def events(db: Connection, tables: Tables) -> list[tuple[int, Envelope]]:
            ids = _around(db, tables, root)
            return history.of_streams(db, tables, ids, known_by=at.known_by, recorded_by=at.recorded_by)

        past = self.views.read(events, "history", "trace")
        thread: threads.Thread = self._folded(["trace"], past, lambda m: m.read(question, "trace"))
        return thread

    def _supports(self, concerns: Collection[str], at: Moment) -> dict[str, supports.Supports]:
        def counted(db: Connection, tables: Tables) -> dict[str, supports.Supports]:
            if at.past:
                return supports.as_at(db, tables, concerns, known_by=at.known_by, recorded_by=at.recorded_by)
            return supports.now(db, tables, concerns)

        return self.views.read(counted, "trace", "history" if at.past else "inputs") if concerns else {}

    def _folded(
        self,
        names: Iterable[str],
        events: Sequence[tuple[int, Envelope]],
        ask: Callable[[ViewStore], Any],
    ) -> Any:
        engine = self.memory()
        try:
            memory = ViewStore(engine, {name: self.views.views[name] for name in names})
            memory.begin()
            with memory.writing() as db:
                memory.apply(db, memory.live(db), events)
            return ask(memory)
        finally:
            engine.dispose()

    # -- opening ---------------------------------------------------------------------------------

    def _texts(self, things: Iterable[Row]) -> dict[str, str | None]:
        rows = list(things)
        opened = self._open({row["words_at"] for row in rows if row["words_at"]})
        opened |= _moderated(
            {row["words_at"]: opened[row["words_at"]] for row in rows if row["words_at"] and row["moderated"]}
        )
        return {row["id"]: opened[row["words_at"]] if row["words_at"] else row["public_text"] for row in rows}

    def _open(self, places: Collection[str], events: Mapping[str, Envelope] | None = None) -> dict[str, str]:
        """{event id / path: the value}, `[erased]` or `[missing]` where it cannot be opened.

        A missing key is shown as missing; as erased only when the record says that it was erased.
        """
        if not places:
            return {}

        def boxes(db: Connection, _: Tables) -> list[Row]:
            wanted = {place.partition("/")[0] for place in places}
            table = SEALED_VALUES
            query = select(table).where(among(table.c.event_id, wanted, db))
            return [dict(row) for row in db.execute(query).mappings()]

        found = {f"{row['event_id']}/{row['path']}": row for row in self.views.read(boxes)}
        keys = self.keys.keys(sorted({row["key_id"] for row in found.values()}))
        opened: dict[str, str] = {}
        closed: set[str] = set()
        for place in places:
            row = found.get(place)
            if row is None or row["key_id"] not in keys:
                closed.add(place)
                continue
            try:
                _, opened[place] = open_sealed(
                    keys[row["key_id"]], row["key_id"], row["event_id"], row["path"], bytes(row["box"])
                )
            except IntegrityError:
                # Published while its key was being destroyed, and a later message made another key.
                if self._closed({place}, events)[place] != ERASED:
                    raise
                closed.add(place)
        if closed:
            opened |= self._closed(closed, events)
        return opened

    def _closed(self, places: Collection[str], events: Mapping[str, Envelope] | None) -> dict[str, str]:
        event_ids = {place.partition("/")[0] for place in places}
        if events is None or not event_ids <= events.keys():
            events = self._by_id(event_ids)
        owners = {id_: self._owner(e) for id_, e in events.items()}
        subjects = {key: self.ids.of("subject", key) for key in owners.values()}
        streams = self.store.load(set(subjects.values())) if subjects else {}
        erased = {key for key, stream in subjects.items() if stream in streams}
        return {
            place: ERASED if owners.get(place.partition("/")[0]) in erased else MISSING for place in places
        }

    def _by_id(self, event_ids: Collection[str]) -> dict[str, Envelope]:
        def asked(db: Connection, tables: Tables) -> list[str]:
            table = tables[history.HISTORY]
            return list(db.execute(select(table.c.stream).where(among(table.c.id, event_ids, db))).scalars())

        streams = self.views.read(asked, "history")
        return {e.id: e for _, e in self._events(set(streams), Moment()) if e.id in event_ids}

    def _owner(self, e: Envelope) -> str:
        first = e if e.version == 1 else self.store.firsts([e.stream])[e.stream]
        contributor = first.pub.get("contributor") or e.pub.get("contributor")
        return str(contributor["subject"]) if contributor else e.stream

    def _refs(self, ids: Collection[str]) -> dict[str, str]:
        def asked(db: Connection, tables: Tables) -> dict[str, str]:
            things = tables[threads.THINGS]
            query = select(things.c.id, things.c.ref).where(among(things.c.id, ids, db))
            return dict(db.execute(query).all())

        return self.views.read(asked, "trace")


def _around(
    db: Connection, tables: Tables, root: str, *, forward: bool = True, back: bool = True
) -> set[str]:
    """The ids of a thread, and of what its things lead to: states need that also where it is not shown."""
    ids = threads.closure(db, tables, [root], forward=forward, back=back, without=threads.SAYS_NOTHING)
    return threads.closure(db, tables, ids, back=False, without=threads.SAYS_NOTHING)


def _counted(counted: supports.Supports, name: str, concern: Row) -> Row:
    """The node that stands for the supports of a concern. No reference of a source has a blank in it."""
    return {
        "ref": f"supports of {name}",
        "id": None,
        "kind": "support",
        "subkind": None,
        "neighbourhood": _place(concern["place"]),
        "occurred": {"kind": "unknown", "from": None, "to": None},
        "known_at": counted.known_at,
        "state": None,
        "text": None,
        "outcome": None,
        "reasons": [],
        "counts": counted.counts,
    }


def _unbroken(events: Sequence[Envelope]) -> None:
    """Every history that is shown is checked first: versions without gaps, each prev the digest before."""
    before: Envelope | None = None
    for version, e in enumerate(events, start=1):
        if e.version != version or e.prev != (before.digest if before else None):
            raise IntegrityError(
                f"the history of {e.stream} is broken at version {version}",
                expected=f"version {version} that names the digest of the one before",
                got=f"version {e.version}",
                hint="stop, and compare with the topics",
            )
        before = e


def _fact(e: Envelope) -> str:
    return e.type.split(".")[2]


def _hidden(events: Iterable[Envelope]) -> bool:
    """Whether the thing is moderated: whatever was said of it since, until it is reopened."""
    told = [fact for e in events if (fact := _fact(e)) in ("moderated", "reopened")]
    return told[-1:] == ["moderated"]


def _moderated(opened: Mapping[str, str]) -> dict[str, str]:
    """The same places with nothing to read; what is gone says so all the same."""
    return {place: value if value in (ERASED, MISSING) else MODERATED for place, value in opened.items()}


def _names(things: Mapping[str, Row]) -> dict[str, str]:
    """References, made distinct by their ids where several sources use the same."""
    count: dict[str, int] = {}
    for row in things.values():
        count[row["ref"]] = count.get(row["ref"], 0) + 1
    return {
        id_: row["ref"] if count[row["ref"]] == 1 else f"{row['ref']}@{id_[:8]}"
        for id_, row in things.items()
    }


def _place(place: str) -> str | None:
    return None if place == "-" else place


def _shaped(row: Row, columns: Iterable[str]) -> Row:
    whole = {**row, "neighbourhood": _place(row["place"])}
    return {name: whole[name] for name in columns}


def _fits(row: Row, where: Mapping[str, str]) -> bool:
    return all(
        row["place"] == place_of(value) if name == "neighbourhood" else _text(row[name]) == value
        for name, value in where.items()
    )


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)
