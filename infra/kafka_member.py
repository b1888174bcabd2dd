"""How does a member of a group read Kafka, from where, and what does it hold?"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from kafka import ConsumerRebalanceListener
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata, TopicPartition

from domain.errors import HeardError, IntegrityError
from infra.kafka_assignors import Alone, Shared
from infra.kafka_broker import Broker, lost, our_errors, said
from infra.kafka_decoding import record_of
from infra.kafka_reading import ELSEWHERE, SILENCE, Reader, existing
from services.ports import Record
from services.topics import BATCH_BYTES, INBOX

JOINING: Final = 1.0
"""Seconds that a poll may wait at most while the group shares out its partitions; an eighth at first.

The library forgets an answer that comes between two polls, and asks anew: with short polls only,
one member alone was seen to join 239 times before it got a partition.
"""
HANDFUL: Final = 32
"""As many records of the inbox as are taken from the library at once.

It counts them, and what they cost is bytes and time. On all other topics only Heard writes.
"""
UNPACKING: Final = 1.0
"""Seconds after which a poll takes no further handful: to unpack what others have sent may take long."""


class Member(ConsumerRebalanceListener):  # type: ignore[misc]
    """The `Consumer` port: a member of a cooperative group that begins at the caller's positions.

    `alone`: of all members one holds everything, and the others stand by until it is gone.
    """

    def __init__(
        self,
        broker: Broker,
        group: str,
        topics: Sequence[str],
        start: Callable[[str, int], int],
        *,
        alone: bool = False,
    ) -> None:
        self._broker = broker
        self._group = group
        self._topics = list(topics)
        self._start = start
        self._alone = alone
        self._assigned: set[TopicPartition] = set()
        self._new: set[TopicPartition] = set()
        """Assigned, and not yet told where to begin."""
        self._joining = JOINING / 8
        self._consumer = self._joined()
        self.closed = False

    def _joined(self) -> Reader:
        """A consumer of the group, which has nothing yet."""
        broker = self._broker
        with our_errors(broker):
            consumer = broker.opened(
                Reader,
                prefix=broker.prefix,
                auto_offset_reset="none",
                group_id=f"{broker.prefix}heard.{self._group}",
                partition_assignment_strategy=[Alone if self._alone else Shared],
                session_timeout_ms=broker.session_ms,
                heartbeat_interval_ms=broker.session_ms // 4,
            )
            try:
                # Whoever joins before it knows the topics is assigned nothing, and is not asked again.
                for topic in self._topics:
                    existing(broker, topic, consumer.partitions_for_topic(topic))
                consumer.subscribe(topics=self._topics, listener=self)
            except BaseException:
                consumer.close(autocommit=False, timeout_ms=5_000)
                raise
        return consumer

    def poll(self, limit: int, timeout: float = 0.0) -> list[Record]:
        """See `Consumer.poll`."""
        deadline = time.monotonic() + timeout
        while True:
            found = self._poll(limit, max(0.001, deadline - time.monotonic()))
            try:
                self._begin()
            except BaseException:
                # The library's positions have moved on over what nobody will get.
                for place, batch in found.items():
                    self._consumer.seek(place, batch[0].offset)
                raise
            records = [record_of(record, self._broker.prefix) for batch in found.values() for record in batch]
            if records or time.monotonic() >= deadline:
                return records

    def _poll(self, limit: int, left: float) -> dict[TopicPartition, list[Any]]:
        if self._consumer.closed:
            self._assigned, self._new = set(), set()
            self._consumer = self._joined()
        found: defaultdict[TopicPartition, list[Any]] = defaultdict(list)
        size, until = 0, time.monotonic() + left + UNPACKING
        handful = HANDFUL if self._broker.prefix + INBOX.name in self._topics else limit
        with our_errors(self._broker):
            # Never longer: what is assigned meanwhile waits for us to say where it begins.
            left = self._patience() if self._consumer._coordinator.need_rejoin() else min(left, JOINING)
            try:
                while limit > 0 and size < BATCH_BYTES and time.monotonic() < until:
                    if not (more := self._consumer.poll(int(left * 1000), min(limit, handful))):
                        break
                    for place, batch in more.items():
                        found[place] += batch
                        limit -= len(batch)
                        size += sum(map(_size, batch))
                    left = 0.0
                    if self._consumer._coordinator.need_rejoin():
                        break  # a poll that does not wait would forget the group's answer
            except ELSEWHERE:
                self._new |= self._assigned  # where they begin, and whether that is there, is asked anew
            except kafka_errors.KafkaError:
                if not found or self._consumer.closed:
                    raise
        # What was taken away meanwhile is another's, and of what came back the beginning is not known yet.
        return {place: batch for place, batch in found.items() if place in self._assigned - self._new}

    def _patience(self) -> float:
        """How long to wait for the group this time; the wait is for records as well, so it begins short."""
        self._joining = min(2 * self._joining, JOINING)
        return self._joining

    def _begin(self) -> None:
        """Begin in what is newly assigned where the caller's database says.

        Here and not when the library tells of them: that is in a thread of its own, and while it
        waits for the database no heartbeat goes out.
        """
        new = sorted(self._new)
        if not new:
            return
        starts = {place: self._start(self._plain(place.topic), place.partition) for place in new}
        with our_errors(self._broker):
            firsts, ends = self._consumer.beginning_offsets(new), self._consumer.end_offsets(new)
        for place, start in starts.items():
            self._consumer.seek(place, self._existing(place, start, firsts[place], ends[place]))
            self._consumer.resume(place)
        self._joining = JOINING / 8
        self._new -= starts.keys()
        self._assigned |= starts.keys()

    def _existing(self, place: TopicPartition, start: int, first: int, end: int) -> int:
        """Where to begin: at `start`, if nothing is missing there."""
        if start > end:
            raise IntegrityError(
                f"{place.topic}/{place.partition} is older than the database",
                expected=f"at least {start} records", got=f"{end} records",
                hint="stop; restore what is older from its backup, or give Heard empty databases and run"
                " `heard restore`",
            )  # fmt: skip
        # One may be missing: the marker that stood at the end of the batch that was read last.
        if start + 1 < first and not self._broker.skip_deleted:
            raise IntegrityError(
                f"records of {place.topic}/{place.partition} were deleted before they were read",
                expected=f"records from {start} on", got=f"from {first} on",
                hint="let upstream send again what it sent since, which makes no duplicates; then go on"
                " behind the gap: HEARD_KAFKA_SKIP_DELETED=true, once",
            )  # fmt: skip
        return max(start, first)

    def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        """They are this member's from now on; called within `poll`, by another thread."""
        self._new |= set(assigned)
        for place in assigned:
            self._consumer.seek(place, 0)  # any place: the library must not look for one of its own
            self._consumer.pause(place)  # until `_begin`

    def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """They belong to somebody else from now on."""
        self._assigned -= set(revoked)
        self._new -= set(revoked)

    def assigned(self) -> frozenset[tuple[str, int]]:
        """See `Consumer.assigned`."""
        return frozenset((self._plain(place.topic), place.partition) for place in self._assigned)

    def seek(self, topic: str, partition: int, offset: int) -> None:
        """See `Consumer.seek`."""
        place = TopicPartition(self._broker.prefix + topic, partition)
        if place not in self._assigned:
            raise lost(f"does not hold {topic}/{partition}")
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
            try:
                self._consumer.commit(places, timeout_ms=int(SILENCE * 1000))
            except (kafka_errors.RebalanceInProgressError, kafka_errors.CommitFailedError) as error:
                if not _sharing_out(error):
                    raise

    def close(self) -> None:
        """See `Consumer.close`."""
        if not self.closed:
            self.closed = True
            self._assigned = set()
            try:
                with our_errors(self._broker):
                    self._consumer.close(autocommit=False, timeout_ms=5_000)
            except HeardError as error:  # whoever closes has a reason of its own to tell
                logging.getLogger(__name__).debug("the group was left without a word: %s", error.got)

    def _plain(self, topic: str) -> str:
        return topic.removeprefix(self._broker.prefix)


def _sharing_out(error: Exception) -> bool:
    """Whether the group only shares out anew: no failure, for the next commit tells the same and more."""
    return any(isinstance(each, kafka_errors.RebalanceInProgressError) for each in said(error))


def _size(record: Any) -> int:
    """The bytes of its key, value and headers; the library says -1 where there is none."""
    sizes = record.serialized_key_size, record.serialized_value_size, record.serialized_header_size
    return sum(size for size in sizes if size > 0)
