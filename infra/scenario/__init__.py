"""Which messages does `heard demo` send, and on which day is it run?

The story is modelled on a real London ward's police liaison group, 2006–2009: references, dates,
figures and links are kept, the words and all names are Heard's own. `scenario.ndjson` holds one
message a line, in the order in which they became known, and for each of those days in the order in
which things happened. That day is when the minutes were published, so some effects come in before
their causes: what was changed by October 2008 rests on a decision that was published in November.
"""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any, Final

import orjson

CLOCK: Final = datetime(2009, 3, 1, tzinfo=UTC)
"""The instant at which the demo is run."""
SOURCE: Final = "/scenario/riverside-ward"
"""The source of every message."""
FORCE: Final = "river-police"
"""The id of the police force, an invented one."""
NEIGHBOURHOOD: Final = "riverside-ward"
"""The id of the neighbourhood, an invented one."""


def lines() -> list[str]:
    """The messages as they are written, one CloudEvent in structured mode each, without line ends."""
    return (files(__name__) / "scenario.ndjson").read_text(encoding="utf-8").splitlines()


def messages() -> list[dict[str, Any]]:
    """The messages, in the same order; each call gives new ones."""
    return [orjson.loads(line) for line in lines()]
