"""How does a message become an event? Load, decide, seal, write: the same for every type."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog

from domain.catalogue import AGGREGATES, schema_digest
from domain.errors import HeardError, InvalidMessageError, RuleBrokenError
from domain.event import MAX_BYTES, MAX_CAUSES, Actor, Cause, Envelope, Event, MessageId, write
from domain.evidence.sealing import commit, seal
from domain.ids import Ids
from domain.rules import Causes
from domain.values import UNKNOWN_WHEN, Occurred, StreamId, SubjectId, stamp
from services.message import Message
from services.ports import Clock, EventStore, KeyStore, Randomness, SealedValue, Work

log = structlog.get_logger(__name__)

NO_CHANGE: Final = "no_change"
ACCEPTED: Final = "accepted"


class UnseenError(HeardError):
    """The message refers to something that is not in the record yet: it has to wait."""

    code = "unseen"

    def __init__(self, stream: str, name: str) -> None:
        super().__init__(f"{name} is not in the record yet")
        self.stream = stream
        self.name = name


@dataclass(slots=True)
class _Stream:
    first: Envelope | None = None
    last: Envelope | None = None
    state: Any = None

    def add(self, envelope: Envelope, event: Event) -> None:
        self.first = self.first or envelope
        self.last = envelope
        self.state = AGGREGATES[envelope.kind].evolve(self.state, event, envelope.causes)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an event carries beside the fact: whose, when, by whom, handled because of what."""

    force: str
    neighbourhood: str | None
    actor: Actor
    occurred: Occurred = UNKNOWN_WHEN
    known_at: str | None = None
    message: MessageId | None = None
    caused_by: str | None = None
    correlation: str | None = None


@dataclass(slots=True)
class Desk:
    """One batch of work: what the streams say, and what this batch adds to them.

    Everything that is decided collects in `work`; nothing is written until the caller commits it.
    """

    store: EventStore
    keys: KeyStore
    clock: Clock
    randomness: Randomness
    ids: Ids
    work: Work = field(default_factory=Work)
    made: set[str] = field(default_factory=set)
    """Streams that began in this batch."""
    _streams: dict[str, _Stream] = field(default_factory=dict)
    _firsts: dict[str, Envelope | None] = field(default_factory=dict)
    _subjects: dict[str, str] = field(default_factory=dict)
    _keys: dict[str, bytes] = field(default_factory=dict)
    _named: dict[tuple[str, ...], StreamId] = field(default_factory=dict)
    """Streams by the names that they are called by here; gone with the batch."""
    _log: Any = field(default_factory=log.bind)
    """Bound once: to bind it for each event costs more than the line that is not written."""

    # -- preparing -------------------------------------------------------------------------------

    def prepare(self, messages: Sequence[Message]) -> None:
        """Fetch in a few queries what handling these messages will ask for."""
        people = {m.contributor for m in messages if m.contributor} - self._subjects.keys()
        if people:
            self._subjects |= self.keys.subjects(sorted(people))
        own = [self.stream_of(m) for m in messages]
        self.load(own)
        self.load_firsts(self._cause_stream(m, at) for m in messages for at in range(len(m.causes)))
        wanted = {
            key
            for m, stream in zip(messages, own, strict=True)
            for path, key in self._key_ids(m.event, stream, self._owner(m, stream))
        } - self._keys.keys()
        if wanted:
            self._keys |= self.keys.keys(sorted(wanted), make=True)

    def load(self, streams: Iterable[str]) -> None:
        """Have the state of these streams at hand."""
        missing = set(streams) - self._streams.keys()
        found = self.store.load(missing) if missing else {}
        for stream in missing:
            entry = self._streams[stream] = _Stream()
            for envelope in found.get(stream, ()):
                entry.add(envelope, envelope.event)

    def load_firsts(self, streams: Iterable[str]) -> None:
        """Have the first event of these streams at hand."""
        missing = set(streams) - self._firsts.keys() - self._streams.keys()
        if missing:
            found = self.store.firsts(missing)
            self._firsts |= {stream: found.get(stream) for stream in missing}

    def stream_of(self, message: Message) -> StreamId:
        """The stream of the thing that the message is about.

        Support is one stream for each concern and person, so that a person counts once.
        """
        if message.kind == "support" and message.contributor in self._subjects:
            concerns = [at for at, c in enumerate(message.causes) if c.relation == "supports"]
            if len(concerns) == 1:
                names = (self._cause_stream(message, concerns[0]), self._subjects[message.contributor or ""])
                if names not in self._named:
                    self._named[names] = StreamId(self.ids.of("support", *names))
                return self._named[names]
        return self._stream(message.kind, message.force, message.source, message.event.ref)

    def _cause_stream(self, message: Message, at: int) -> StreamId:
        cause = message.causes[at]
        return self._stream(cause.kind, message.force, cause.source, cause.ref)

    def _stream(self, *names: str) -> StreamId:
        if names not in self._named:
            self._named[names] = self.ids.stream(*names)
        return self._named[names]

    # -- handling --------------------------------------------------------------------------------

    def handle(self, message: Message) -> str:
        """Decide on one prepared message: `accepted` or `no_change`.

        Raises UnseenError (park it), RuleBrokenError or InvalidMessageError (a dead letter).
        """
        stream = self.stream_of(message)
        causes = self._causes(message, stream)
        event = _with_subject(message.event, self._subjects.get(message.contributor or ""))
        if self.state(stream) is None and not event.MAKES:
            raise UnseenError(stream, f"{message.kind} {event.ref}")
        circumstances = Circumstances(
            force=message.force,
            neighbourhood=message.neighbourhood,
            actor=Actor(message.role, self._pseudonym(message)),
            occurred=message.occurred,
            known_at=message.time,
            message=MessageId(message.source, message.id),
            caused_by=message.id,
            correlation=message.id,
        )
        owner = self._owner(message, stream)
        return ACCEPTED if self.record(stream, event, causes, circumstances, owner) else NO_CHANGE

    def record(
        self,
        stream: StreamId,
        event: Event,
        causes: Causes,
        circumstances: Circumstances,
        subject: str | None = None,
    ) -> Envelope | None:
        """Decide on an event of a loaded stream, and add it to the work; None if nothing changes."""
        kind = event.TOPIC.split(".", 2)[1]
        entry = self._streams[stream]
        decided = AGGREGATES[kind].decide(entry.state, event, causes)
        if decided is None:
            return None
        if len(causes) > MAX_CAUSES:
            _too_large("data.causes", f"at most {MAX_CAUSES} causes", f"{len(causes)}")
        version = entry.last.version + 1 if entry.last else 1
        event_id = self.ids.event(stream, version)
        first = entry.first
        neighbourhood = first.neighbourhood if first else circumstances.neighbourhood
        now = stamp(self.clock.now())
        sealed = list(self._seal(decided, event_id, stream, subject))
        envelope = write(
            decided,
            sealed={value.path: commitment for value, commitment in sealed},
            schema=schema_digest(type(decided)),
            id=event_id,
            stream=stream,
            version=version,
            prev=entry.last.digest if entry.last else None,
            force=circumstances.force,
            neighbourhood=neighbourhood,
            key=first.key if first else f"{circumstances.force}/{neighbourhood or '-'}",
            occurred=circumstances.occurred,
            known_at=circumstances.known_at or now,
            recorded_at=now,
            actor=circumstances.actor,
            causes=causes,
            message=circumstances.message,
            caused_by=circumstances.caused_by,
            correlation=circumstances.correlation,
        )
        if len(envelope.bytes) > MAX_BYTES:
            _too_large("data", f"an event of at most {MAX_BYTES} bytes", f"{len(envelope.bytes)} bytes")
        entry.add(envelope, decided)  # no state holds what is sealed: it is the same in the clear
        if version == 1:
            self.made.add(stream)
        self.work.events.append(envelope)
        self._log.info(
            "decided",
            type=envelope.type,
            id=event_id,
            correlation=circumstances.correlation,
            causation=circumstances.caused_by,
        )
        self.work.sealed.extend(value for value, _ in sealed)
        return envelope

    def state(self, stream: str) -> Any:
        """The state of a loaded stream, None if it has no event."""
        return self._streams[stream].state

    def last(self, stream: str) -> Envelope | None:
        """The last event of a loaded stream."""
        return self._streams[stream].last

    def _first(self, stream: str) -> Envelope | None:
        if stream in self._streams:
            return self._streams[stream].first
        return self._firsts[stream]

    def _causes(self, message: Message, own: str) -> Causes:
        found: dict[tuple[str, str], Cause] = {}
        for at, reference in enumerate(message.causes):
            stream = self._cause_stream(message, at)
            if stream == own:
                raise RuleBrokenError(
                    "nothing_rests_on_itself", "a cause is the thing itself", hint="name another cause"
                )
            first = self._first(stream)
            if first is None:
                raise UnseenError(stream, f"{reference.kind} {reference.ref}")
            found[reference.relation, stream] = Cause(
                reference.relation, first.id, first.digest, reference.influence
            )
        return tuple(found.values())

    def _pseudonym(self, message: Message) -> str | None:
        if message.actor_ref is None:
            return None
        return self.ids.of("actor", message.force, message.source, message.actor_ref)

    # -- sealing ---------------------------------------------------------------------------------

    def _key_ids(
        self, event: Event, stream: str, subject: str | None
    ) -> Iterable[tuple[tuple[str, ...], str]]:
        """(path, key id) of each sealed field that has a value.

        What belongs to a person is under that person's key; all else is under the key of its stream.
        """
        for path in event.sealed_paths():
            if _at(event, path) is not None:
                yield path, subject or stream

    def _owner(self, message: Message, stream: str) -> str | None:
        """The person to whom the words on this stream belong: whoever its first event names."""
        first = self._streams[stream].first
        made_by = getattr(first.event, "contributor", None) if first else None
        if made_by is not None:
            return str(made_by.subject)
        return self._subjects.get(message.contributor or "")

    def _seal(
        self, event: Event, event_id: str, stream: str, subject: str | None
    ) -> Iterable[tuple[SealedValue, str]]:
        for path, key_id in self._key_ids(event, stream, subject):
            name = ".".join(path)
            value: str = _at(event, path)
            salt = self.randomness.bytes(32)
            if key_id not in self._keys:
                self._keys |= self.keys.keys([key_id], make=True)
            box = seal(self._keys[key_id], key_id, event_id, name, salt, value, self.randomness.bytes(12))
            yield SealedValue(event_id, name, key_id, box), commit(event_id, name, salt, value)


def _at(event: Any, path: tuple[str, ...]) -> Any:
    for step in path:
        event = getattr(event, step)
        if event is None:
            return None
    return event


def _with_subject(event: Any, subject: str | None) -> Any:
    if subject is None:
        return event
    contributor = event.contributor.model_copy(update={"subject": SubjectId(subject)})
    return event.model_copy(update={"contributor": contributor})


def _too_large(field: str, expected: str, got: str) -> None:
    raise InvalidMessageError(
        "too_large", "the event would be too large", field=field, expected=expected, got=got,
        hint="report part of it first: heard.decision.inputs_weighed.v1 takes further inputs",
    )  # fmt: skip
