"""Is this document of a shape that is worth reading?

Asked of the text before it is parsed, and of what was parsed before anything else works on it: what
reading costs rests on how many values there are, far more than on how long they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MEMBERS: Final = 500
"""As many values as one list or one object may have; no list of a message may be longer."""
VALUES: Final = 5_000
"""As many values as a body may have in all; a message with 500 causes and 500 areas has about 4,000."""

Path = tuple[str | int, ...]
"""Names and indexes, from the document's root."""


@dataclass(frozen=True, slots=True)
class TooMuch:
    """A list, an object or a whole document that holds too much; the root's path is empty."""

    path: Path
    expected: str
    got: str


@dataclass(frozen=True, slots=True)
class Shape:
    """What one look at a document found."""

    names: int
    """How many names its objects have, at all depths."""
    nul: Path | None
    """Where a name or text first holds U+0000."""


def outside_strings(text: bytes) -> bytes:
    """What a JSON text has outside its strings: each colon follows a name, each bracket opens or closes.

    Of a text that is not JSON it may be anything.
    """
    # Without pairs of backslashes those that are left each escape what follows: here only quotes matter.
    return b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def too_many_holders(outside: bytes) -> TooMuch | None:
    """Whether there are more lists and objects than a body may have values, by `outside_strings`."""
    found = outside.count(b"[") + outside.count(b"{")
    return _too_many_values(found) if found > VALUES else None


def shape_of(document: object, root: Path, *, may_hold_nul: bool) -> Shape | TooMuch:
    """One look at a parsed document, breadth first; it ends at the first list or object with too much.

    `root` is the document's own path.
    """
    if not isinstance(document, dict | list):
        return Shape(0, None)
    holders: list[Any] = [document]
    above: list[tuple[int, str | int]] = [(0, "")]  # of each: which one holds it, and under what name
    names = values = 0
    nul = None
    for at, holder in enumerate(holders):  # it grows meanwhile
        many = len(holder)
        is_list = type(holder) is list
        if many > MEMBERS:
            what = "values in a list" if is_list else "names in an object"
            return TooMuch(_path(root, above, at), f"at most {MEMBERS} {what}", str(many))
        values += many
        if values > VALUES:
            return _too_many_values(values)
        names += 0 if is_list else many
        for name, inner in enumerate(holder) if is_list else holder.items():
            if type(inner) is dict or type(inner) is list:
                holders.append(inner)
                above.append((at, name))
            elif may_hold_nul and nul is None and type(inner) is str and "\x00" in inner:
                nul = (*_path(root, above, at), name)
        if may_hold_nul and nul is None and not is_list and any("\x00" in name for name in holder):
            nul = _path(root, above, at)
    return Shape(names, nul)


def _path(root: Path, above: list[tuple[int, str | int]], at: int) -> Path:
    path = []
    while at:
        at, name = above[at]
        path.append(name)
    return (*root, *reversed(path))


def _too_many_values(found: int) -> TooMuch:
    return TooMuch((), f"at most {VALUES} values", f"{found} or more")
