"""How do the loops run beside each other in one process, and what does each error ask for?"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from domain.errors import RETRIED, FencedError

PATIENCE: Final = 30
"""How often in a row a loop may fail for the moment before it gives up."""

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


def run(
    loops: Sequence[Loop],
    *,
    until_idle: bool,
    stopped: Callable[[], bool] = lambda: False,
    wait: Callable[[float], None] = time.sleep,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Step the loops in turn, until nothing is left to do or `stopped`; how much was handled.

    What is only transient is tried again, waiting longer each time, up to a limit; a loop whose
    role another process has taken over does the same, and stands by. Every other error ends the
    run. The loops are closed at the end.
    """
    handled = 0
    failures = [0] * len(loops)
    try:
        while not stopped():
            done = 0
            for at, loop in enumerate(loops):
                try:
                    done += loop.step()
                    failures[at] = 0
                except RETRIED as error:
                    failures[at] += 1
                    log.warning("trying again", code=error.code, reason=error.message, failures=failures[at])
                    if failures[at] > PATIENCE:
                        raise
                    if isinstance(error, FencedError) and failures[at] > 3:
                        loop.close()  # what it holds is of no use: its next step asks for the role anew
                    done += 1
                    wait(min(0.01 * 2 ** failures[at], 2.0))
            handled += done
            progress(handled)
            if not done:
                # Asked twice: what one loop finished after its turn can be work for those before it.
                if until_idle and not any(loop.behind() for loop in (*loops, *loops)):
                    break
                wait(0.02)
    finally:
        for loop in loops:
            loop.close()
    return handled
