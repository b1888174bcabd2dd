"""How do the loops run beside each other in one process, and what does each error ask for?"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from domain.errors import RETRIED, FencedError, HeardError
from services.telemetry import BATCH_RECORDS, BATCH_SECONDS, BATCHES_FAILED, Meter

PATIENCE: Final = 30
"""How often in a row a loop may fail for the moment before it gives up."""
QUIET: Final = 60.0
"""Seconds without a failure after which a loop that finds nothing to do counts as well again.

A step that finds nothing does not say so at once: after a batch that failed nothing is there until it is
fetched again, and where the group shares out anew that may take a session.
"""

log = structlog.get_logger(__name__)


class Loop(Protocol):
    """Something that works on in batches."""

    def step(self, timeout: float = 0.0) -> int:
        """One batch; how much there was to do. 0: nothing for now, or another process does it."""
        ...

    def behind(self) -> bool:
        """Whether something is left to be done, be it by another process."""
        ...

    def close(self) -> None:
        """Give up groups and roles."""
        ...


@dataclass(frozen=True, slots=True)
class Measured:
    """A loop whose batches are measured; in everything else it is that loop."""

    name: str
    loop: Loop
    meter: Meter
    monotonic: Callable[[], float] = time.monotonic

    def step(self, timeout: float = 0.0) -> int:
        """See `Loop.step`; a step that found nothing is no batch."""
        began = self.monotonic()
        try:
            done = self.loop.step(timeout)
        except HeardError as error:
            self.meter.add(BATCHES_FAILED, 1, self.name, error.code)
            raise
        if done:
            self.meter.observe(BATCH_RECORDS, done, self.name)
            self.meter.observe(BATCH_SECONDS, self.monotonic() - began, self.name)
        return done

    def behind(self) -> bool:
        """See `Loop.behind`."""
        return self.loop.behind()

    def close(self) -> None:
        """See `Loop.close`."""
        self.loop.close()


def run(
    loops: Sequence[Loop],
    *,
    until_idle: bool,
    stopped: Callable[[], bool] = lambda: False,
    wait: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
    progress: Callable[[int], None] = lambda _: None,
    alive: Callable[[], None] = lambda: None,
) -> int:
    """Step the loops in turn, until nothing is left to do or `stopped`; how much was handled.

    What is only transient is tried again, waiting longer each time, up to PATIENCE times in a row; a loop
    whose role another process has taken over does the same, and stands by. The row ends when a step has
    handled something, or when QUIET seconds have passed without a failure. Every other error ends the run.
    The loops are closed at the end. `progress` is told after each round how much was handled so far, `alive`
    before each turn of a loop that the run has not come to a stand.
    """
    handled = 0
    failures: Counter[tuple[int, str]] = Counter()
    failed: dict[tuple[int, str], float] = {}

    def tried(at: int, ask: Callable[[], int]) -> int:
        """What the loop answers; 1 if it failed for the moment, for then something may be left to do."""
        place = at, ask.__name__
        alive()
        try:
            answer = ask()
        except RETRIED as error:
            failures[place] += 1
            failed[place] = monotonic()
            log.warning(
                "trying again",
                code=error.code,
                reason=error.message,
                got=error.got,
                failures=failures[place],
            )
            if failures[place] > PATIENCE:
                raise
            if isinstance(error, FencedError) and failures[place] > 3:
                loops[at].close()  # what it holds is of no use: its next step asks for the role anew
            wait(min(0.01 * 2 ** failures[place], 2.0))
            return 1
        if place in failed and (answer or ask.__name__ != "step" or monotonic() - failed[place] >= QUIET):
            del failures[place], failed[place]
        return answer

    try:
        while not stopped():
            done = sum(tried(at, loop.step) for at, loop in enumerate(loops))
            handled += done
            progress(handled)
            if not done:
                # Asked twice: what one loop finished after its turn can be work for those before it.
                twice = (*enumerate(loops), *enumerate(loops))
                if until_idle and not any(tried(at, loop.behind) for at, loop in twice):
                    break
                wait(0.02)
    finally:
        for loop in loops:
            loop.close()
    return handled
