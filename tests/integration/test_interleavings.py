"""Does every interleaving of partitions give the same read models and the same duties?"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from itertools import product
from typing import Any, Final, NamedTuple

import pytest
import structlog

from consumers import cases, graph, net, processes, signals
from consumers.projector import Projector
from domain.catalogue import EVENTS as EVENT_TYPES
from domain.errors import FencedError
from services.faults import Probe
from services.ports import Record
from services.topics import EVENTS
from tests.support.histories import Author, History, by_hand, write
from tests.support.interleaving import Loops, Table, every_row, restore, snapshot
from tests.support.memory import Deal, MemoryEventStore, Place, in_commit_order

LATTICE: Final = 3
"""Partitions of the exhaustive proof."""
BATCHES: Final = 4
"""Batches of each of them."""
FACTS: Final = 70
"""Facts of a random history."""
Cut = tuple[int, ...]
"""How many batches of each partition have been handled."""


class KilledError(Exception):
    """The process ends here."""


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    with structlog.testing.capture_logs():
        yield


# -- every interleaving of three partitions by four batches --------------------------------------


class State(NamedTuple):
    """What the loops have made of a cut: as a file, and to the last column."""

    views: sqlite3.Connection
    store: MemoryEventStore
    rows: str
    duties: list[str]


def test_all_34650_interleavings_of_3_partitions_by_4_batches_give_one_state() -> None:
    """Induction over the lattice of cuts.

    An interleaving is a path from (0, 0, 0) to (4, 4, 4) that handles one batch at a time; there
    are 12! / (4!)³ = 34,650. If each edge of the lattice, taken from the state of the cut where it
    begins, leads to the same state of the cut where it ends as every other edge that ends there,
    then by induction all paths to a cut lead to one state: 300 edges stand for all paths. States
    are compared to the last column of every table. Of the duty streams two things are left open,
    which of discharged and lapsed was written first, and which of several facts that meet a duty
    discharged it: no later step looks at either.
    """
    history = write(seed=7, facts=60, partitions=LATTICE)
    with closing(Loops(history, partitions=LATTICE)) as loops:
        loops.tell_all()
        batches = batches_of(loops)
        states: dict[Cut, State] = {(0,) * LATTICE: state_of(loops)}
        edges = 0
        for cut in product(range(BATCHES + 1), repeat=LATTICE):
            for part in range(LATTICE):
                if cut[part] == 0:
                    continue
                edges += 1
                before = tuple(number - (at == part) for at, number in enumerate(cut))
                reached = step(loops, states[before], batches[part, before[part]])
                expected = states.setdefault(cut, reached)
                assert reached.rows == expected.rows, f"from {before} to {cut}"
                assert reached.duties == expected.duties, f"from {before} to {cut}"
        assert (len(states), edges) == (125, 300)
        last = states[(BATCHES,) * LATTICE]
        assert last.duties == read_in_commit_order(history, LATTICE).duties
        assert len({state.rows for state in states.values()}) == len(states), "a batch that says nothing"
        for state in states.values():
            state.views.close()


def batches_of(loops: Loops) -> dict[tuple[int, int], list[Record]]:
    """{(partition, number): records}: what each partition holds, in batches of about one size."""
    found: dict[tuple[int, int], list[Record]] = {}
    for part in range(LATTICE):
        records = loops.log.records[EVENTS.name, part]
        assert len(records) >= BATCHES
        ends = [len(records) * (number + 1) // BATCHES for number in range(BATCHES)]
        for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
            found[part, number] = records[start:end]
    return found


def state_of(loops: Loops) -> State:
    """The state in which the loops are."""
    engine = loops.views.engine
    return State(snapshot(engine), loops.store.fork(), every_row(engine), loops.duties())


def step(loops: Loops, before: State, records: Sequence[Record]) -> State:
    """The state that a batch leads to: both loops begin anew, and read these records and no others."""
    restore(loops.views.engine, before.views)
    loops.store = before.store.fork()
    loops.log.deal = only(records)
    assert Projector(loops.log, loops.views).step() == len(records)
    assert loops.new_processes().step() == len(records)
    return state_of(loops)


def only(records: Sequence[Record]) -> Deal:
    """A deal that brings these records and no others."""

    def deal(waiting: Mapping[Place, Sequence[Record]], limit: int) -> list[Record]:
        place = records[0].topic, records[0].partition
        assert waiting[place][: len(records)] == records
        return list(records)

    return deal


# -- random histories, random interleavings ------------------------------------------------------


class Outcome(NamedTuple):
    """What must be the same however a history was read."""

    rows: Table
    duties: list[str]
    answers: dict[str, list[dict[str, object]]]


def outcome(loops: Loops) -> Outcome:
    """What came of it."""
    return Outcome(loops.rows(), loops.duties(), loops.answers())


def read_in_commit_order(history: History, partitions: int = 4) -> Outcome:
    """What comes of a history that is read as it was written, all at once."""
    with closing(Loops(history, partitions=partitions)) as loops:
        loops.settle()
        return outcome(loops)


def equal(found: Outcome, expected: Outcome) -> None:
    """Fail with the first rows that differ."""
    for name, rows in expected.rows.items():
        only_found, missing = set(found.rows[name]) - set(rows), set(rows) - set(found.rows[name])
        assert (only_found, missing) == (set(), set()), name
    assert found == expected


def shuffled(rng: random.Random) -> Deal:
    """A deal that takes a random part of what waits at each place, mixed at random."""

    def deal(waiting: Mapping[Place, Sequence[Record]], limit: int) -> list[Record]:
        taken = {place: list(records[: rng.choice((0, 1, 4, 12))]) for place, records in waiting.items()}
        dealt: list[Record] = []
        while left := [place for place, records in taken.items() if records]:
            dealt.append(taken[rng.choice(left)].pop(0))
        return dealt[:limit]

    return deal


def dying(rng: random.Random) -> Probe:
    """A probe that kills at one of the next points that are reached."""
    left = rng.randint(1, 3)

    def reached(point: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise KilledError(point)

    return reached


class Wanderer:
    """Commits, publishes, reads, hands over and dies in any order, until a history was told."""

    def __init__(self, loops: Loops, rng: random.Random) -> None:
        self.loops = loops
        self.rng = rng
        self.done: Counter[str] = Counter()
        loops.log.deal = shuffled(rng)

    def wander(self, after: int = 12) -> None:
        """Until the whole history was committed, and `after` steps more."""
        acts: Mapping[str, Callable[[], object]] = {
            "commit": lambda: self.loops.commit(self.rng.randint(1, 8)),
            "publish": lambda: self.loops.sequence(self.rng.randint(1, 16)),
            "project": lambda: self.tried(self.loops.projectors[self.rng.randrange(2)].step),
            "process": self.loops_process,
            "hand over": self.hand_over,
            "kill": self.kill,
        }
        while not self.loops.told or (after := after - 1):
            (act,) = self.rng.choices(list(acts), [4, 3, 4, 3, 1, 1])
            self.done[act] += 1
            acts[act]()

    def loops_process(self) -> None:
        """One step of the workflows."""
        self.loops.processes.step()

    def tried(self, act: Callable[[], int]) -> None:
        """A step of a projector; that the other one was faster is not an error."""
        try:
            act()
        except FencedError:
            self.done["fenced"] += 1

    def hand_over(self) -> None:
        """Other partitions for each projector; some of them for both, so that the fence has work."""
        for projector in self.loops.projectors:
            if (member := self.loops.member_of(projector)) is not None:
                member.hold(self.rng.sample(range(4), self.rng.randint(1, 4)))

    def kill(self) -> None:
        """A loop dies on its way; what comes after it knows no more than what was committed."""
        try:
            if self.rng.random() < 0.5:
                self.loops.processes.close()
                self.loops.processes = self.loops.new_processes(dying(self.rng))
                self.loops.processes.step()
            else:
                self.tried(Projector(self.loops.log, self.loops.views, dying(self.rng)).step)
        except KilledError as killed:
            self.done[f"killed {killed}"] += 1
        finally:
            self.loops.processes = self.loops.new_processes()


def wandered(history: History, seed: int) -> tuple[Outcome, Counter[str]]:
    """What comes of a history that is read by two projectors at once, in an order of the seed's."""
    with closing(Loops(history, projectors=2)) as loops:
        wanderer = Wanderer(loops, random.Random(seed))
        wanderer.wander()
        for projector, partitions in zip(loops.projectors, ((0, 2), (1, 3)), strict=True):
            loops.hold(projector, partitions)
        loops.settle()
        if seed % 4 == 0:
            assert loops.rebuilt() == loops.live()
        return outcome(loops), wanderer.done


def prove(seeds: range, how: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
    """Each seed's history comes out the same, and between them they hold all that may happen."""
    types: Counter[str] = Counter()
    done: Counter[str] = Counter()
    links = across = 0
    for seed in seeds:
        history = write(seed, facts=FACTS)
        expected = read_in_commit_order(history)
        with how():
            found, acts = wandered(history, seed)
        equal(found, expected)
        types.update(event.type for event in history.events)
        types.update(duty_type for duty_type in EVENT_TYPES if any(duty_type in d for d in found.duties))
        done += acts
        joined = history.links()
        links, across = links + joined[0], across + joined[1]
    assert set(types) == set(EVENT_TYPES), "an event type that never happened"
    assert 0.27 <= across / links <= 0.36, "about 30 % of the links join two partitions"
    assert done["fenced"] > len(seeds) / 4
    for point in ("projector.before_commit", "processes.before_duties", "processes.before_commit"):
        assert done[f"killed {point}"] > 0


def test_forty_random_histories_come_out_the_same_in_whatever_order_they_are_read() -> None:
    prove(range(40))


@contextmanager
def by_turns() -> Iterator[None]:
    """Nothing is followed at once, and never more than a few signals, duties or inputs."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, value in (
            (processes, "TURN", 0.0), (processes, "BYTES", 5000), (signals, "PART", 3), (cases, "PAGE", 2),
            (processes, "PAGE", 2), (net, "FEWEST", 4), (net, "ROOM", 0), (graph, "AT_HAND", 30),
        ):  # fmt: skip
            patch.setattr(module, name, value)
        yield


def test_forty_more_come_out_the_same_when_they_are_followed_by_turns() -> None:
    prove(range(40, 80), by_turns)


@pytest.mark.slow
def test_a_thousand_random_histories_come_out_the_same_in_whatever_order_they_are_read() -> None:
    prove(range(1000, 2000))


# -- by hand: what once came out differently, or might ------------------------------------------

ANNA: Final = {"ref": "P1", "may_contact": True}
BEN: Final = {"ref": "P2", "may_contact": True}


def told(author: Author) -> Loops:
    """The loops once everything is read; before that it came out the same in eight interleavings."""
    history = author.history()
    expected = read_in_commit_order(history)
    for seed in range(8):
        equal(wandered(history, seed)[0], expected)
    loops = Loops(history)
    loops.settle()
    return loops


def raised(author: Author, **contributors: Mapping[str, object]) -> None:
    """Concerns in one neighbourhood, each recorded for itself."""
    for ref, contributor in contributors.items():
        assert author.tell("concern.raised", ref, at="ward-0", kind="concern", contributor=contributor)
        author.commit()


def reported(author: Author, fact: str, ref: str, *causes: str, at: str = "ward-1", **fields: Any) -> None:
    """A fact in another partition than the concerns, in a transaction of its own."""
    assert author.tell(fact, ref, *causes, at=at, **fields)
    author.commit()


def test_the_wards_of_these_tests_lie_in_different_partitions() -> None:
    places = by_hand().places
    assert places["ward-0"] != places["ward-1"] != places["-"] != places["ward-0"]


def test_a_group_that_was_joined_from_both_sides_holds_until_both_have_left_it() -> None:
    author = by_hand()
    raised(author, A=ANNA, B=BEN)
    reported(author, "concern.grouped", "A", "grouped_with concern B")
    reported(author, "concern.grouped", "B", "grouped_with concern A")
    reported(author, "concern.ungrouped", "B")
    reported(author, "decision.made", "D1", "derived_from concern B", outcome="changed_delivery")
    reported(author, "concern.ungrouped", "A")
    reported(author, "decision.made", "D2", "derived_from concern B", outcome="changed_delivery")
    with closing(told(author)) as loops:
        told_of = [ref for rule, ref in loops.worklist() if rule == "tell_contributor"]
        assert Counter(told_of) == {"A": 1, "B": 2}


def test_whoever_joins_a_group_again_is_owed_what_became_of_it_meanwhile() -> None:
    author = by_hand()
    raised(author, A=ANNA, B=BEN)
    reported(author, "concern.grouped", "A", "grouped_with concern B")
    reported(author, "concern.ungrouped", "A")
    reported(author, "decision.made", "D1", "derived_from concern B", outcome="changed_delivery")
    reported(author, "concern.grouped", "A", "grouped_with concern B")
    with closing(told(author)) as loops:
        assert ("tell_contributor", "A") in loops.worklist()


def test_feedback_that_failed_at_the_very_instant_at_which_it_was_sent_is_owed_again() -> None:
    author = by_hand()
    raised(author, A=ANNA)
    reported(author, "decision.made", "D", "derived_from concern A", outcome="changed_delivery")
    told_anna: dict[str, Any] = {"audience": "contributor", "channel": "email", "contributor": ANNA}
    reported(author, "feedback.sent", "F", "reports_on decision D", **told_anna)
    reported(author, "feedback.failed", "F")
    with closing(told(author)) as loops:
        assert loops.worklist("discharged").count(("tell_contributor", "A")) == 1
        assert loops.worklist("due").count(("tell_contributor", "A")) == 1
    reported(author, "feedback.sent", "F2", "reports_on decision D", **told_anna)
    with closing(told(author)) as loops:
        assert loops.worklist("discharged").count(("tell_contributor", "A")) == 2


def test_feedback_that_failed_is_owed_again_to_nobody_but_whom_it_was_for() -> None:
    author = by_hand()
    raised(author, A=ANNA, B=BEN)
    reported(
        author, "decision.made", "D", "derived_from concern A", "derived_from concern B",
        outcome="changed_delivery",
    )  # fmt: skip
    for ref, person in (("FA", ANNA), ("FB", BEN)):
        told_one: dict[str, Any] = {"audience": "contributor", "channel": "email", "contributor": person}
        reported(author, "feedback.sent", ref, "reports_on decision D", **told_one)
    reported(author, "feedback.failed", "FB")
    with closing(told(author)) as loops:
        assert [ref for rule, ref in loops.worklist() if rule == "tell_contributor"] == ["B"]


def test_a_duty_counts_with_the_settings_that_stood_when_it_began() -> None:
    author = by_hand()
    raised(author, A=ANNA)
    reported(author, "force.settings_changed", "met", decide_days=5)
    raised(author, B=BEN)
    reported(author, "force.settings_changed", "met", decide_days=9)
    with closing(told(author)) as loops:
        rows = loops.answers()["worklist"]
        due = {row["ref"]: row["settings_version"] for row in rows if row["rule"] == "decide_concern"}
        assert due == {"A": 1, "B": 2}


def test_a_batch_that_is_delivered_again_after_a_crash_changes_nothing() -> None:
    for point in ("before_duties", "before_commit", "after_commit"):
        history = write(3, facts=FACTS)
        expected = read_in_commit_order(history)
        with closing(Loops(history)) as loops:
            loops.tell_all()
            for name, loop in (
                ("processes", loops.new_processes(at(f"processes.{point}"))),
                ("projector", Projector(loops.log, loops.views, at(f"projector.{point}"))),
            ):
                if (name, point) != ("projector", "before_duties"):
                    with pytest.raises(KilledError, match=point):
                        loop.step()
            assert bool(loops.duties()) == (point != "before_duties")
            loops.settle()
            equal(outcome(loops), expected)


def at(point: str) -> Probe:
    """A probe that kills there."""

    def reached(name: str) -> None:
        if name == point:
            raise KilledError(point)

    return reached


def test_a_projector_that_lost_a_partition_goes_on_with_those_that_it_has() -> None:
    with closing(Loops(write(1, facts=FACTS))) as loops:
        (projector,) = loops.projectors
        loops.commit(10)
        loops.sequence()
        assert projector.step()
        loops.hold(projector, [0])
        loops.tell_all()
        assert projector.step(), "nobody has moved this partition"


def test_of_two_projectors_that_hold_the_same_partition_one_is_fenced_and_writes_nothing() -> None:
    with closing(Loops(write(1, facts=FACTS), projectors=2)) as loops:
        one, other = loops.projectors
        loops.commit(4)
        loops.sequence()
        assert one.step()
        assert not other.step(), "it begins where the first has committed"
        loops.tell_all()
        assert one.step()
        before = loops.live()
        with pytest.raises(FencedError):
            other.step()
        assert loops.live() == before
        assert not other.step(), "it has read its position again"


def test_that_a_record_is_left_out_would_be_seen() -> None:
    history = write(1, facts=FACTS)
    expected = read_in_commit_order(history)
    with closing(Loops(history, projectors=1)) as loops:
        loops.tell_all()
        loops.log.deal = lambda waiting, limit: in_commit_order(waiting, limit)[:-20]
        loops.projectors[0].step()
        loops.processes.step()
        found = loops.rows(), loops.duties()
    assert found[0]["history"] != expected.rows["history"]
    assert found[1] != expected.duties
