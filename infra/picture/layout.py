"""Where does each box stand, and along which line does each arrow run?

The picture is a row of columns with gaps between. Boxes stand only in columns; there an arrow runs
straight along a lane of its own. Curves and labels lie only in gaps: first the zone in which lines
bend, then the zone in which labels stand. So no line runs through a box and no label lies over one,
whatever the graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from math import ceil

from infra.picture.layers import Arc, Layered, layered

Point = tuple[float, float]
Size = tuple[float, float]

PORT_PITCH = 34.0
"""How far apart arrows enter a box: a label above the line and one below it fit between two."""
ARROW = 9.0

_BETWEEN_BOXES = 26.0
_BETWEEN_LANES = 13.0
_BETWEEN_RAILS = 12.0
_BEND_LEAST, _BEND_MOST = 52.0, 120.0


@dataclass(frozen=True, slots=True)
class Joint:
    """Arrows of one relation that enter one effect: they join, and share a head and a label."""

    effect: int
    causes: tuple[int, ...]
    label: float
    """The label's width."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Pixels from the top left of the drawing, y downwards."""

    width: float
    height: float
    corners: list[Point]
    """The top left of each box."""
    ports: list[Point]
    """Where the arrow of each joint touches its box."""
    routes: list[dict[int, list[Point]]]
    """For each joint, by cause: the points from box to box. Between two points at the same height the
    line is straight, else an S-shaped curve that starts and ends level."""


def arrange(sizes: Sequence[Size], joints: Sequence[Joint]) -> Layout:
    """Places boxes of the given sizes (width, height), joined by arrows from left to right.

    The work grows with what is drawn, about linearly.
    """
    arcs = {(cause, joint.effect) for joint in joints for cause in joint.causes}
    order = layered(len(sizes), sorted(arcs))
    middle = _middles(order, [height for _, height in sizes])
    _straighten(order, [height for _, height in sizes], middle)
    tops = [middle[box] - sizes[box][1] / 2 for box in range(len(sizes))]
    # A lane may run below all the boxes.
    lowest = max(
        [*middle, *(top + height for top, (_, height) in zip(tops, sizes, strict=True))], default=0.0
    )
    columns = _Columns(order, sizes, joints, middle)
    heights = _port_heights(order, joints, middle)
    rails = _rails(order, lowest)
    ports = [
        (columns.left[order.layer_of[joint.effect]], height)
        for joint, height in zip(joints, heights, strict=True)
    ]
    routes: list[dict[int, list[Point]]] = []
    for joint, (_, height) in zip(joints, ports, strict=True):
        routes.append({})
        for cause in joint.causes:
            start = order.layer_of[cause]
            points = [(columns.left[start] + sizes[cause][0], middle[cause])]
            if points[0][0] < columns.right[start]:
                points.append((columns.right[start], middle[cause]))
            points += _way(order, columns, rails, middle, (cause, joint.effect), height)
            points.append((columns.left[order.layer_of[joint.effect]], height))
            routes[-1][cause] = points
    bottom = max([lowest, *(height for height in rails.values())])
    return Layout(
        width=columns.width,
        height=bottom,
        corners=[(columns.left[order.layer_of[box]], tops[box]) for box in range(len(sizes))],
        ports=ports,
        routes=routes,
    )


class _Columns:
    """The columns' left and right edges, and how wide the zone of bends before each one is."""

    def __init__(
        self, order: Layered, sizes: Sequence[Size], joints: Sequence[Joint], middle: Sequence[float]
    ) -> None:
        count = len(order.layers)
        widths = [max((sizes[s][0] for s in layer if s < len(sizes)), default=0.0) for layer in order.layers]
        steepest = [0.0] * (count + 1)
        for left, right in order.segments:
            layer = order.layer_of[right]
            steepest[layer] = max(steepest[layer], abs(middle[left] - middle[right]))
        labels = [0.0] * (count + 1)
        for joint in joints:
            layer = order.layer_of[joint.effect]
            labels[layer] = max(labels[layer], joint.label + ARROW + 12)
        bends = [min(_BEND_MOST, max(_BEND_LEAST, 0.3 * rise)) for rise in steepest]
        # Before the first column and behind the last one a gap is needed only by what goes around.
        if not any(order.layer_of[effect] == 0 for _, effect in order.apart):
            bends[0] = 0.0
        if not any(order.layer_of[cause] == count - 1 for cause, _ in order.apart):
            bends[count] = 0.0
        self.bend = bends
        self.left: list[float] = []
        self.right: list[float] = []
        x = 0.0
        for layer, width in enumerate(widths):
            # A whole number: between two tenths, a box and its arrow may be rounded away from each other.
            x = ceil(x + bends[layer] + labels[layer])
            self.left.append(x)
            x += width
            self.right.append(x)
        self.width = x + bends[count]

    def gap(self, layer: int) -> float:
        """Where the gap before a column begins."""
        return self.right[layer - 1] if layer else 0.0


def _way(
    order: Layered,
    columns: _Columns,
    rails: dict[int, float],
    middle: Sequence[float],
    arc: Arc,
    port: float,
) -> Iterator[Point]:
    """The points between leaving the column of the cause and reaching that of the effect."""
    cause, effect = arc
    start, end = order.layer_of[cause], order.layer_of[effect]
    if arc in order.apart:
        rail = rails[cause]
        yield columns.right[start] + columns.bend[start + 1], rail
        yield columns.gap(end), rail
    else:
        for layer in range(start + 1, end):
            height = middle[order.lanes[cause, layer]]
            yield columns.gap(layer) + columns.bend[layer], height
            yield columns.right[layer], height
    yield columns.gap(end) + columns.bend[end], port


def _port_heights(order: Layered, joints: Sequence[Joint], middle: Sequence[float]) -> list[float]:
    """Where each joint's arrow enters: stacked about the middle of the box in the order of arrival."""
    arrivals: dict[int, list[tuple[float, int]]] = {}
    for index, joint in enumerate(joints):
        layer = order.layer_of[joint.effect] - 1
        last = [
            float("inf")
            if (cause, joint.effect) in order.apart
            else middle[order.lanes.get((cause, layer), cause)]
            for cause in joint.causes
        ]
        arrivals.setdefault(joint.effect, []).append((sum(last) / len(last), index))
    heights = [0.0] * len(joints)
    for effect, joined in arrivals.items():
        first = middle[effect] - PORT_PITCH * (len(joined) - 1) / 2
        for position, (_, index) in enumerate(sorted(joined)):
            heights[index] = first + PORT_PITCH * position
    return heights


def _rails(order: Layered, lowest: float) -> dict[int, float]:
    """For each cause with arcs that stand apart, the height of a line below all the boxes and lanes.

    Two causes share a height if their lines do not meet.
    """
    reach: dict[int, tuple[int, int]] = {}
    for cause, effect in order.apart:
        # In gaps: the one behind the cause, the one before the effect.
        near, far = sorted((order.layer_of[cause] + 1, order.layer_of[effect]))
        least, most = reach.get(cause, (near, far))
        reach[cause] = (min(least, near), max(most, far))
    rails: dict[int, float] = {}
    free: list[tuple[int, int]] = []
    for (near, far), cause in sorted((span, cause) for cause, span in reach.items()):
        level = heappop(free)[1] if free and free[0][0] < near else len(free)
        heappush(free, (far, level))
        rails[cause] = lowest + _BETWEEN_BOXES + level * _BETWEEN_RAILS
    return rails


def _middles(order: Layered, heights: Sequence[float]) -> list[float]:
    """The height of each slot's middle: as level with its neighbours as the order and the gaps allow."""
    count = len(heights)
    is_lane = [slot >= count for slot in range(len(order.layer_of))]
    half = [0.0 if is_lane[slot] else heights[slot] / 2 for slot in range(len(order.layer_of))]
    left_of: list[list[int]] = [[] for _ in order.layer_of]
    right_of: list[list[int]] = [[] for _ in order.layer_of]
    for left, right in order.segments:
        left_of[right].append(left)
        right_of[left].append(right)

    offsets = [_offsets(layer, half, is_lane) for layer in order.layers]
    middle = [0.0] * len(order.layer_of)
    for layer, offset in zip(order.layers, offsets, strict=True):
        for slot, down in zip(layer, offset, strict=True):
            middle[slot] = down - offset[-1] / 2

    last = len(order.layers) - 1
    rounds = 24 if len(middle) <= 400 else 6
    for turn in range(rounds):
        forth = turn % 2 == 0
        for index in range(last + 1) if forth else range(last, -1, -1):
            layer = order.layers[index]
            wishes, weights = [], []
            for slot in layer:
                near, far = (left_of[slot], right_of[slot]) if forth else (right_of[slot], left_of[slot])
                # Mostly where the line comes from; a little where it goes to, so that it does not zigzag.
                pulls = [(middle[s], 8.0 if is_lane[s] and is_lane[slot] else 2.0) for s in near]
                pulls += [(middle[s], 4.0 if is_lane[s] and is_lane[slot] else 0.7) for s in far]
                weight = sum(pull for _, pull in pulls)
                wishes.append(sum(y * pull for y, pull in pulls) / weight if weight else middle[slot])
                weights.append(weight or 0.1)
            for slot, y in zip(layer, _nearest(wishes, weights, offsets[index]), strict=True):
                middle[slot] = y
    highest = min((middle[slot] - half[slot] for slot in range(len(middle))), default=0.0)
    return [y - highest for y in middle]


def _straighten(order: Layered, heights: Sequence[float], middle: list[float]) -> None:
    """Brings the lanes of each cause to one height, as far along as their neighbours leave room."""
    where = {slot: (layer, index) for layer in order.layers for index, slot in enumerate(layer)}

    def free(lane: int) -> tuple[float, float]:
        layer, index = where[lane]
        above, below = layer[index - 1 : index], layer[index + 1 : index + 2]
        least = [middle[s] + _BETWEEN_LANES + (heights[s] / 2 if s < len(heights) else 0) for s in above]
        most = [middle[s] - _BETWEEN_LANES - (heights[s] / 2 if s < len(heights) else 0) for s in below]
        return (*least, float("-inf"))[0], (*most, float("inf"))[0]

    chains: dict[int, list[int]] = {}
    for (cause, _), lane in sorted(order.lanes.items()):
        chains.setdefault(cause, []).append(lane)
    for chain in chains.values():
        done = 0
        while done < len(chain):
            run: list[int] = []
            least, most = float("-inf"), float("inf")
            for lane in chain[done:]:
                low, high = max(least, free(lane)[0]), min(most, free(lane)[1])
                if run and low > high:
                    break
                run.append(lane)
                least, most = low, high
            level = min(max(sum(middle[lane] for lane in run) / len(run), least), most)
            for lane in run:
                middle[lane] = level
            done += len(run)


def _offsets(layer: Sequence[int], half: Sequence[float], is_lane: Sequence[bool]) -> list[float]:
    """How far below the first slot's middle each one's middle stands at least."""
    offsets = [0.0] if layer else []
    for above, below in pairwise(layer):
        apart = _BETWEEN_LANES if is_lane[above] or is_lane[below] else _BETWEEN_BOXES
        offsets.append(offsets[-1] + half[above] + apart + half[below])
    return offsets


def _nearest(wishes: Sequence[float], weights: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """The heights nearest to the wishes (least squares) that keep the order and the distances.

    Less the offsets this is isotonic regression: neighbours that would collide are pooled.
    """
    pools: list[tuple[float, float, int]] = []
    for wish, weight, offset in zip(wishes, weights, offsets, strict=True):
        mean, mass, size = wish - offset, weight, 1
        while pools and pools[-1][0] > mean:
            upper, more, many = pools.pop()
            mean = (upper * more + mean * mass) / (more + mass)
            mass += more
            size += many
        pools.append((mean, mass, size))
    levels = [mean for mean, _, size in pools for _ in range(size)]
    return [level + offset for level, offset in zip(levels, offsets, strict=True)]
