"""Who starts a process again when it has ended? A restart policy, as a container engine has one."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.support.requires import ROOT

PAUSE: Final = 0.5
"""Seconds between the end of a process and its next start."""


class Kept:
    """A process that is started again whenever it ends, until it is held or stopped.

    It leads a group of its own, so that `kill` ends its children as well, as a power cut does.
    """

    def __init__(
        self, name: str, command: Sequence[str], told: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.starts = 0
        self._command, self._told = list(command), told
        self._env = None if env is None else dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()
        self._held = threading.Event()
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._keep, name=name, daemon=True)
        self._watch.start()

    @property
    def told(self) -> str:
        """The last that it wrote."""
        return self._told.read_text(errors="replace")[-4000:]

    def kill(self) -> bool:
        """End it at once (kill -9); False if there was nothing to end at the moment."""
        process = self._process
        if process is None or process.poll() is not None:
            return False
        self._signal(process, signal.SIGKILL)
        process.wait()
        return True

    def hold(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it, and do not start it again before `release`."""
        with self._starting:
            self._held.set()
        process = self._process
        if process is not None and process.poll() is None:
            self._signal(process, how)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                self._signal(process, signal.SIGKILL)
                process.wait()

    def release(self) -> None:
        """Start it again, and keep it."""
        self._held.clear()

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it for good; safe to repeat."""
        self._ended.set()
        self.hold(how)
        self._watch.join()

    def _keep(self) -> None:
        while not self._ended.is_set():
            with self._starting:
                if not self._held.is_set():
                    self._start()
            if self._process is not None:
                self._process.wait()
            time.sleep(PAUSE)

    def _start(self) -> None:
        with self._told.open("ab") as out:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, env=self._env, stdout=out, stderr=out, start_new_session=True
            )
        self.starts += 1

    @staticmethod
    def _signal(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, how)
