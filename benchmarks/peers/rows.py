"""Which rows does a message make? Those of Heard's read models, for handlers that do nothing else.

They go into tables as `trace_things`, `trace_edges`, `inputs_supports` and `decisions` are, so that what
came in, what it led to and who supports it can be asked as in Heard. What a handler leaves out is in
README.md. Runs in the environment of each peer: it has psycopg, orjson and pydantic, and not Heard's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson
import psycopg

from domain.ids import Ids

GENERATION: Final = 1
"""Of the tables, as it stands at the end of their names."""
TOPIC: Final = "heard.inbox.v1"
BATCH: Final = 500
"""Messages in a transaction."""
IDS: Final = Ids(bytes(32))

_THING: Final = (
    "force", "place", "id", "kind", "ref", "occurred", "known_at", "fact", "stage_at", "subkind", "outcome",
    "reasons", "words_at", "acknowledged", "considered", "moderated", "contributor",
    "may_contact", "version", "theme",
)  # fmt: skip
_EDGE: Final = ("force", "place", "effect", "cause", "relation", "influence", "known_at", "fact")
_SUPPORT: Final = ("force", "place", "id", "concern", "stance")
_DECISION: Final = (
    "force", "place", "id", "ref", "state", "outcome", "reasons", "business_area", "role", "known_at",
    "revisions", "words_at", "reason_words_at",
)  # fmt: skip


def _insert(table: str, columns: tuple[str, ...], key: int = 3) -> str:
    values = ", ".join("%s" for _ in columns)
    return (
        f"INSERT INTO {table}_{GENERATION} ({', '.join(columns)}) VALUES ({values})"
        f" ON CONFLICT ({', '.join(columns[:key])}) DO NOTHING"
    )


THING: Final = _insert("trace_things", _THING)
EDGE: Final = _insert("trace_edges", _EDGE, key=5)
SUPPORT: Final = _insert("inputs_supports", _SUPPORT)
DECISION: Final = _insert("decisions", _DECISION)
GROUP: Final = (
    f"UPDATE trace_things_{GENERATION} SET grouped = %s, fact = 'grouped', stage_at = %s,"
    " version = version + 1 WHERE force = %s AND place = %s AND id = %s"
)

Statements = Mapping[str, list[tuple[Any, ...]]]


def statements(bodies: Iterable[bytes]) -> Statements:
    """What is executed for these messages, in this order, with the values of each row."""
    found: dict[str, list[tuple[Any, ...]]] = {THING: [], EDGE: [], SUPPORT: [], DECISION: [], GROUP: []}
    for body in bodies:
        for statement, row in _Message(orjson.loads(body)).rows():
            found[statement].append(row)
    return {statement: rows for statement, rows in found.items() if rows}


def write(connection: psycopg.Connection[Any], bodies: Iterable[bytes]) -> None:
    """Their rows, in one transaction."""
    with connection.transaction(), connection.cursor() as cursor:
        for statement, rows in statements(bodies).items():
            cursor.executemany(statement.encode(), rows)


@dataclass
class _Message:
    """A message in the structured mode of CloudEvents."""

    given: Mapping[str, Any]
    data: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.data = self.given["data"]
        _, self.kind, self.fact, _ = self.given["type"].split(".")
        self.place = (self.data["force"], self.data.get("neighbourhood") or "-")
        at = datetime.fromisoformat(self.given["time"])
        self.known_at = f"{at:%Y-%m-%dT%H:%M:%S.%fZ}"
        self.causes = [(cause, self._thing(cause["kind"], cause["ref"])) for cause in self.data["causes"]]
        contributor = self.data.get("contributor")
        self.contributor = IDS.of("person", contributor["ref"]) if contributor else None
        self.may_contact = int(contributor["may_contact"]) if contributor else None
        self.id = self._own()

    def rows(self) -> Iterator[tuple[str, tuple[Any, ...]]]:
        """Each row with its statement."""
        if self.fact == "grouped":
            yield GROUP, (self.causes[0][1], self.known_at, *self.place, self.id)
        else:
            yield THING, self._row(_THING, self._of_the_thing())
        for cause, thing in self.causes:
            influence = cause.get("influence")
            yield (
                EDGE,
                (
                    *self.place,
                    self.id,
                    thing,
                    cause["relation"],
                    influence,
                    self.known_at,
                    self.given["type"],
                ),
            )
        if self.kind == "support":
            yield SUPPORT, (*self.place, self.id, self.causes[0][1], self.data["stance"])
        if self.kind == "decision":
            yield DECISION, self._row(_DECISION, self._of_the_decision())

    def _own(self) -> str:
        if self.kind == "support":  # one of each person for each concern
            return IDS.of("support", self.causes[0][1], self.contributor or "")
        return self._thing(self.kind, self.data["ref"])

    def _thing(self, kind: str, ref: str) -> str:
        return IDS.stream(kind, self.data["force"], self.given["source"], ref)

    def _row(self, columns: tuple[str, ...], values: Mapping[str, Any]) -> tuple[Any, ...]:
        shared = {
            "force": self.place[0],
            "place": self.place[1],
            "id": self.id,
            "known_at": self.known_at,
            "reasons": orjson.dumps(self.data.get("reasons", [])).decode(),
            "words_at": self.data.get("words"),
        }
        known = {**self.data, **shared, **values}
        return tuple(known.get(column) for column in columns)

    def _of_the_thing(self) -> Mapping[str, Any]:
        day = self.data["occurred"]["from"]
        return {
            "kind": self.kind,
            "subkind": self.data.get("kind"),
            "occurred": orjson.dumps({"kind": "date", "from": day, "to": day}).decode(),
            "fact": self.fact,
            "stage_at": self.known_at,
            "acknowledged": 0,
            "considered": 0,
            "moderated": 0,
            "version": 1,
            "contributor": self.contributor,
            "may_contact": self.may_contact,
        }

    def _of_the_decision(self) -> Mapping[str, Any]:
        return {
            "state": self.fact,
            "role": self.data["actor"]["role"],
            "revisions": 0,
            "reason_words_at": self.data.get("reason_words"),
        }
