"""Is this document of a shape that is worth reading?

Asked before anything else works on it. What reading costs rests on how many values there are, far more
than on how long they are; and what stands in it twice is not the same to every reader.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

MEMBERS: Final = 500
"""As many values as one list or one object may have; no list of a message may be longer."""
VALUES: Final = 5_000
"""As many values as a body may have in all; a message with 500 causes and 500 areas has about 4,000."""

Path = tuple[str | int, ...]
"""Names and indexes, from the message's root."""


@dataclass(frozen=True, slots=True)
class TooMuch:
    """A list, an object or a whole document that holds too much; of the document the path is empty."""

    path: Path
    expected: str
    got: str


def is_small(body: bytes) -> bool:
    """Whether a JSON text has so few commas and brackets that nothing in it can be too much."""
    return body.count(b",") + _holders(body) < MEMBERS


def too_many_holders(body: bytes) -> TooMuch | None:
    """Whether a JSON text has more lists and objects than VALUES: parsing those is what takes long.

    A body that is not JSON may be said to have too many; see `brackets_match`.
    """
    if _holders(body) <= VALUES:
        return None
    found = _holders(_outside_strings(body))
    return _too_many_values(found) if found > VALUES else None


def brackets_match(body: bytes) -> bool:
    """Whether a body has as many brackets that open as close. Else it is no JSON, without parsing it."""
    outside = _outside_strings(body)
    return outside.count(b"[") == outside.count(b"]") and outside.count(b"{") == outside.count(b"}")


def looked_at(document: object, root: Path) -> Path | TooMuch | None:
    """Where text first holds U+0000, or the first list or object with too much in it, or None.

    `root` is the document's own path. One look, breadth first, that ends as soon as there is too much.
    """
    if not isinstance(document, dict | list):
        return None
    holders: list[Any] = [document]
    above: list[tuple[int, str | int]] = [(0, "")]  # of each: which one holds it, and under what name
    values = 0
    nul: Path | None = None
    for at, holder in enumerate(holders):  # they grow meanwhile
        named = isinstance(holder, dict)
        if len(holder) > MEMBERS:
            what = "names in an object" if named else "values in a list"
            return TooMuch(_path(root, above, at), f"at most {MEMBERS} {what}", str(len(holder)))
        values += len(holder)
        if values > VALUES:
            return _too_many_values(values)
        for name, inner in holder.items() if named else enumerate(holder):
            if isinstance(inner, dict | list):
                holders.append(inner)
                above.append((at, name))
            if nul is None and isinstance(inner, str) and "\x00" in inner:
                nul = (*_path(root, above, at), name)
            elif nul is None and isinstance(name, str) and "\x00" in name:
                nul = _path(root, above, at)
    return nul


def has_a_name_twice(body: bytes, written: bytes) -> bool:
    """Whether in one object of a JSON text a name stands twice.

    `written` is the text again, as orjson writes what it parsed: there only the last is left. Each name
    has a colon after it, and all other colons stand in strings, which are the same in both.
    """
    escaped = 0
    if b"\\u003" in body:
        # Only there may a colon be an escape; without pairs of backslashes, each that is left begins one.
        single = body.replace(b"\\\\", b"")
        escaped = single.count(b"\\u003a") + single.count(b"\\u003A")
    return body.count(b":") + escaped != written.count(b":")


def _holders(text: bytes) -> int:
    return text.count(b"[") + text.count(b"{")


def _outside_strings(body: bytes) -> bytes:
    # Without pairs of backslashes those that are left each escape what follows: only quotes are counted.
    return b"".join(body.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _path(root: Path, above: list[tuple[int, str | int]], at: int) -> Path:
    path = []
    while at:
        at, name = above[at]
        path.append(name)
    return (*root, *reversed(path))


def _too_many_values(found: int) -> TooMuch:
    return TooMuch((), f"at most {VALUES} values", f"{found} or more")
