"""What does Apache Kafka offer to Heard? The verbs of the `Log` port, over kafka-python."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer
from kafka import errors as kafka_errors
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata, TopicPartition

from domain.errors import ConfigurationError, FencedError, HeardError, InvalidMessageError, TransientError
from services.partitioning import partition_of
from services.ports import Outgoing, Record
from services.topics import TOPICS, Topic

TRANSACTION_MS: Final = 10_000
"""After which time the broker ends a transaction that its producer left open."""
OVERHEAD: Final = 64 * 1024
"""Bytes of key, headers and batch beside a value."""
PATIENCE: Final = 5.0
"""Seconds in which a broker has to answer at first."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where Kafka is, and how to prove who we are. `prefix` is put before every topic and group."""

    servers: str
    security_protocol: str
    sasl_mechanism: str | None = None
    username: str | None = None
    password: str | None = None
    ca_file: str | None = None
    prefix: str = ""
    session_ms: int = 10_000

    def __repr__(self) -> str:
        return f"Broker({self.servers}, {self.security_protocol}, {self.username})"

    def client(self) -> dict[str, Any]:
        """The options that every client of kafka-python takes."""
        options: dict[str, Any] = {
            "bootstrap_servers": self.servers.split(","),
            "security_protocol": self.security_protocol,
            "bootstrap_timeout_ms": int(PATIENCE * 1000),
            # The library's back-off grows to 30 s: a broker that is back would be noticed late.
            "reconnect_backoff_max_ms": 1_000,
        }
        if self.sasl_mechanism:
            options |= {
                "sasl_mechanism": self.sasl_mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        if self.ca_file:
            options["ssl_cafile"] = self.ca_file
        return options


class KafkaLog:
    """The `Log` port on a cluster whose topics exist (`heard topics create`).

    Every client is opened when it is first needed. Raises ConfigurationError when the cluster
    refuses us for good, and says why: password, authority, or a right that is missing.
    """

    def __init__(self, broker: Broker, topics: tuple[Topic, ...] = TOPICS) -> None:
        self._broker = broker
        self._topics = {topic.name: topic for topic in topics}
        self._counts: dict[str, int] = {}
        self._reader: KafkaConsumer | None = None
        self._uncommitted: KafkaConsumer | None = None
        self._lasts: dict[TopicPartition, tuple[int, Record | None]] = {}
        self._appender: TransactionalProducer | None = None
        self._members: list[TransactionalProducer | Member] = []

    # -- the port --------------------------------------------------------------------------------

    def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        if topic not in self._counts:
            with our_errors(self._broker):
                found = self._plain().partitions_for_topic(self._name(topic))
            self._counts[topic] = len(_exists(self._name(topic), found))
        return self._counts[topic]

    def producer(self, name: str) -> TransactionalProducer:
        """See `Log.producer`: fences by the transactional id."""
        producer = TransactionalProducer(self, self._broker, f"{self._broker.prefix}heard.{name}")
        self._members.append(producer)
        return producer

    def append(self, batch: Sequence[Outgoing]) -> None:
        """See `Log.append`: a transaction of a name that nobody else has."""
        if self._appender is None:
            self._appender = self.producer(f"append.{secrets.token_hex(8)}")
        try:
            self._appender.send(batch)
        except (FencedError, TransientError):
            self._appender.close()
            self._appender = None
            raise

    def consumer(self, group: str, topics: Sequence[str], start: Callable[[str, int], int]) -> Member:
        """See `Log.consumer`."""
        member = Member(self._broker, group, [self._name(topic) for topic in topics], start)
        self._members.append(member)
        return member

    def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log.end_offsets`: of what is committed."""
        places = [TopicPartition(self._name(topic), p) for p in range(self.partitions(topic))]
        with our_errors(self._broker):
            found = self._plain().end_offsets(places)
        return {place.partition: offset for place, offset in found.items()}

    def last(self, topic: str, partition: int) -> Record | None:
        """See `Log.last`: looks back over markers and aborted records, further each time."""
        place = TopicPartition(self._name(topic), partition)
        end = self._settled_end(place)
        known_end, known = self._lasts.get(place, (-1, None))
        if known_end == end:
            return known
        record = self._look_back(topic, partition, end)
        self._lasts[place] = (end, record)
        return record

    def _look_back(self, topic: str, partition: int, end: int) -> Record | None:
        place = TopicPartition(self._name(topic), partition)
        with our_errors(self._broker):
            first = self._plain().beginning_offsets([place])[place]
        window, upto = 16, end
        while upto > first:
            start = max(first, upto - window)
            found = None
            for record in self._range(topic, partition, start, upto):
                found = record
            if found is not None:
                return found
            upto, window = start, window * 4
        return None

    def _settled_end(self, place: TopicPartition) -> int:
        """The end of what is committed, once no transaction is open on the partition.

        A commit is told to its producer before its markers stand in every partition: whoever asks
        in between would not see what was committed.
        """
        deadline = time.monotonic() + 2 * TRANSACTION_MS / 1000
        with our_errors(self._broker):
            if self._uncommitted is None:
                self._uncommitted = KafkaConsumer(**self._broker.client(), group_id=None)
            written = self._uncommitted.end_offsets([place])[place]
            while (committed := self._plain().end_offsets([place])[place]) < written:
                if time.monotonic() > deadline:
                    break
                time.sleep(0.01)
        return int(committed)

    def read(self, topic: str, partition: int, start: int, before: int, limit: int) -> list[Record]:
        """See `Log.read`."""
        records: list[Record] = []
        for record in self._range(topic, partition, start, before):
            records.append(record)
            if len(records) == limit:
                break
        return records

    def redact(self, records: Mapping[tuple[str, int, int], bytes]) -> None:
        """See `Log.redact`: bodies stand for the topic's retention."""

    def unredacted(self, topic: str, partition: int, before: int) -> list[Record]:
        """See `Log.unredacted`: nothing that could be redacted."""
        return []

    def close(self) -> None:
        """See `Log.close`."""
        for member in self._members:
            member.close()
        for reader in (self._reader, self._uncommitted):
            if reader is not None:
                reader.close()
        self._reader = self._uncommitted = None

    # -- reading without a group -----------------------------------------------------------------

    def _range(self, topic: str, partition: int, start: int, before: int) -> Iterator[Record]:
        """Committed records with start <= offset < before, in order."""
        place = TopicPartition(self._name(topic), partition)
        with our_errors(self._broker):
            reader = self._plain()
            reader.assign([place])
            reader.seek(place, start)
        while True:
            with our_errors(self._broker):
                found = reader.poll(timeout_ms=500, max_records=5_000).get(place, [])
                at = reader.position(place)
            for record in found:
                if record.offset >= before:
                    return
                yield _record(record, self._broker.prefix)
            if at is not None and at >= before:
                return

    def _plain(self) -> KafkaConsumer:
        if self._reader is None:
            self._reader = KafkaConsumer(**self._broker.client(), **_READING, group_id=None)
        return self._reader

    def _name(self, topic: str) -> str:
        if topic not in self._topics:
            raise ConfigurationError(
                f"there is no topic {topic}", expected=", ".join(self._topics), got=topic,
                hint="use a topic of services/topics.py",
            )  # fmt: skip
        return self._broker.prefix + topic

    def placed(self, out: Outgoing) -> tuple[str, int]:
        """The physical topic and the partition of a record; too large is InvalidMessageError."""
        name = self._name(out.topic)
        topic = self._topics[out.topic]
        size = len(out.value or b"")
        if size > topic.max_bytes:
            raise InvalidMessageError(
                "too_large", f"a record is too large for {topic.name}",
                expected=f"at most {topic.max_bytes} bytes", got=f"{size} bytes",
                hint="send less in one message",
            )  # fmt: skip
        partition = out.partition
        if partition is None:
            partition = partition_of(out.key, self.partitions(out.topic))
        return name, partition


_READING: Final = {
    "isolation_level": "read_committed",
    "enable_auto_commit": False,
    "auto_offset_reset": "earliest",
    "max_partition_fetch_bytes": 4 * 1024 * 1024,
    "fetch_max_wait_ms": 100,
}


class TransactionalProducer:
    """The `Producer` port: each batch is one transaction over all its partitions."""

    def __init__(self, log: KafkaLog, broker: Broker, name: str) -> None:
        self._log = log
        self._broker = broker
        with our_errors(broker):
            self._producer = KafkaProducer(
                **broker.client(),
                transactional_id=name,
                transaction_timeout_ms=TRANSACTION_MS,
                enable_idempotence=True,
                acks="all",
                linger_ms=5,
                batch_size=256 * 1024,
                max_request_size=2 * max(topic.max_bytes for topic in TOPICS) + OVERHEAD,
                delivery_timeout_ms=30_000,
                request_timeout_ms=10_000,
                max_block_ms=10_000,
            )
            self._producer.init_transactions()
        self._closed = False
        self._fenced = False

    def send(self, batch: Sequence[Outgoing]) -> None:
        """See `Producer.send`."""
        if self._fenced:
            raise _lost("was fenced before")
        placed = [(self._log.placed(out), out) for out in batch]
        with our_errors(self._broker):
            self._producer.begin_transaction()
            try:
                waiting = [
                    self._producer.send(topic, out.value, key=out.key, headers=list(out.headers), partition=p)
                    for (topic, p), out in placed
                ]
                self._producer.flush()
                for future in waiting:
                    future.get(timeout=0)
                self._producer.commit_transaction()
            except kafka_errors.KafkaError as error:
                self._abort(error)
                raise

    def _abort(self, error: Exception) -> None:
        self._fenced = isinstance(error, _FENCED)
        if not self._fenced:
            # What the broker does not hear of now it ends by itself after TRANSACTION_MS.
            try:
                self._producer.abort_transaction()
            except (kafka_errors.KafkaError, AssertionError) as second:
                logging.getLogger(__name__).debug("abort failed: %s", type(second).__name__)

    def close(self) -> None:
        """See `Producer.close`."""
        if not self._closed:
            self._closed = True
            self._producer.close(timeout=5)


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """The `Consumer` port: a member of a cooperative group that begins at the caller's positions."""

    def __init__(
        self, broker: Broker, group: str, topics: Sequence[str], start: Callable[[str, int], int]
    ) -> None:
        self._broker = broker
        self._start = start
        self._assigned: set[TopicPartition] = set()
        self._failure: HeardError | None = None
        with our_errors(broker):
            self._consumer = KafkaConsumer(
                **broker.client(),
                **_READING,
                group_id=f"{broker.prefix}heard.{group}",
                partition_assignment_strategy=[CooperativeStickyAssignor],
                session_timeout_ms=broker.session_ms,
                heartbeat_interval_ms=broker.session_ms // 4,
                fetch_max_bytes=16 * 1024 * 1024,
            )
            # Whoever joins before it knows the topics is assigned nothing, and is not asked again.
            for topic in topics:
                _exists(topic, self._consumer.partitions_for_topic(topic))
            self._consumer.subscribe(topics=list(topics), listener=self)
        self._closed = False

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """See `Consumer.poll`."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            with our_errors(self._broker):
                found = self._consumer.poll(timeout_ms=max(int(left * 1000), 1), max_records=limit)
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            records = [_record(r, self._broker.prefix) for batch in found.values() for r in batch]
            if records or time.monotonic() >= deadline:
                return records

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """Begin where the caller's database says; called within `poll`."""
        for place in assigned:
            try:
                self._consumer.seek(place, self._start(self._plain(place.topic), place.partition))
            except HeardError as error:
                self._failure = error
                return
        self._assigned |= set(assigned)

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """They belong to somebody else from now on."""
        self._assigned -= set(revoked)

    def on_partitions_lost(self, lost: set[TopicPartition]) -> None:
        """They have belonged to somebody else for a while."""
        self._assigned -= set(lost)

    def assigned(self) -> frozenset[tuple[str, int]]:
        """See `Consumer.assigned`."""
        return frozenset((self._plain(place.topic), place.partition) for place in self._assigned)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """See `Consumer.seek`."""
        place = TopicPartition(self._broker.prefix + topic, partition)
        if place not in self._assigned:
            raise _lost(f"does not hold {topic}/{partition}")
        self._consumer.seek(place, offset)

    def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """See `Consumer.commit`."""
        if not offsets:
            return
        places = {
            TopicPartition(self._broker.prefix + topic, p): OffsetAndMetadata(offset, "", -1)
            for (topic, p), offset in offsets.items()
        }
        with our_errors(self._broker):
            self._consumer.commit(places)

    def close(self) -> None:
        """See `Consumer.close`."""
        if not self._closed:
            self._closed = True
            self._assigned = set()
            self._consumer.close(autocommit=False)

    def _plain(self, topic: str) -> str:
        return topic.removeprefix(self._broker.prefix)


def _exists(topic: str, partitions: set[int] | None) -> set[int]:
    if not partitions:
        raise ConfigurationError(
            f"the topic {topic} does not exist", expected="topics as Heard needs them",
            got="none of that name", hint="heard topics create",
        )  # fmt: skip
    return partitions


def _record(record: Any, prefix: str) -> Record:
    headers = tuple((name, value or b"") for name, value in record.headers or ())
    return Record(
        record.topic.removeprefix(prefix), record.partition, record.offset, record.key or b"", record.value,
        headers,
    )  # fmt: skip


# -- errors --------------------------------------------------------------------------------------

_FENCED: Final = (
    kafka_errors.ProducerFencedError,
    kafka_errors.InvalidProducerEpochError,
    kafka_errors.CommitFailedError,
    kafka_errors.FencedInstanceIdError,
    kafka_errors.IllegalGenerationError
    if hasattr(kafka_errors, "IllegalGenerationError")
    else kafka_errors.CommitFailedError,
    kafka_errors.UnknownMemberIdError,
)
_REFUSED: Final = (
    kafka_errors.AuthorizationError,
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
)


class _Reasons(logging.Handler):
    """Remembers why connections failed: the library tells its log, and its caller only of a time-out."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep what names a cause."""
        text = record.getMessage()
        if any(word in text for word in ("Authentication", "certificate", "SSL", "Sasl")):
            self.last = text


@contextmanager
def our_errors(broker: Broker) -> Iterator[None]:
    """Make the library's exceptions ours: what may be retried, and what must not be."""
    reasons = _Reasons()
    logger = logging.getLogger("kafka")
    logger.addHandler(reasons)
    try:
        yield
    except _FENCED as error:
        raise _lost(f"was fenced: {type(error).__name__}") from error
    except _REFUSED as error:
        raise ConfigurationError(
            f"the broker does not allow {broker.username or 'this principal'} to do this",
            expected="rights on Heard's topics, groups and transactional ids", got=type(error).__name__,
            hint="give the principal the right (ACL), then start again",
        ) from error  # fmt: skip
    except kafka_errors.KafkaError as error:
        raise _refused(broker, error, reasons.last) from error
    finally:
        logger.removeHandler(reasons)


def _refused(broker: Broker, error: Exception, reason: str) -> HeardError:
    text = f"{reason} {error}"
    if "certificate" in text or "SSL" in text:
        return ConfigurationError(
            "the broker's certificate is not trusted", expected="a certificate of the given authority",
            got="another one", hint="set HEARD_KAFKA_CA_FILE to the authority's certificate",
        )  # fmt: skip
    if "Authentication" in text or "Sasl" in text:
        return ConfigurationError(
            f"the broker refused the password of {broker.username}", expected="the principal's password",
            got="another one", hint="set HEARD_KAFKA_USERNAME and HEARD_KAFKA_PASSWORD",
        )  # fmt: skip
    return TransientError(
        f"the broker at {broker.servers} does not answer", expected="an answer",
        got=type(error).__name__, hint="it is tried again; look at `heard doctor` if it stays so",
    )  # fmt: skip


def _lost(why: str) -> FencedError:
    return FencedError(
        f"this process {why}", expected="to hold the role", got="another process has it",
        hint="nothing was written; it tries to take the role again",
    )  # fmt: skip
