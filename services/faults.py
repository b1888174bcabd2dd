"""At which named points may a process die or hang? Tests have it do so; each also says that work goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

Probe: TypeAlias = Callable[[str], None]
"""Told that a named point is reached; obliged to return, unless the process is to end or to hang there."""

POINTS: Final = (
    "intake.read",
    "intake.release",
    "intake.set_aside",
    "intake.before_commit",
    "intake.after_commit",
    "intake.redacted",
    "sequencer.before_publish",
    "sequencer.after_publish",
    "projector.before_commit",
    "projector.after_commit",
    "processes.taken",
    "processes.before_duties",
    "processes.before_commit",
    "processes.after_commit",
    "restore.before_commit",
    "restore.after_commit",
    "erasure.requested",
    "erasure.values_destroyed",
    "erasure.key_destroyed",
    "erasure.recorded",
)


def nothing(point: str) -> None:
    """The probe where nobody asks."""
