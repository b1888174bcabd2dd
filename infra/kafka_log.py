"""What does Apache Kafka offer to Heard? The verbs of the `Log` port, over kafka-python."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from kafka import KafkaProducer
from kafka import errors as kafka_errors
from kafka.structs import TopicPartition

from domain.errors import ConfigurationError, FencedError, TransientError
from infra.kafka_broker import Broker, fences, lost, our_errors
from infra.kafka_decoding import record_of
from infra.kafka_member import Member
from infra.kafka_reading import SILENCE, Reader, existing
from services.partitioning import partition_of
from services.ports import Outgoing, Record
from services.topics import MAX_BESIDE, TOPICS, Topic

TRANSACTION_MS: Final = 10_000
"""After which time the broker ends a transaction that its producer left open."""
SETTLED: Final = 3 * TRANSACTION_MS / 1000
"""Seconds in which every transaction has ended: brokers look every 10 s for those that were left open."""
DELIVERY: Final = 30.0
"""Seconds until a record that no broker has taken is given up."""
APPENDS: Final = "append."
"""How the transactional ids begin of whoever needs no name of their own."""
GLANCE: Final = 5
"""Milliseconds to wait for more where all that is asked for is there: the next partition waits as well."""
OVERHEAD: Final = MAX_BESIDE
"""Bytes of key, headers and batch beside a value."""


class KafkaLog:
    """The `Log` port on a cluster whose topics exist (`heard topics create`).

    Every client is opened when it is first needed. Raises ConfigurationError when the cluster
    refuses us for good, and says why: password, authority, or a right that is missing.
    """

    redacts = False

    def __init__(self, broker: Broker, topics: tuple[Topic, ...] = TOPICS) -> None:
        self._broker = broker
        self._topics = {topic.name: topic for topic in topics}
        self._counts: dict[str, int] = {}
        self._reader: Reader | None = None
        self._uncommitted: Reader | None = None
        self._last: dict[TopicPartition, tuple[int, Record | None]] = {}
        """Where each partition ended when it was looked at, and the last record before that."""
        self._appender: TransactionalProducer | None = None
        self._members: list[TransactionalProducer | Member] = []

    # -- the port --------------------------------------------------------------------------------

    def partitions(self, topic: str) -> int:
        """See `Log.partitions`."""
        if topic not in self._counts:
            with our_errors(self._broker):
                found = self._plain().partitions_for_topic(self._name(topic))
            self._counts[topic] = len(existing(self._broker, self._name(topic), found))
        return self._counts[topic]

    def producer(self, name: str) -> TransactionalProducer:
        """See `Log.producer`: fences by the transactional id."""
        producer = TransactionalProducer(self, self._broker, f"{self._broker.prefix}heard.{name}")
        self._remember(producer)
        return producer

    def append(self, batch: Sequence[Outgoing]) -> None:
        """See `Log.append`: a transaction of a name that nobody else has."""
        if self._appender is None:
            self._appender = self.producer(f"{APPENDS}{secrets.token_hex(8)}")
        try:
            self._appender.send(batch)
        except (FencedError, TransientError):
            self._appender.close()
            self._appender = None
            raise

    def consumer(
        self, group: str, topics: Sequence[str], start: Callable[[str, int], int], *, alone: bool = False
    ) -> Member:
        """See `Log.consumer`."""
        names = [self._name(topic) for topic in topics]
        member = Member(self._broker, group, names, start, alone=alone)
        self._remember(member)
        return member

    def end_offsets(self, topic: str) -> dict[int, int]:
        """See `Log.end_offsets`: of what is committed."""
        return {place.partition: end for place, end in self._ends(self._places(topic)).items()}

    def last_records(self, topic: str, *, settled: bool = True) -> dict[int, Record]:
        """See `Log.last_records`: looks back over markers and aborted records, further each time."""
        ends = self._settled_ends(topic) if settled else self._ends(self._places(topic))
        moved = [place for place, end in ends.items() if self._last.get(place, (0, None))[0] != end]
        with our_errors(self._broker):
            firsts = self._plain().beginning_offsets(moved)
        for place, first in firsts.items():
            end = ends[place]
            self._last[place] = (end, self._look_back(topic, place.partition, first, end))
        return {
            place.partition: record
            for place in ends
            if (record := self._last.get(place, (0, None))[1]) is not None
        }

    def _look_back(self, topic: str, partition: int, first: int, end: int) -> Record | None:
        window, upto = 16, end
        while upto > first:
            start = max(first, upto - window)
            found = None
            for record in self._range(topic, partition, start, upto, upto - start):
                found = record
            if found is not None:
                return found
            upto, window = start, window * 4
        return None

    def _ends(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        with our_errors(self._broker):
            return {place: int(end) for place, end in self._plain().end_offsets(places).items()}

    def _settled_ends(self, topic: str) -> dict[TopicPartition, int]:
        """Where what is committed ends, once every transaction that was open when it was asked has ended.

        A commit is told to its producer before its markers stand in every partition: whoever asks
        in between would not see what was committed. Raises TransientError if one stays open.
        """
        deadline = time.monotonic() + SETTLED
        places = self._places(topic)
        with our_errors(self._broker):
            if self._uncommitted is None:
                self._uncommitted = self._broker.opened(
                    Reader, prefix=self._broker.prefix, isolation_level="read_uncommitted", group_id=None
                )
            written = self._uncommitted.end_offsets(places)
            committed = self._ends(places)
            while unsettled := [place for place in places if committed[place] < written[place]]:
                if time.monotonic() > deadline:
                    raise kafka_errors.KafkaTimeoutError(
                        f"a transaction on {unsettled[0]} is open for {SETTLED} s"
                    )
                time.sleep(0.01)
                committed |= self._ends(unsettled)
        return committed

    def read(self, topic: str, partition: int, start: int, before: int, limit: int) -> list[Record]:
        """See `Log.read`."""
        return list(islice(self._range(topic, partition, start, before, limit), limit))

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

    def _remember(self, opened: TransactionalProducer | Member) -> None:
        self._members = [member for member in self._members if not member.closed]
        self._members.append(opened)

    # -- reading without a group -----------------------------------------------------------------

    def _range(self, topic: str, partition: int, start: int, before: int, limit: int) -> Iterator[Record]:
        """Committed records with start <= offset < before, in order; the caller takes at most `limit`.

        Raises TransientError when nothing more comes of what there must be.
        """
        if start >= before:
            return
        place = TopicPartition(self._name(topic), partition)
        with our_errors(self._broker):
            reader = self._plain()
            reader.assign([place])
            reader.seek(place, start)
        at, since = start, time.monotonic()
        while at < before:
            with our_errors(self._broker):
                # Not long: over markers and what was aborted it moves on, and would return nothing.
                found = reader.poll(GLANCE, max_records=min(limit, before - at)).get(place, [])
                now = reader.position(place, timeout_ms=500)
                if now is not None and now != at:
                    at, since = now, time.monotonic()
                elif time.monotonic() - since > SILENCE:
                    raise kafka_errors.KafkaTimeoutError(f"nothing of {place} for {SILENCE} s")
            for record in found:
                if record.offset >= before:
                    return
                yield record_of(record, self._broker.prefix)

    def _plain(self) -> Reader:
        if self._reader is None or self._reader.closed:
            self._reader = self._broker.opened(
                Reader, prefix=self._broker.prefix, fetch_max_wait_ms=GLANCE, group_id=None
            )
        return self._reader

    def _places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(self._name(topic), p) for p in range(self.partitions(topic))]

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
        self._topics[out.topic].require(out)
        partition = out.partition
        if partition is None:
            partition = partition_of(out.key, self.partitions(out.topic))
        return name, partition


class TransactionalProducer:
    """The `Producer` port: each batch is one transaction over all its partitions."""

    def __init__(self, log: KafkaLog, broker: Broker, name: str) -> None:
        self._log = log
        self._broker = broker
        with our_errors(broker):
            self._producer = broker.opened(
                KafkaProducer,
                transactional_id=name,
                transaction_timeout_ms=TRANSACTION_MS,
                enable_idempotence=True,
                acks="all",
                linger_ms=5,
                batch_size=256 * 1024,
                max_request_size=2 * max(topic.max_bytes for topic in TOPICS) + OVERHEAD,
                delivery_timeout_ms=int(DELIVERY * 1000),
                request_timeout_ms=10_000,
                max_block_ms=10_000,
            )
            try:
                self._producer.init_transactions()
            except BaseException:
                self._producer.close(timeout=0)
                raise
        self.closed = False
        self._fenced = False

    def send(self, batch: Sequence[Outgoing]) -> None:
        """See `Producer.send`."""
        if self._fenced:
            raise lost("was fenced before")
        placed = [(self._log.placed(out), out) for out in batch]
        with our_errors(self._broker):
            self._producer.begin_transaction()
            try:
                waiting = [
                    self._producer.send(topic, out.value, key=out.key, headers=list(out.headers), partition=p)
                    for (topic, p), out in placed
                ]
                self._producer.flush(timeout=DELIVERY)
                for future in waiting:
                    future.get(timeout=0)
                self._end("begin_commit")
            except kafka_errors.KafkaError as error:
                self._abort(error)
                raise

    def _abort(self, error: Exception) -> None:
        self._fenced = fences(error)
        if not self._fenced:
            # What the broker does not hear of now it ends by itself after TRANSACTION_MS.
            try:
                self._end("begin_abort")
            except (kafka_errors.KafkaError, AssertionError) as second:
                logging.getLogger(__name__).debug("abort failed: %s", type(second).__name__)

    def _end(self, how: str) -> None:
        """Commit or abort; the library's own verbs would wait for ever for a broker that is gone."""
        result = getattr(self._producer._transaction_manager, how)()
        self._producer._sender.wakeup()
        if not result.wait(timeout_ms=TRANSACTION_MS):
            raise kafka_errors.KafkaTimeoutError(f"no answer to {how} within {TRANSACTION_MS} ms")

    def close(self) -> None:
        """See `Producer.close`."""
        if not self.closed:
            self.closed = True
            try:
                self._producer.close(timeout=5)
            except kafka_errors.KafkaTimeoutError:  # it would wait for what no broker takes: give that up
                self._producer._sender.force_close()
                self._producer.close(timeout=5)
