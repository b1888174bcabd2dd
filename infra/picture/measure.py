"""How much room does a text take, and where does it break?

Nobody knows which font the reader's machine will choose, so widths are estimated after DejaVu Sans,
the widest of the usual system fonts: what fits by this estimate fits in the others too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import lru_cache

BOLD = 1.2
"""How much wider a bold text may be."""

_WIDTHS = {
    0.32: "' ,.’·ijlIJ",
    0.42: "/:;\\|f-()[]t!r",
    0.56: '"*_`–sz?cL',
    0.65: "Fkvxyc0123456789$£{}aobdeghnpquTYEPS",
    0.71: "KAVBRXZC",
    0.80: "UHNDG&OQ",
    0.85: "w#+<=>^~→M",
    1.00: "%mW@…—",
}
_WIDTH = {char: width for width, chars in _WIDTHS.items() for char in chars}
_WIDE_CYRILLIC = set("ЖШЩЮФМЫЂЉЊжшщюфмыљњ")
_UNUSUALLY_WIDE = {"\N{ARABIC LIGATURE BISMILLAH AR-RAHMAN AR-RAHEEM}": 14.0}

# Not allowed in XML, or able to reorder or corrupt what stands beside them: control characters,
# lone surrogates, non-characters, and the marks that override the direction of writing.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufdd0-\ufdef\ufeff"
    "\ufff0-\uffff\ud800-\udfff]"
)
_MARKS_IN_A_ROW = 4


def clean(text: str) -> str:
    """The text as one line that is safe in XML and on a terminal; what can be read of it stays."""
    line = " ".join(_UNSAFE.sub("", text).split())
    return line if line.isascii() else "".join(cluster[: _MARKS_IN_A_ROW + 1] for cluster in clusters(line))


def clusters(text: str) -> Iterator[str]:
    """What the reader takes for single characters: a base with its marks, an emoji with its joiners."""
    cluster = ""
    for char in text:
        joined = cluster and (_takes_no_room(char) or cluster[-1] == "\N{ZERO WIDTH JOINER}")
        if cluster and not joined:
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


def ems(text: str) -> float:
    """The width in ems (multiples of the font's size) that the text does not exceed."""
    return sum(map(_em, text))


def reads_right_to_left(text: str) -> bool:
    """Whether the first letter with a direction belongs to a script such as Arabic or Hebrew."""
    directions = (unicodedata.bidirectional(char) for char in text)
    return next((way in ("R", "AL") for way in directions if way in ("L", "R", "AL")), False)


def wrap(text: str, room: float, width: Callable[[str], float], most: int | None = None) -> list[str]:
    """Lines that are no wider than `room`; a longer word is broken; past `most` lines an ellipsis says so."""
    lines: list[str] = []
    line = ""
    for word in text.split():
        for piece in _pieces(word, room, width):
            longer = f"{line} {piece}" if line else piece
            if width(longer) <= room:
                line = longer
                continue
            if len(lines) + 1 == most:
                return [*lines, shorten(f"{line} {piece}".strip(), room, width, cut=True)]
            if line:
                lines.append(line)
            line = piece
    return [*lines, line] if line else lines


def shorten(text: str, room: float, width: Callable[[str], float], *, cut: bool = False) -> str:
    """The text if it fits (and nothing was `cut` already), else as much as fits, and an ellipsis."""
    if not cut and width(text) <= room:
        return text
    kept = ""
    for cluster in clusters(text):
        if width(kept + cluster + "…") > room:
            break
        kept += cluster
    return kept.rstrip(" ,.;:") + "…"


def _pieces(word: str, room: float, width: Callable[[str], float]) -> Iterator[str]:
    if width(word) <= room:
        yield word
        return
    piece = ""
    for cluster in clusters(word):
        if piece and width(piece + cluster) > room:
            yield piece
            piece = ""
        piece += cluster
    yield piece


@lru_cache(maxsize=4096)
def _em(char: str) -> float:
    if (known := _WIDTH.get(char)) is not None:
        return known
    if _takes_no_room(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.4 if unicodedata.category(char) == "So" else 1.05
    if char in _UNUSUALLY_WIDE:
        return _UNUSUALLY_WIDE[char]
    # An accented letter is as wide as its letter, a ligature no wider than its letters.
    parts = unicodedata.normalize("NFKD", char)
    if parts != char:
        return sum(map(_em, parts))
    if (direction := unicodedata.bidirectional(char)) in ("R", "AL"):
        return 0.75 if direction == "R" else 0.9
    if "\u0370" <= char <= "\u052f":
        return 1.1 if char in _WIDE_CYRILLIC else 0.85
    return 1.1 if char <= "\u024f" else 1.25


@lru_cache(maxsize=4096)
def _takes_no_room(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Me", "Cf")
