"""In which form does an answer go out? stdout is data, stderr is talk."""

from __future__ import annotations

import csv
import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from domain.errors import HeardError

_ID = re.compile(r"\b([0-9a-f]{8})-[0-9a-f]{4}-8[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\b")
_CUT = re.compile(r"([0-9a-f]{8}….*)?$")
_INSTANT = re.compile(r"\b([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}:[0-9]{2}):[0-9]{2}\.[0-9]{6}Z")


class Format(StrEnum):
    """The forms of an answer."""

    table = "table"
    json = "json"
    csv = "csv"


def chosen(given: StrEnum | None) -> str:
    """The form asked for; a table on a terminal, JSON in a pipe."""
    if given is not None:
        return given.value
    return "table" if sys.stdout.isatty() else "json"


def colour() -> bool:
    """Whether stdout takes colours: a terminal, and NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def emit(
    answer: Mapping[str, Any], form: str, rows: str = "rows", columns: Iterable[str] | None = None
) -> None:
    """Write an answer; `rows` names the list that a table or CSV shows, `columns` the header of a CSV."""
    if form == "json":
        write(orjson.dumps(answer, option=orjson.OPT_INDENT_2))
        return
    listed = answer.get(rows)
    table = listed if isinstance(listed, list) else [{"field": k, "value": v} for k, v in answer.items()]
    if form == "csv":
        write(as_csv(table, columns).encode())
    else:
        sys.stdout.write(as_table(table))


def write(data: bytes) -> None:
    """Write bytes and a newline to stdout."""
    sys.stdout.buffer.write(data.rstrip(b"\n") + b"\n")
    sys.stdout.buffer.flush()


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Iterable[str] | None = None) -> str:
    """Rows as CSV with a header; cells that a spreadsheet would run as a formula begin with a quote."""
    names = list(columns or (rows[0] if rows else ()))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([_harmless(cell(row.get(name))) for name in names])
    return out.getvalue()


def as_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a table for people: empty columns left out, ids and instants cut to what tells them apart.

    As wide as it needs to be where nobody watches. On a terminal that is too narrow, what is the
    same in all rows is said once, above them; if that does not suffice, ids are left out; and then
    each row is a list. JSON and CSV hold everything in full.
    """
    if not rows:
        return "(nothing)\n"
    names = [name for name in rows[0] if any(row[name] not in (None, "", []) for row in rows)]
    # Only what has a reference can be asked for without its id in full.
    whole = set() if "ref" in names else {"id", "value"}
    texts = {name: [_plain(row[name], cut=name not in whole) for row in rows] for name in names}
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else max(_width(texts), 1)
    said: dict[str, list[str]] = {}
    if _width(texts) > width and len(rows) > 1:
        said = {name: texts.pop(name)[:1] for name in names if len(set(texts[name])) == 1}
    if _width(texts) > width:
        texts = {name: column for name, column in texts.items() if not all(map(_CUT.match, column))}
    blocks: list[Table] = [_list(said, 0)] if said else []
    if _width(texts) > width:
        blocks += [_list(texts, at) for at in range(len(rows))]
    else:
        blocks.append(table := Table(box=None, header_style="bold", pad_edge=False))
        for name in texts:
            table.add_column(name, overflow="fold")
        for row in zip(*texts.values(), strict=True):
            table.add_row(*row)
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=colour(), emoji=False)
    for at, block in enumerate(blocks):
        console.print(*([""] if at else []), block, sep="\n")
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _list(texts: Mapping[str, Sequence[str]], at: int) -> Table:
    """One row, name by name, without what it does not have."""
    found = Table(box=None, show_header=False, pad_edge=False)
    found.add_column(style="bold", no_wrap=True)
    found.add_column(overflow="fold")
    for name, column in texts.items():
        if column[at]:
            found.add_row(name, column[at])
    return found


def _width(texts: Mapping[str, Sequence[str]]) -> int:
    """How many columns of the screen a table of these columns of text takes."""
    each = (
        max(cell_len(line) for text in (name, *column) for line in text.split("\n"))
        for name, column in texts.items()
    )
    return sum(each) + 2 * (len(texts) - 1)


def cell(value: Any) -> str:
    """A value as text: lists and objects as JSON, nothing as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, dict)):
        return orjson.dumps(value).decode()
    return str(value)


def _plain(value: Any, *, cut: bool) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        value = ", ".join(value)
    # Control characters of somebody's words must not reach the terminal, nor markup rich.
    text = cell(value)
    if cut:
        text = _INSTANT.sub(r"\1 \2", _ID.sub(r"\1…", text))
    text = "".join(c if c.isprintable() or c == "\n" else " " for c in text)
    return text.replace("[", "\\[")


def _harmless(text: str) -> str:
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def say(text: str) -> None:
    """A line of talk."""
    sys.stderr.write(text + "\n")


def complain(error: HeardError, form: str) -> None:
    """Tell an error: what happened, what was expected, what came, the next command."""
    say(f"heard: {error.message} ({error.code})")
    if error.expected:
        say(f"  expected: {error.expected}")
    if error.got:
        say(f"  got:      {error.got}")
    if error.hint:
        say(f"  next:     {error.hint}")
    if form == "json":
        told = {
            "code": error.code, "message": error.message, "expected": error.expected,
            "got": error.got, "next": error.hint,
        }  # fmt: skip
        say(orjson.dumps({"error": told}).decode())
