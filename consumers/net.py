"""Which inputs hear which facts, as links come one after another?

Pure. Inputs are numbered, and a set of them is one whole number with a bit for each: so what leads to a
thing is found once for all that rests on it, and not by a walk for each. Things of one group count as one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import reduce
from itertools import chain
from math import inf
from operator import attrgetter, or_
from typing import Final, NamedTuple

from projections.trace import together

FEWEST: Final = 1024
"""Inputs in a window, at least."""
ROOM: Final = 2**29
"""Bits that the sets of one window of inputs may have at most, 64 MB."""


class Link(NamedTuple):
    """What joins an effect to a cause: each that leads to the cause hears what is said of the effect."""

    effect: str
    cause: str
    grouped: str | None
    """The concern whose grouping it is, if it is one: then it leads both ways."""
    position: int
    """Of the event that made it."""


class Fact(NamedTuple):
    """An event that moves on, decides or tells."""

    id: str
    thing: str
    moves: int
    decides: int
    tells: int
    again: int
    """Whether it is that telling failed."""
    audience: str | None
    subject: str | None
    digest: str
    known_at: str
    position: int
    correlation: str | None
    since: str


class News(NamedTuple):
    """An event that has something to say, and what has to be known to follow it."""

    force: str
    place: str
    id: str
    thing: str
    type: str
    digest: str
    known_at: str
    position: int
    correlation: str | None
    since: str
    """When it became known, but no sooner than what stands before it in its stream."""
    begins: bool
    """Whether an input becomes known by it."""
    links: tuple[Link, ...]
    """Those that it made."""
    fact: Fact | None
    """What it says to others, if it is one to move on, decide or tell."""


class Heard(NamedTuple):
    """A fact as it reaches inputs."""

    since: int
    """The position of the event by which it does: its own, or a later link's."""
    fact: Fact
    inputs: int
    """The inputs that it reaches now, a set."""
    held: int
    """The inputs that it reaches now over no grouping that had ended before it, a set."""


class Net:
    """Which inputs lead to each thing, and which facts each thing has."""

    def __init__(self, links: Iterable[Link]) -> None:
        """`links`: those over which nothing has come yet."""
        self._joined: dict[str, str] = {}
        """From a thing to another one of its group; the last one stands for all of it."""
        self._inputs: defaultdict[str, int] = defaultdict(int)
        self._effects: defaultdict[str, list[str]] = defaultdict(list)
        self._facts: defaultdict[str, list[Fact]] = defaultdict(list)
        for link in links:
            self.link(link)

    def __len__(self) -> int:
        """How many things there are; a group is one."""
        far = chain.from_iterable(self._effects.values())
        return len({self._one(thing) for thing in chain(self._effects, far)})

    def inputs(self, thing: str) -> int:
        """The inputs that lead to a thing."""
        return self._inputs[self._one(thing)]

    def fill(self, inputs: Mapping[str, int]) -> None:
        """Have these inputs, by thing, at all that they lead to: each link is passed once."""
        for thing, set_ in inputs.items():
            self._inputs[self._one(thing)] |= set_
        effects = {thing: {self._one(effect) for effect in far} for thing, far in self._effects.items()}
        effects = {thing: set[str]() for thing in chain.from_iterable(effects.values())} | effects
        for circle in reversed(together(effects)):
            if all_ := reduce(or_, (self._inputs[thing] for thing in circle)):
                for thing in circle:
                    self._inputs[thing] = all_
                    for effect in effects[thing]:
                        self._inputs[effect] |= all_

    def say(self, fact: Fact) -> None:
        """Have a fact at hand for whatever comes to lead to its thing."""
        self._facts[self._one(fact.thing)].append(fact)

    def begin(self, thing: str, inputs: int) -> list[tuple[Fact, int]]:
        """A thing is these inputs; the facts that they hear by that."""
        return self._spread([(thing, inputs)])

    def link(self, *links: Link) -> list[tuple[Fact, int]]:
        """Join things; the facts that are heard by that, each with the inputs that hear it now."""
        heard: list[tuple[Fact, int]] = []
        new: defaultdict[str, int] = defaultdict(int)
        for link in links:
            effect, cause = self._one(link.effect), self._one(link.cause)
            if effect != cause and link.grouped is not None:
                heard += self._group(effect, cause)
            elif effect != cause:
                self._effects[cause].append(effect)
                new[effect] |= self._inputs[cause]
        return heard + self._spread(list(new.items()))

    def _group(self, one: str, other: str) -> list[tuple[Fact, int]]:
        if self._weight(one) < self._weight(other):
            one, other = other, one  # so that nothing is moved more often than things double
        ones, others = self._inputs[one], self._inputs.pop(other, 0)
        new_to_one, new_to_other = others & ~ones, ones & ~others
        heard = [(fact, new_to_one) for fact in self._facts[one] if new_to_one]
        heard += [(fact, new_to_other) for fact in self._facts[other] if new_to_other]
        todo = [(effect, new_to_one) for effect in self._effects[one] if new_to_one]
        todo += [(effect, new_to_other) for effect in self._effects[other] if new_to_other]
        self._joined[other] = one
        self._inputs[one] = ones | others
        self._effects[one] += self._effects.pop(other)
        self._facts[one] += self._facts.pop(other)
        return heard + self._spread(todo)

    def _weight(self, thing: str) -> int:
        return len(self._effects[thing]) + len(self._facts[thing])

    def _spread(self, todo: list[tuple[str, int]]) -> list[tuple[Fact, int]]:
        """Pass inputs on from effect to effect, wherever they are new."""
        gained: defaultdict[str, int] = defaultdict(int)
        while todo:
            thing, inputs = todo.pop()
            thing = self._one(thing)
            if new := inputs & ~self._inputs[thing]:
                self._inputs[thing] |= new
                gained[thing] |= new
                todo += [(effect, new) for effect in self._effects.get(thing, ())]
        return [(fact, new) for thing, new in gained.items() for fact in self._facts.get(thing, ())]

    def _one(self, thing: str) -> str:
        """Which of its group stands for it."""
        joined = self._joined
        if thing not in joined:
            return thing
        way = []
        while thing in joined:
            way.append(thing)
            thing = joined[thing]
        for each in way[:-1]:
            joined[each] = thing
        return thing


class Region(NamedTuple):
    """What is known of the part of the record that news concern."""

    inputs: Sequence[str] = ()
    """All inputs that may hear something."""
    links: Sequence[Link] = ()
    """Without those of the news."""
    facts: Sequence[Fact] = ()
    """Which a link of the news may join to more inputs; without those of the news."""
    endings: Mapping[str, Sequence[int]] = {}
    """By concern: where in the record its groupings ended, in order."""


def heard(region: Region, news: Sequence[News]) -> Iterator[tuple[Sequence[str], list[Heard]]]:
    """What news say to inputs, as if each came alone, in the order of their positions.

    That is: each fact of theirs to all that lead to it; and to what is joined to facts by a link of theirs,
    or begins by them, these facts. What is not new is said again only if there is a way to it around the
    region. Yields windows: some of the inputs, and all that these hear.
    """
    news = sorted(news, key=attrgetter("position"))
    net = Net(region.links)
    size = max(FEWEST, ROOM // (len(net) + sum(len(each.links) for each in news) + 1))
    for start in range(0, len(region.inputs), size):
        window = region.inputs[start : start + size]
        sets = {thing: 1 << number for number, thing in enumerate(window)}
        found = list(_as_they_come(net if start == 0 else Net(region.links), sets, region.facts, news))
        yield window, _where_held(sets, region, news, found) if region.endings else found


def _as_they_come(
    net: Net, sets: Mapping[str, int], facts: Iterable[Fact], news: Sequence[News]
) -> Iterator[Heard]:
    begin = {each.thing for each in news if each.begins}
    net.fill({thing: inputs for thing, inputs in sets.items() if thing not in begin})
    for fact in facts:
        net.say(fact)
    for each in news:
        gained = net.begin(each.thing, sets.get(each.thing, 0)) if each.begins else []
        gained += net.link(*each.links)
        yield from (Heard(each.position, fact, inputs, inputs) for fact, inputs in gained)
        if (own := each.fact) is not None:
            if inputs := net.inputs(each.thing):
                yield Heard(each.position, own, inputs, inputs)
            net.say(own)


def _where_held(
    sets: Mapping[str, int], region: Region, news: Sequence[News], found: list[Heard]
) -> list[Heard]:
    """The same, with what reaches inputs over a grouping that had ended told from what does not.

    Who was reached over such a one only may come to be reached over others.
    """
    begun = {each.thing for each in news if each.begins}
    moves = [fact for fact in region.facts if fact.moves]
    known = {thing: inputs for thing, inputs in sets.items() if thing not in begun}
    before = _held(known, region.links, region.endings, moves)
    links = [*region.links, *(link for each in news for link in each.links)]
    now = _held(
        sets, links, region.endings, [*moves, *(each.fact for each in news if each.fact and each.fact.moves)]
    )
    told: defaultdict[str, int] = defaultdict(int)
    for each in found:
        told[each.fact.id] |= each.inputs
    return [each._replace(held=each.inputs & now.get(each.fact.id, 0)) for each in found] + [
        Heard(news[-1].position, fact, 0, new)
        for fact in moves
        if (new := now[fact.id] & ~before[fact.id] & ~told[fact.id])
    ]


def _held(
    sets: Mapping[str, int],
    links: Iterable[Link],
    endings: Mapping[str, Sequence[int]],
    facts: Iterable[Fact],
) -> dict[str, int]:
    """By fact: the inputs that it reaches over no grouping that had ended before it."""
    until = [(_lasts(link, endings), link) for link in links]
    net = Net(link for last, link in until if last == inf)
    net.fill(sets)
    # The newest fact goes first: an older one may use all links that a newer one may, and others.
    ended = sorted((last, link) for last, link in until if last != inf)
    held: dict[str, int] = {}
    for fact in sorted(facts, key=attrgetter("position"), reverse=True):
        while ended and ended[-1][0] >= fact.position:
            net.link(ended.pop()[1])
        held[fact.id] = net.inputs(fact.thing)
    return held


def _lasts(link: Link, endings: Mapping[str, Sequence[int]]) -> float:
    """The position until which facts may use a link: where its grouping ended, if it did."""
    ends = endings.get(link.grouped or "", ())
    at = bisect_right(ends, link.position)
    return ends[at] if at < len(ends) else inf
