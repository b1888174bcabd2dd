"""How is an empty event store filled again, so that every event has the position that it had?"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from domain.errors import ConfigurationError
from services.ports import DeadLetter, Handled, Parked, Stored

if TYPE_CHECKING:
    from infra.event_store import Recorder

_TABLES: Final = (
    "stored_events", "handled_messages", "parked_messages", "dead_letters", "intake_positions",
    "message_counts",
)  # fmt: skip


class SqlRefill:
    """The `Refill` port in a transaction of the recorder's; ConfigurationError unless all is empty."""

    def __init__(self, db: Recorder, cursor: Any) -> None:
        self._db = db
        self._cursor = cursor
        for table in _TABLES:
            cursor.execute(f"SELECT 1 FROM {table} LIMIT 1", {})  # noqa: S608 - own names
            if cursor.fetchall():
                raise ConfigurationError(
                    "the event store is not empty", expected="nothing in it", got=f"rows in {table}",
                    hint="give it an empty database; if a restore was ended while it built the read models,"
                    " `heard consume --until-idle` goes on with it",
                )  # fmt: skip

    def events(self, events: Sequence[Stored]) -> None:
        """See the port."""
        columns = (self._db.position, "originator_id", "originator_version", "topic", "state")
        self._insert(
            "stored_events",
            [
                dict(zip(columns, (s.position, e.stream, e.version, e.type, e.bytes), strict=True))
                for s in events
                for e in (s.envelope,)
            ],
        )
        if events:
            self._db.go_on_after(self._cursor, events[-1].position)

    def handled(self, messages: Sequence[Handled]) -> None:
        """See the port."""
        self._insert(
            "handled_messages",
            [asdict(message) for message in messages],
            " ON CONFLICT (source, id) DO UPDATE SET fingerprint = excluded.fingerprint"
            " WHERE handled_messages.fingerprint = ''",
        )

    def known(self, names: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """See the port."""
        found = set()
        for source, id_ in names:
            self._cursor.execute(
                self._db.sql("SELECT 1 FROM handled_messages WHERE source = :source AND id = :id"),
                {"source": source, "id": id_},
            )
            if self._cursor.fetchall():
                found.add((source, id_))
        return found

    def set_aside(self, parked: Sequence[Parked], dead: Sequence[DeadLetter]) -> None:
        """See the port."""
        self._insert("parked_messages", [asdict(each) for each in parked])
        self._insert("dead_letters", [asdict(each) for each in dead])

    def totals(self, counts: Mapping[str, int], positions: Mapping[tuple[str, int], int]) -> None:
        """See the port."""
        self._insert("message_counts", [{"name": name, "n": n} for name, n in counts.items() if n])
        self._insert(
            "intake_positions",
            [{"topic": topic, "part": part, "next": at} for (topic, part), at in positions.items() if at],
        )

    def _insert(self, table: str, rows: Sequence[Mapping[str, Any]], otherwise: str = "") -> None:
        if rows:
            names, values = ", ".join(rows[0]), ", ".join(f":{name}" for name in rows[0])
            statement = f"INSERT INTO {table} ({names}) VALUES ({values}){otherwise}"  # noqa: S608 - own names
            self._cursor.executemany(self._db.sql(statement), rows)
