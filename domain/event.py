"""What is an event, and how does it come to be the bytes that are stored, published and hashed?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import UnionType
from typing import Any, ClassVar, Final, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo

from domain.errors import IntegrityError
from domain.evidence import canonical
from domain.evidence.leaf import digest
from domain.values import (
    Digest,
    EventId,
    Identifier,
    Influence,
    Occurred,
    Seal,
    StreamId,
)  # fmt: skip

FORMAT: Final = 1
MAX_BYTES: Final = 32 * 1024
MAX_CAUSES: Final = 200


class Event(BaseModel):
    """A fact in the past tense: frozen, closed, known by its TOPIC."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    TOPIC: ClassVar[str] = ""
    MAKES: ClassVar[bool] = False
    """Whether it may be the first event of its stream, and so make the thing."""

    @classmethod
    def sealed_paths(cls) -> tuple[tuple[str, ...], ...]:
        """The fields whose values never enter the log, as paths: ("words",), ("contributor", "name")."""
        found = _SEALED.get(cls)
        if found is None:
            found = _SEALED[cls] = tuple(_sealed_paths(cls))
        return found


class Reported(Event):
    """A fact that an upstream system reports about a thing that it calls by `ref`."""

    ref: Identifier
    """The thing's reference in its source."""


_SEALED: dict[type[Event], tuple[tuple[str, ...], ...]] = {}


def _sealed_paths(model: type[BaseModel]) -> list[tuple[str, ...]]:
    paths: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        if is_marked(field, Seal):
            paths.append((name,))
        for inner in _models(field.annotation):
            paths.extend((name, *path) for path in _sealed_paths(inner))
    return paths


def is_marked(field: FieldInfo, mark: type) -> bool:
    """Whether the field's type, or one of its alternatives, carries a mark of that class."""
    if any(isinstance(item, mark) for item in field.metadata):
        return True
    return any(
        isinstance(item, mark)
        for option in get_args(field.annotation)
        for item in getattr(option, "__metadata__", ())
    )


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType):
        return [model for option in get_args(annotation) for model in _models(option)]
    return []


@dataclass(frozen=True, slots=True)
class Cause:
    """An event that another rests on: by id, and by the digest of its bytes."""

    relation: str
    id: EventId
    """The id of the event; for all relations but `rests_on` also the id of the thing it made."""
    digest: Digest
    influence: Influence | None = None

    @property
    def thing(self) -> StreamId:
        """The thing that the cause made (its stream has the same id)."""
        return StreamId(self.id)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a role, and a pseudonym where one person is meant."""

    role: str
    pseudonym: str | None = None


@dataclass(frozen=True, slots=True)
class MessageId:
    """Where it came in: the CloudEvent's source and id."""

    source: str
    id: str


@dataclass(frozen=True)
class Envelope:
    """One event as it stands in the record: who, when, because of what, and the fact itself.

    `bytes` are the stored bytes as first written; they are never encoded again. `event` is read
    from them, upcast to the newest version of its type.
    """

    bytes: bytes
    type: str
    id: EventId
    stream: StreamId
    version: int
    prev: Digest | None
    force: str
    neighbourhood: str | None
    key: str
    place: str
    """The neighbourhood as part of the key: `-` for what concerns the whole force."""
    occurred: Occurred
    known_at: str
    recorded_at: str
    actor: Actor
    causes: tuple[Cause, ...]
    message: MessageId | None
    caused_by: str | None
    correlation: str | None
    pub: Mapping[str, Any]
    sealed: Mapping[str, str]

    @cached_property
    def digest(self) -> Digest:
        """The leaf hash of the bytes."""
        return Digest(digest(self.bytes))

    @cached_property
    def event(self) -> Event:
        """The fact. Raises IntegrityError if the stored fields do not fit the type."""
        from domain.catalogue import read_event  # the catalogue imports every aggregate, so it comes late

        return read_event(self.type, self.pub, self.sealed)

    @property
    def kind(self) -> str:
        """The aggregate: concern, decision …"""
        return self.type.split(".", 2)[1]


def write(
    event: Event,
    *,
    sealed: Mapping[str, str],
    schema: str,
    id: EventId,
    stream: StreamId,
    version: int,
    prev: Digest | None,
    force: str,
    neighbourhood: str | None,
    key: str,
    occurred: Occurred,
    known_at: str,
    recorded_at: str,
    actor: Actor,
    causes: tuple[Cause, ...],
    message: MessageId | None,
    caused_by: str | None,
    correlation: str | None,
) -> Envelope:
    """Encode an event for the first and only time.

    `event` has its sealed fields in the clear; `sealed` holds {path: commitment}, one for each of
    them that has a value. Absent values are left out. The result is canonical JSON (RFC 8785).
    """
    pub = event.model_dump(mode="json", by_alias=True, exclude_none=True)
    for path in event.sealed_paths():
        holder = pub
        for step in path[:-1]:
            holder = holder.get(step, {})
        holder.pop(path[-1], None)
    document: dict[str, Any] = {
        "v": FORMAT,
        "type": event.TOPIC,
        "schema": schema,
        "id": id,
        "stream": stream,
        "version": version,
        "prev": prev,
        "force": force,
        "neighbourhood": neighbourhood,
        "key": key,
        "occurred": _filled({"kind": occurred.kind, "from": occurred.from_, "to": occurred.to}),
        "known_at": known_at,
        "recorded_at": recorded_at,
        "actor": _filled({"role": actor.role, "pseudonym": actor.pseudonym}),
        "causes": [
            _filled({"relation": c.relation, "id": c.id, "digest": c.digest, "influence": c.influence})
            for c in causes
        ],
        "message": None if message is None else {"source": message.source, "id": message.id},
        "caused_by": caused_by,
        "correlation": correlation,
        "pub": pub,
        "sealed": dict(sealed),
    }
    return _envelope(
        bytes=canonical.encode(_filled(document)),
        type=event.TOPIC,
        id=id,
        stream=stream,
        version=version,
        prev=prev,
        force=force,
        neighbourhood=neighbourhood,
        key=key,
        place=key.partition("/")[2],
        occurred=occurred,
        known_at=known_at,
        recorded_at=recorded_at,
        actor=actor,
        causes=causes,
        message=message,
        caused_by=caused_by,
        correlation=correlation,
        pub=pub,
        sealed=document["sealed"],
    )


def _envelope(**fields: Any) -> Envelope:
    # A frozen dataclass sets its fields one by one, the long way round, and this runs for every event.
    made = object.__new__(Envelope)
    made.__dict__.update(fields)
    return made


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if value is not None}


def read(data: bytes) -> Envelope:
    """The envelope of stored bytes. Raises IntegrityError if they are not one of ours."""
    try:
        d = orjson.loads(data)
        if d["v"] != FORMAT:
            raise IntegrityError(
                f"an event of format {d['v']}", expected=f"format {FORMAT}", got=str(d["v"]),
                hint="a newer Heard wrote this: update this program",
            )  # fmt: skip
        message, when = d.get("message"), d["occurred"]
        return _envelope(
            bytes=data,
            type=d["type"],
            id=d["id"],
            stream=d["stream"],
            version=d["version"],
            prev=d.get("prev"),
            force=d["force"],
            neighbourhood=d.get("neighbourhood"),
            key=d["key"],
            place=d["key"].partition("/")[2],
            occurred=_occurred(when["kind"], when.get("from"), when.get("to")),
            known_at=d["known_at"],
            recorded_at=d["recorded_at"],
            actor=Actor(**d["actor"]),
            causes=tuple(Cause(**c) for c in d["causes"]),
            message=None if message is None else MessageId(**message),
            caused_by=d.get("caused_by"),
            correlation=d.get("correlation"),
            pub=d["pub"],
            sealed=d["sealed"],
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValidationError) as error:
        raise IntegrityError(
            "these bytes are not an event",
            expected="canonical JSON with the fields of an event",
            got=type(error).__name__,
            hint="stop and compare the store with the ledger: `heard fsck`",
        ) from error


@lru_cache(maxsize=10_000)
def _occurred(kind: str, start: str | None, end: str | None) -> Occurred:
    # A log says the same few thousand days again and again.
    return Occurred.model_validate({"kind": kind, "from": start, "to": end})
