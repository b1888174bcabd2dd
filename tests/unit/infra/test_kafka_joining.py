"""How long does an answer of the group's count that nobody has heard?"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from infra.kafka_joining import Joining

SESSION_MS = 10_000


@dataclass
class Coordinator:
    """Asks the group, and counts how often; stands in for the library's."""

    asked: int = 0
    away: bool = False
    rejoin_needed: bool = False
    rebalancing: bool = False

    async def _do_join_and_sync_async(self) -> bytes:
        self.asked += 1
        self.rebalancing = True
        if self.away:
            raise TimeoutError
        return b"%d" % self.asked

    def request_rejoin(self) -> None:
        self.rejoin_needed = True

    def rebalance_in_progress(self) -> bool:
        return self.rebalancing


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which only moves when it is told to."""
    at = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: at[0])
    return at


@pytest.fixture
def group(now: list[float]) -> Coordinator:
    """A coordinator that has answered once, and nobody has heard it."""
    group = Coordinator()
    Joining(group, SESSION_MS)
    assert ask(group) == b"1"
    return group


def ask(group: Coordinator) -> bytes:
    return asyncio.run(group._do_join_and_sync_async())


def test_an_answer_that_nobody_has_heard_is_given_again(group: Coordinator, now: list[float]) -> None:
    assert group.rejoin_needed  # else the library would not look for it
    now[0] = 9.9
    assert ask(group) == b"1"


def test_once_it_is_heard_the_group_is_asked_anew(group: Coordinator) -> None:
    group.rebalancing = False
    assert ask(group) == b"2"


def test_after_a_session_in_silence_the_group_is_asked_anew(group: Coordinator, now: list[float]) -> None:
    now[0] = 10.0
    assert ask(group) == b"2"


def test_when_asking_failed_no_answer_of_before_is_given(group: Coordinator) -> None:
    group.rebalancing, group.away = False, True
    with pytest.raises(TimeoutError):
        ask(group)
    group.away = False
    assert ask(group) == b"3"
