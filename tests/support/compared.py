"""Do two installations hold the same, and does each hold everything once?

Two runs over one inbox differ in what is drawn at random (people's ids, salts, keys), in when Heard
wrote something, and in positions. All else is compared, by names that both runs share.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import Connection, select

from consumers.processes import TABLES
from consumers.sequencer import position_of, previous_of
from domain.evidence.sealing import open_sealed
from infra import databases
from infra.installation import Installation
from projections.store import SEALED_VALUES
from services.ports import Stored
from services.questions import Moment, Questions
from services.topics import DEAD_LETTERS, EVENTS, INBOX, PARKED, SEALED

_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_OTHER_IN_EACH_RUN: Final = frozenset({"recorded_at", "position", "digest", "bytes"})
_ALL: Final = 10**9


def contents(i: Installation, people: Collection[str]) -> dict[str, Counter[str]]:
    """Everything that an installation answers with, by table: rows under names that every run shares.

    `people` are the references of everybody who may occur in it, as the key store takes them.
    """
    events = i.store.after(0, _ALL)
    names = _names(i, people, events)
    found = {"events": _counted((_event(stored) for stored in events), names)}
    with i.views.reading() as db:
        for view, generation in i.views.live(db).items():
            for shape, table in i.views.tables_of(view, generation).items():
                found[f"{view}: {shape.name}"] = _counted(_rows(db, table), names)
        for shape, table in TABLES.items():
            found[shape.name] = _counted(_rows(db, table), names)
        sealed = [dict(row) for row in db.execute(select(SEALED_VALUES)).mappings()]
    keys = i.keys.keys(sorted({row["key_id"] for row in sealed}))
    found["sealed values"] = _counted((_opened(row, keys) for row in sealed), names)
    dead = i.store.dead_letters()
    # Not by their ids, which come of their places on the log: Kafka's offsets have gaps.
    unused = ({"source": d.source, "id": d.message_id, "code": d.code, "reason": d.reason} for d in dead)
    found["dead letters"] = _counted(unused, names)
    found["messages"] = Counter(i.store.counts())
    return found


def differences(one: Mapping[str, Counter[str]], other: Mapping[str, Counter[str]]) -> dict[str, Any]:
    """Per table up to three rows that only the one has, and that only the other has."""
    return {
        table: ([*(one[table] - other[table])][:3], [*(other[table] - one[table])][:3])
        for table in sorted(one.keys() | other.keys())
        if one[table] != other[table]
    }


def shown(i: Installation, people: Collection[str], most: int) -> Counter[str]:
    """What `show` answers for at most so many of the things, opened words and all."""
    names = _names(i, people, i.store.after(0, _ALL))
    ask = Questions(i.views, i.store, i.keys, i.ids, i.clock, databases.sqlite_memory)
    streams = sorted({s.envelope.stream for s in i.store.after(0, _ALL)}, key=lambda id_: names.get(id_, id_))
    return _counted((ask.show(stream, Moment()) for stream in streams[:: len(streams) // most + 1]), names)


def loose_ends(i: Installation) -> list[str]:
    """What is missing, there twice or left behind, now that nothing is to be done any more."""
    found: list[str] = []
    stored = i.store.after(0, _ALL)
    positions: Counter[int] = Counter()
    for partition, end in i.log.end_offsets(EVENTS.name).items():
        before = 0
        for record in i.log.read(EVENTS.name, partition, 0, end, _ALL):
            if previous_of(record) != before:
                found.append(
                    f"events/{partition} after {before}: a record that follows {previous_of(record)}"
                )
            before = position_of(record)
            positions[before] += 1
    if positions != Counter({s.position: 1 for s in stored}):
        twice = [position for position, count in positions.items() if count > 1]
        found.append(f"events: {len(stored)} stored, {positions.total()} published, twice {twice[:3]}")
    ids = {s.envelope.id for s in stored}
    promised = {f"{s.envelope.id}/{path}" for s in stored for path in s.envelope.sealed}
    found += _unequal("sealed values on the log", _kept(i, SEALED.name), promised)
    with i.views.reading() as db:
        rows = db.execute(select(SEALED_VALUES.c.event_id, SEALED_VALUES.c.path)).all()
        found += _unequal("sealed values at hand", {f"{id_}/{path}" for id_, path in rows}, promised)
    if left := i.store.sealed_of(ids):
        found.append(f"{len(left)} sealed values still wait to be published")
    parked = {parked.id for parked in i.store.all_parked()}
    found += _unequal("parked records", _kept(i, PARKED.name), parked)
    dead = {letter.id for letter in i.store.dead_letters()}
    found += _unequal("dead letters on the log", _kept(i, DEAD_LETTERS.name), dead)
    for partition, end in i.log.end_offsets(INBOX.name).items():
        if bodies := i.log.unredacted(INBOX.name, partition, end):
            found.append(f"inbox/{partition}: {len(bodies)} bodies are still there")
    return found


def _kept(i: Installation, topic: str) -> set[str]:
    """The keys that have a value, by the last record of each."""
    last: dict[str, bool] = {}
    i.log.last_records(topic)  # what a process that was killed left open has ended then, and hides nothing
    for partition, end in i.log.end_offsets(topic).items():
        for record in i.log.read(topic, partition, 0, end, _ALL):
            last[record.key.decode()] = record.value is not None
    return {key for key, there in last.items() if there}


def _unequal(what: str, found: set[str], expected: set[str]) -> list[str]:
    missing, more = expected - found, found - expected
    return [f"{what}: {len(missing)} missing, {len(more)} too many"] if missing or more else []


def _names(i: Installation, people: Collection[str], events: list[Stored]) -> dict[str, str]:
    """What is called by a random id, by a name that is the same in every run."""
    names = {id_: f"person {ref}" for ref in people if (id_ := i.keys.subject(ref)) is not None}
    for stored in events:
        e = stored.envelope
        if e.kind == "support" and e.version == 1:
            concern = next(cause.thing for cause in e.causes if cause.relation == "supports")
            names[e.stream] = f"support of {concern} by {names[e.pub['contributor']['subject']]}"
    for stored in events:
        e = stored.envelope
        if e.kind == "support" and e.version > 1:
            names[e.id] = f"{names[e.stream]}, {e.version}"
    return names


def _event(stored: Stored) -> dict[str, Any]:
    event: dict[str, Any] = orjson.loads(stored.envelope.bytes)
    event["recorded_at"] = event["prev"] = None
    event["sealed"] = sorted(stored.envelope.sealed)
    event["causes"] = [(cause.relation, cause.id, cause.influence) for cause in stored.envelope.causes]
    return event


def _rows(db: Connection, table: Any) -> Iterator[dict[str, Any]]:
    for row in db.execute(select(table)).mappings():
        yield {
            f"{name}": value
            for name, value in row.items()
            if name not in _OTHER_IN_EACH_RUN and not name.endswith(("_position", "_digest"))
        }


def _opened(row: Mapping[str, Any], keys: Mapping[str, bytes]) -> dict[str, Any]:
    key_id, event_id, path = row["key_id"], row["event_id"], row["path"]
    _, text = open_sealed(keys[key_id], key_id, event_id, path, bytes(row["box"]))
    return {"event": event_id, "path": path, "key": key_id, "place": row["partition_key"], "text": text}


def _counted(rows: Iterator[dict[str, Any]], names: Mapping[str, str]) -> Counter[str]:
    lines = (orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in rows)
    return Counter(_ID.sub(lambda id_: names.get(id_[0], id_[0]), line) for line in lines)
