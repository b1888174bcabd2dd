"""How does each case stand: one rule, one thing, and what is owed by it?

The other half of the processes loop's memory, beside the graph; no read model either.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from sqlalchemy import Connection, Table, select

from consumers.graph import Heard
from projections.store import among, keyed, upsert
from projections.view import NUMBER, TEXT, Row, Shape
from services.workflows import RULES, Case, Owed, Signal, Step, signal

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
    """The cases of one batch, within one transaction."""

    def __init__(self, db: Connection) -> None:
        self._db = db
        self._kept: dict[Shape, list[Row]] = {CASES: [], OWED: []}

    def read(
        self, wanted: Mapping[tuple[str, str], Collection[Heard]], things: Mapping[str, Row]
    ) -> dict[tuple[str, str], Case]:
        """What each rule (rule, about) has to know of each thing to hear these signals.

        Of the duties only those that a signal can meet or end: who cannot be told is owed more and more.
        A duty that a signal starts may be there already, if it is heard again: that is for the record to say.
        """
        pending = [
            (things[about]["force"], things[about]["place"], rule, about)
            for (rule, about), new in wanted.items()
            if any(heard.signal.says != "starts" for heard in new)
        ]
        owed: defaultdict[tuple[str, str], dict[str, Owed]] = defaultdict(dict)
        for row in self._pending(pending):
            start = signal(
                row["rule"], row["about"], "starts", row["start_id"], row["digest"], row["known_at"],
                row["position"], row["correlation"], bool(row["again"]), row["since"],
            )  # fmt: skip
            owed[row["rule"], row["about"]][start.event_id] = Owed(
                start, bool(row["opened"]), bool(row["discharged"]), bool(row["lapsed"])
            )
        table = TABLES[CASES]
        query = select(table).where(among(table.c.about, {about for _, about in wanted}, self._db))
        kept = {(row["rule"], row["about"]): dict(row) for row in self._db.execute(query).mappings()}
        return {
            key: Case(
                owed[key],
                _signal_in(kept.get(key), "met_", "meets"),
                _signal_in(kept.get(key), "ended_", "ends"),
            )
            for key in wanted
        }

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

    def flush(self) -> None:
        """Write what is to be remembered."""
        for shape, rows in self._kept.items():
            upsert(self._db, shape, TABLES[shape], rows)
            rows.clear()

    def _pending(self, cases: Sequence[tuple[str, ...]]) -> Iterable[Row]:
        """The duties of these cases that can still change."""
        if not cases:
            return ()
        where, parameter = keyed(self._db, OWED.key[:4], cases)
        query = f"SELECT * FROM {TABLES[OWED].name} WHERE {where} AND {_CAN_CHANGE}"  # noqa: S608 - own names
        return map(dict, self._db.exec_driver_sql(query, parameter).mappings())


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
