"""What comes in when the scenario and the imports come many times over, each time from elsewhere?

Every copy has sources, references and neighbourhoods of its own, and so makes things of its own.
People vote from the district around the neighbourhood, so that links cross partitions. Within a copy
messages are shuffled, and so many copies are dealt together: effects come in well before their causes.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from consumers.upstream import STRUCTURED, Rejected, check, key_of
from domain.ids import Ids
from infra import scenario
from infra.imports import KINDS, default_source
from services.ports import Log, Outgoing
from services.topics import INBOX
from tests.support.requires import shared_data

NOW = "2026-01-01T00:00:00Z"
_IMPORTED = (
    ("polis", "polis-london-youth-policing", "*.csv", "london"),
    ("open311", "open311-bloomington", "*.json", "west"),
    ("police-uk", "policeuk-fixtures", "*.json", "NC04"),
)
_WHOLE_FORCE = "heard.force.registered.v1"
_TOGETHER = 20
"""Copies, about 15,500 messages: those of the next begin when these have all come in."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """What is published: first what the force says of itself, then everything else."""

    first: list[tuple[bytes, bytes]]
    """(key, body). Settings hold from when they are recorded, so nothing may overtake them."""
    then: list[tuple[bytes, bytes]]
    people: frozenset[str]
    """Everybody who may come in, as the key store takes them."""


def multiplied(times: int, ids: Ids, now: datetime, most: int | None = None) -> Inbox:
    """The scenario and the three imports `times` over; some bodies come twice, some are unusable.

    Only the first so many with `most`: then some may wait for ever.
    """
    chance = random.Random(times)
    original = list(_originals())
    whole_force = [m for m in original if m["type"] == _WHOLE_FORCE]
    copies = []
    for copy in range(1, times + 1):
        bodies = [orjson.dumps(_copied(m, copy)) for m in original if m["type"] != _WHOLE_FORCE]
        bodies += chance.sample(bodies, len(bodies) // 50)
        bodies += [_reused(body) for body in chance.sample(bodies, 2)]
        bodies += [b"not json %d" % copy, _unknown(bodies[0])]
        chance.shuffle(bodies)
        copies.append([(_key(body, ids, now), body) for body in bodies])
    dealt = sorted(
        (number // _TOGETHER, at / len(copy) * chance.uniform(0.8, 1.0), number, at)
        for number, copy in enumerate(copies)
        for at in range(len(copy))
    )
    return Inbox(
        first=[(_key(body, ids, now), body) for body in map(orjson.dumps, whole_force)],
        then=[copies[number][at] for *_, number, at in dealt][:most],
        people=frozenset(_people(body for copy in copies for _, body in copy)),
    )


def publish(log: Log, lines: list[tuple[bytes, bytes]]) -> None:
    """Put the bodies on the inbox as they are, good and bad."""
    for start in range(0, len(lines), 1000):
        log.append([Outgoing(INBOX.name, key, body, STRUCTURED) for key, body in lines[start : start + 1000]])


def _originals() -> Iterator[dict[str, Any]]:
    yield from scenario.messages()
    for kind, folder, pattern, place in _IMPORTED:
        files = [(path.name, path.read_bytes()) for path in sorted(shared_data(folder).glob(pattern))]
        source = default_source(kind, scenario.FORCE, place)
        yield from KINDS[kind](files, force=scenario.FORCE, neighbourhood=place, source=source)


def _copied(message: Mapping[str, Any], copy: int) -> dict[str, Any]:
    """The message as copy number `copy` of its source would send it."""
    data = dict(message["data"])
    place = f"{data['neighbourhood']}.{copy}"
    _, kind, *_ = message["type"].split(".")
    data["ref"] = place if kind == "neighbourhood" else f"{data['ref']}.{copy}"
    data["neighbourhood"] = f"around.{place}" if kind == "support" else place
    data["causes"] = [{**cause, "ref": f"{cause['ref']}.{copy}"} for cause in data.get("causes", ())]
    return {**message, "source": f"{message['source']}/{copy}", "data": data}


def _reused(body: bytes) -> bytes:
    """Another body under the same id."""
    message = orjson.loads(body)
    return orjson.dumps({**message, "data": {**message["data"], "actor": {"role": "somebody_else"}}})


def _unknown(body: bytes) -> bytes:
    message = orjson.loads(body)
    return orjson.dumps({**message, "id": f"{message['id']}.unknown", "type": "heard.rumour.spread.v1"})


def _people(bodies: Iterable[bytes]) -> Iterator[str]:
    for body in bodies:
        if body.startswith(b"{"):
            message = orjson.loads(body)
            if contributor := message["data"].get("contributor"):
                yield f"{message['data']['force']}\0{message['source']}\0{contributor['ref']}"


def _key(body: bytes, ids: Ids, now: datetime) -> bytes:
    found = check(body, 1, ids, now)
    return b"unusable" if isinstance(found, Rejected) else key_of(found)
