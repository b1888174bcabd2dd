"""Which inputs hear which facts, as links come one after another?

Pure. Inputs are numbered, and a set of them is one whole number with a bit for each: so what leads to a
thing is found once for all that rests on it, and not by a walk for each. Things of one group count as one.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

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

    def __init__(self) -> None:
        self._joined: dict[str, str] = {}
        """From a thing to another one of its group; the last one stands for all of it."""
        self._inputs: dict[str, int] = {}
        self._effects: defaultdict[str, list[str]] = defaultdict(list)
        self._facts: defaultdict[str, list[Fact]] = defaultdict(list)

    def inputs(self, thing: str) -> int:
        """The inputs that lead to a thing."""
        return self._inputs.get(self._one(thing), 0)

    def say(self, fact: Fact) -> None:
        """Have a fact at hand for whatever comes to lead to its thing."""
        self._facts[self._one(fact.thing)].append(fact)

    def begin(self, thing: str, inputs: int) -> list[tuple[Fact, int]]:
        """A thing is these inputs; the facts that they hear by that."""
        return self._spread([(self._one(thing), inputs)])

    def link(self, link: Link) -> list[tuple[Fact, int]]:
        """Join two things; the facts that are heard by that, each with the inputs that hear it now."""
        effect, cause = self._one(link.effect), self._one(link.cause)
        if effect == cause:
            return []
        if link.grouped is not None:
            return self._group(effect, cause)
        self._effects[cause].append(effect)
        return self._spread([(effect, self._inputs.get(cause, 0))])

    def _group(self, one: str, other: str) -> list[tuple[Fact, int]]:
        if self._weight(one) < self._weight(other):
            one, other = other, one  # so that nothing is moved more often than things double
        ones, others = self._inputs.get(one, 0), self._inputs.pop(other, 0)
        new_to_one, new_to_other = others & ~ones, ones & ~others
        heard = [(fact, new_to_one) for fact in self._facts[one] if new_to_one]
        heard += [(fact, new_to_other) for fact in self._facts[other] if new_to_other]
        todo = [(self._one(effect), new_to_one) for effect in self._effects[one] if new_to_one]
        todo += [(self._one(effect), new_to_other) for effect in self._effects[other] if new_to_other]
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
            if new := inputs & ~self._inputs.get(thing, 0):
                self._inputs[thing] = self._inputs.get(thing, 0) | new
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
    known = sorted(region.links, key=attrgetter("position"))
    size = max(FEWEST, ROOM // (len(known) + sum(len(each.links) for each in news) + 1))
    for start in range(0, len(region.inputs), size):
        window = region.inputs[start : start + size]
        sets = {thing: 1 << number for number, thing in enumerate(window)}
        found = list(_as_they_come(sets, known, region.facts, news))
        yield window, _where_held(sets, known, region, news, found) if region.endings else found


def _as_they_come(
    sets: Mapping[str, int], known: Iterable[Link], facts: Iterable[Fact], news: Sequence[News]
) -> Iterator[Heard]:
    net = Net()
    begin = {each.thing for each in news if each.begins}
    for thing, inputs in sets.items():
        if thing not in begin:
            net.begin(thing, inputs)
    for link in known:
        net.link(link)
    for fact in facts:
        net.say(fact)
    for each in news:
        gained = net.begin(each.thing, sets.get(each.thing, 0)) if each.begins else []
        for link in each.links:
            gained += net.link(link)
        yield from (Heard(each.position, fact, inputs, inputs) for fact, inputs in gained)
        if (own := each.fact) is not None:
            if inputs := net.inputs(each.thing):
                yield Heard(each.position, own, inputs, inputs)
            net.say(own)


def _where_held(
    sets: Mapping[str, int], known: Sequence[Link], region: Region, news: Sequence[News], found: list[Heard]
) -> list[Heard]:
    """The same, with what reaches inputs over a grouping that had ended told from what does not.

    Who was reached over such a one only may come to be reached over others.
    """
    begun = {each.thing for each in news if each.begins}
    moves = [fact for fact in region.facts if fact.moves]
    before = _held({id_: n for id_, n in sets.items() if id_ not in begun}, known, region.endings, moves)
    links = [*known, *(link for each in news for link in each.links)]
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
    net = Net()
    for thing, inputs in sets.items():
        net.begin(thing, inputs)
    # The newest fact goes first: an older one may use all links that a newer one may, and others.
    lasting = sorted((_lasts(link, endings), -link.position, link) for link in links)
    held: dict[str, int] = {}
    for fact in sorted(facts, key=attrgetter("position"), reverse=True):
        while lasting and lasting[-1][0] >= fact.position:
            net.link(lasting.pop()[2])
        held[fact.id] = net.inputs(fact.thing)
    return held


def _lasts(link: Link, endings: Mapping[str, Sequence[int]]) -> float:
    """The position until which facts may use a link: where its grouping ended, if it did."""
    ends = endings.get(link.grouped or "", ())
    at = bisect_right(ends, link.position)
    return ends[at] if at < len(ends) else inf
