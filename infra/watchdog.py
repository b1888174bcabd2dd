"""What ends a process that hangs: after a while by itself, and soon once it is told to end?

To end anywhere is safe: every commit is one transaction, and tests kill the program wherever it may be.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from types import FrameType
from typing import Any, Final, NoReturn

GRACE: Final = 4.0
"""Seconds from a first signal to the end of a process that has not come to it by itself."""
OFTEN: Final = 1.0
"""Seconds, at least, from one winding up of the watchdog to the next: each starts a thread."""
ENDING: Final = (signal.SIGINT, signal.SIGTERM)
STDERR: Final = 2
"""By its number: the stream may be another one in a test, or be held by what hangs."""


class Watchdog:
    """Ends the process, exit 1, when nobody says for `seconds` that work goes on.

    The stacks of all threads go to stderr first: where it hangs, and no value. The library's thread of
    C sees to it, which wants no lock of Python's; only a stderr that nobody reads can hold it up.
    """

    def __init__(self, seconds: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._often = min(OFTEN, seconds / 4)
        self._next: float | None = None
        """From when on it may be wound up again; None while it does not watch."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch for as long as this lasts."""
        self._next = self._monotonic()
        self.alive()
        try:
            yield
        finally:
            self._next = None
            faulthandler.cancel_dump_traceback_later()

    def alive(self) -> None:
        """Work goes on. To be called as often as one likes; nothing happens while it does not watch."""
        if self._next is not None and (now := self._monotonic()) >= self._next:
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STDERR)
            self._next = now + self._often


class Ending:
    """Whether this process was told to end, by SIGINT or SIGTERM, and its end if it does not come to it.

    A second signal ends it at once, the first one after GRACE, both with exit 128 + the signal. A thread
    does that, which the system wakes: what the main thread is in the middle of, a loop, a wait or a long
    statement of a database, need not come back. C code that lets no other thread on keeps that one from
    its work as well; the watchdog ends such a process.
    """

    def __init__(self) -> None:
        self.asked = False
        """Whether it was told since `heeding` began."""
        self._counting = False
        self._undo: Callable[[], None] | None = None

    @contextmanager
    def heeding(self) -> Iterator[None]:
        """Take signals for as long as this lasts; after one, until `over`. In the main thread only."""
        self.asked = False
        if self._undo is None:
            self._undo = self._begin()
        try:
            yield
        finally:
            if not self._counting:
                self.over()

    def over(self) -> None:
        """It has come to its end by itself; safe to repeat."""
        if self._undo is not None:
            self._undo()
            self._undo, self._counting = None, False

    def _begin(self) -> Callable[[], None]:
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        handlers: dict[signal.Signals, Any] = {number: signal.signal(number, self._told) for number in ENDING}
        woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        thread = Thread(target=_see_to_it, args=(reading,), name="ending", daemon=True)
        thread.start()

        def undo() -> None:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(woken)
            os.close(writing)
            thread.join()

        return undo

    def _told(self, _: int, __: FrameType | None) -> None:
        self.asked = self._counting = True


def _see_to_it(pipe: int) -> None:
    """End the process at the second signal of which `pipe` tells, or GRACE after the first.

    Returns once the other end of the pipe is closed.
    """
    heard: list[int] = []
    poll, until = select.poll(), 0.0
    poll.register(pipe, select.POLLIN)
    while len(heard) < 2:
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000 if heard else None):
            _end(heard[-1], f"{GRACE:.0f} seconds after it was told to")
        numbers = os.read(pipe, 64)
        if not numbers:
            os.close(pipe)
            return
        if not heard:
            until = time.monotonic() + GRACE
        heard += [number for number in numbers if number in ENDING]
    _end(heard[-1], "at once, being told twice")


def _end(number: int, when: str) -> NoReturn:
    line = (
        f"heard: ended {when}: it was in the middle of something;"
        " nothing is lost, what was in hand is taken again\n"
    )
    poll = select.poll()
    poll.register(STDERR, select.POLLOUT)
    with suppress(OSError):
        if poll.poll(0):  # else nobody reads it, and to wait for that may be what hangs
            os.write(STDERR, line.encode())
    os._exit(128 + number)
