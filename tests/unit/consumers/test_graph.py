"""How much do the workflows say to each input when something happens to what rests on it?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from typing import Any, Final

import pytest
import structlog

from consumers import processes
from consumers.signals import Said, parts
from tests.support.histories import Author, by_hand
from tests.support.interleaving import Loops

INPUTS: Final = 12
ACTIONS: Final = 6
ANNA: Final[dict[str, Any]] = {"ref": "P1", "may_contact": True}


def priority_of_many() -> Author:
    """A priority that rests on many concerns, in another partition than theirs."""
    author = by_hand()
    refs = [f"N{number}" for number in range(INPUTS)]
    for ref in refs:
        assert author.tell("concern.raised", ref, at="ward-0", kind="concern", contributor=ANNA)
    causes = [f"derived_from concern {ref}" for ref in refs]
    assert author.tell("priority.set", "P", *causes, at="ward-1", issue="Noise")
    author.commit()
    return author


def said(author: Author, facts: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(signals, duty events) of the last `facts` facts that said anything, each read alone."""
    heard = [0]

    def counted(*given: Any) -> Iterator[list[Said]]:
        for part in parts(*given):
            heard[-1] += len(part)
            yield part

    monkeypatch.setattr(processes, "parts", counted)
    duties = [0]
    with structlog.testing.capture_logs(), closing(Loops(author.history())) as loops:
        loops.tell_all()
        loops.processes.batch = 1
        while loops.processes.step():
            duties.append(len(loops.duties()))
            heard.append(0)
    steps = zip(heard, duties, duties[1:], strict=False)
    return [(signals, after - before) for signals, before, after in steps if signals][-facts:]


def acted(author: Author, *causes: str) -> None:
    for _ in range(ACTIONS):
        assert author.tell("priority.action_recorded", "P", *causes, action="Patrols")
        author.commit()


def test_however_often_a_priority_is_acted_on_each_action_says_one_thing_to_each_input(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with structlog.testing.capture_logs():
        author = priority_of_many()
        acted(author)
    assert said(author, ACTIONS, monkeypatch) == [(INPUTS, INPUTS)] * ACTIONS


def test_an_action_that_names_again_what_the_priority_rests_on_says_no_more_than_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with structlog.testing.capture_logs():
        author = priority_of_many()
        acted(author, "derived_from concern N0")
    assert said(author, ACTIONS, monkeypatch) == [(INPUTS, INPUTS)] * ACTIONS


def test_whoever_is_told_each_time_is_owed_once_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with structlog.testing.capture_logs():
        author = priority_of_many()
        for number in range(ACTIONS):
            author.clock.advance(timedelta(hours=1))
            assert author.tell("priority.action_recorded", "P", action="Patrols")
            author.commit()
            author.clock.advance(timedelta(hours=1))
            assert author.tell(
                "feedback.sent", f"F{number}", "reports_on priority P", audience="contributor",
                channel="email", contributor=ANNA, at="ward-1",
            )  # fmt: skip
            author.commit()
    assert said(author, 2 * ACTIONS, monkeypatch) == [
        (INPUTS, INPUTS),
        # The first telling also discharges what was owed since the priority was set.
        (INPUTS, 2 * INPUTS),
        *[(INPUTS, INPUTS)] * (2 * ACTIONS - 2),
    ]


def test_an_input_that_is_joined_late_hears_everything_that_came_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with structlog.testing.capture_logs():
        author = priority_of_many()
        acted(author)
        assert author.tell("concern.raised", "LATE", at="ward-0", kind="concern", contributor=ANNA)
        author.commit()
        assert author.tell("priority.action_recorded", "P", "derived_from concern LATE", action="Patrols")
        author.commit()
    (last,) = said(author, 1, monkeypatch)
    assert last == (INPUTS + 1 + ACTIONS + 1, INPUTS + 1 + ACTIONS + 1)


def settled(author: Author, state: str) -> list[tuple[str, str]]:
    """(rule, reference) of the duties in that state, however the history is cut into batches."""
    found = []
    for batch in (1, 2, 1000):
        with structlog.testing.capture_logs(), closing(Loops(author.history())) as loops:
            loops.processes.batch = batch
            loops.settle()
            found.append(loops.worklist(state))
    assert found[1:] == found[:-1]
    return found[0]


def test_a_concern_that_was_acknowledged_by_an_earlier_clock_is_acknowledged() -> None:
    with structlog.testing.capture_logs():
        author = by_hand()
        now = author.clock.now()
        assert author.tell("concern.raised", "N", at="ward-0", kind="concern")
        author.commit()
        assert author.tell("concern.acknowledged", "N", time=now - timedelta(minutes=1))
    assert ("acknowledge_concern", "N") in settled(author, "discharged")


def test_what_happened_to_a_thing_in_between_counts_for_what_comes_after_it() -> None:
    with structlog.testing.capture_logs():
        author = by_hand()
        now = author.clock.now()
        author.clock.advance(timedelta(hours=3))
        assert author.tell("change.planned", "A", at="ward-0", kind="patrol", time=now)
        author.commit()
        assert author.tell("change.implemented", "A", kind="patrol", time=now + timedelta(hours=2))
        author.commit()
        assert author.tell("change.measured", "A", measure="calls", after=1, time=now + timedelta(hours=1))
    assert settled(author, "discharged") == [("measure_change", "A")]


def test_a_decision_of_before_the_concern_was_known_does_not_decide_it() -> None:
    with structlog.testing.capture_logs():
        author = by_hand()
        earlier = author.clock.now() - timedelta(minutes=1)
        assert author.tell("concern.raised", "N", at="ward-0", kind="concern")
        author.commit()
        assert author.tell(
            "decision.made", "D", "derived_from concern N", outcome="changed_delivery", at="ward-0",
            time=earlier,
        )  # fmt: skip
    assert ("decide_concern", "N") in settled(author, "due")
