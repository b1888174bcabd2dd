"""How does each case stand: one rule, one thing, and what is owed by it?

The other half of the processes loop's memory, beside the graph; no read model either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias

from sqlalchemy import Connection, Table, select, text

from projections.store import ViewStore, among, keyed, upsert
from projections.view import NUMBER, TEXT, Row, Shape
from services.workflows import RULES, Case, Owed, Signal, Step, signal

Named: TypeAlias = tuple[str, str]
"""A case: the rule, and the id of the thing that it is about."""
PAGE: Final = 1000
"""As many duties as are looked at at once."""

CASES: Final = Shape(
    "process_cases",
    {
        "rule": TEXT, "about": TEXT,
        "met_id": TEXT, "met_digest": TEXT, "met_known_at": TEXT, "met_position": NUMBER,
        "met_correlation": TEXT, "met_since": TEXT, "ended_correlation": TEXT, "ended_since": TEXT,
        "ended_id": TEXT, "ended_digest": TEXT, "ended_known_at": TEXT, "ended_position": NUMBER,
    },
    also=("rule", "about"),
    index=(("about",),),
)  # fmt: skip
OWED: Final = Shape(
    "process_owed",
    {
        "rule": TEXT, "about": TEXT, "start_id": TEXT, "digest": TEXT, "known_at": TEXT,
        "position": NUMBER, "correlation": TEXT, "again": NUMBER, "since": TEXT,
        "opened": NUMBER, "discharged": NUMBER, "lapsed": NUMBER,
    },
    also=("rule", "about", "start_id"),
)  # fmt: skip
TABLES: Final[Mapping[Shape, Table]] = {shape: shape.table(0) for shape in (CASES, OWED)}
_CAN_END: Final = ", ".join(f"'{rule.name}'" for rule in RULES.values() if rule.ends)
_CAN_CHANGE: Final = f"(discharged = 0 OR (lapsed = 0 AND rule IN ({_CAN_END})))"


class Cases:
    """Cases as they are read, and what is to be remembered of them."""

    def __init__(self, views: ViewStore) -> None:
        self._views = views
        self._kept: dict[Shape, list[Row]] = {CASES: [], OWED: []}

    def read(self, wanted: Collection[Named]) -> dict[Named, Case]:
        """What is known of these cases, but for what is owed."""
        table = TABLES[CASES]
        with self._views.reading() as db:
            query = select(table).where(among(table.c.about, {about for _, about in wanted}, db))
            kept = {(row["rule"], row["about"]): dict(row) for row in db.execute(query).mappings()}
        return {
            name: Case(
                met=_signal_in(kept.get(name), "met_", "meets"),
                ended=_signal_in(kept.get(name), "ended_", "ends"),
            )
            for name in wanted
        }

    def owed(
        self, wanted: Collection[Named], things: Mapping[str, Row]
    ) -> Iterator[dict[Named, dict[str, Owed]]]:
        """What is owed in these cases, of it what a signal can meet or end, a page at a time.

        Who cannot be told is owed more and more.
        """
        keys = [(things[about]["force"], things[about]["place"], rule, about) for rule, about in wanted]
        if keys and len(rows := self._first(keys)) <= PAGE:
            yield _owed_in(rows)
            return
        for key in keys:
            after = ""
            while rows := self._next(key, after):
                yield _owed_in(rows)
                after = rows[-1]["start_id"]

    def _first(self, keys: Sequence[tuple[str, ...]]) -> list[Row]:
        """One more than a page of what is owed in these cases, if there are so many."""
        with self._views.reading() as db:
            where, parameter = keyed(db, OWED.key[:4], keys)
            # Planned as if all of it were wanted: for a few rows of it the whole table might be read.
            all_ = f"SELECT * FROM {TABLES[OWED].name} WHERE {where} AND {_CAN_CHANGE}"  # noqa: S608 - own names
            query = f"WITH owed AS MATERIALIZED ({all_}) SELECT * FROM owed LIMIT {PAGE + 1}"  # noqa: S608
            return [dict(row) for row in db.exec_driver_sql(query, parameter).mappings()]

    def _next(self, key: tuple[str, ...], after: str) -> list[Row]:
        """A page of what is owed in one case, in the order of ids."""
        table = TABLES[OWED]
        where = [table.c[name] == value for name, value in zip(OWED.key[:4], key, strict=True)]
        query = select(table).where(*where, table.c.start_id > after, text(_CAN_CHANGE))
        with self._views.reading() as db:
            return [dict(row) for row in db.execute(query.order_by(table.c.start_id).limit(PAGE)).mappings()]

    def keep(self, thing: Row, rule: str, case: Case, steps: Sequence[Step]) -> None:
        """Remember the case as it stands after these steps."""
        key = {"force": thing["force"], "place": thing["place"], "rule": rule, "about": thing["id"]}
        if case.met or case.ended:  # of all others the duties say everything
            met, ended = _signal_out("met_", case.met), _signal_out("ended_", case.ended)
            self._kept[CASES].append(key | met | ended)
        for id_ in dict.fromkeys(step.start.event_id for step in steps):
            owed = case.owed[id_]
            self._kept[OWED].append(
                key
                | {
                    "start_id": id_,
                    "digest": owed.start.digest,
                    "known_at": owed.start.known_at,
                    "position": owed.start.position,
                    "correlation": owed.start.correlation,
                    "again": int(owed.start.again),
                    "since": owed.start.since,
                    "opened": int(owed.opened),
                    "discharged": int(owed.discharged),
                    "lapsed": int(owed.lapsed),
                }
            )

    def flush(self, db: Connection) -> None:
        """Write what is to be remembered."""
        for shape, rows in self._kept.items():
            upsert(db, shape, TABLES[shape], list({shape.key_of(row): row for row in rows}.values()))
            rows.clear()


def _owed_in(rows: Iterable[Row]) -> dict[Named, dict[str, Owed]]:
    owed: defaultdict[Named, dict[str, Owed]] = defaultdict(dict)
    for row in rows:
        start = signal(
            row["rule"], row["about"], "starts", row["start_id"], row["digest"], row["known_at"],
            row["position"], row["correlation"], bool(row["again"]), row["since"],
        )  # fmt: skip
        owed[row["rule"], row["about"]][start.event_id] = Owed(
            start, bool(row["opened"]), bool(row["discharged"]), bool(row["lapsed"])
        )
    return owed


def _signal_out(prefix: str, given: Signal | None) -> Row:
    return {
        f"{prefix}{name}": None if given is None else value
        for name, value in (
            ("id", given and given.event_id),
            ("digest", given and given.digest),
            ("known_at", given and given.known_at),
            ("position", given and given.position),
            ("correlation", given and given.correlation),
            ("since", given and given.since),
        )
    }


def _signal_in(row: Mapping[str, Any] | None, prefix: str, says: Literal["meets", "ends"]) -> Signal | None:
    if row is None or row[f"{prefix}id"] is None:
        return None
    return signal(
        row["rule"], row["about"], says, row[f"{prefix}id"], row[f"{prefix}digest"],
        row[f"{prefix}known_at"], row[f"{prefix}position"], row[f"{prefix}correlation"],
        since=row[f"{prefix}since"],
    )  # fmt: skip
