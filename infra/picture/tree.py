"""What does a thread look like on a terminal?

A tree: the root first, then what it rests on, then what came of it. A thread is not a tree, since one
thing may have several causes; so each thing stands once in full, and wherever another link leads to
it again a line says "→ see A1". Every node stands there, and every edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rich.cells import cell_len

from infra.picture.measure import shorten, wrap
from infra.picture.thread import Link, Thing, Thread, read

_NARROWEST = 40
_ROOM_FOR_TEXT = 28
_STEP = 3
_BOLD, _DIM = "1", "2"

COLOURS = {
    "engagement": "34",
    "contact": "34",
    "concern": "33",
    "support": "33",
    "decision": "35",
    "referral": "35",
    "priority": "31",
    "change": "32",
    "feedback": "36",
}
"""Plain ANSI colours, which each terminal shows in a way it can be read; the kind is in words anyway."""

Branch = Iterator[tuple[Link, bool]]
"""The links that go on from a thing, each with whether it is the last."""


@dataclass(slots=True)
class _Page:
    """What has been written so far."""

    thread: Thread
    width: int
    colour: bool
    lines: list[str] = field(default_factory=list)
    shown: set[int] = field(default_factory=set)
    drawn: set[Link] = field(default_factory=set)
    above: set[int] = field(default_factory=set)
    """What the root rests on: from these the tree of what came of it does not start."""
    put_off: list[int] = field(default_factory=list)
    """Where the tree grew too deep for the page: each gets a tree of its own further down."""


def terminal(trace: Mapping[str, Any], *, width: int = 100, colour: bool) -> str:
    """A `trace` answer (the JSON of the contract) as a tree for the terminal.

    No line is wider than `width` cells (40 at least). `colour` is for the caller to decide: true on a
    terminal, false if `NO_COLOR` is set. Raises `ValueError` if an edge has an end that is not a node.
    """
    thread = read(trace)
    page = _Page(thread, max(width, _NARROWEST), colour)
    causes = _grouped(thread, lambda link: link.effect)
    effects = _grouped(thread, lambda link: link.cause)
    if (root := thread.root) is not None:
        page.shown.add(root)
        _write_thing(page, thread.things[root])
        if causes[root]:
            _write_heading(page, "What it rests on")
            _grow(page, root, causes, back=True)
            page.above |= page.shown - {root}
        if effects[root]:
            _write_heading(page, "What came of it")
            _grow(page, root, effects, back=False, causes=causes)
    # A trace is one thread, so this is for answers that were cut or put together by hand.
    others = [index for index in range(len(thread.things)) if index not in page.shown]
    for index in sorted(others, key=lambda index: (bool(causes[index]), index)):
        if index not in page.shown:
            page.shown.add(index)
            _write_heading(page, "Also in this thread" if page.lines else "")
            _write_thing(page, thread.things[index], also=_also(page, causes[index]))
            _grow(page, index, effects, back=False, causes=causes)
    rest = [link for link in thread.links if link not in page.drawn]
    if rest:
        _write_heading(page, "And these links")
        for link in rest:
            effect, cause = thread.things[link.effect], thread.things[link.cause]
            _write(page, f"{effect.ref}: {link.words} {cause.ref}")
    return "\n".join(page.lines) + "\n"


def _grow(
    page: _Page,
    start: int,
    links: list[list[Link]],
    *,
    back: bool,
    causes: list[list[Link]] | None = None,
) -> None:
    """Writes below `start` what it rests on (`back`) or what came of it, depth first."""
    # A stack of branches and no recursion: a thread may be longer than Python's own stack is deep.
    stack: list[tuple[str, Branch]] = [("", _branch(links[start]))]
    while stack or page.put_off:
        if not stack:
            index = page.put_off.pop(0)
            ref = page.thread.things[index].ref
            _write_heading(page, f"What {ref} rests on" if back else f"What came of {ref}")
            stack.append(("", _branch(links[index])))
        indent, branch = stack[-1]
        link, last = next(branch, (None, True))
        if link is None:
            stack.pop()
            continue
        page.drawn.add(link)
        index = link.cause if back else link.effect
        thing = page.thread.things[index]
        mark, below = indent + ("└─ " if last else "├─ "), indent + ("   " if last else "│  ")
        bound = f"{link.words} {page.thread.things[link.cause].ref}"
        if index in page.shown:
            _write(
                page,
                f"{link.words} → see {thing.ref}" if back else f"→ see {thing.ref}, {bound}",
                mark,
                below,
            )
            continue
        page.shown.add(index)
        too_deep = len(below) + _STEP + 4 + _ROOM_FOR_TEXT > page.width
        goes_on = bool(links[index]) and not too_deep
        _write_thing(
            page,
            thing,
            mark,
            below + ("│" if goes_on else " "),
            led_by=f"{link.words} " if back else "",
            bound="" if back else f", {bound}",
            also=_also(page, causes[index]) if causes else "",
            note="… goes on below" if links[index] and too_deep else "",
        )
        if goes_on:
            stack.append((below, _branch(links[index])))
        elif links[index]:
            page.put_off.append(index)


def _also(page: _Page, causes: list[Link]) -> str:
    """Its links to what stands above the root, which no branch of this tree leads through."""
    links = [link for link in causes if link.cause in page.above and link not in page.drawn]
    page.drawn.update(links)
    bonds = ", ".join(f"{link.words} {page.thread.things[link.cause].ref}" for link in links)
    return f"also {bonds}" if bonds else ""


def _write_thing(
    page: _Page,
    thing: Thing,
    mark: str = "",
    below: str = "",
    *,
    led_by: str = "",
    bound: str = "",
    also: str = "",
    note: str = "",
) -> None:
    """A thing in full: kind, reference, how it is bound to what stands above it, date, state; its text."""
    head = f"{led_by}{thing.name}{bound}"
    facts = " · ".join(part for part in (head, thing.date, thing.status, also) if part)
    _write(page, facts, mark, f"{below:<{len(mark)}}   ", thing.name, COLOURS.get(thing.kind, ""))
    for text in filter(None, (thing.text, note)):
        indent = f"{below:<{len(mark)}}   "
        _write(page, text, indent, indent, text if text == note or thing.withheld else "", _DIM)


def _write(
    page: _Page, text: str, mark: str = "", below: str = "", painted: str = "", style: str = ""
) -> None:
    """Wraps the text; its first line stands behind `mark`, the others behind `below`."""
    room = page.width - max(len(mark), len(below))
    for number, line in enumerate(wrap(text, room, cell_len)):
        shown = line
        if page.colour and painted and style:
            codes = style if style == _DIM else f"{_BOLD};{style}"
            # A name that was broken over lines stays as it is.
            shown = _paint(line, codes) if style == _DIM else line.replace(painted, _paint(painted, codes), 1)
        branches = below if number else mark
        page.lines.append((_paint(branches, _DIM) if page.colour and branches.strip() else branches) + shown)


def _write_heading(page: _Page, text: str) -> None:
    if page.lines:
        page.lines.append("")
    if text:
        line = shorten(text, page.width, cell_len)
        page.lines.append(_paint(line, _BOLD) if page.colour else line)


def _paint(text: str, codes: str) -> str:
    return f"\x1b[{codes}m{text}\x1b[0m"


def _grouped(thread: Thread, end: Callable[[Link], int]) -> list[list[Link]]:
    groups: list[list[Link]] = [[] for _ in thread.things]
    for link in thread.links:
        groups[end(link)].append(link)
    return groups


def _branch(links: list[Link]) -> Branch:
    return ((link, link is links[-1]) for link in links)
