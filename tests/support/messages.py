"""How does a test write the messages that upstream systems would send?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

FORCE = "river-police"
PLACE = "riverside"
SOURCE = "/test/upstream"
TIME = "2026-01-05T09:00:00Z"
"""When a message's fact became known, unless said otherwise."""

Message = dict[str, Any]


def message(
    fact: str,
    ref: str,
    *causes: str,
    id: str | None = None,
    source: str = SOURCE,
    time: str | None = TIME,
    **fields: Any,
) -> Message:
    """A CloudEvent about a fact (`concern.raised`); a cause is `relation kind reference`.

    Fields given replace the usual ones; those that are None are left out.
    """
    data = {
        "ref": ref,
        "force": FORCE,
        "neighbourhood": PLACE,
        "occurred": {"kind": "date", "from": "2026-01-05"},
        "actor": {"role": "upstream"},
        "causes": [cause(each) for each in causes],
    } | fields
    return {
        "specversion": "1.0",
        "id": id or f"{ref}.{fact}",
        "source": source,
        "type": f"heard.{fact}.v1",
        **({} if time is None else {"time": time}),
        "datacontenttype": "application/json",
        "data": {name: value for name, value in data.items() if value is not None},
    }


def cause(text: str) -> Mapping[str, str]:
    """`relation kind reference` as a message has it."""
    relation, kind, ref = text.split(" ")
    return {"relation": relation, "kind": kind, "ref": ref}


def concern(ref: str, *causes: str, **fields: Any) -> Message:
    """Somebody raised a concern."""
    return message("concern.raised", ref, *causes, **{"kind": "concern", "words": "It is dark.", **fields})


def lines(messages: Iterable[Message]) -> bytes:
    """The messages as NDJSON."""
    return b"".join(orjson.dumps(each) + b"\n" for each in messages)
