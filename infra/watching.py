"""What does a process show of itself while its loops run?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, get_args

import structlog

from consumers import lag, processes
from domain.errors import HeardError
from domain.values import DutyRule, stamp
from infra.installation import Installation
from infra.telemetry import Endpoint
from projections import worklist
from projections.store import LIVE
from services.telemetry import (
    DEAD_LETTERS_OPEN,
    DUTIES_OVERDUE,
    INBOX_OLDEST,
    LOOKED_AT,
    LOOP_LAG,
    MESSAGES,
    PARKED,
    VIEW_LAG_EVENTS,
    VIEW_LAG_SECONDS,
)  # fmt: skip
from services.topics import INBOX

INTERVAL: Final = 15.0
"""Seconds between two readings of the gauges."""
OUTCOMES: Final = ("read", "accepted", "no_change", "duplicates", "parked", "dead_letters")

log = structlog.get_logger(__name__)


@dataclass
class Watch:
    """Reads the gauges off between two rounds of the loops, so that nothing is shared with a thread."""

    installation: Installation
    endpoint: Endpoint
    monotonic: Callable[[], float] = time.monotonic
    _next: float = 0.0

    def round(self) -> None:
        """The loops have gone round; a reading that fails is left to the next one."""
        self.endpoint.beat()
        if (now := self.monotonic()) < self._next:
            return
        try:
            read_off(self.installation)
        except HeardError as error:
            log.warning("gauges could not be read", code=error.code, reason=error.message)
        self._next = now + INTERVAL


def read_off(i: Installation) -> None:
    """Set every gauge to what the databases and the log say now."""
    meter, now = i.meter, i.clock.now()
    counts = i.store.counts()
    for outcome in OUTCOMES:
        meter.set(MESSAGES, counts.get(outcome, 0), outcome)
    meter.set(PARKED, counts.get("parked", 0))
    meter.set(DEAD_LETTERS_OPEN, i.store.open_dead_letters())
    waited = {each.partition: each.seconds(now) for each in lag.standing(i.log, i.store)}
    for partition in range(i.log.partitions(INBOX.name)):
        meter.set(INBOX_OLDEST, waited.get(partition, 0), str(partition))
    with i.views.reading() as db:
        live, marks, theirs = i.views.live(db), i.views.marks(db, LIVE), i.views.marks(db, processes.GROUP)
        unfollowed = processes.unfollowed(db)
    views = lag.of_reader(i.log, marks, now)
    for view in i.views.views:
        behind = views if view in live else lag.of_reader(i.log, {}, now)
        meter.set(VIEW_LAG_EVENTS, behind.records, view)
        meter.set(VIEW_LAG_SECONDS, behind.seconds, view)
    for loop, records in (
        ("intake", lag.unread(i.log, i.store)),
        ("sequencer", lag.unpublished(i.log, i.store)),
        ("projector", views.records),
        ("processes", lag.of_reader(i.log, theirs, now).records + unfollowed),
    ):
        meter.set(LOOP_LAG, records, loop)
    if worklist.VIEW.name in live:
        overdue = i.views.read(lambda db, tables: worklist.overdue(db, tables, stamp(now)), "worklist")
        for rule in get_args(DutyRule):
            meter.set(DUTIES_OVERDUE, overdue.get(rule, 0), rule)
    meter.set(LOOKED_AT, now.timestamp())
