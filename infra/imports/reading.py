"""What do the importers share in reading files: bytes to text or JSON, and how they refuse?"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Any

import orjson

from domain.errors import InvalidMessageError
from domain.values import instant

Warn = Callable[[str], None]
"""Is told, in one line, what was left out and by which rule."""

MAX_WORDS = 16_000
"""The longest words that a message may carry (domain.values.Sealed)."""

_ENDS = re.compile(r"\r\n?")


def silent(line: str) -> None:
    """Tells nobody."""


def text_of(name: str, content: bytes) -> str:
    """The file's text: UTF-8, with or without a byte order mark."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidMessageError(
            "not_utf8", f"{name} is not UTF-8", field=name, expected="text in UTF-8",
            got=f"another byte at {error.start}", hint="save the file as UTF-8 and import it again",
        ) from None  # fmt: skip


def json_of(name: str, content: bytes) -> Any:
    """The file's one JSON document."""
    try:
        return orjson.loads(text_of(name, content))
    except orjson.JSONDecodeError as error:
        raise InvalidMessageError(
            "not_json", f"{name} is not JSON", field=name, expected="one JSON document",
            got=f"something else at line {error.lineno}, column {error.colno}",
            hint="download it again, or check it with a JSON parser",
        ) from None  # fmt: skip


def items_of(document: Any) -> list[Any]:
    """What the document holds: the items of a list, or the one thing that it is."""
    return document if isinstance(document, list) else [document]


def unknown(name: str, *, expected: str, got: str, hint: str) -> InvalidMessageError:
    """The refusal of a file that is none of those the importer knows."""
    return InvalidMessageError(
        "field_invalid", f"{name} is none of the files that are known here", field=name,
        expected=expected, got=got, hint=hint,
    )  # fmt: skip


def nothing_there(files: object, *, expected: str, hint: str) -> InvalidMessageError:
    """The refusal of files of which none holds anything to import."""
    return InvalidMessageError(
        "field_missing", "there is nothing to import from", expected=expected,
        got="files that hold nothing of the kind" if files else "no file", hint=hint,
    )  # fmt: skip


def shape(document: Any) -> str:
    """What a JSON document looks like from outside; names of fields only, no values."""
    match document:
        case dict():
            names = ", ".join(sorted(document)[:6])
            return f"an object with {names}"[:200] if names else "an empty object"
        case list():
            return f"a list of {len(document)} whose first is {shape(document[0])}" if document else "[]"
        case _:
            return f"a {type(document).__name__}"


def lines(given: Any) -> str | None:
    """Text with its line ends as LF, trimmed; None if it is not text or nothing is left."""
    if not isinstance(given, str):
        return None
    return _ENDS.sub("\n", given).replace("\0", " ").strip() or None


def moment(given: Any) -> str | None:
    """The instant as its source wrote it; None unless RFC 3339 with an offset."""
    try:
        return given if isinstance(given, str) and instant(given) else None
    except (ValueError, OverflowError):
        return None


def day(given: Any) -> date | None:
    """The day of a date, or of a date and time, as it is written there; None if it is neither."""
    try:
        text = given.strip() if isinstance(given, str) else ""
        if len(text) > 10:
            moment_ = re.fullmatch(r"(\d{4}-\d\d-\d\d)[T ]\d\d:\d\d.*", text, re.ASCII)
            text = moment_[1] if moment_ else ""
        return date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else None
    except ValueError:
        return None
