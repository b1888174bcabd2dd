"""Who of a group gets which partitions, whoever comes and goes?"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

from infra.kafka_assignors import Alone, Shared

TOPIC = "heard.events.v1"
EVERYTHING = [(TOPIC, [0, 1, 2])]


@dataclass
class Cluster:
    """The partitions that the topic has."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        """The same for every topic."""
        return {2, 0, 1}


@dataclass
class Joined:
    """A member as the one that assigns sees it."""

    member_id: str
    metadata: Any


def joined(name: str, *, since: int | None = None) -> Joined:
    """A member that holds everything since a generation, or nothing; told over the wire."""
    assignor = Alone()
    if since is not None:
        assignor.on_assignment(ConsumerProtocolAssignment(2, EVERYTHING, b""), since)
    told = assignor.metadata({TOPIC}).encode()
    return Joined(name, ConsumerProtocolSubscription.decode(told))


def given_to(members: list[Joined]) -> dict[str, list[tuple[str, list[int]]]]:
    """What each gets."""
    found = Alone().assign(Cluster(), members)
    return {name: list(assignment.assignment) for name, assignment in found.items()}


def test_where_nobody_holds_anything_one_gets_everything() -> None:
    assert given_to([joined("b"), joined("a")]) == {"a": EVERYTHING, "b": []}


def test_the_one_who_holds_everything_keeps_it() -> None:
    assert given_to([joined("a"), joined("b", since=3)]) == {"a": [], "b": EVERYTHING}


def test_who_was_thrown_out_gives_way_to_the_one_who_took_over() -> None:
    members = [joined("a", since=3), joined("b", since=4), joined("c")]
    assert given_to(members) == {"a": [], "b": EVERYTHING, "c": []}


def test_who_was_given_nothing_claims_nothing() -> None:
    idle = Alone()
    idle.on_assignment(ConsumerProtocolAssignment(2, [], b""), 9)
    told = ConsumerProtocolSubscription.decode(idle.metadata({TOPIC}).encode())
    assert given_to([Joined("a", told), joined("b", since=3)]) == {"a": [], "b": EVERYTHING}


@given(st.dictionaries(st.text("abc", min_size=1), st.none() | st.integers(1, 9), min_size=1), st.randoms())
def test_whoever_is_there_and_in_whatever_order_one_has_everything(
    claims: dict[str, int | None], random: Any
) -> None:
    members = [joined(name, since=since) for name, since in claims.items()]
    before = given_to(members)
    random.shuffle(members)
    assert given_to(members) == before
    assert sorted(before.values()) == [[]] * (len(claims) - 1) + [EVERYTHING]


# -- a group that shares -------------------------------------------------------------------------

TOPICS = ("heard.events.v1", "heard.sealed.v1")
NUMBERS = range(12)


@dataclass
class Twelve:
    """Two topics of twelve partitions."""

    def partitions_for_topic(self, topic: str) -> set[int]:
        """The same for both."""
        return set(NUMBERS)


@dataclass
class Group:
    """Members, and what each has been given; every round is one generation."""

    members: dict[str, Shared] = field(default_factory=dict)
    has: dict[str, set[tuple[str, int]]] = field(default_factory=dict)
    generation: int = 0

    def settle(self) -> None:
        """Share out until nothing moves, which has to be soon; no partition is ever given to two."""
        for _ in range(3):
            self.generation += 1
            told = [
                Joined(name, ConsumerProtocolSubscription.decode(member.metadata(set(TOPICS)).encode()))
                for name, member in self.members.items()
            ]
            found = Shared().assign(Twelve(), told)
            new = {
                name: {(topic, number) for topic, numbers in given.assignment for number in numbers}
                for name, given in found.items()
            }
            for name, places in new.items():
                others = [held for other, held in self.has.items() if other != name]
                assert not any(places & held for held in others), "given before it was given up"
            for name, assignment in found.items():
                self.members[name].on_assignment(assignment, self.generation)
            if new == self.has:
                return
            self.has = new
        raise AssertionError("it does not come to rest")

    def of_each(self) -> dict[str, list[int]]:
        """The numbers that each has; of both topics the same."""
        for places in self.has.values():
            of_topic = [{number for topic, number in places if topic == one} for one in TOPICS]
            assert of_topic[0] == of_topic[1]
        return {name: sorted({number for _, number in places}) for name, places in self.has.items()}

    def join(self, name: str) -> None:
        """A new process."""
        self.members[name], self.has[name] = Shared(), set()

    def leave(self, name: str) -> None:
        """It is gone, in whatever way."""
        del self.members[name], self.has[name]


@given(st.lists(st.lists(st.sampled_from("abcde"), min_size=1, max_size=3), max_size=8))
def test_whoever_comes_and_goes_all_is_shared_evenly_and_by_number(changes: list[list[str]]) -> None:
    group = Group()
    group.join("f")
    group.settle()
    for change in changes:
        before = group.of_each()
        for name in change:
            (group.leave if name in group.members else group.join)(name)
        group.settle()
        now = group.of_each()
        assert sorted(number for numbers in now.values() for number in numbers) == list(NUMBERS)
        sizes = Counter(len(numbers) for numbers in now.values())
        assert max(sizes) - min(sizes) <= 1
        for name in before.keys() & now.keys() - set(change):
            # what one has it keeps, as far as its share goes
            kept = set(before[name]) & set(now[name])
            assert len(kept) >= min(len(before[name]), len(NUMBERS) // len(now))


def test_a_second_member_takes_half_of_every_topic() -> None:
    group = Group()
    group.join("a")
    group.settle()
    group.join("b")
    group.settle()
    assert group.of_each() == {"a": [0, 1, 2, 3, 4, 5], "b": [6, 7, 8, 9, 10, 11]}


def test_who_was_thrown_out_of_a_group_that_shares_takes_nothing_from_the_others() -> None:
    group = Group()
    for name in "ab":
        group.join(name)
    group.settle()
    lost = group.members["a"]
    group.leave("a")
    group.settle()
    assert group.of_each() == {"b": list(NUMBERS)}
    group.members["a"], group.has["a"] = lost, set()  # it still says that it holds what it had
    group.settle()
    assert {name: len(numbers) for name, numbers in group.of_each().items()} == {"a": 6, "b": 6}
