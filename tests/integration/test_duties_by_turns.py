"""What takes long goes by turns: who waits for whom, and what is left if the runner ends in between?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from consumers import cases, processes, signals
from consumers.graph import Graph
from consumers.processes import Processes
from consumers.running import Loop, run
from domain.errors import FencedError
from domain.event import Envelope
from infra.installation import Installation
from infra.settings import read_settings
from tests.integration.test_interleavings import read_in_commit_order
from tests.support import shapes
from tests.support.histories import by_hand, write
from tests.support.interleaving import Loops
from tests.support.memory import MemoryConsumer

INPUTS, DECISIONS = 40, 30


@pytest.fixture(autouse=True)
def _by_turns(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is followed at once, and a part is small."""
    for module, name, value in (
        (processes, "TURN", 0.0), (processes, "PAGE", 20), (cases, "PAGE", 20), (signals, "PART", 20),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, value)
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[Installation]:
    """A force with 1,200 pairs of an input and a decision, and another one that raised a concern after it."""
    with closing(Installation(read_settings(dir=tmp_path))) as i:
        other = shapes.other_force()
        shapes.publish(i.log, shapes.table(INPUTS, DECISIONS).messages)
        shapes.publish(i.log, [next(other) for _ in range(3)])
        run(i.loops(("intake", "sequencer")), until_idle=True)
        yield i


def duties(i: Installation) -> list[Envelope]:
    return [each.envelope for each in i.store.after(0, 100_000) if each.envelope.kind == "duty"]


def loop(i: Installation) -> Loop:
    (made,) = i.loops(("processes",))
    return made


def test_a_force_has_its_duties_long_before_another_one_has_all_of_its_thousands(
    recorded: Installation,
) -> None:
    with closing(loop(recorded)) as runner:
        steps = 0
        while not {d.force for d in duties(recorded)} >= {shapes.OTHER_FORCE}:
            runner.step()
            steps += 1
        assert steps < 6
        assert len(duties(recorded)) < INPUTS * DECISIONS / 2
        assert runner.behind()
        run([runner], until_idle=True)
    assert shapes.found(recorded, 0) == shapes.table(INPUTS, DECISIONS).duties


def test_what_a_runner_leaves_is_followed_by_the_next_and_nothing_twice(recorded: Installation) -> None:
    for _ in range(4):
        with closing(loop(recorded)) as runner:
            for _ in range(5):
                runner.step()
    assert loop(recorded).behind()
    assert 0 < len(duties(recorded)) < INPUTS * DECISIONS
    with recorded.views.reading() as db:
        assert processes.unfollowed(db) > 0
    with closing(loop(recorded)) as runner:
        run([runner], until_idle=True)
    assert shapes.found(recorded, 0) == shapes.table(INPUTS, DECISIONS).duties
    with recorded.views.reading() as db:
        assert processes.unfollowed(db) == 0
    assert Graph(recorded.views, recorded.store).left() == []


def test_a_runner_that_lost_its_role_unawares_fails_and_changes_nothing() -> None:
    history = write(11, facts=70)
    expected = read_in_commit_order(history).duties
    with closing(Loops(history)) as loops:
        loops.tell_all()
        before: Processes = loops.processes
        before.step()
        assert before.behind()
        loops.processes = loops.new_processes()
        loops.processes.step()
        with pytest.raises(FencedError):
            before.step()
        loops.settle()
        assert loops.duties() == expected


def test_a_runner_that_gets_its_role_back_knows_what_another_has_taken_in_meanwhile() -> None:
    author = by_hand()
    assert author.tell("concern.raised", "C1", at="ward-0", kind="concern")
    assert author.tell("decision.made", "D", "derived_from concern C1", outcome="changed_delivery")
    author.commit()
    assert author.tell("concern.raised", "C2", at="ward-0", kind="concern")
    assert author.tell("concern.grouped", "C2", "grouped_with concern C1")
    author.commit()
    assert author.tell("decision.revised", "D", outcome="changed_delivery")
    author.commit()
    with closing(Loops(author.history())) as loops:
        # given a runner that has things at hand
        runner = loops.processes
        loops.commit(len(author.commits) - 2)
        while loops.sequence() + runner.step():
            pass
        role = runner._consumer
        assert isinstance(role, MemoryConsumer)

        # when another one has the role for a while
        role.hold([])
        loops.commit(1)
        loops.sequence()
        with closing(loops.new_processes()) as other:
            while other.step():
                pass
        assert runner.step() == 0
        role.hold(range(4))

        # then what was joined meanwhile hears what comes next
        loops.settle()
        assert [ref for rule, ref in loops.worklist() if rule == "tell_contributor"].count("C2") == 2
