"""Which ways lead from an input to what came of it, since when, and over which groupings?

Pure: the graph loads the links, and what is found here depends on them alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from heapq import heappop, heappush
from typing import NamedTuple, TypeAlias

from projections.trace import walk


class Link(NamedTuple):
    """A link as it is seen from one of its ends."""

    far: str
    """The other end."""
    grouped: str | None
    """The concern whose grouping it is, if it is one."""
    position: int
    """Of the event that made it."""


Links: TypeAlias = Mapping[str, list[Link]]
"""By their near ends."""


def reversed_(links: Links) -> Links:
    """The same links, as they are seen from their far ends."""
    found: defaultdict[str, list[Link]] = defaultdict(list)
    for near, each in links.items():
        for link in each:
            found[link.far].append(link._replace(far=near))
    return found


def joined_anew(
    joints: Collection[tuple[str, str]], up: Links, down: Links, ends: Collection[str]
) -> Iterator[tuple[set[str], set[str]]]:
    """What each joint (effect, cause) put on one way: all that leads to it, and those `ends` it leads to.

    One joint is taken after another, without those that are still to come, and no way passes through one
    thing twice: so what was on one way before is found again only if a joint closes a circle. (thing, thing)
    is a thing that was not known before.
    """
    to_come = set(joints)
    for effect, cause in sorted(to_come):

        def leads_to(id_: str, besides: str = cause) -> list[str]:
            far = (link.far for link in down.get(id_, ()))
            return [other for other in far if other != besides and (other, id_) not in to_come]

        def rests_on(id_: str, besides: str = effect) -> list[str]:
            far = (link.far for link in up.get(id_, ()))
            return [other for other in far if other != besides and (id_, other) not in to_come]

        if below := {id_ for id_ in walk({effect}, leads_to) if id_ in ends}:
            yield ({cause} if effect == cause else walk({cause}, rests_on)), below
        to_come.discard((effect, cause))


class Ways:
    """All ways in one direction; what is asked about one root is found once."""

    def __init__(self, links: Links, endings: Mapping[str, list[int]]) -> None:
        self._links = links
        self._endings = endings
        self._changes = sorted({position for positions in endings.values() for position in positions})
        self._since: dict[str, dict[str, int]] = {}
        self._at: dict[tuple[str, int], Collection[str]] = {}

    def since(self, root: str) -> Mapping[str, int]:
        """All things that `root` reaches, each with the position since when it does: a way's last link."""
        if root not in self._since:
            self._since[root] = self._joined(root)
        return self._since[root]

    def at(self, root: str, position: int) -> Collection[str]:
        """What `root` reached when something happened at `position`: over no grouping that had ended."""
        # Between two endings nothing changes: what is newer than the position was never ended before it.
        age = bisect_left(self._changes, position)
        if age == 0:
            return self.since(root)
        if (root, age) not in self._at:
            self._at[root, age] = walk({root}, self._held(position))
        return self._at[root, age]

    def _held(self, position: int) -> Callable[[str], Iterable[str]]:
        def further(id_: str) -> list[str]:
            return [link.far for link in self._links.get(id_, ()) if not self._ended(link, position)]

        return further

    def _ended(self, link: Link, position: int) -> bool:
        return link.grouped is not None and any(
            link.position < ended < position for ended in self._endings.get(link.grouped, ())
        )

    def _joined(self, root: str) -> dict[str, int]:
        since, todo = {root: 0}, [(0, root)]
        while todo:
            reached, thing = heappop(todo)
            for link in self._links.get(thing, ()):
                position = max(reached, link.position)
                if position < since.get(link.far, position + 1):
                    since[link.far] = position
                    heappush(todo, (position, link.far))
        return since
