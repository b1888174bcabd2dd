"""How do facts become duties? One runner over all partitions keeps the graph and asks the rules."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, groupby, zip_longest
from operator import attrgetter, itemgetter
from typing import Final, TypeAlias

import structlog
from sqlalchemy import Connection, func, inspect, select

from consumers.cases import PAGE, Cases, Named
from consumers.cases import TABLES as OF_CASES
from consumers.following import behind, follow
from consumers.graph import NEWS, Graph, things
from consumers.graph import TABLES as OF_THE_GRAPH
from consumers.net import News
from consumers.resting import no_search_for_cycles
from consumers.signals import Said, parts
from domain.duty import Discharged, Lapsed, Opened
from domain.errors import ConcurrencyError, FencedError, TransientError
from domain.event import Actor, Cause
from domain.force import Force
from domain.force import evolve as evolve_force
from domain.ids import Ids
from domain.values import Digest, EventId, StreamId, SubjectId
from projections.store import Mark, ViewStore
from projections.view import Row
from services.desk import Circumstances, Desk
from services.faults import Probe, nothing
from services.ports import Clock, Consumer, EventStore, KeyStore, Log, Randomness, Record
from services.telemetry import NO_TRACER, Tracer
from services.topics import EVENTS
from services.workflows import Owed, Signal, Step, decide, due, evolve, take

GROUP: Final = "processes"
ROLE: Final = "neighbourhood_team"
TURN: Final = 0.5
"""Seconds that one batch, and then what waits for its turn, may take before the log is asked again."""
BYTES: Final = 1024 * 1024
"""As many bytes of events as are taken in at once: some 7,000 links."""
LONG: Final = 1.0
"""Seconds after which a batch was too large."""

TABLES: Final = {**OF_THE_GRAPH, **OF_CASES}
"""All that this loop remembers."""
PARTS: Final = (NEWS.name, 0)
"""Where it is counted how many parts were followed, so that no two runners follow one."""

Turn: TypeAlias = Iterator[None]
"""News that are followed to the end, a part at each step."""
_DONE: Final = object()
_since = attrgetter("since")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Processes:
    """The loop from the log to the duties. It writes its own streams and nothing else.

    Events are taken in a batch at a time; what they say is followed a part at a time, in a transaction
    each. What takes long goes by turns, a part of each force, so that no force waits for another.
    """

    log: Log
    store: EventStore
    keys: KeyStore
    views: ViewStore
    clock: Clock
    randomness: Randomness
    ids: Ids
    probe: Probe = nothing
    batch: int = 1000
    tracer: Tracer = NO_TRACER
    alive: Callable[[], None] = lambda: None
    """Told in between that it comes on."""
    monotonic: Callable[[], float] = time.monotonic
    _consumer: Consumer | None = None
    _marks: dict[tuple[str, int], Mark] = field(default_factory=dict)
    _graph: Graph | None = None
    _turns: dict[str, Turn | None] = field(default_factory=dict)
    """By force, in the order in which they come: the turn in hand, None if it has still to be begun."""
    _size: int = 0
    """How many events are taken, or followed, at once; 0 before the first."""

    @no_search_for_cycles()
    def step(self, timeout: float = 0.0) -> int:
        """Poll, decode, take in, follow, write duties: one batch, and parts of what waits for its turn.

        Returns the number of records and parts. Duties are written before it is remembered that they
        are: their streams make each happen once, however often it is followed again. Raises
        TransientError when the step may be repeated, IntegrityError when a record is missing.
        """
        if self._consumer is None:
            self._make_tables()
            self._consumer = self.log.consumer(GROUP, [EVENTS.name], self._start, alone=True)
        records = self._consumer.poll(self._size or self.batch, 0.0 if self._turns else timeout)
        try:
            if self._graph is None and self._consumer.assigned():
                self._begin()
            records = self._bounded(records)
            if records:
                since = self.tracer.now()
                self._take(records)
                self.tracer.followed(GROUP, since, records)
            return len(records) + self._go_round()
        except (ConcurrencyError, FencedError, TransientError):
            self.close()  # the next step begins where the database says, whenever it answers again
            raise

    def behind(self) -> bool:
        """Whether the log holds a record that nobody has handled yet, or not everything has come of one."""
        with self.views.reading() as db:
            marks, left = self.views.marks(db, GROUP), unfollowed(db)
        return left > 0 or behind(self.log, [EVENTS.name], lambda *place: marks.get(place, Mark()).next)

    def close(self) -> None:
        """Leave the group: another runner that stands by takes over."""
        self._graph = None
        self._turns.clear()
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _make_tables(self) -> None:
        with self.views.reading() as db:
            made = set(inspect(db).get_table_names())
        if missing := [table for table in TABLES.values() if table.name not in made]:
            with self.views.making() as db:
                for table in missing:
                    table.create(db, checkfirst=True)

    def _start(self, topic: str, partition: int) -> int:
        # Another runner may have had the role meanwhile: what is at hand is not what is there.
        self._graph = None
        self._turns.clear()
        with self.views.reading() as db:
            mark = self.views.marks(db, GROUP).get((topic, partition), Mark())
        self._marks[topic, partition] = mark
        return mark.next

    def _begin(self) -> None:
        """Go on where whoever had the role before has come to."""
        with self.views.reading() as db:
            self._marks[PARTS] = self.views.marks(db, GROUP).get(PARTS, Mark())
        self._graph = Graph(self.views, self.store)
        self._turns = dict.fromkeys(self._graph.left())
        self._size = self._size or self.batch

    # -- taking in -------------------------------------------------------------------------------

    def _bounded(self, records: list[Record]) -> list[Record]:
        """BYTES of the records, the first of each partition; the others are read again, with what came."""
        if sum(map(_size, records)) <= BYTES:
            return records
        assert self._consumer is not None  # noqa: S101 - for the type checker
        places: defaultdict[tuple[str, int], list[Record]] = defaultdict(list)
        for record in records:
            places[record.topic, record.partition].append(record)
        in_turn = [record for each in zip_longest(*places.values()) for record in each if record is not None]
        self._size = 1 + sum(size < BYTES for size in accumulate(map(_size, in_turn)))
        for record in reversed(in_turn[self._size :]):
            self._consumer.seek(record.topic, record.partition, record.offset)
        return in_turn[: self._size]

    def _take(self, records: Sequence[Record]) -> None:
        """Remember what the records say, and follow it unless it takes too long."""
        assert self._graph is not None  # noqa: S101 - for the type checker
        assert self._consumer is not None  # noqa: S101 - for the type checker
        batch = follow(records, self._marks)
        with self.views.writing() as db:
            self.views.move(db, GROUP, batch.moves)
            news = self._graph.add(db, batch.events)
        self._marks |= {place: after for place, (_, after) in batch.moves.items()}
        self.probe("processes.taken")
        log.info("processed", events=len(batch.events), news=len(news))
        self._at_once([each for each in news if each.force not in self._turns])
        # Of these records' partitions only: others that it once held may be another runner's by now.
        places = {(record.topic, record.partition) for record in records}
        self._consumer.commit({place: self._marks[place].next for place in places})

    def _at_once(self, news: list[News]) -> None:
        """Follow news to the end; what takes longer than a TURN goes by turns."""
        forces = {each.force for each in news}
        turn = self._follow(news)
        until = self.monotonic() + TURN
        for _ in turn:
            if self.monotonic() >= until:
                self._turns |= dict.fromkeys(forces, turn if len(forces) == 1 else None)
                return

    def _go_round(self) -> int:
        """One part of each force that waits for its turn, as far as one gets in the time of a TURN."""
        done, until = 0, self.monotonic() + TURN
        while self._turns:
            force = next(iter(self._turns))
            if (turn := self._turns.pop(force) or self._next(force)) is not None:
                done += 1
                going = next(turn, _DONE) is not _DONE
                self._turns[force] = turn if going else None  # at the end of the queue
                if self.monotonic() >= until:
                    break
        return done

    def _next(self, force: str) -> Turn | None:
        assert self._graph is not None  # noqa: S101 - for the type checker
        news = self._graph.next(force, self._size)
        return self._follow(news) if news else None

    # -- following -------------------------------------------------------------------------------

    def _follow(self, news: Sequence[News]) -> Turn:
        """Ask the rules about these news, and write the duties that come of it; a step for each part."""
        assert self._graph is not None  # noqa: S101 - for the type checker
        if not news:
            return
        began = self.monotonic()
        coming = parts(self.views, self._graph, news, self.alive)
        part = next(coming, [])
        self._fit(self.monotonic() - began)
        while part:
            about, cases = self._things(part), Cases(self.views)
            steps: list[Step] = []
            for todo in _decided(cases, about, part):
                steps += todo
                if len(steps) >= PAGE:
                    self._write(about, cases, steps)
                    steps = []
                    yield
            part = next(coming, [])
            self._write(about, cases, steps, () if part else news)
            if not part:
                return
            yield
        self._write({}, Cases(self.views), (), news)

    def _fit(self, seconds: float) -> None:
        """Take fewer at once if it took too long to find what they say, and more again if it did not."""
        if seconds > LONG:
            self._size = max(self._size // 2, self.batch // 16, 1)
        elif seconds < LONG / 4:
            self._size = min(2 * self._size, self.batch)

    def _things(self, part: Sequence[Said]) -> dict[str, Row]:
        with self.views.reading() as db:
            return things(db, {said.signal.about for said in part})

    def _write(
        self, about: Mapping[str, Row], cases: Cases, steps: Sequence[Step], done: Sequence[News] = ()
    ) -> None:
        """Write duties, and then that they are written; that all has come of these news, if it has."""
        assert self._graph is not None  # noqa: S101 - for the type checker
        duties = 0
        if steps:
            self.probe("processes.before_duties")
            duties = self._record(about, steps)
        before = self._marks[PARTS]
        after = Mark(before.next + 1)
        with self.views.writing() as db:
            self.views.move(db, GROUP, {PARTS: (before, after)})
            cases.flush(db)
            if done:
                self._graph.followed(db, done)
            self.probe("processes.before_commit")
        self._marks[PARTS] = after
        self.probe("processes.after_commit")
        self.alive()
        log.info("followed", duties=duties)

    def _record(self, about: Mapping[str, Row], steps: Sequence[Step]) -> int:
        """Record what is not recorded yet; how many events that were."""
        desk = Desk(self.store, self.keys, self.clock, self.randomness, self.ids)
        streams = [self._stream(step.start) for step in steps]
        desk.load(streams)
        forces: dict[str, list[tuple[int, Force]]] = {}
        for step, stream in zip(steps, streams, strict=True):
            thing = about[step.start.about]
            event: Opened | Discharged | Lapsed
            match step.fact:
                case "opened":
                    event = self._opened(step.start, thing, forces)
                case "discharged":
                    event = Discharged()
                case "lapsed":
                    event = Lapsed()
            because = Cause("rests_on", EventId(step.because.event_id), Digest(step.because.digest))
            circumstances = Circumstances(
                force=thing["force"],
                neighbourhood=thing["neighbourhood"],
                actor=Actor("heard"),
                known_at=step.because.known_at,
                correlation=step.because.correlation,
                caused_by=step.because.event_id,
            )
            desk.record(stream, event, (because,), circumstances)
        if desk.work.events:
            self.store.commit(desk.work)
        return len(desk.work.events)

    def _stream(self, start: Signal) -> StreamId:
        return StreamId(self.ids.of("duty", start.rule, start.about, start.event_id))

    def _opened(self, start: Signal, thing: Row, forces: dict[str, list[tuple[int, Force]]]) -> Opened:
        force = self._settings(thing["force"], start.position, forces)
        reachable = start.rule == "tell_contributor" and thing["may_contact"]
        return Opened(
            rule=start.rule,
            about=StreamId(start.about),
            about_kind=thing["kind"],
            about_ref=thing["ref"],
            owed_by=ROLE,
            owed_to=SubjectId(thing["contributor"]) if reachable else None,
            due=due(start.rule, force, start.known_at),
            settings_version=force.version,
        )

    def _settings(self, force: str, position: int, forces: dict[str, list[tuple[int, Force]]]) -> Force:
        """The settings as they stood in the record when the start was written, wherever we read."""
        if force not in forces:
            state: Force | None = None
            forces[force] = []
            for stored in self.store.positioned(self.ids.stream("force", force, "", force)):
                state = evolve_force(state, stored.envelope.event, stored.envelope.causes)  # type: ignore[arg-type]
                forces[force].append((stored.position, state))
        before = bisect_left(forces[force], position, key=itemgetter(0))
        return forces[force][before - 1][1] if before else Force()


def unfollowed(db: Connection) -> int:
    """How many events were taken in, and have still to be followed."""
    if not inspect(db).has_table(TABLES[NEWS].name):  # nobody has begun yet
        return 0
    return db.scalar(select(func.count()).select_from(TABLES[NEWS])) or 0


def _size(record: Record) -> int:
    return len(record.value or b"")


def _decided(cases: Cases, about: Mapping[str, Row], part: Iterable[Said]) -> Iterator[list[Step]]:
    """What the rules ask for, case by case; a page at a time of what was owed before."""
    by_case: defaultdict[Named, list[Said]] = defaultdict(list)
    for said in sorted(part, key=_since):
        by_case[said.signal.rule, said.signal.about].append(said)
    known = cases.read(by_case)

    def asked(name: Named, heard: Iterable[Said], owed: Mapping[str, Owed]) -> list[Step]:
        case, steps = replace(known[name], owed=owed), []
        # As if each event came alone: so what a duty rests on does not depend on where batches end.
        for _, together in groupby(heard, key=_since):
            for said in together:
                case = evolve(case, said.signal)
            steps += (next_ := decide(case))
            case = take(case, next_)
        cases.keep(about[name[1]], name[0], case, steps)
        return steps

    for name, heard in by_case.items():
        yield asked(name, heard, {})
    met = {
        name: others
        for name, heard in by_case.items()
        if (others := [said for said in heard if said.signal.says != "starts"])
    }
    for page in cases.owed(met, about):
        for name, owed in page.items():
            last = max(said.signal.order for said in met[name])
            if concerned := {id_: each for id_, each in owed.items() if each.start.order < last}:
                yield asked(name, met[name], concerned)
