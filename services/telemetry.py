"""What can be seen of Heard from outside? Every metric, and the way of a message through the loops.

No label and no attribute ever holds a personal value: they are codes, ids and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from domain.event import Envelope
from services.ports import Record, Stored

Headers = tuple[tuple[str, bytes], ...]
TRACEPARENT: Final = "traceparent"
"""The header that carries a trace from record to record (W3C Trace Context)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One thing that is measured; docs/operations.md says the same of it."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: str
    about: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


_SIZES: Final = (1.0, 10.0, 50.0, 100.0, 250.0, 500.0, 1_000.0, 2_500.0, 10_000.0)
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

BATCH_RECORDS: Final = Metric(
    "heard_batch_records", "histogram", "records", "how much one batch of a loop held", ("loop",), _SIZES
)
BATCH_SECONDS: Final = Metric(
    "heard_batch_seconds", "histogram", "seconds", "how long one batch of a loop took", ("loop",), _SECONDS
)
BATCHES_FAILED: Final = Metric(
    "heard_batches_failed_total", "counter", "batches", "batches that ended with an error, by its code",
    ("loop", "code"),
)  # fmt: skip
DEAD_LETTERS: Final = Metric(
    "heard_dead_letters_total", "counter", "messages",
    "messages that this process found it cannot use, by code", ("code",),
)  # fmt: skip
DEAD_LETTERS_OPEN: Final = Metric(
    "heard_dead_letters_open", "gauge", "messages", "dead letters that nobody has retried or discarded"
)
PARKED: Final = Metric(
    "heard_parked", "gauge", "messages", "messages that wait for what they refer to"
)  # fmt: skip
MESSAGES: Final = Metric(
    "heard_messages", "gauge", "messages", "messages so far by how they ended, and `read`: all of them",
    ("outcome",),
)  # fmt: skip
LOOP_LAG: Final = Metric(
    "heard_loop_lag_records", "gauge", "records", "what a loop has still to handle", ("loop",)
)
INBOX_OLDEST: Final = Metric(
    "heard_inbox_oldest_seconds", "gauge", "seconds",
    "how long the first message of a partition of the inbox has waited for intake; 0 if none waits",
    ("partition",),
)  # fmt: skip
VIEW_LAG_EVENTS: Final = Metric(
    "heard_view_lag_events", "gauge", "events", "published events that a read model does not show yet",
    ("view",),
)  # fmt: skip
VIEW_LAG_SECONDS: Final = Metric(
    "heard_view_lag_seconds", "gauge", "seconds",
    "how long the oldest of these has been on record; 0 if there is none", ("view",),
)  # fmt: skip
DUTIES_OVERDUE: Final = Metric(
    "heard_duties_overdue", "gauge", "duties", "duties whose time is past and that nobody has met", ("rule",)
)
LOOKED_AT: Final = Metric(
    "heard_looked_at_seconds", "gauge", "seconds since 1970", "when the gauges were last read off"
)

METRICS: Final = (
    BATCH_RECORDS, BATCH_SECONDS, BATCHES_FAILED, DEAD_LETTERS, DEAD_LETTERS_OPEN, PARKED, MESSAGES,
    LOOP_LAG, INBOX_OLDEST, VIEW_LAG_EVENTS, VIEW_LAG_SECONDS, DUTIES_OVERDUE, LOOKED_AT,
)  # fmt: skip


class Meter(Protocol):
    """Takes down what is measured. Returns at once and raises nothing that a loop must know of."""

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """Count `amount` more."""
        ...

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """Put one value into a histogram."""
        ...

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """What a gauge shows from now on."""
        ...


class NoMeter:
    """Nobody measures."""

    def add(self, metric: Metric, amount: float, *labels: str) -> None:
        """See `Meter.add`."""

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        """See `Meter.observe`."""

    def set(self, metric: Metric, value: float, *labels: str) -> None:
        """See `Meter.set`."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that intake has handled: what it is called, and how it ended."""

    letter: str
    """The id under which it would be parked or dead."""
    correlation: str | None
    """Its own id; None if it could not be read."""
    upstream: bytes | None
    """The `traceparent` with which it came."""
    outcome: Literal["accepted", "parked", "dead_letter", "nothing_new"]
    type: str | None = None
    code: str | None = None
    """Why it is a dead letter."""


class Tracer(Protocol):
    """Tells which message went through which loop, and when: after the commit, a batch at a time.

    All that rests on one message is one trace, whose id follows from the message's own: so it goes
    on through the event store, which keeps no headers. Sequences are given as functions, which
    are only called when somebody traces.
    """

    def now(self) -> int:
        """Nanoseconds since 1970, for `since`."""
        ...

    def taken(self, since: int, messages: Callable[[], Iterable[Taken]]) -> None:
        """Intake has handled and committed these."""
        ...

    def header(self, envelope: Envelope) -> Headers:
        """What an event's record carries on, for whoever reads it."""
        ...

    def published(self, since: int, events: Sequence[Stored]) -> None:
        """The sequencer has published these."""
        ...

    def followed(self, loop: str, since: int, records: Sequence[Record]) -> None:
        """A loop that reads events has handled and committed these."""
        ...

    def close(self) -> None:
        """Send on what is left, within some seconds."""
        ...


class NoTracer:
    """Nobody traces."""

    def now(self) -> int:
        """See `Tracer.now`."""
        return 0

    def taken(self, since: int, messages: Callable[[], Iterable[Taken]]) -> None:
        """See `Tracer.taken`."""

    def header(self, envelope: Envelope) -> Headers:
        """See `Tracer.header`."""
        return ()

    def published(self, since: int, events: Sequence[Stored]) -> None:
        """See `Tracer.published`."""

    def followed(self, loop: str, since: int, records: Sequence[Record]) -> None:
        """See `Tracer.followed`."""

    def close(self) -> None:
        """See `Tracer.close`."""


NO_METER: Final[Meter] = NoMeter()
NO_TRACER: Final[Tracer] = NoTracer()
