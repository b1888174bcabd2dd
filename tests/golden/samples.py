"""How does a recipe become the bytes of an event, the same ones whenever it is followed?

A recipe holds the messages that come before, and what is recorded then: one more message, or
events of a kind that only Heard itself writes. The real desk handles them; clock, id key and
randomness stand still.
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from consumers.envelope import read
from domain.catalogue import EVENTS
from domain.event import Actor, Cause, Envelope
from domain.ids import Ids
from domain.values import StreamId
from infra.clock import FixedClock
from infra.event_store import SqlEventStore, SqliteRecorder
from infra.key_store import SqliteKeyStore
from infra.randomness import SeededRandomness
from services.desk import Circumstances, Desk
from services.message import Message

FOLDER = Path(__file__).parent
DIGESTS = FOLDER / "DIGESTS"
"""One line for each sample: its digest, and the event's type."""

_CLOCK = FixedClock(datetime(2009, 3, 1, 12, tzinfo=UTC))
_IDS = Ids(bytes(range(32)))
_STRUCTURED = [("content-type", b"application/cloudevents+json")]

Recipe = dict[str, Any]


class Still:
    """The same bytes at each call, so that the order in which they are drawn does not matter."""

    def bytes(self, count: int) -> bytes:
        """The first `count` bytes of one seed."""
        return SeededRandomness(b"golden").bytes(count)


def sample(type_: str) -> Path:
    """Where the stored bytes of a type's sample lie."""
    return FOLDER / f"{type_}.json"


def recipe(type_: str) -> Path:
    """Where it is written how the sample was made."""
    return FOLDER / "recipes" / f"{type_}.json"


def digests() -> dict[str, str]:
    """{type: the digest that was noted when the sample was made}."""
    lines = DIGESTS.read_text().splitlines() if DIGESTS.exists() else []
    return {type_: digest for digest, type_ in (line.split() for line in lines)}


def follow(made_of: Recipe) -> Envelope:
    """The last event that comes of a recipe, as this program writes it."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqlEventStore(SqliteRecorder(Path(folder) / "write.db"))
        keys = SqliteKeyStore(Path(folder) / "keys.db", randomness=Still(), id_key=_IDS.key)
        with closing(store), closing(keys):
            desk = Desk(store, keys, _CLOCK, Still(), _IDS)
            for given in made_of["messages"]:
                message = read(orjson.dumps(given), _STRUCTURED, _IDS, _CLOCK.now())
                assert isinstance(message, Message), message.error.message
                desk.prepare([message])
                desk.handle(message)
            for own in made_of["own"]:
                _record(own, desk)
            return desk.work.events[-1]


def _record(own: dict[str, Any], desk: Desk) -> None:
    stream = StreamId(_IDS.of(*own["stream"]))
    desk.load([stream])
    resting = desk.work.events[:1] if own["rests_on_the_first"] else []
    desk.record(
        stream,
        EVENTS[own["type"]].model_validate_json(orjson.dumps(own["fields"])),
        tuple(Cause("rests_on", first.id, first.digest) for first in resting),
        Circumstances(own["force"], own["neighbourhood"], Actor(own["role"]), **own["because"]),
    )
