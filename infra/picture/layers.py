"""In which layer does each thing stand, and in which order within it?

The method is Sugiyama's: every effect stands in a layer to the right of its causes; an arrow that
spans several layers gets a *lane* in each one between, a place of its own in the order as if it were
a thing, so that it never runs through a box; then the order within the layers is improved by
barycentres, sweep after sweep, and the one with the fewest crossings is kept.

All the arrows of one cause share their lanes and part only where they must: that is less ink, and it
bounds the work.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

Arc = tuple[int, int]
"""Cause and effect, or any left and right slot."""

_LANES_AT_MOST = 10_000
_STEPS_AT_MOST = 150_000


@dataclass(slots=True)
class Layered:
    """Slots 0 … n−1 are the n things; from n on they are lanes."""

    layers: list[list[int]]
    """The slots of each layer, from top to bottom."""
    layer_of: list[int]
    """By slot."""
    segments: list[Arc]
    """Slots of neighbouring layers that a line joins, left and right."""
    lanes: dict[Arc, int]
    """The lane of a cause in a layer: (cause, layer) → slot."""
    apart: set[Arc] = field(default_factory=set)
    """Arcs without lanes, to be led around the picture: those that close a circle, and in very large
    pictures those that span the most layers."""


def layered(count: int, arcs: Sequence[Arc]) -> Layered:
    """Layers for `count` things. Circles do no harm: an arc that would close one stands `apart`."""
    order = _causes_first(count, arcs)
    rank = {thing: index for index, thing in enumerate(order)}
    forward = sorted({arc for arc in arcs if rank[arc[0]] < rank[arc[1]]})
    layer_of = _longest_paths(order, forward)
    _shorten_arcs(order, forward, layer_of)
    span = _longest_span_with_lanes(forward, layer_of)
    result = Layered(
        layers=[[] for _ in range(max(layer_of, default=-1) + 1)],
        layer_of=layer_of,
        segments=[],
        lanes={},
        apart={arc for arc in arcs if rank[arc[0]] >= rank[arc[1]]}
        | {(a, b) for a, b in forward if layer_of[b] - layer_of[a] > span},
    )
    _add_lanes(result, [arc for arc in forward if arc not in result.apart])
    _first_order(result, order)
    _improve_order(result)
    return result


def _causes_first(count: int, arcs: Sequence[Arc]) -> list[int]:
    """Kahn's algorithm; in a circle the first thing that is left goes next, so it always ends."""
    effects: list[list[int]] = [[] for _ in range(count)]
    waits_for = [0] * count
    for cause, effect in arcs:
        effects[cause].append(effect)
        waits_for[effect] += 1
    ready = [thing for thing in range(count) if not waits_for[thing]]
    order: list[int] = []
    placed = [False] * count
    first_left = 0
    while len(order) < count:
        if ready:
            thing = ready.pop(0)
        else:
            while placed[first_left]:
                first_left += 1
            thing = first_left
        if placed[thing]:
            continue
        placed[thing] = True
        order.append(thing)
        for effect in effects[thing]:
            waits_for[effect] -= 1
            if not waits_for[effect] and not placed[effect]:
                insort(ready, effect)
    return order


def _longest_paths(order: Sequence[int], forward: Sequence[Arc]) -> list[int]:
    layer_of = [0] * len(order)
    effects = _right_of(len(order), forward)
    for thing in order:
        for effect in effects[thing]:
            layer_of[effect] = max(layer_of[effect], layer_of[thing] + 1)
    return layer_of


def _shorten_arcs(order: Sequence[int], forward: Sequence[Arc], layer_of: list[int]) -> None:
    """Moves a thing, and what hangs closely on it, to the right where that shortens more than it lengthens.

    So a meeting stands beside what came of it, and not at the far left because it has no cause.
    """
    effects = _right_of(len(order), forward)
    causes = _right_of(len(order), [(b, a) for a, b in forward])
    steps = 0
    moved = True
    while moved and steps < _STEPS_AT_MOST:
        moved = False
        for start in reversed(order):
            group = {start}
            edge = [start]
            while edge:
                thing = edge.pop()
                steps += 1 + len(effects[thing]) + len(causes[thing])
                close = [e for e in effects[thing] if layer_of[e] == layer_of[thing] + 1 and e not in group]
                group.update(close)
                edge.extend(close)
            slack = [layer_of[e] - layer_of[t] - 1 for t in group for e in effects[t] if e not in group]
            longer = sum(c not in group for thing in group for c in causes[thing])
            if len(slack) > longer:
                for thing in group:
                    layer_of[thing] += min(slack)
                moved = True
            if steps >= _STEPS_AT_MOST:
                break
    used = {layer: index for index, layer in enumerate(sorted(set(layer_of)))}
    layer_of[:] = [used[layer] for layer in layer_of]


def _longest_span_with_lanes(forward: Sequence[Arc], layer_of: Sequence[int]) -> int:
    """The most layers that an arc may span, so that no more than `_LANES_AT_MOST` lanes are needed."""
    by_span = sorted((layer_of[b] - layer_of[a], a) for a, b in forward)
    reach: dict[int, int] = {}
    lanes = 0
    for span, cause in by_span:
        lanes += span - reach.get(cause, 1)
        reach[cause] = span
        if lanes > _LANES_AT_MOST:
            return max(1, span - 1)
    return len(layer_of)


def _add_lanes(result: Layered, arcs: Sequence[Arc]) -> None:
    for slot, layer in enumerate(result.layer_of):
        result.layers[layer].append(slot)
    joined = set()
    for cause, effect in arcs:
        left = cause
        for layer in range(result.layer_of[cause] + 1, result.layer_of[effect]):
            lane = result.lanes.get((cause, layer))
            if lane is None:
                lane = result.lanes[cause, layer] = len(result.layer_of)
                result.layer_of.append(layer)
                result.layers[layer].append(lane)
            joined.add((left, lane))
            left = lane
        joined.add((left, effect))
    result.segments = sorted(joined)


def _first_order(result: Layered, order: Sequence[int]) -> None:
    """Depth first from the left: what belongs together starts out side by side."""
    right_of = _right_of(len(result.layer_of), result.segments)
    seen: dict[int, int] = {}
    for start in sorted(order, key=lambda thing: result.layer_of[thing]):
        stack = [start]
        while stack:
            slot = stack.pop()
            if slot not in seen:
                seen[slot] = len(seen)
                stack.extend(reversed(right_of[slot]))
    for layer in result.layers:
        layer.sort(key=seen.__getitem__)


def _improve_order(result: Layered) -> None:
    right_of = _right_of(len(result.layer_of), result.segments)
    left_of = _right_of(len(result.layer_of), [(b, a) for a, b in result.segments])
    small = len(result.layer_of) <= 250
    best, fewest = [list(layer) for layer in result.layers], crossings(result)
    for sweep in range(24 if small else 6):
        if not fewest:
            break
        forth = sweep % 2 == 0
        for layer in result.layers if forth else reversed(result.layers):
            _by_barycentre(layer, result, left_of if forth else right_of)
        if small:
            _swap_neighbours(result, left_of, right_of)
        if (now := crossings(result)) < fewest:
            best, fewest = [list(layer) for layer in result.layers], now
    result.layers = best


def _by_barycentre(layer: list[int], result: Layered, others: Sequence[Sequence[int]]) -> None:
    place = _places(result, {result.layer_of[other] for slot in layer for other in others[slot]})
    own = {slot: index for index, slot in enumerate(layer)}

    def barycentre(slot: int) -> float:
        # One without neighbours keeps its place.
        linked = others[slot]
        return sum(place[other] for other in linked) / len(linked) if linked else own[slot]

    layer.sort(key=lambda slot: (barycentre(slot), own[slot]))


def _swap_neighbours(result: Layered, left_of: Sequence[list[int]], right_of: Sequence[list[int]]) -> None:
    """Swaps two that stand next to each other wherever that saves a crossing."""
    place = _places(result, range(len(result.layers)))
    for layer in result.layers:
        for above in range(len(layer) - 1):
            upper, lower = layer[above], layer[above + 1]
            saved = 0
            for others in (left_of, right_of):
                here = [place[slot] for slot in others[upper]]
                there = [place[slot] for slot in others[lower]]
                saved += sum((a > b) - (a < b) for a in here for b in there)
            if saved > 0:
                layer[above], layer[above + 1] = lower, upper
                place[upper], place[lower] = place[lower], place[upper]


def crossings(result: Layered) -> int:
    """How many pairs of segments cross: inversions, counted layer by layer."""
    place = _places(result, range(len(result.layers)))
    between: list[list[Arc]] = [[] for _ in result.layers]
    for left, right in result.segments:
        between[result.layer_of[left]].append((place[left], place[right]))
    total = 0
    for pairs in between:
        ends: list[int] = []
        for _, end in sorted(pairs):
            where = bisect_left(ends, end + 1)
            total += len(ends) - where
            ends.insert(where, end)
    return total


def _places(result: Layered, layers: Sequence[int] | set[int] | range) -> dict[int, int]:
    return dict(pair for layer in layers for pair in _numbered(result.layers[layer]))


def _numbered(layer: Sequence[int]) -> Iterator[tuple[int, int]]:
    return ((slot, index) for index, slot in enumerate(layer))


def _right_of(count: int, arcs: Sequence[Arc]) -> list[list[int]]:
    neighbours: list[list[int]] = [[] for _ in range(count)]
    for left, right in arcs:
        neighbours[left].append(right)
    return neighbours
