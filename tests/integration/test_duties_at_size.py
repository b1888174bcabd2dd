"""Do duties come in time and in full, however much rests on however much? On a real PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import structlog

from infra.logging import configure
from tests.support.shapes import HEADING, SHAPES, Figures, measured, told

SIZES: Final = {
    "ladder": (32, 64),
    "group": (10_000, 20_000),
    "ended": (2_500, 5_000),
    "supports": (50_000, 100_000),
    "chain": (2_500, 5_000),
    "table": (100, 200),
    "wide": (1_000, 2_000),
}
"""Each is measured in two sizes, the second twice the first."""
SECONDS: Final = 5.0
"""As long as a transaction of anybody may be open, and as anybody may wait for a duty."""
GROWTH: Final = 2.5
"""As many times the work as twice the size may be."""
RUNS: Final = 3
"""As many as there are before it counts as more."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    configure("console", "warning")  # a line for each message would take longer than the message
    yield
    structlog.reset_defaults()


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_twice_as_much_is_about_twice_the_work_and_meanwhile_nobody_waits(
    name: str, postgresql_server: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # given a shape in two sizes
    shapes = {n: SHAPES[name](n) for n in SIZES[name]}

    # when what the rules ask for is worked out, while another force raises a concern every second
    found: dict[int, Figures] = {}
    for n, shape in shapes.items():
        found[n] = measured(shape, postgresql_server, tmp_path / str(n))
        with capsys.disabled():
            sys.stdout.write(f"\n{HEADING}\n{told(name, n, found[n])}")

    # then every duty is there, once; no transaction was long; and the other force did not wait
    assert {n: figures.duties for n, figures in found.items()} == {
        n: shape.duties for n, shape in shapes.items()
    }
    assert {n: f.longest for n, f in found.items() if f.longest[0] >= SECONDS} == {}
    assert {n: max(f.waited) for n, f in found.items() if max(f.waited) >= SECONDS} == {}
    # and it is work in proportion, by the time of the processor; what disturbs a run only adds to it,
    # so that of several runs the least counts
    small, large = SIZES[name]
    cpu = {n: figures.cpu for n, figures in found.items()}
    for more in range(1, RUNS):
        if cpu[large] > GROWTH * cpu[small]:
            for n in cpu:
                again = measured(SHAPES[name](n), postgresql_server, tmp_path / f"{n}.{more}")
                cpu[n] = min(cpu[n], again.cpu)
    assert cpu[large] <= GROWTH * cpu[small]
