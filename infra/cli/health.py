"""Is everything as it should be, and if not, what is the remedy?"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from consumers import lag
from consumers.wholeness import faults
from domain.errors import HeardError
from infra import databases, migrations
from infra.cli.session import Session
from infra.clock import FixedClock
from infra.installation import Installation
from projections.store import LIVE
from services.topics import INBOX

ENDED = ("accepted", "no_change", "duplicates", "parked", "dead_letters")
LATE: Final = 60.0
"""Seconds that a message may wait for intake, and a published event for its read models."""
APART: Final = timedelta(seconds=5)
"""By how much Heard's clock and another may differ."""
POSTGRESQL: Final = 15
"""The least version of PostgreSQL, and of SQLite: what the statements need."""
SQLITE: Final = (3, 38)


@dataclass(frozen=True, slots=True)
class Found:
    """What a check found."""

    ok: bool
    detail: str
    remedy: str = ""


Check = Callable[[Installation], Found]


@dataclass
class _Examination:
    """The checks so far. What needs something that is away is not looked at, and says so."""

    installation: Installation
    rows: list[dict[str, Any]] = field(default_factory=list)
    errors: list[HeardError] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    def at(self, name: str, check: Check, *needs: str) -> None:
        """Make one check, unless one of what it needs was not to be had."""
        if missing := [need for need in needs if need in self.away]:
            self.away.add(name)
            found = Found(False, f"not looked at without the {missing[0]}", f"mend the {missing[0]} first")
        else:
            try:
                found = check(self.installation)
            except HeardError as error:
                self.away.add(name)
                self.errors.append(error)
                told = [error.message, error.expected and f"expected {error.expected}", error.got]
                found = Found(False, "; ".join(part for part in told if part), error.hint)
        remedy = "" if found.ok else found.remedy
        self.rows.append({"name": name, "ok": found.ok, "detail": found.detail, "remedy": remedy})


def doctor(session: Session) -> dict[str, Any]:
    """The messages by how they ended, and each check with its remedy."""
    return examine(session)[0]


def examine(session: Session) -> tuple[dict[str, Any], list[HeardError]]:
    """The doctor's answer, and what kept it from looking further. Ends within some seconds."""
    i = session.installation
    look = _Examination(i)
    look.at("data directory", _data_directory)
    look.at("disk", _disk)
    look.at("files", _files)
    look.at("key store", _key_store)
    look.at("database", _database)
    local = () if i.settings.kafka_servers else ("key store",)  # whose keys the bodies there lie under
    look.at("broker", _broker, *local)
    look.at("topics", _topics, "broker")
    if i.settings.database_url is not None:
        look.at("migrations", _migrations, "database")
    # Embedded, no database is opened, and so perhaps begun, without the keys that belong to it.
    tables = ("database", "migrations", *local)
    look.at("clock", _clock, *tables)
    look.at("record", _record, "key store", *tables, "topics")
    look.at("intake", _intake, *tables, "topics")
    look.at("sources", _sources, *tables)
    look.at("balance", _balance, *tables)
    look.at("read models", _read_models, *tables)
    look.at("lag", _lag, *tables, "topics", "read models")
    # Work that waits is no failure.
    look.at("dead letters", lambda i: Found(True, f"{i.store.open_dead_letters()} open"), *tables)
    look.at("waiting messages", _waiting, *tables, "topics")
    messages: dict[str, Any] = dict.fromkeys(("read", *ENDED, "waiting", "balanced"))
    if "balance" not in look.away:
        messages |= _counts(i) | {"balanced": _balance(i).ok}
    if "waiting messages" not in look.away:
        messages["waiting"] = lag.unread(i.log, i.store)
    return {"ok": all(row["ok"] for row in look.rows), "messages": messages, "checks": look.rows}, look.errors


def _migrations(i: Installation) -> Found:
    migrations.require(i.postgresql)
    return Found(True, f"revision {migrations.newest()}")


def _data_directory(i: Installation) -> Found:
    return Found(os.access(i.dir, os.W_OK), str(i.dir), "make it writable for this user")


def _disk(i: Installation) -> Found:
    free, least = shutil.disk_usage(i.dir).free // 1_000_000, i.settings.disk_free
    return Found(
        free >= least,
        f"{free} MB free where the data directory lies, {least} wanted",
        "make room there, or move the data directory; HEARD_DISK_FREE says how much is wanted",
    )


def _files(i: Installation) -> Found:
    """The SQLite files of the data directory; every page is read."""
    damaged, closed = [], []
    for path in sorted(i.dir.glob("*.db")):
        try:
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)) as db:
                said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.OperationalError as error:  # nothing is said of its pages
            closed.append(f"{path.name}: {error}")
            continue
        except sqlite3.DatabaseError as error:
            said = type(error).__name__
        if said != "ok":
            damaged.append(f"{path.name}: {said}")
    detail = ", ".join((*damaged, *closed)) or "readable throughout"
    if closed and not damaged:
        return Found(False, detail, "see that they are files that this user may read and write")
    return Found(not damaged, detail, "restore what is damaged from its backup")


def _key_store(i: Installation) -> Found:
    i.keys.id_key()  # one that is missing, damaged or of another installation raises
    return Found(True, "opens, and holds the id key")


def _database(i: Installation) -> Found:
    url = i.settings.database_url
    if url is None:
        name, version, least = "SQLite", sqlite3.sqlite_version, ".".join(map(str, SQLITE))
        enough = sqlite3.sqlite_version_info[:2] >= SQLITE
    else:
        major, _ = databases.answer(url.get_secret_value())
        name, version, least, enough = "PostgreSQL", str(major), str(POSTGRESQL), major >= POSTGRESQL
    return Found(enough, f"{name} {version}", f"update it: {least} or later is wanted")


def _broker(i: Installation) -> Found:
    if i.settings.kafka_servers is None:
        return Found(True, f"the local log, {i.log.partitions(INBOX.name)} partitions")
    from infra import kafka_topics

    return Found(True, f"{kafka_topics.brokers(i.settings.broker())} brokers of Apache Kafka answer")


def _topics(i: Installation) -> Found:
    if i.settings.kafka_servers is None:
        return Found(True, "the local log makes them")
    from infra import kafka_topics

    rows = kafka_topics.compare(i.settings.broker(), replication=i.settings.kafka_replication)
    differs = [f"{row['topic']}: {what}" for row in rows for what in row["differs"]]
    remedy = "change them on the cluster; HEARD_KAFKA_REPLICATION says on how many brokers each has to be"
    return Found(not differs, "; ".join(differs) or f"{len(rows)} topics as they should be", remedy)


def _clock(i: Installation) -> Found:
    """Heard's clock beside the database's, and beside what was recorded last."""
    now = i.clock.now()
    if isinstance(i.clock, FixedClock):
        return Found(True, f"stands at {now:%Y-%m-%d %H:%M:%S}, as it was told")
    apart, beside = timedelta(0), "the last event"
    url = i.settings.database_url
    if url is not None:
        _, theirs = databases.answer(url.get_secret_value())
        apart, beside = abs(theirs - now), "the database's clock"
    end = i.store.end()
    for stored in i.store.after(end - 1, 1):
        ahead = datetime.fromisoformat(stored.envelope.recorded_at) - now
        if ahead > apart:
            apart, beside = ahead, "the last event"
    seconds = apart.total_seconds()
    return Found(
        apart <= APART,
        f"{seconds:.1f} s from {beside}",
        "set this machine's clock, and the database's, by the same time server (NTP)",
    )


def _record(i: Installation) -> Found:
    broken = [error.message + f" ({error.hint})" for error in faults(i.log, i.store, i.ids)]
    detail = "; ".join(broken) or "topics, event store and keys fit each other"
    return Found(not broken, detail, "restore what is missing from its backup")


def _intake(i: Installation) -> Found:
    """Whether the inbox is taken. Where it is not, the oldest message says where intake stands."""
    now = i.clock.now()
    late = [each for each in lag.standing(i.log, i.store) if each.seconds(now) > LATE]
    if not late:
        return Found(True, f"no message has waited for more than {LATE:.0f} s")
    told = [
        f"{INBOX.name}/{each.partition} stands at offset {each.offset} since"
        f" {each.since:%Y-%m-%d %H:%M:%S} UTC, {each.records} wait"
        for each in sorted(late, key=lambda each: -each.seconds(now))
    ]
    return Found(
        False,
        "; ".join(told),
        "heard consume intake; where it runs and stays at this offset, its log says what it meets there;"
        " where it comes on it is only slow: start more of them",
    )


def _sources(i: Installation) -> Found:
    waiting = sorted(i.store.waiting_by_source(i.intake.flood).items(), key=lambda each: -each[1])
    told = [f"{count} of {source or 'those that do not say it'}" for source, count in waiting[:5]]
    more = f", and {len(waiting) - 5} sources more" if len(waiting) > 5 else ""
    return Found(
        not waiting,
        f"messages that cannot be used wait: {', '.join(told)}{more}" if waiting else "none is set aside",
        "`heard dead-letters list` says what is wrong with those before them: mend what sends them, or update"
        " Heard; they are handled again by themselves",
    )


def _balance(i: Installation) -> Found:
    counts = _counts(i)
    balanced = counts["read"] == sum(counts[name] for name in ENDED)
    return Found(
        balanced,
        f"{counts['read']} read {'=' if balanced else 'are not'} "
        + " + ".join(f"{counts[name]} {name}" for name in ENDED),
        "compare the inbox with the record: `heard dead-letters list`, `heard parked list`",
    )


def _counts(i: Installation) -> dict[str, int]:
    counts = i.store.counts()
    return {name: counts.get(name, 0) for name in ("read", *ENDED)}


def _read_models(i: Installation) -> Found:
    with i.views.reading() as db:
        live, marks = i.views.live(db), i.views.marks(db, LIVE)
    # Whoever asks a question makes the tables, and nothing is in them yet.
    empty = not marks and lag.of_reader(i.log, marks, i.clock.now()).records > 0
    missing = sorted(i.views.views.keys() - (() if empty else live.keys()))
    detail = f"not built: {', '.join(missing)}" if missing else f"{len(i.views.views)} built"
    return Found(not missing or not i.store.end(), detail, "heard consume --until-idle")


def _lag(i: Installation) -> Found:
    with i.views.reading() as db:
        marks = i.views.marks(db, LIVE)
    behind = lag.of_reader(i.log, marks, i.clock.now())
    detail = f"{behind.records} events behind, the oldest for {behind.seconds:.0f} s"
    return Found(
        behind.seconds <= LATE,
        detail if behind.records else "up to date",
        "heard consume; where it runs, look at what it says, and at its metrics",
    )


def _waiting(i: Installation) -> Found:
    return Found(True, f"{lag.unread(i.log, i.store)} not read yet")
