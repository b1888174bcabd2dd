"""How do facts become rows? Every live read model moves with the position, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

import structlog
from sqlalchemy import Connection

from consumers.following import behind, follow
from consumers.resting import no_search_for_cycles
from domain.errors import FencedError, TransientError
from projections.store import LIVE, Mark, Marks, SupersededError, ViewStore
from services.faults import Probe, nothing
from services.ports import Consumer, Log, Record
from services.telemetry import NO_TRACER, Tracer
from services.topics import EVENTS, SEALED

GROUP: Final = "projector"
SMALL_GAP: Final = 2_000
"""As many records as a swap may still handle while it holds the live positions."""

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Projector:
    """The loop from the log to the read models."""

    log: Log
    views: ViewStore
    probe: Probe = nothing
    batch: int = 1000
    tracer: Tracer = NO_TRACER
    alive: Callable[[], None] = lambda: None
    """Told during a rebuild, which may take hours, that it comes on."""
    _consumer: Consumer | None = None
    _marks: dict[tuple[str, int], Mark] = field(default_factory=dict)

    @no_search_for_cycles()
    def step(self, timeout: float = 0.0) -> int:
        """Poll, decode, fold, commit: one batch; the number of records read.

        Raises TransientError when nothing was committed and the step may be repeated, and
        IntegrityError when a record is missing or a newer program wrote it.
        """
        if self._consumer is None:
            if missing := self.views.begin():
                rebuild(self.log, self.views, missing, alive=self.alive)
            self.views.retire()
            self._consumer = self.log.consumer(GROUP, [EVENTS.name, SEALED.name], self._start)
        records = self._consumer.poll(self.batch, timeout)
        if not records:
            return 0
        since = self.tracer.now()
        try:
            self._take(records)
        except (FencedError, TransientError):
            self.close()  # the next step begins where the database says, whenever it answers again
            raise
        self.probe("projector.after_commit")
        self.tracer.followed(GROUP, since, records)
        # Of these records' partitions only: others that it once held may be another runner's by now.
        places = {(record.topic, record.partition) for record in records}
        self._consumer.commit({place: self._marks[place].next for place in places})
        return len(records)

    def behind(self) -> bool:
        """Whether the log holds a record that nobody has handled yet."""
        with self.views.reading() as db:
            marks = self.views.marks(db, LIVE)
        return behind(self.log, [EVENTS.name, SEALED.name], lambda *place: marks.get(place, Mark()).next)

    def close(self) -> None:
        """Leave the group."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _start(self, topic: str, partition: int) -> int:
        with self.views.reading() as db:
            mark = self.views.marks(db, LIVE).get((topic, partition), Mark())
        self._marks[topic, partition] = mark
        return mark.next

    def _take(self, records: list[Record]) -> None:
        batch = follow(records, self._marks)
        with self.views.writing() as db:
            # Positions first: their rows are the fence between two runners, and before a swap.
            self.views.move(db, LIVE, batch.moves)
            self.views.apply(db, self.views.folded(db), batch.events)
            self.views.apply_sealed(db, batch.sealed)
            self.probe("projector.before_commit")
        self._marks |= {place: after for place, (_, after) in batch.moves.items()}
        log.info("projected", events=len(batch.events), sealed=len(batch.sealed))


def rebuild(
    log_: Log,
    views: ViewStore,
    names: Sequence[str],
    *,
    batch: int = 10_000,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Build views anew beside the live ones, up to the live positions, and swap them in.

    Readers and the live projector go on meanwhile. Where another rebuild begins later and is
    ready earlier, its result stands. `alive` is told after each batch, and after the indexes of each view.
    """
    left = list(names)
    while left:
        generation = views.start(left)
        try:
            with build(log_, views, left, generation, batch=batch, alive=alive) as db:
                for name in left:
                    views.swap(db, name, generation)
            left = []
        except SupersededError:
            views.discard(left, generation)
            with views.reading() as db:
                live = views.live(db)
            left = [name for name in left if live.get(name, 0) < generation]
        except BaseException:
            views.discard(left, generation)
            raise
    views.sweep()


@contextmanager
def build(
    log_: Log,
    views: ViewStore,
    names: Sequence[str],
    generation: int,
    *,
    batch: int = 10_000,
    alive: Callable[[], None] = lambda: None,
) -> Iterator[Connection]:
    """Fold the log into a new generation; yields while it stands exactly where the live one does.

    What is left at the end, at most SMALL_GAP records, is handled while the live positions are
    held, so that nothing but the tables differs; the caller's work is in the same transaction.
    Raises SupersededError when a later generation of one of the views is live already.
    """
    marks: dict[tuple[str, int], Mark] = {}
    while True:
        with views.reading() as db:
            live = views.marks(db, LIVE)
        _load(log_, views, names, generation, marks, live, batch, alive)
        for name in names:
            views.index([name], generation)
            alive()
        with views.writing() as db:
            live = views.held(db)
            views.hold(db, names, generation)
            left = list(chain.from_iterable(_up_to(log_, live, marks, SMALL_GAP + 1)))
            if len(left) <= SMALL_GAP:
                _fold(views, db, names, generation, left, marks)
                yield db
                return


def _load(
    log_: Log,
    views: ViewStore,
    names: Sequence[str],
    generation: int,
    marks: dict[tuple[str, int], Mark],
    live: Marks,
    batch: int,
    alive: Callable[[], None],
) -> None:
    """Fold everything up to `live`, a transaction a batch."""
    with no_search_for_cycles():
        for records in _up_to(log_, live, marks, batch):
            with views.writing() as db:
                views.hold(db, names, generation)
                _fold(views, db, names, generation, records, marks)
            alive()


def _up_to(log_: Log, live: Marks, marks: Marks, batch: int) -> Iterator[list[Record]]:
    for (topic, partition), mark in sorted(live.items()):
        if topic != EVENTS.name:
            continue
        at = marks.get((topic, partition), Mark()).next
        while at < mark.next and (records := log_.read(topic, partition, at, mark.next, batch)):
            yield records
            at = records[-1].offset + 1


def _fold(
    views: ViewStore,
    db: Connection,
    names: Sequence[str],
    generation: int,
    records: list[Record],
    marks: dict[tuple[str, int], Mark],
) -> None:
    found = follow(records, marks)
    views.apply(db, dict.fromkeys(names, generation), found.events)
    marks |= {place: after for place, (_, after) in found.moves.items()}
