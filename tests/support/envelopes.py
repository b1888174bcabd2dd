"""How does a test get an event as it stands in the record, without going through messages?"""

from __future__ import annotations

from domain.catalogue import schema_digest
from domain.concern import Acknowledged, Raised
from domain.event import Actor, Cause, Envelope, Event, MessageId, write
from domain.ids import Ids
from domain.values import UNKNOWN_WHEN, StreamId

FORCE = "river-police"
PLACE = "riverside-ward"
IDS = Ids(bytes(32))
NOW = "2024-05-01T09:00:00.000000Z"


def stream_of(ref: str, kind: str = "concern") -> StreamId:
    """The stream of the thing that the tests call `ref`."""
    return IDS.stream(kind, FORCE, "/tests", ref)


def raised(ref: str, *, theme: str | None = None, causes: tuple[Cause, ...] = ()) -> Envelope:
    """The first event of a concern."""
    return envelope(stream_of(ref), Raised(ref=ref, kind="concern", theme=theme), causes=causes)


def place_of(ref: str) -> Envelope:
    """The first event of a concern in a neighbourhood of its own, so that they spread over partitions."""
    return envelope(stream_of(ref), Raised(ref=ref, kind="concern"), place=ref)


def acknowledged(ref: str, before: Envelope) -> Envelope:
    """The event of a concern that follows `before`."""
    return envelope(stream_of(ref), Acknowledged(ref=ref), before=before)


def envelope(
    stream: StreamId,
    event: Event,
    *,
    before: Envelope | None = None,
    causes: tuple[Cause, ...] = (),
    place: str = PLACE,
    at: str = NOW,
) -> Envelope:
    """Any event, as the next of its stream."""
    version = before.version + 1 if before else 1
    return write(
        event,
        sealed={},
        schema=schema_digest(type(event)),
        id=IDS.event(stream, version),
        stream=stream,
        version=version,
        prev=before.digest if before else None,
        force=FORCE,
        neighbourhood=place,
        key=f"{FORCE}/{place}",
        occurred=UNKNOWN_WHEN,
        known_at=at,
        recorded_at=at,
        actor=Actor("resident"),
        causes=causes,
        message=MessageId("/tests", f"{stream}.{version}"),
        caused_by=None,
        correlation=None,
    )
