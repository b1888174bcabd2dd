"""Is everything as it should be, and if not, what is the remedy?"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import Any

from consumers.wholeness import faults, published_until
from infra.cli.session import Session
from projections.store import LIVE
from services.topics import INBOX

ENDED = ("accepted", "no_change", "duplicates", "parked", "dead_letters")


def doctor(session: Session) -> dict[str, Any]:
    """The messages by how they ended, and each check with its remedy."""
    i = session.installation
    messages = _messages(session)
    broken = [error.message + f" ({error.hint})" for error in faults(i.log, i.store, i.ids)]
    behind = _behind(session)
    damaged = _damaged(session)
    open_ = i.store.open_dead_letters()
    checks = [
        _check("data directory", os.access(i.dir, os.W_OK), str(i.dir), "make it writable for this user"),
        _check("files", not damaged, ", ".join(damaged) or "readable throughout",
               "restore what is damaged from its backup"),
        _check("record", not broken, "; ".join(broken) or "topics, event store and keys fit each other",
               "restore what is missing from its backup"),
        _check("balance", messages["balanced"],
               f"{messages['read']} read {'=' if messages['balanced'] else 'are not'} "
               + " + ".join(f"{messages[name]} {name}" for name in ENDED),
               "compare the inbox with the record: `heard dead-letters list`, `heard parked list`"),
        _check("read models", behind == 0, "up to date" if behind == 0 else f"{behind} positions behind",
               "heard consume --until-idle"),
        # Work that waits is no failure.
        _check("dead letters", True, f"{open_} open", ""),
        _check("waiting messages", True, f"{messages['waiting']} not read yet", ""),
    ]  # fmt: skip
    return {"ok": all(check["ok"] for check in checks), "messages": messages, "checks": checks}


def _messages(session: Session) -> dict[str, Any]:
    i = session.installation
    counts = i.store.counts()
    messages: dict[str, Any] = {name: counts.get(name, 0) for name in ("read", *ENDED)}
    messages["waiting"] = sum(
        max(0, last.offset + 1 - i.store.position(INBOX.name, partition))
        for partition in range(i.log.partitions(INBOX.name))
        if (last := i.log.last(INBOX.name, partition)) is not None
    )
    messages["balanced"] = messages["read"] == sum(messages[name] for name in ENDED)
    return messages


def _behind(session: Session) -> int:
    """By how many positions the read models are behind what was published."""
    i = session.installation
    with i.views.reading() as db:
        at = max((mark.position for mark in i.views.marks(db, LIVE).values()), default=0)
    return max(0, published_until(i.log) - at)


def _damaged(session: Session) -> list[str]:
    """The SQLite files of the data directory that are not sound; every page is read."""
    found = []
    for path in sorted(session.installation.dir.glob("*.db")):
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as db:
            try:
                said = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            except sqlite3.DatabaseError as error:
                said = type(error).__name__
        if said != "ok":
            found.append(f"{path.name}: {said}")
    return found


def _check(name: str, ok: bool, detail: str, remedy: str) -> dict[str, Any]:
    return {"name": name, "ok": ok, "detail": detail, "remedy": "" if ok else remedy}
