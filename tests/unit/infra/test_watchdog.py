"""When is the watchdog wound up, and when does it watch at all?"""

from __future__ import annotations

import faulthandler

import pytest

from infra.installation import _probe
from infra.watchdog import OFTEN, STDERR, Watchdog
from services.faults import POINTS


class Dog:
    """The library's: what it was told, at which time of a clock that the test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.wound: list[float] = []
        self._watches = False
        monkeypatch.setattr(faulthandler, "dump_traceback_later", self._wind)
        monkeypatch.setattr(faulthandler, "cancel_dump_traceback_later", self._let_go)

    def watches(self) -> bool:
        return self._watches

    def _wind(self, timeout: float, *, exit: bool, file: int) -> None:
        assert (exit, file) == (True, STDERR)
        self._watches = True
        self.wound.append(self.now + timeout)

    def _let_go(self) -> None:
        self._watches = False


@pytest.fixture
def dog(monkeypatch: pytest.MonkeyPatch) -> Dog:
    return Dog(monkeypatch)


def test_it_watches_while_the_loops_run_and_no_longer(dog: Dog) -> None:
    watchdog = Watchdog(300, monotonic=lambda: dog.now)
    watchdog.alive()
    assert dog.wound == []

    with watchdog.watching():
        assert dog.watches()
        assert dog.wound == [400.0]
    assert not dog.watches()
    dog.now = 200.0
    watchdog.alive()
    assert not dog.watches()


def test_an_error_ends_it_as_well(dog: Dog) -> None:
    with pytest.raises(ValueError, match="broken"), Watchdog(300, monotonic=lambda: dog.now).watching():
        raise ValueError("broken")
    assert not dog.watches()


def test_it_is_wound_up_about_once_a_second_however_often_work_goes_on(dog: Dog) -> None:
    watchdog = Watchdog(300, monotonic=lambda: dog.now)
    with watchdog.watching():
        for _ in range(100):
            dog.now += OFTEN / 20
            watchdog.alive()
    assert 4 <= len(dog.wound) <= 6
    assert dog.wound[-1] >= dog.now + 300 - OFTEN


def test_one_that_ends_soon_is_wound_up_more_often(dog: Dog) -> None:
    watchdog = Watchdog(1, monotonic=lambda: dog.now)
    with watchdog.watching():
        for _ in range(20):
            dog.now += 0.25
            watchdog.alive()
            assert dog.wound[-1] > dog.now + 0.5


def test_every_point_that_a_loop_comes_by_says_that_work_goes_on() -> None:
    told: list[None] = []
    for environment in ({}, {"HEARD_FAULT": "intake.read:1000000"}):
        probe = _probe(lambda: told.append(None), environment)
        for point in POINTS:
            probe(point)
    assert len(told) == 2 * len(POINTS)
