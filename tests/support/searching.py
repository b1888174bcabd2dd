"""Does something that should be nowhere lie in a file after all, in whatever guise?"""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

CORE = "Pq9Zx7Vw"
"""A word that no escaping touches."""
MARK = f'Zoë "Ω"\n\t/\\ 雨 {CORE} <é> & ’end’'
"""Text that every way of escaping writes otherwise; whoever looks for a value looks for this in it."""


def value(name: str) -> str:
    """Something personal that can be told from every other, with MARK at both its ends."""
    return f"{MARK} {name} {MARK}"


def guises(text: str) -> dict[str, bytes]:
    """What a text may look like in a file, by what that is called."""
    ascii_ = json.dumps(text)[1:-1]
    plain = json.dumps(text, ensure_ascii=False)[1:-1]
    shapes = {
        "UTF-8": text.encode(),
        "UTF-16": text.encode("utf-16-le"),
        "JSON": plain.encode(),
        "JSON in ASCII": ascii_.encode(),
        "JSON in ASCII, upper case": "".join(_upper(part) for part in _escapes(ascii_)).encode(),
        "JSON with escaped slashes": ascii_.replace("/", "\\/").encode(),
        "JSON in JSON": json.dumps(ascii_)[1:-1].encode(),
        "repr": repr(text)[1:-1].encode(),
        "URL": quote(text, safe="").encode(),
        "HTML": html.escape(text).encode(),
    }
    return shapes | {
        f"{name} in {code}": form
        for name in ("UTF-8", "JSON", "JSON in ASCII")
        for code, form in codes(shapes[name]).items()
    }


def _escapes(text: str) -> list[str]:
    first, *rest = text.split("\\u")
    return [first, *(f"\\u{part}" for part in rest)]


def _upper(part: str) -> str:
    return f"\\u{part[2:6].upper()}{part[6:]}" if part.startswith("\\u") else part


def codes(data: bytes) -> dict[str, bytes]:
    """Bytes in hex and in base64, wherever in a longer text they begin."""
    found = {"hex": data.hex().encode(), "HEX": data.hex().upper().encode()}
    for name, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
        for shift in range(3):
            # The characters at both ends also depend on the neighbours: they are left out.
            whole = encode(bytes(shift) + data)
            found[f"{name}+{shift}"] = whole[(0, 2, 3)[shift] : (len(data) + shift) // 3 * 4]
    return found


def of_secrets(secrets: Iterable[bytes]) -> dict[str, bytes]:
    """What to look for, for salts and keys."""
    return {
        f"secret {number} in {code}": form
        for number, secret in enumerate(secrets)
        for code, form in ({"bytes": secret} | codes(secret)).items()
    }


ANY_VALUE: Mapping[str, bytes] = {"its core": CORE.encode(), **guises(MARK)}
"""What to look for, for values."""


def found(needles: Mapping[str, bytes], places: Mapping[str, bytes]) -> list[str]:
    """`place: guise` wherever one of `needles` lies."""
    return [
        f"{place}: {name}"
        for place, content in places.items()
        for name, needle in needles.items()
        if needle in content
    ]


def files(folder: Path, *, but: Collection[str] = ()) -> dict[str, bytes]:
    """Every file in a folder, at any depth, also journals and what only lives for a moment."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in but
    }
