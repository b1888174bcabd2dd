"""What do the use cases need of the outside world? One Protocol each; adapters live in `infra`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from domain.event import Envelope


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to append. `value` None is a tombstone. `partition` None: murmur2 of `key`."""

    topic: str
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """Why a record is not given whole, and what it was: nothing larger than its topic's limits is given."""

    code: Literal["too_large", "unreadable"]
    """Over a limit of the topic, or not to be decoded."""
    why: str
    """What is too large or cannot be decoded, in words; nothing of what a sender wrote."""
    expected: str
    """What would have been taken."""
    got: str
    """What came."""
    size: int
    """Bytes of the value; of the record or the batch where no value can be told from the rest."""
    digest: str
    """SHA-256 of those bytes, as 64 hex digits."""


@dataclass(frozen=True, slots=True)
class Record:
    """A committed record as read from the log; offsets rise within a partition, with gaps."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    appended: int | None = None
    """When the log took it, in milliseconds since 1970; None where the log does not say."""
    cut: Cut | None = None
    """Set where `value` holds only the first `KEPT` bytes; there are no headers then."""

    def header(self, name: str) -> bytes | None:
        """The first header of that name, or None."""
        for key, value in self.headers:  # not a generator: this runs twice for every record
            if key == name:
                return value
        return None


class Producer(Protocol):
    """Appends batches atomically over partitions. One live producer a name: a later one fences it."""

    def send(self, batch: Sequence[Outgoing]) -> None:
        """Append all of `batch` or nothing, in order; returns when it is durable.

        Raises FencedError after a newer producer of the same name began, InvalidMessageError
        (`too_large`) when a record is over a limit of its topic, TransientError when it may be retried.
        """
        ...

    def close(self) -> None:
        """Give the name back; safe to repeat."""
        ...


class Consumer(Protocol):
    """Reads the partitions that its group assigned to it, in order, from the caller's positions."""

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """At most `limit` committed records, waiting up to `timeout` seconds when there are none.

        Fewer where they hold BATCH_BYTES by then. What is over a limit of its topic comes `cut`.
        Order holds within a partition. On assignment of a partition the consumer asks `start`
        for the next offset to read. A member that has no partition (others hold them) gets [].
        Raises IntegrityError where the log ends before that offset, or what is to be read is gone.
        """
        ...

    def assigned(self) -> frozenset[tuple[str, int]]:
        """The (topic, partition) pairs that this member holds now."""
        ...

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """Read on from `offset` (used to take a batch again that was not committed)."""
        ...

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Tell the log how far the group is (next offsets), for lag tools only.

        Raises FencedError when this member lost its partitions to another.
        """
        ...

    def close(self) -> None:
        """Leave the group at once; safe to repeat."""
        ...


class Log(Protocol):
    """Topics of ordered partitions: the local log in SQL, or Apache Kafka."""

    redacts: bool
    """Whether `redact` overwrites bodies; else they stand for the topic's retention."""

    def partitions(self, topic: str) -> int:
        """How many partitions `topic` has; it never changes."""
        ...

    def producer(self, name: str) -> Producer:
        """A new producer; any earlier one of this name is fenced from now on."""
        ...

    def append(self, batch: Sequence[Outgoing]) -> None:
        """Append without a fenced name (upstream publishing, parked and dead records); atomic, durable."""
        ...

    def consumer(
        self, group: str, topics: Sequence[str], start: Callable[[str, int], int], *, alone: bool = False
    ) -> Consumer:
        """Join `group`. `start(topic, partition)` gives the next offset to read.

        `alone`: one member holds all partitions, and keeps them while others come and go, which
        stand by; once it is gone, one of them takes over. All members of a group say the same.
        """
        ...

    def end_offsets(self, topic: str) -> dict[int, int]:
        """For each partition the offset that the next record will get."""
        ...

    def last_records(self, topic: str, *, settled: bool = True) -> dict[int, Record]:
        """The last committed record of every partition that has one, looking back over gaps.

        `settled`: what others are about to commit, or have just committed, is waited for; without, it may
        be missing. Raises TransientError when one of them comes to no end.
        """
        ...

    def read(self, topic: str, partition: int, start: int, before: int, limit: int) -> list[Record]:
        """At most `limit` committed records with `start` <= offset < `before`, in order; no group."""
        ...

    def redact(self, records: Mapping[tuple[str, int, int], bytes]) -> None:
        """Replace the bodies of {(topic, partition, offset): digest} by their digests.

        The local log does so at once, and destroys what could open the old body; Kafka leaves
        the bodies to the topic's retention.
        """
        ...

    def unredacted(self, topic: str, partition: int, before: int) -> list[Record]:
        """Records with an offset below `before` whose bodies `redact` has not replaced yet.

        Empty where the log leaves bodies to the topic's retention.
        """
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Clock(Protocol):
    """What time is it? The only source of Heard's own times."""

    def now(self) -> datetime:
        """The present instant, with the time zone UTC."""
        ...


class Randomness(Protocol):
    """The only source of salts, keys and people's ids."""

    def bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        ...


class KeyStore(Protocol):
    """Keys, contact map and id key, and nothing else; backed up apart from everything else.

    Each method is one durable transaction. A key that was destroyed is gone from the file.
    """

    def id_key(self) -> bytes:
        """The installation's 32 bytes for HMAC ids; made on first use, never changed."""
        ...

    def subjects(self, references: Sequence[str]) -> dict[str, str]:
        """{reference: the person's random id}, made where there was none.

        A reference is `force NUL source NUL ref`; only its HMAC under the id key is kept.
        """
        ...

    def subject(self, reference: str) -> str | None:
        """The person's id if there is one."""
        ...

    def forget_subject(self, subject: str) -> None:
        """Take the person out of the contact map; safe to repeat."""
        ...

    def keys(self, key_ids: Sequence[str], *, make: bool = False) -> dict[str, bytes]:
        """{key id: 32 bytes} of those that exist; `make` creates the missing ones first."""
        ...

    def destroy(self, key_ids: Sequence[str]) -> None:
        """Destroy keys for ever; safe to repeat."""
        ...

    def day_key(self, day: str) -> bytes:
        """The key under which parked and dead bodies of `day` (YYYY-MM-DD) are encrypted."""
        ...

    def destroy_day_keys(self, before: str) -> int:
        """Destroy the day keys older than `before`; the number destroyed."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


@dataclass(frozen=True, slots=True)
class Stored:
    """An event and its position in commit order (positions rise, with gaps)."""

    position: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class SealedValue:
    """A value that is kept out of the log: where it belongs, and its encrypted form."""

    event_id: str
    path: str
    key_id: str
    box: bytes


@dataclass(frozen=True, slots=True)
class Handled:
    """A message that has been read before: its source, id and the fingerprint of its body.

    After a restore less may be known of it. Without a fingerprint, whatever comes under its name is
    the same again. With neither source nor id (then `id` is the fingerprint), that body is.
    """

    source: str
    id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits for a thing that has not been seen yet, without its body."""

    id: str
    source: str
    message_id: str
    waiting_for: str
    """The stream of the thing."""
    waiting_name: str
    """The thing as upstream names it: `kind reference`."""
    since: str
    day: str


@dataclass(frozen=True, slots=True)
class Parked(Waiting):
    """One with its body, encrypted under the key of `day`."""

    box: bytes


@dataclass(frozen=True, slots=True)
class Unused:
    """A message that cannot be used, and why, without its body."""

    id: str
    source: str | None
    message_id: str | None
    code: str
    field: str
    reason: str
    status: str
    """open, retried or discarded."""
    at: str
    day: str


@dataclass(frozen=True, slots=True)
class DeadLetter(Unused):
    """One with its body, encrypted under the key of `day`."""

    box: bytes


@dataclass(slots=True)
class Work:
    """Everything that one transaction writes; either all of it comes to be or nothing."""

    events: list[Envelope] = field(default_factory=list)
    sealed: list[SealedValue] = field(default_factory=list)
    handled: list[Handled] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    released: list[str] = field(default_factory=list)
    """Ids of parked messages that wait no longer, or wait anew: these are in `parked` as well."""
    dead: list[DeadLetter] = field(default_factory=list)
    settled: dict[str, str] = field(default_factory=dict)
    """{id of an open dead letter: its new status}; one that is `dead` as well is open after all."""
    counts: Counter[str] = field(default_factory=Counter)
    """Messages by how they ended, to be added to the totals."""
    positions: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    """{(topic, partition): (next offset before, next offset after)} of intake."""


class Refill(Protocol):
    """An empty event store while it is filled again from the topics, in one transaction."""

    def events(self, events: Sequence[Stored]) -> None:
        """Write events at the positions that they had; new ones will come after the highest."""
        ...

    def handled(self, messages: Sequence[Handled]) -> None:
        """Remember messages; a fingerprint that is known by now stands."""
        ...

    def known(self, names: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Those of the messages `names` that are remembered."""
        ...

    def set_aside(self, parked: Sequence[Parked], dead: Sequence[DeadLetter]) -> None:
        """Write what waits and what cannot be used."""
        ...

    def totals(self, counts: Mapping[str, int], positions: Mapping[tuple[str, int], int]) -> None:
        """Write how messages ended, and where intake reads on."""
        ...


class EventStore(Protocol):
    """Where facts are recorded first, and what intake keeps in the same transactions."""

    def load(self, streams: Collection[str]) -> dict[str, list[Envelope]]:
        """The events of each stream in order of version; streams without events are left out."""
        ...

    def firsts(self, streams: Collection[str]) -> dict[str, Envelope]:
        """The first event of each stream that has one."""
        ...

    def after(self, position: int, limit: int) -> list[Stored]:
        """Events in commit order after `position`, none ever missed."""
        ...

    def end(self) -> int:
        """The position of the last event, 0 if there is none."""
        ...

    def positioned(self, stream: str) -> list[Stored]:
        """The events of one stream, each with its position."""
        ...

    def positions_of(self, streams: Collection[str], type: str) -> dict[str, list[int]]:
        """{stream: positions of its events of that type, in order}; streams without one are left out."""
        ...

    def commit(self, work: Work) -> None:
        """Write all of it in one transaction.

        Raises ConcurrencyError when a stream grew meanwhile, when somebody else released one of
        the parked messages, when what one is to wait for is there by now, or when it makes what one
        waits for and does not release that one, or when a dead letter is not open that it settles;
        FencedError when another intake moved one of the
        positions, TransientError when it may be retried.
        """
        ...

    def handled(self, names: Collection[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """{(source, id): fingerprint} of the messages among `names` that were read before."""
        ...

    def waiting(self, streams: Collection[str]) -> list[Parked]:
        """The parked messages that wait for one of `streams`, oldest first."""
        ...

    def waiting_by_source(self, stream: str) -> dict[str, int]:
        """{source: how many messages of it wait for `stream`}; the cost grows with all of them."""
        ...

    def waiting_of(self, stream: str, source: str, limit: int) -> list[Parked]:
        """At most `limit` of the messages of that source that wait for `stream`, oldest first.

        Fewer where their boxes hold BATCH_BYTES by then.
        """
        ...

    def parked(self, *, before: str, limit: int) -> list[Parked]:
        """At most `limit` messages that were parked before that instant, oldest first.

        Fewer where their boxes hold BATCH_BYTES by then.
        """
        ...

    def parked_of(self, ids: Collection[str]) -> set[str]:
        """Those of these messages that are parked."""
        ...

    def all_parked(self) -> list[Waiting]:
        """Every parked message, oldest first."""
        ...

    def dead_letter(self, id: str) -> DeadLetter | None:
        """One dead letter."""
        ...

    def dead_letters(self, *, status: str | None = None) -> list[Unused]:
        """Dead letters, oldest first."""
        ...

    def open_dead_letters(self) -> int:
        """How many dead letters are open."""
        ...

    def dead_letters_since(self, instant: str, sources: Collection[str]) -> dict[str, int]:
        """{source: how many messages of it have become dead letters after that instant}, of these sources.

        "" is the source of those that do not say one.
        """
        ...

    def latest_set_aside(self) -> tuple[str | None, str | None]:
        """The latest `since` of a parked message and the latest `day` of a dead letter, if any."""
        ...

    def counts(self) -> dict[str, int]:
        """Messages by how they ended, in total."""
        ...

    def position(self, topic: str, partition: int) -> int:
        """The next offset that intake reads; 0 at first."""
        ...

    def positions(self, topic: str) -> dict[int, int]:
        """{partition: the next offset that intake reads} of those where it has read something."""
        ...

    def sources(self) -> list[str]:
        """Every source that a message has come from."""
        ...

    def sealed_of(self, event_ids: Collection[str]) -> list[SealedValue]:
        """Sealed values of these events that were not yet published."""
        ...

    def drop_sealed(
        self, *, event_ids: Collection[str] = (), key_ids: Collection[str] = (), published: int = 0
    ) -> None:
        """Forget sealed values that were published, or whose keys are destroyed.

        `published`: everything up to that position was, so what a crash left behind goes as well.
        """
        ...

    def close(self) -> None:
        """Release every connection."""
        ...
