"""What do news say to the rules about each thing, in parts that are written at once?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from consumers.graph import Graph, decided, things
from consumers.net import Fact, Heard, News, heard
from domain.catalogue import EVENTS
from domain.values import DutyRule
from projections.feedback_owed import tells
from projections.store import ViewStore
from services.workflows import Says, Signal, says, signal

PART: Final = 1000
"""As many signals as are followed at once."""


class Said(NamedTuple):
    """A signal, and the position of the event that made it heard: its fact's, or a later link's."""

    since: int
    signal: Signal


class _Pair(NamedTuple):
    """A fact, an input that hears it, and since when."""

    input: str
    since: int
    fact: Fact
    reached: bool
    held: bool
    """Over no grouping that had ended before it."""


def parts(
    views: ViewStore, graph: Graph, news: Sequence[News], alive: Callable[[], None]
) -> Iterator[list[Said]]:
    """All that these news say, PART signals at a time; `alive` is told that it comes on.

    What is said of one thing stands in one part, unless that is more than a part: then what meets and ends
    stands in each, and what starts in one of them.
    """
    part: list[Said] = []
    for chunk in _chunks(views, graph, news, alive):
        if part and len(part) + len(chunk) > PART:
            yield part
            part = []
        part += chunk
    if part:
        yield part


def _chunks(
    views: ViewStore, graph: Graph, news: Sequence[News], alive: Callable[[], None]
) -> Iterator[list[Said]]:
    own: defaultdict[str, list[Said]] = defaultdict(list)
    for each in news:
        for rule, said in says(EVENTS[each.type]):
            own[each.thing].append(Said(each.position, _of_its_own(each, rule, said)))
    region = graph.region(news)
    for window, found in heard(region, news):
        for pairs in _few(window, 0, len(window), found):
            alive()
            chunk = list(_said(views, graph, pairs))
            for thing in dict.fromkeys(pair.input for pair in pairs):
                chunk += own.pop(thing, ())
            yield from _cut(chunk)
    for chunk in own.values():
        yield from _cut(chunk)


def _few(window: Sequence[str], start: int, end: int, found: Iterable[Heard]) -> Iterator[list[_Pair]]:
    """Pairs of the inputs from `start` to `end`, a part at a time; all of one input at once."""
    mask = (1 << (end - start)) - 1
    here = [(each, reached) for each in found if (reached := (each.inputs | each.held) >> start & mask)]
    if sum(reached.bit_count() for _, reached in here) > PART and end - start > 1:
        within = [each for each, _ in here]
        middle = (start + end) // 2
        yield from _few(window, start, middle, within)
        yield from _few(window, middle, end, within)
    elif here:
        yield [
            _Pair(
                window[start + number],
                each.since,
                each.fact,
                bool(each.inputs >> start + number & 1),
                bool(each.held >> start + number & 1),
            )
            for each, reached in here
            for number in _members(reached)
        ]


def _members(inputs: int) -> Iterator[int]:
    """The numbers of those that are in a set."""
    while inputs:
        lowest = inputs & -inputs
        yield lowest.bit_length() - 1
        inputs ^= lowest


def _cut(chunk: list[Said]) -> Iterator[list[Said]]:
    if len(chunk) <= PART:
        yield chunk
        return
    starts = [one for one in chunk if one.signal.says == "starts"]
    # Of what meets or ends a case at one moment the last decides.
    met = sorted((one for one in chunk if one.signal.says != "starts"), key=lambda one: one.signal.order)
    cases = {(one.since, one.signal.rule, one.signal.about, one.signal.says): one for one in met}
    others = list(cases.values())
    for at in range(0, max(1, len(starts)), PART):
        yield others + starts[at : at + PART]


def _said(views: ViewStore, graph: Graph, pairs: Sequence[_Pair]) -> Iterator[Said]:
    """What facts say to the inputs that hear them."""
    facts = {pair.fact for pair in pairs}
    with views.reading() as db:
        inputs = things(db, {pair.input for pair in pairs})
        named = decided(db, inputs, {fact.thing for fact in facts if fact.decides})
    told = graph.told_of({fact.thing for fact in facts if fact.again})
    for input_, since, fact, reached, held in pairs:
        row = inputs[input_]
        # Only who was to be told is owed it again.
        if (
            fact.moves
            and held
            and (not fact.again or any(tells(row, each._asdict()) for each in told[fact.thing]))
        ):
            yield Said(since, _of_a_fact(fact, "tell_contributor", input_, "starts"))
        if fact.decides and reached and (input_, fact.thing) in named:
            yield Said(since, _of_a_fact(fact, "decide_concern", input_, "meets"))
        if fact.tells and reached and tells(row, fact._asdict()):
            yield Said(since, _of_a_fact(fact, "tell_contributor", input_, "meets"))


def _of_a_fact(fact: Fact, rule: DutyRule, about: str, says: Literal["starts", "meets"]) -> Signal:
    again = says == "starts" and bool(fact.again)
    return signal(
        rule, about, says, fact.id, fact.digest, fact.known_at, fact.position, fact.correlation, again,
        fact.since,
    )  # fmt: skip


def _of_its_own(news: News, rule: DutyRule, says: Says) -> Signal:
    return signal(
        rule, news.thing, says, news.id, news.digest, news.known_at, news.position, news.correlation,
        since=news.since,
    )  # fmt: skip
