"""When does a run of the loops end, and what does it do with a loop that fails?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from consumers.running import PATIENCE, QUIET, run
from domain.errors import FencedError, IntegrityError, TransientError


@dataclass
class Scripted:
    """A loop that does in each step what it is told, and nothing more at the end."""

    steps: list[int | Exception] = field(default_factory=list)
    behind_for: int = 0
    """How often it says that something is left which somebody else is to do."""
    closed: int = 0
    asking_fails: int = 0
    """How often it cannot say whether something is left."""

    def step(self, timeout: float = 0.0) -> int:
        next_ = self.steps.pop(0) if self.steps else 0
        if isinstance(next_, Exception):
            raise next_
        return next_

    def behind(self) -> bool:
        if self.asking_fails:
            self.asking_fails -= 1
            raise TransientError("away")
        self.behind_for -= 1
        return self.behind_for >= 0

    def close(self) -> None:
        self.closed += 1


def run_until_idle(*loops: Scripted) -> tuple[int, list[float]]:
    waits: list[float] = []
    return run(loops, until_idle=True, wait=waits.append), waits


def failing(error: Exception, times: int) -> Iterable[int | Exception]:
    return [error] * times


def test_it_ends_when_no_loop_has_work_and_closes_them_all() -> None:
    one, other = Scripted([3, 0, 2]), Scripted([0, 1])
    assert run_until_idle(one, other) == (6, [])
    assert (one.closed, other.closed) == (1, 1)


def test_it_does_not_end_while_another_process_has_work_in_hand() -> None:
    loop = Scripted(behind_for=3)
    handled, waits = run_until_idle(loop)
    assert (handled, len(waits)) == (0, 3)


def test_what_fails_for_the_moment_is_tried_again_later_each_time() -> None:
    loop = Scripted([*failing(TransientError("busy"), 3), 5])
    handled, waits = run_until_idle(loop)
    assert handled >= 5
    assert waits == sorted(waits)
    assert len(waits) == 3


def test_a_loop_that_fails_for_ever_ends_the_run_however_well_the_others_do() -> None:
    bad, good = (
        Scripted([*failing(TransientError("busy"), 10 * PATIENCE)]),
        Scripted([*([1] * 10 * PATIENCE)]),
    )
    with pytest.raises(TransientError):
        run_until_idle(bad, good)
    assert (bad.closed, good.closed) == (1, 1)


def test_a_batch_that_always_fails_ends_the_run_though_the_steps_between_find_nothing() -> None:
    loop = Scripted([TransientError("busy"), 0, 0] * (PATIENCE + 1))
    with pytest.raises(TransientError):
        run([loop], until_idle=False, wait=lambda _: None, monotonic=lambda: 0.0)
    assert loop.steps == [0, 0]
    assert loop.closed == 1


def test_a_batch_that_came_through_ends_the_row_of_failures() -> None:
    loop = Scripted([*failing(TransientError("busy"), PATIENCE), 1] * 3)
    assert run_until_idle(loop)[0] >= 3


def test_a_loop_that_has_nothing_to_do_and_fails_now_and_then_goes_on() -> None:
    now = [0.0]

    def quiet(_: float) -> None:
        now[0] += QUIET / 2

    # given more failures than a row may have, and after each of them a minute in which nothing comes
    loop = Scripted([FencedError("another has it"), 0, 0] * (3 * PATIENCE))
    run([loop], until_idle=False, stopped=lambda: not loop.steps, wait=quiet, monotonic=lambda: now[0])
    assert loop.closed == 1  # at the end: never was it fenced so often that it asked for its role anew


def test_whether_something_is_left_is_asked_again_when_that_fails_for_the_moment() -> None:
    loop = Scripted([2], asking_fails=3)
    handled, waits = run_until_idle(loop)
    assert handled == 2
    assert len(waits) == 2 * 3  # for the answer each time, and before the next step
    assert loop.closed == 1


def test_a_loop_that_can_never_be_asked_ends_the_run() -> None:
    with pytest.raises(TransientError):
        run_until_idle(Scripted(asking_fails=10 * PATIENCE))


def test_before_each_turn_of_a_loop_it_says_that_it_has_not_come_to_a_stand() -> None:
    turns: list[str] = []

    class Turning(Scripted):
        def step(self, timeout: float = 0.0) -> int:
            turns.append("step")
            return super().step(timeout)

    loops = [Turning([2, *failing(TransientError("busy"), 2)]), Turning([1, 0, 4])]
    run(loops, until_idle=True, wait=lambda _: None, alive=lambda: turns.append("alive"))
    at = [place for place, turn in enumerate(turns) if turn == "step"]
    assert len(at) > 6
    assert {turns[place - 1] for place in at} == {"alive"}


def test_a_loop_that_keeps_being_fenced_asks_for_its_role_anew() -> None:
    loop = Scripted([*failing(FencedError("another has it"), 5), 1])
    run_until_idle(loop)
    assert loop.closed == 3  # after the fourth and the fifth time, and at the end


def test_any_other_error_ends_the_run_at_once() -> None:
    loop = Scripted([IntegrityError("something is missing"), 1])
    with pytest.raises(IntegrityError):
        run_until_idle(loop)
    assert loop.steps == [1]
    assert loop.closed == 1
