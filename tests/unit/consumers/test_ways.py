"""What does a new link put on one way, and is only that found?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from random import Random

import pytest

from consumers.ways import Link, Links, Ways, joined_anew, reversed_
from projections.trace import walk

Edge = tuple[str, str]
"""(effect, cause)."""


def ups(edges: Iterable[Edge]) -> Links:
    found: defaultdict[str, list[Link]] = defaultdict(list)
    for position, (effect, cause) in enumerate(edges, start=1):
        found[effect].append(Link(cause, None, position))
    return found


def anew(old: Sequence[Edge], joints: Sequence[Edge], ends: Iterable[str]) -> set[tuple[str, str]]:
    up = ups([*old, *(joint for joint in joints if joint[0] != joint[1])])
    found = joined_anew(joints, up, reversed_(up), set(ends))
    return {pair for above, below in found for pair in product(above, below)}


def pairs(edges: Sequence[Edge], ends: Iterable[str]) -> set[tuple[str, str]]:
    """(what leads to it, end), by all ways."""
    up = ups(edges)
    return {(id_, end) for end in ends for id_ in walk({end}, lambda id_: [e.far for e in up.get(id_, ())])}


def group(*members: str) -> list[Edge]:
    """The first with each of the others: a group leads both ways."""
    return [edge for other in members[1:] for edge in ((members[0], other), (other, members[0]))]


def test_one_more_in_a_group_hears_all_and_the_others_hear_of_it_alone() -> None:
    members = [f"N{number}" for number in range(20)]
    old = [*group(*members), ("D", "N7"), ("A", "D"), ("M", "new")]
    ends = {"D", "A", "M"}
    found = anew(old, group("new", "N3"), ends)
    assert found == {("new", "D"), ("new", "A"), *((member, "M") for member in members)}


def test_what_becomes_known_hears_for_itself_alone() -> None:
    old = [("N", "K"), ("D", "N")]
    assert anew(old, [("N", "N")], {"D"}) == {("N", "D")}


@pytest.mark.parametrize("seed", range(200))
def test_in_any_net_every_new_pair_is_found(seed: int) -> None:
    random = Random(seed)
    things = [f"T{number}" for number in range(8)]
    edges = [edge for _ in range(random.randrange(2, 7)) for edge in group(*random.sample(things, 2))]
    edges += [(one, other) for one, other in (random.sample([*things, "D", "A"], 2) for _ in range(6))]
    random.shuffle(edges)  # the same link may be there already, and come once more
    cut = random.randrange(len(edges))
    ends = {"D", "A", *things[:2]}
    found = anew(edges[:cut], edges[cut:], ends)
    after, before = pairs(edges, ends), pairs(edges[:cut], ends)
    assert after - before <= found <= after


@pytest.mark.parametrize("seed", range(200))
def test_where_no_link_closes_a_circle_nothing_else_is_found(seed: int) -> None:
    random = Random(seed)
    things = [f"T{number}" for number in range(12)]
    old: list[Edge] = []
    joints: list[Edge] = []
    for number, thing in enumerate(things[1:]):
        other = things[random.randrange(number + 1)]
        link = random.choice([group(thing, other), [(thing, other)], [(other, thing)]])
        random.choice([old, joints]).extend(link)
    new = set(random.sample(things, 3))
    found = anew(old, [*joints, *((thing, thing) for thing in new)], things)
    after, before = pairs([*old, *joints], things), pairs(old, things)
    assert found == (after - before) | {(id_, end) for id_, end in after if id_ in new}


def test_from_both_ends_a_way_is_as_old_and_as_usable() -> None:
    links = {"D": [Link("N1", None, 5)], "N1": [Link("N2", "N1", 3)], "N2": [Link("N1", "N1", 3)]}
    ended = {"N1": [8]}
    from_end, from_input = Ways(links, ended), Ways(reversed_(links), ended)
    assert from_end.since("D") == {"D": 0, "N1": 5, "N2": 5}
    assert from_input.since("N2")["D"] == 5
    for position, usable in ((7, True), (8, True), (9, False)):
        assert ("N2" in from_end.at("D", position)) is usable
        assert ("D" in from_input.at("N2", position)) is usable
