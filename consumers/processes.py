"""How do facts become duties? One runner over all partitions keeps the graph and asks the rules."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Final

import structlog
from sqlalchemy import inspect

from consumers.cases import TABLES as OF_CASES
from consumers.cases import Cases
from consumers.following import behind, follow
from consumers.graph import TABLES as OF_THE_GRAPH
from consumers.graph import Graph, Heard
from consumers.resting import no_search_for_cycles
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
from services.ports import Clock, Consumer, EventStore, KeyStore, Log, Randomness, Record, Stored
from services.telemetry import NO_TRACER, Tracer
from services.topics import EVENTS
from services.workflows import Signal, Step, decide, due, evolve, take

GROUP: Final = "processes"
ROLE: Final = "neighbourhood_team"

TABLES: Final = {**OF_THE_GRAPH, **OF_CASES}
"""All that this loop remembers."""

_since = attrgetter("since")

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Processes:
    """The loop from the log to the duties. It writes its own streams and nothing else."""

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
    _consumer: Consumer | None = None
    _marks: dict[tuple[str, int], Mark] = field(default_factory=dict)

    @no_search_for_cycles()
    def step(self, timeout: float = 0.0) -> int:
        """Poll, decode, ask the rules, write duties, commit: one batch; the number of records read.

        Duties are written first: their streams make each happen once, however often the batch is
        taken again. Raises TransientError when the step may be repeated, IntegrityError when a
        record is missing.
        """
        if self._consumer is None:
            self._make_tables()
            self._consumer = self.log.consumer(GROUP, [EVENTS.name], self._start, alone=True)
        records = self._consumer.poll(self.batch, timeout)
        if not records:
            return 0
        since = self.tracer.now()
        try:
            self._take(records)
        except (ConcurrencyError, FencedError, TransientError):
            self.close()  # the next step begins where the database says, whenever it answers again
            raise
        self.probe("processes.after_commit")
        self.tracer.followed(GROUP, since, records)
        # Of these records' partitions only: others that it once held may be another runner's by now.
        places = {(record.topic, record.partition) for record in records}
        self._consumer.commit({place: self._marks[place].next for place in places})
        return len(records)

    def behind(self) -> bool:
        """Whether the log holds a record that nobody has handled yet."""
        with self.views.reading() as db:
            marks = self.views.marks(db, GROUP)
        return behind(self.log, [EVENTS.name], lambda *place: marks.get(place, Mark()).next)

    def close(self) -> None:
        """Leave the group: another runner that stands by takes over."""
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
        with self.views.reading() as db:
            mark = self.views.marks(db, GROUP).get((topic, partition), Mark())
        self._marks[topic, partition] = mark
        return mark.next

    def _take(self, records: Sequence[Record]) -> None:
        batch = follow(records, self._marks)
        with self.views.writing() as db:
            self.views.move(db, GROUP, batch.moves)
            graph = Graph(db, self.store)
            found = graph.add(batch.events)
            things = graph.things({heard.signal.about for heard in found})
            duties = self._duties(Cases(db), things, found)
            self.probe("processes.before_commit")
        self._marks |= {place: after for place, (_, after) in batch.moves.items()}
        log.info("processed", events=len(batch.events), signals=len(found), duties=duties)

    def _duties(self, memory: Cases, things: Mapping[str, Row], found: Collection[Heard]) -> int:
        """Write what the rules ask for; how many events that were."""
        by_case: defaultdict[tuple[str, str], list[Heard]] = defaultdict(list)
        for heard in found:
            by_case[heard.signal.rule, heard.signal.about].append(heard)
        cases = memory.read(by_case, things)
        steps: list[Step] = []
        written = 0
        for key, new in by_case.items():
            case, todo = cases[key], []
            # As if each event came alone: so what a duty rests on does not depend on where batches end.
            for _, together in groupby(sorted(new, key=_since), key=_since):
                for heard in together:
                    case = evolve(case, heard.signal)
                todo += (next_ := decide(case))
                case = take(case, next_)
            memory.keep(things[key[1]], key[0], case, todo)
            steps += todo
        if steps:
            self.probe("processes.before_duties")
            written = self._write(things, steps)
        memory.flush()
        return written

    def _write(self, things: Mapping[str, Row], steps: Sequence[Step]) -> int:
        """Write what is not written yet; how many events that were."""
        desk = Desk(self.store, self.keys, self.clock, self.randomness, self.ids)
        streams = [self._stream(step.start) for step in steps]
        desk.load(streams)
        forces: dict[str, list[Stored]] = {}
        for step, stream in zip(steps, streams, strict=True):
            thing = things[step.start.about]
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

    def _opened(self, start: Signal, thing: Row, forces: dict[str, list[Stored]]) -> Opened:
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

    def _settings(self, force: str, position: int, forces: dict[str, list[Stored]]) -> Force:
        """The settings as they stood in the record when the start was written, wherever we read."""
        if force not in forces:
            forces[force] = self.store.positioned(self.ids.stream("force", force, "", force))
        state: Force | None = None
        for stored in forces[force]:
            if stored.position < position:
                state = evolve_force(state, stored.envelope.event, stored.envelope.causes)  # type: ignore[arg-type]
        return state or Force()
