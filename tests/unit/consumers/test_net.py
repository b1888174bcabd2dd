"""Does what is said reach exactly those inputs that a walk for each of them would find?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from random import Random

import pytest

from consumers import net
from consumers.net import Fact, Heard, Link, News, Region, heard
from projections.trace import walk

Pair = tuple[str, str]
"""(input, fact)."""


class Record:
    """Things, links, facts and groupings that ended, as one event after another tells of them."""

    def __init__(self) -> None:
        self.news: list[News] = []
        self.endings: dict[str, list[int]] = {}
        self.position = 0

    def begin(self, thing: str) -> None:
        """An input becomes known."""
        self._tell(thing, begins=True)

    def link(self, effect: str, *causes: str) -> None:
        """Something rests on other things."""
        self._tell(effect, links=[(effect, cause, None) for cause in causes])

    def group(self, one: str, other: str) -> None:
        """One is grouped with another."""
        self._tell(one, links=[(one, other, one), (other, one, one)])

    def ungroup(self, one: str) -> None:
        """The groupings of one end."""
        self.position += 1
        self.endings.setdefault(one, []).append(self.position)

    def say(self, thing: str) -> None:
        """Something is said of a thing."""
        self._tell(thing, fact=True)

    def _tell(
        self,
        thing: str,
        *,
        begins: bool = False,
        links: Iterable[tuple[str, str, str | None]] = (),
        fact: bool = False,
    ) -> None:
        at = self.position = self.position + 1
        said = Fact(f"F{at}", thing, 1, 1, 0, 0, None, None, "", "", at, None, "") if fact else None
        made = tuple(Link(*link, at) for link in links)
        self.news.append(News("met", "-", f"E{at}", thing, "", "", "", at, None, "", begins, made, said))

    # -- what there is -----------------------------------------------------------------------------

    def region(self, known: int, until: int) -> Region:
        """All that is known before the news from number `known` on; of the inputs those until `until`."""
        before = self.news[:known]
        return Region(
            [each.thing for each in self.news[:until] if each.begins],
            [link for each in before for link in each.links],
            [each.fact for each in before if each.fact],
            self.endings,
        )

    def reached(self, count: int, *, held: bool) -> set[Pair]:
        """What the first `count` news make reach what, by a walk from each fact."""
        news = self.news[:count]
        inputs = {each.thing for each in news if each.begins}
        found: set[Pair] = set()
        for fact in (each.fact for each in news if each.fact):
            rests_on: dict[str, list[str]] = {}
            for link in (link for each in news for link in each.links):
                if not (held and self._over(link, fact)):
                    rests_on.setdefault(link.effect, []).append(link.cause)
            above = walk({fact.thing}, defaultdict(list, rests_on).__getitem__)
            found |= {(thing, fact.id) for thing in above & inputs}
        return found

    def _over(self, link: Link, fact: Fact) -> bool:
        ends = self.endings.get(link.grouped or "", ())
        return any(link.position < end < fact.position for end in ends)


def said(found: Iterable[tuple[Sequence[str], list[Heard]]]) -> Iterator[tuple[int, Pair, bool, bool]]:
    for window, each in ((window, each) for window, all_ in found for each in all_):
        for number, thing in enumerate(window):
            reached, held = each.inputs >> number & 1, each.held >> number & 1
            if reached or held:
                yield each.since, (thing, each.fact.id), bool(reached), bool(held)


def random_record(seed: int, *, endings: bool) -> Record:
    random, record = Random(seed), Record()
    things = [f"T{number}" for number in range(9)]
    inputs = things[:6]
    unknown = random.sample(inputs, len(inputs))
    for _ in range(32):
        act = random.choice("blllggss" + "u" * endings)
        if act == "b" and unknown:
            record.begin(unknown.pop())
        elif act == "l":
            effect, *causes = random.sample(things, random.choice((2, 3)))
            record.link(effect, *causes)
        elif act == "g":
            record.group(*random.sample(inputs, 2))
        elif act == "u":
            record.ungroup(random.choice(inputs))
        else:
            record.say(random.choice(things))
    return record


@pytest.mark.parametrize("seed", range(300))
def test_each_hears_what_a_walk_finds_however_the_news_are_cut(seed: int) -> None:
    record = random_record(seed, endings=seed % 2 == 0)
    random, at = Random(seed), 0
    reached: set[Pair] = set()
    held: set[Pair] = set()
    while at < len(record.news):
        following = min(len(record.news), at + random.choice((1, 2, 5, 40)))
        for _, pair, over_all, over_lasting in said(
            heard(record.region(at, following), record.news[at:following])
        ):
            reached |= {pair} if over_all else set()
            held |= {pair} if over_lasting else set()
        at = following
        assert reached == record.reached(at, held=False)
        assert held == record.reached(at, held=True)


@pytest.mark.parametrize("seed", range(100))
def test_where_nothing_ends_each_hears_each_fact_once_and_as_if_events_came_alone(seed: int) -> None:
    record = random_record(seed, endings=False)
    found = list(said(heard(record.region(0, len(record.news)), record.news)))
    assert len({pair for _, pair, _, _ in found}) == len(found)
    before: set[Pair] = set()
    for count, each in enumerate(record.news, start=1):
        after = record.reached(count, held=False)
        assert {pair for since, pair, _, _ in found if since == each.position} == after - before
        before = after


@pytest.mark.parametrize("seed", range(20))
def test_a_few_inputs_at_a_time_hear_the_same(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record = random_record(seed, endings=True)
    whole = sorted(said(heard(record.region(9, 99), record.news[9:])))
    monkeypatch.setattr(net, "FEWEST", 2)
    monkeypatch.setattr(net, "ROOM", 0)
    assert sorted(said(heard(record.region(9, 99), record.news[9:]))) == whole
