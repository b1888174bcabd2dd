"""How are two ways of doing the same compared fairly? In alternating rounds, by their medians."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.telling import Measure


def alternating(runs: int, *takes: Callable[[], float]) -> tuple[list[float], ...]:
    """The samples of each, one after the other in every round: what disturbs one disturbs all."""
    samples: tuple[list[float], ...] = tuple([] for _ in takes)
    for _ in range(runs):
        for take, kept in zip(takes, samples, strict=True):
            kept.append(take())
    return samples


def compared(name: str, found: Sequence[list[float]], what: str) -> Measure:
    """Events a second of ours beside those of `what`."""
    ours, theirs = found
    against = f"{what}: {median(theirs):,.0f} events/s"
    return Measure(name, median(ours), "events/s", against, median(ours) / median(theirs), ours, theirs)
