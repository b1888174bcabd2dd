"""What does a thread look like as a picture that stands alone?

The picture is SVG with presentation attributes only: no style sheet, script, font or other resource,
so it looks the same in a page, in a mail and on paper, and no page's style or policy can change it.
It holds its own text twin: each thing is a `<g class="node" data-ref>`, each link a
`<path class="edge" data-cause data-effect data-relation>`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from xml.sax.saxutils import escape, quoteattr
from zlib import crc32

from infra import plain_words
from infra.picture.layout import ARROW, PORT_PITCH, Joint, Layout, Point, arrange
from infra.picture.measure import BOLD, clean, ems, reads_right_to_left, shorten, wrap
from infra.picture.thread import Thing, Thread, read

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
INK, GREY, PAPER = "#0f172a", "#475569", "#ffffff"

COLOURS = {
    "engagement": ("#1e40af", "#eef4ff"),
    "contact": ("#0b5c8a", "#eaf6fd"),
    "concern": ("#92400e", "#fff7e6"),
    "support": ("#6b4e00", "#fdf8d8"),
    "decision": ("#5b21b6", "#f5f1ff"),
    "referral": ("#86198f", "#fdf1fd"),
    "priority": ("#9f1239", "#fff1f3"),
    "change": ("#166534", "#edfbf1"),
    "feedback": ("#115e59", "#e8faf7"),
}
"""For each kind its ink and its paper: the contrast of the two is at least 4.5 to 1 (WCAG AA)."""
OTHER = ("#334155", "#f4f6f9")

WIDTH = 264.0
_PAD, _STRIPE, _MARGIN = 13.0, 6.0, 32.0
_ROOM = WIDTH - _STRIPE - 2 * _PAD
_TAG = 24.0
_NARROWEST = 720.0


@dataclass(frozen=True, slots=True)
class _Joined:
    """A joint with its words: the relation, and the references of its causes."""

    joint: Joint
    relation: str
    words: str
    refs: str


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of text in a box; `down` is its baseline below the box's top."""

    text: str
    down: float
    size: float
    fill: str
    bold: bool = False
    italic: bool = False


def svg(trace: Mapping[str, Any], *, title: str) -> str:
    """A `trace` answer (the JSON of the contract) as an SVG document, to be read from left to right.

    Draws each node and each edge once; the same answer gives the same bytes. Raises `ValueError` if
    an edge has an end that is not a node.
    """
    thread = read(trace)
    contents = [_lines(thing) for thing in thread.things]
    joints = _joints(thread)
    entries = Counter(joined.joint.effect for joined in joints)
    heights = [max(lines[-1].down + 13, PORT_PITCH * entries[box] + 10) for box, lines in enumerate(contents)]
    # The root's tag stands above its box, so the layout is given a higher one.
    tags = [_TAG if box == thread.root else 0.0 for box in range(len(contents))]
    layout = arrange(
        [(WIDTH, height + 2 * tag) for height, tag in zip(heights, tags, strict=True)],
        [joined.joint for joined in joints],
    )
    width = max(layout.width + 2 * _MARGIN, _NARROWEST)
    heading, top = _heading(thread, clean(title), width)
    legend, bottom = _legend(thread, width, top + layout.height + 44)
    # Names of its own, so that two pictures can stand in one page.
    names = f"heard-{crc32(repr((title, trace.get('root'))).encode()):08x}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="{names}-title {names}-desc" '
        f'width="{_n(width)}" height="{_n(bottom)}" viewBox="0 0 {_n(width)} {_n(bottom)}" '
        f"font-family={quoteattr(FONT)}>",
        f'<title id="{names}-title">{escape(clean(title))}</title>',
        f'<desc id="{names}-desc">{escape(_description(thread))}</desc>',
        f'<rect width="{_n(width)}" height="{_n(bottom)}" fill="{PAPER}"/>',
        *heading,
        f'<g transform="translate({_n(_MARGIN)} {_n(top)})">',
        *_arrows(thread, joints, layout),
    ]
    for box, thing in enumerate(thread.things):
        x, y = layout.corners[box]
        parts += _box(thing, contents[box], (x, y + tags[box]), heights[box], root=box == thread.root)
    return "\n".join([*parts, "</g>", *legend, "</svg>", ""])


def _joints(thread: Thread) -> list[_Joined]:
    """The arrows of one relation into one thing, which join before they reach it."""
    causes: dict[tuple[int, str], list[int]] = {}
    for link in thread.links:
        causes.setdefault((link.effect, link.relation), []).append(link.cause)
    joints = []
    for (effect, relation), those in causes.items():
        words = shorten(plain_words.relation(relation), 180, partial(_width, size=11))
        wide = _width(words, 11)
        refs = _few([thread.things[cause].ref for cause in those], max(80.0, wide))
        joint = Joint(effect, tuple(those), max(wide, _width(refs, 10.5)))
        joints.append(_Joined(joint, relation, words, refs))
    return joints


def _few(refs: list[str], room: float) -> str:
    """As many references as there is room for: "C2, N1 +3"."""
    width = partial(_width, size=10.5)
    for shown in range(min(len(refs), 15), 0, -1):
        more = len(refs) - shown
        text = ", ".join(refs[:shown]) + (f" +{more}" if more else "")
        if width(text) <= room:
            return text
    return f"{len(refs)} things" if len(refs) > 1 else shorten(refs[0], room, width)


def _lines(thing: Thing) -> list[_Line]:
    """What stands in a box: kind and reference, date, text, and where it stands."""
    ink, _ = COLOURS.get(thing.kind, OTHER)
    # The reference stands on the right of the kind; where both are long, each gets its share.
    ref_takes = min(_width(thing.ref, 12, bold=True), _ROOM * 0.45)
    kind = shorten(thing.kind_words, _ROOM - ref_takes - 12, partial(_width, size=14, bold=True))
    lines = [_Line(kind, 24, 14, ink, bold=True)]
    down = 25.0
    for text in _evenly(thing.date, partial(_width, size=11.5)):
        down += 17 if down == 25 else 15
        lines.append(_Line(text, down, 11.5, GREY))
    down += 5
    for text in wrap(thing.text, _ROOM, partial(_width, size=13), most=3):
        down += 17.5
        lines.append(_Line(text, down, 13, GREY if thing.withheld else INK, italic=thing.withheld))
    down += 5
    for text in wrap(thing.status, _ROOM, partial(_width, size=12, bold=True), most=4):
        down += 16.5
        lines.append(_Line(text, down, 12, ink, bold=True))
    return lines


def _evenly(text: str, width: Callable[[str], float]) -> list[str]:
    """At most two lines, of about one length if there are two."""
    lines = wrap(text, _ROOM, width, most=2)
    narrow = wrap(text, _ROOM * 0.8, width, most=3)
    return narrow if len(narrow) == len(lines) else lines


def _box(thing: Thing, lines: list[_Line], corner: Point, height: float, *, root: bool) -> Iterator[str]:
    x, y = corner
    ink, paper = COLOURS.get(thing.kind, OTHER)
    yield f'<g class="node{" root" if root else ""}" data-ref={quoteattr(thing.ref)}>'
    yield f"<title>{escape(_sentence(thing))}</title>"
    if root:
        tag = "Traced from here"
        wide = _width(tag, 11.5, bold=True) + 18
        yield (
            f'<path d="M{_n(x - 1.7)} {_n(y + 9)}v-{_n(_TAG)}a6 6 0 0 1 6 -6h{_n(wide - 12)}a6 6 0 0 1 6 6'
            f'v{_n(_TAG)}z" fill="{ink}"/>'
        )
        yield _text(_Line(tag, -7, 11.5, PAPER, bold=True), x + 9, y)
    yield (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(WIDTH)}" height="{_n(height)}" rx="8" fill="{paper}" '
        f'stroke="{ink}" stroke-width="{3.5 if root else 1.2}"/>'
    )
    yield (
        f'<path d="M{_n(x + 8)} {_n(y)}h-2a6 8 0 0 0 -6 8v{_n(height - 16)}a6 8 0 0 0 6 8h2z" fill="{ink}"/>'
    )
    left = x + _STRIPE + _PAD
    taken = _width(lines[0].text, 14, bold=True) + 12
    ref = shorten(thing.ref, _ROOM - taken, partial(_width, size=12, bold=True))
    yield _text(_Line(ref, 24, 12, GREY, bold=True), x + WIDTH - _PAD, y, anchor="end")
    for line in lines:
        yield _text(line, left, y, room=_ROOM)
    yield "</g>"


def _arrows(thread: Thread, joints: list[_Joined], layout: Layout) -> Iterator[str]:
    yield '<g fill="none" stroke-width="1.6" stroke-linejoin="round">'
    for joined, routes in zip(joints, layout.routes, strict=True):
        effect = thread.things[joined.joint.effect].ref
        for cause in joined.joint.causes:
            thing = thread.things[cause]
            ink, _ = COLOURS.get(thing.kind, OTHER)
            yield (
                f'<path class="edge" data-cause={quoteattr(thing.ref)} data-effect={quoteattr(effect)} '
                f'data-relation={quoteattr(joined.relation)} d="{_path(routes[cause])}" stroke="{ink}">'
                f"<title>{escape(f'{effect}: {joined.words} {thing.ref}')}</title></path>"
            )
    yield "</g>"
    for joined, routes, (x, y) in zip(joints, layout.routes, layout.ports, strict=True):
        # What the arrows have in common is in no cause's colour.
        stem = routes[joined.joint.causes[0]][-2][0]
        yield f'<path d="M{_n(stem)} {_n(y)}H{_n(x - ARROW)}" stroke="{INK}" stroke-width="1.6"/>'
        yield f'<path d="M{_n(x)} {_n(y)}l{_n(-ARROW)} {_n(-ARROW / 2)}v{_n(ARROW)}z" fill="{INK}"/>'
        for line in (_Line(joined.words, -5, 11, INK), _Line(joined.refs, 13, 10.5, GREY)):
            yield _text(line, x - ARROW - 4, y, anchor="end", name="label")


def _path(points: list[Point]) -> str:
    (x, y), *others = points
    steps = [f"M{_n(x)} {_n(y)}"]
    for right, down in others:
        if abs(down - y) < 0.05:
            steps.append(f"H{_n(right)}")
        else:
            half = (x + right) / 2
            steps.append(f"C{_n(half)} {_n(y)} {_n(half)} {_n(down)} {_n(right)} {_n(down)}")
        x, y = right, down
    return "".join(steps)


def _heading(thread: Thread, title: str, width: float) -> tuple[list[str], float]:
    """The title, how to read the picture, and how far down the drawing may begin."""
    room = width - 2 * _MARGIN
    parts, down = [], 26.0
    for text in wrap(title, room, partial(_width, size=24, bold=True), most=3):
        down += 28
        parts.append(_text(_Line(text, down, 24, INK, bold=True), _MARGIN, 0, room=room))
    facts = f"{_counted(len(thread.things), 'thing')} and {_counted(len(thread.links), 'link')}"
    known = f"As known on {thread.at}: {facts}." if thread.at else f"{facts}."
    how = " Read from left to right: each arrow leads from a cause to what came of it."
    for text in wrap(known + how * bool(thread.links), room, partial(_width, size=14)):
        down += 24
        parts.append(_text(_Line(text, down, 14, GREY), _MARGIN, 0))
    return parts, down + 34


def _legend(thread: Thread, width: float, down: float) -> tuple[list[str], float]:
    """What each colour and sign means, in rows; and the picture's bottom."""
    present = {thing.kind for thing in thread.things}
    parts = [
        f'<path d="M{_n(_MARGIN)} {_n(down - 22)}H{_n(width - _MARGIN)}" stroke="#cbd5e1"/>',
        _text(_Line("What the boxes and words mean", down, 14, INK, bold=True), _MARGIN, 0),
    ]
    x, y = _MARGIN, down + 26
    for kind in (kind for kind in plain_words.KINDS if kind in present):
        ink, paper = COLOURS.get(kind, OTHER)
        name, meaning = plain_words.kind(kind), plain_words.KIND_MEANINGS[kind]
        wide = 26 + _width(name, 12.5, bold=True) + _width(f": {meaning}", 12.5)
        if x > _MARGIN and x + wide > width - _MARGIN:
            x, y = _MARGIN, y + 24
        parts.append(
            f'<rect x="{_n(x)}" y="{_n(y - 12)}" width="18" height="15" rx="3" fill="{paper}" '
            f'stroke="{ink}"/>'
            f'<path d="M{_n(x)} {_n(y - 12)}h5v15h-5z" fill="{ink}"/>'
            f'<text x="{_n(x + 26)}" y="{_n(y)}" font-size="12.5" fill="{INK}">'
            f'<tspan font-weight="700" fill="{ink}">{escape(name)}</tspan>: {escape(meaning)}</text>'
        )
        x += wide + 20
    notes = "The bold words at the foot of a box say where it stands."
    if thread.links:
        first = thread.links[0]
        ends = (thread.things[end].ref for end in (first.effect, first.cause))
        effect, cause = (shorten(ref, 200, partial(_width, size=12.5)) for ref in ends)
        notes = (
            "Read the words on an arrow from the box that it points to, for instance: "
            f"“{effect} {first.words} {cause}”. "
            f"An arrow says that one thing rests on another, not that the answer was yes. {notes}"
        )
    y += 6
    for text in wrap(notes, width - 2 * _MARGIN, partial(_width, size=12.5)):
        y += 20
        parts.append(_text(_Line(text, y, 12.5, GREY), _MARGIN, 0))
    return parts, y + _MARGIN


def _description(thread: Thread) -> str:
    """The same in sentences, for those who hear the picture: each thing, and what it rests on."""
    causes: dict[int, list[str]] = {}
    for link in thread.links:
        causes.setdefault(link.effect, []).append(f"{link.words} {thread.things[link.cause].ref}")
    root = f"A thread traced from {thread.things[thread.root].ref}. " if thread.root is not None else ""
    return root + " ".join(
        "; ".join([_sentence(thing), *causes.get(index, [])]).rstrip(".") + "."
        for index, thing in enumerate(thread.things)
    )


def _sentence(thing: Thing) -> str:
    return "; ".join(part for part in (thing.name, thing.date, thing.status, thing.text) if part)


def _text(
    line: _Line, x: float, y: float, *, room: float = 0.0, anchor: str = "start", name: str = ""
) -> str:
    """A `<text>` that starts or ends at x; what reads from right to left starts at the right of its room."""
    attributes = f' class="{name}"' if name else ""
    if reads_right_to_left(line.text):
        # In such a text the start is on the right.
        x += 0 if anchor == "end" else room
        attributes += ' direction="rtl"'
    elif anchor != "start":
        attributes += f' text-anchor="{anchor}"'
    if line.bold:
        attributes += ' font-weight="700"'
    if line.italic:
        attributes += ' font-style="italic"'
    return (
        f'<text x="{_n(x)}" y="{_n(y + line.down)}" font-size="{_n(line.size)}" fill="{line.fill}"'
        f"{attributes}>{escape(line.text)}</text>"
    )


def _width(text: str, size: float, *, bold: bool = False) -> float:
    return ems(text) * size * (BOLD if bold else 1)


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count:,} {noun}s"


def _n(number: float) -> str:
    """A number as SVG likes it: at most one decimal."""
    digits = f"{number:.1f}".removesuffix(".0")
    return "0" if digits == "-0" else digits
