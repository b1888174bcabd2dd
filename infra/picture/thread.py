"""What is there to draw in a `trace` answer?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra import plain_words
from infra.picture.measure import clean


@dataclass(frozen=True, slots=True)
class Thing:
    """A node in words that can be shown: one line each, without control characters."""

    ref: str
    name: str
    """What it is and how it is called: "Concern N1"."""
    kind: str
    """The code: engagement, concern …"""
    date: str
    status: str
    text: str
    withheld: bool
    """Whether `text` only says why there is none to read."""

    @property
    def kind_words(self) -> str:
        """What it is, in plain words."""
        return plain_words.kind(self.kind)


@dataclass(frozen=True, slots=True)
class Link:
    """An edge; its ends are places in `Thread.things`."""

    cause: int
    effect: int
    relation: str
    """The code: raised_in, derived_from …"""

    @property
    def words(self) -> str:
        """The relation in plain words, from the effect to its cause: "raised in"."""
        return plain_words.relation(self.relation)


@dataclass(frozen=True, slots=True)
class Thread:
    """A `trace` answer: its things from the oldest to the newest, and the links between them."""

    root: int | None
    at: str
    things: tuple[Thing, ...]
    links: tuple[Link, ...]


def read(trace: Mapping[str, Any]) -> Thread:
    """The same thread whatever the order of nodes and edges in the answer.

    Raises `ValueError` if two nodes share a reference or an edge has an end that is not a node: a
    picture that leaves something out without a word would be a false record.
    """
    nodes = sorted(trace["nodes"], key=lambda node: (_first_day(node), str(node["ref"])))
    place = {str(node["ref"]): index for index, node in enumerate(nodes)}
    if len(place) != len(nodes):
        raise ValueError("two nodes of the trace have the same reference")
    edges = {(str(edge["cause"]), str(edge["effect"]), str(edge["relation"])) for edge in trace["edges"]}
    for end in (end for cause, effect, _ in sorted(edges) for end in (cause, effect)):
        if end not in place:
            raise ValueError(f"an edge of the trace has an end that is not a node: {end}")
    at = trace.get("at")
    return Thread(
        root=place.get(str(trace.get("root"))),
        at=plain_words.moment(clean(str(at))) if at else "",
        things=tuple(map(_thing, nodes)),
        links=tuple(
            sorted(
                (Link(place[cause], place[effect], clean(relation)) for cause, effect, relation in edges),
                key=lambda link: (link.cause, link.effect, link.relation),
            )
        ),
    )


def _thing(node: Mapping[str, Any]) -> Thing:
    text = clean(str(node.get("text") or ""))
    ref, kind = clean(str(node["ref"])), clean(str(node["kind"]))
    # What stands for several says so in its reference: "supports of N1".
    name = f"{ref[:1].upper()}{ref[1:]}" if node.get("counts") else f"{plain_words.kind(kind)} {ref}"
    return Thing(
        ref=ref,
        name=name,
        kind=kind,
        date=clean(plain_words.when(node)),
        status=clean(plain_words.status(node)),
        text=plain_words.WITHHELD.get(text, text),
        withheld=text in plain_words.WITHHELD,
    )


def _first_day(node: Mapping[str, Any]) -> str:
    occurred = node.get("occurred") or {}
    return str(occurred.get("from") or occurred.get("to") or node.get("known_at") or "")
