"""What comes in when the scenario and the imports come many times over, each time from elsewhere?

Every copy has sources, references and neighbourhoods of its own, and so makes things of its own.
People vote from the district around the neighbourhood, so that links cross partitions. Within a copy
messages are shuffled, and the copies of a wave are dealt together: effects come in well before their causes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import count, islice
from typing import Any, Final

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
_WAVE: Final = 20
"""Copies, about 15,500 messages: those of the next wave begin when these have all come in."""

Line = tuple[bytes, bytes]
"""(key, body)."""
_Body = Callable[[], bytes]
"""Made when its turn comes: a load that has no end is made while it goes on."""


@dataclass(frozen=True, slots=True)
class Inbox:
    """What is published: first what the force says of itself, then everything else."""

    first: list[Line]
    """Settings hold from when they are recorded, so nothing may overtake them."""
    then: list[Line]
    people: frozenset[str]
    """Everybody who may come in, as the key store takes them."""


def multiplied(times: int, ids: Ids, now: datetime, most: int | None = None) -> Inbox:
    """The scenario and the three imports `times` over.

    Only the first so many with `most`: then some may wait for ever.
    """
    then = list(islice(copies(ids, now, times), most))
    return Inbox(of_the_force(ids, now), then, people(then))


def of_the_force(ids: Ids, now: datetime) -> list[Line]:
    """What the force says of itself."""
    return [_line(orjson.dumps(m), ids, now) for m in _originals() if m["type"] == _WHOLE_FORCE]


def copies(ids: Ids, now: datetime, times: int | None = None) -> Iterator[Line]:
    """Everything else so many times over, else for ever; some bodies come twice, some are unusable."""
    chance = random.Random(times or 0)
    originals = [m for m in _originals() if m["type"] != _WHOLE_FORCE]
    numbers = iter(range(1, times + 1)) if times else count(1)
    while wave := list(islice(numbers, _WAVE)):
        for body in _dealt([_shuffled(originals, number, chance) for number in wave], chance):
            yield _line(body(), ids, now)


def people(lines: Iterable[Line]) -> frozenset[str]:
    """Everybody who may come in with these, as the key store takes them."""
    return frozenset(_people(body for _, body in lines))


def publish(log: Log, lines: list[Line]) -> None:
    """Put the bodies on the inbox as they are, good and bad."""
    for start in range(0, len(lines), 1000):
        log.append([Outgoing(INBOX.name, key, body, STRUCTURED) for key, body in lines[start : start + 1000]])


def _originals() -> Iterator[dict[str, Any]]:
    yield from scenario.messages()
    for kind, folder, pattern, place in _IMPORTED:
        files = [(path.name, path.read_bytes()) for path in sorted(shared_data(folder).glob(pattern))]
        source = default_source(kind, scenario.FORCE, place)
        yield from KINDS[kind](files, force=scenario.FORCE, neighbourhood=place, source=source)


def _dealt(decks: Sequence[Sequence[_Body]], chance: random.Random) -> list[_Body]:
    """One order for all, about equally far in each of them."""
    dealt = sorted(
        (at / len(deck) * chance.uniform(0.8, 1.0), number, at)
        for number, deck in enumerate(decks)
        for at in range(len(deck))
    )
    return [decks[number][at] for _, number, at in dealt]


def _shuffled(originals: Sequence[Mapping[str, Any]], number: int, chance: random.Random) -> list[_Body]:
    """The bodies of copy `number`, in any order."""
    bodies: list[_Body] = [partial(_copied, message, number) for message in originals]
    usable = bodies[0]
    bodies += chance.sample(bodies, len(bodies) // 50)
    bodies += [partial(_reused, body) for body in chance.sample(bodies, 2)]
    bodies += [partial(b"not json %d".__mod__, number), partial(_unknown, usable)]
    chance.shuffle(bodies)
    return bodies


def _copied(message: Mapping[str, Any], number: int) -> bytes:
    """The message as copy `number` of its source would send it."""
    data = dict(message["data"])
    place = f"{data['neighbourhood']}.{number}"
    _, kind, *_ = message["type"].split(".")
    data["ref"] = place if kind == "neighbourhood" else f"{data['ref']}.{number}"
    data["neighbourhood"] = f"around.{place}" if kind == "support" else place
    data["causes"] = [{**cause, "ref": f"{cause['ref']}.{number}"} for cause in data.get("causes", ())]
    return orjson.dumps({**message, "source": f"{message['source']}/{number}", "data": data})


def _reused(body: _Body) -> bytes:
    """Another body under the same id."""
    message = orjson.loads(body())
    return orjson.dumps({**message, "data": {**message["data"], "actor": {"role": "somebody_else"}}})


def _unknown(body: _Body) -> bytes:
    message = orjson.loads(body())
    return orjson.dumps({**message, "id": f"{message['id']}.unknown", "type": "heard.rumour.spread.v1"})


def _people(bodies: Iterable[bytes]) -> Iterator[str]:
    for body in bodies:
        if body.startswith(b"{"):
            message = orjson.loads(body)
            if contributor := message["data"].get("contributor"):
                yield f"{message['data']['force']}\0{message['source']}\0{contributor['ref']}"


def _line(body: bytes, ids: Ids, now: datetime) -> Line:
    found = check(body, 1, ids, now)
    return b"unusable" if isinstance(found, Rejected) else key_of(found), body
