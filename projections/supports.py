"""How many people agree with a concern, disagree or pass, now or as at a date? Nothing of it is opened."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import JSON, Connection, Text, cast, exists, func, literal, select, type_coerce

from projections.history import HISTORY
from projections.inputs import SUPPORTS
from projections.store import among
from projections.trace import EDGES
from projections.view import Tables

_SAID: Final = ("agree", "disagree", "pass", None)
"""What a person can have said last of a concern; None: they took it back."""


@dataclass(frozen=True, slots=True)
class Supports:
    """What people say of one concern: each counts once, with what they said last."""

    counts: Mapping[str, int]
    """By `agree`, `disagree`, `pass` and `withdrawn`: all four, 0 where nobody did."""
    known_at: str
    """When the latest of it became known."""


def now(db: Connection, tables: Tables, concerns: Collection[str]) -> dict[str, Supports]:
    """Of each of these concerns that has any; from the tables of `inputs` and `trace`."""
    s, edges = tables[SUPPORTS], tables[EDGES]
    counted = (
        select(s.c.concern, s.c.stance, func.count())
        .where(among(s.c.concern, concerns, db))
        .group_by(s.c.concern, s.c.stance)
    )
    latest = (
        select(edges.c.cause, func.max(edges.c.known_at))
        .where(among(edges.c.cause, concerns, db), edges.c.relation == "supports")
        .group_by(edges.c.cause)
    )
    known_at = dict(db.execute(latest).all())
    return _by_concern((*row, known_at[row[0]]) for row in db.execute(counted))


def as_at(
    db: Connection,
    tables: Tables,
    concerns: Collection[str],
    *,
    known_by: str | None = None,
    recorded_by: str | None = None,
) -> dict[str, Supports]:
    """The same, of what was known and recorded by then; from the tables of `history` and `trace`.

    Of each support the database looks at its events, and reads the last one by then: work for each, and
    no memory here.
    """
    edges, last = tables[EDGES], tables[HISTORY]
    later = last.alias("later")

    def by_then(events: Any) -> list[Any]:
        limits = ((events.c.known_at, known_by), (events.c.recorded_at, recorded_by))
        return [at <= limit for at, limit in limits if limit is not None]

    is_postgresql = db.dialect.name == "postgresql"
    text: Any = func.convert_from(last.c.bytes, "UTF8") if is_postgresql else cast(last.c.bytes, Text)
    event = cast(text, JSON) if is_postgresql else type_coerce(text, JSON)
    stance = event["pub", "stance"].as_string().label("stance")
    counted = (
        select(edges.c.cause, stance, func.count(), func.max(last.c.known_at))
        .join(last, last.c.stream == edges.c.effect)
        .where(
            among(edges.c.cause, concerns, db),
            edges.c.relation == "supports",
            # A support of nobody in particular may have been for another concern before.
            text.like(literal('%"id":"') + edges.c.cause + '"%'),
            *by_then(last),
            ~exists().where(
                later.c.stream == last.c.stream, later.c.version > last.c.version, *by_then(later)
            ),
        )
        .group_by(edges.c.cause, stance)
    )
    return _by_concern(db.execute(counted))


def _by_concern(rows: Iterable[Any]) -> dict[str, Supports]:
    """From rows of concern, stance, how many, and when the latest of them became known."""
    found: dict[str, dict[str | None, tuple[int, str]]] = {}
    for concern, stance, count, known_at in rows:
        found.setdefault(concern, {})[stance] = (count, known_at)
    return {
        concern: Supports(
            {stance or "withdrawn": each.get(stance, (0, ""))[0] for stance in _SAID},
            max(known_at for _, known_at in each.values()),
        )
        for concern, each in found.items()
    }
