"""What does the log on Kafka ask of the broker to find the last records, and what does it wait for?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import TopicPartition

from domain.errors import TransientError
from infra import kafka_log
from infra.kafka_broker import Broker
from infra.kafka_log import KafkaLog
from services.topics import EVENTS

TOPIC = EVENTS.name


@dataclass
class Cluster:
    """Partitions that are full of records, and what was asked of them; stands in for the library."""

    ends: list[int]
    open: dict[int, float] = field(default_factory=dict)
    """For each partition at whose end a transaction is open: how often it is still to be asked."""
    asked: list[tuple[str, list[int]]] = field(default_factory=list)

    def opened(self, _: Callable[..., Any], *, isolation_level: str = "read_committed", **__: Any) -> Reader:
        """See `Broker.opened`."""
        return Reader(self, isolation_level == "read_committed")


@dataclass
class Reader:
    """A consumer of one partition at a time."""

    cluster: Cluster
    committed: bool
    at: int = 0
    closed: bool = False

    def partitions_for_topic(self, _: str) -> set[int]:
        return set(range(len(self.cluster.ends)))

    def end_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self.noted("committed ends" if self.committed else "ends", places)
        return {place: self.end(place.partition) for place in places}

    def beginning_offsets(self, places: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        self.noted("beginnings", places)
        return dict.fromkeys(places, 0)

    def noted(self, what: str, places: Sequence[TopicPartition]) -> None:
        if places:
            self.cluster.asked.append((what, [place.partition for place in places]))

    def end(self, partition: int) -> int:
        left = self.cluster.open.get(partition, 0)
        if self.committed and left:
            self.cluster.open[partition] = left - 1
            return 0
        return self.cluster.ends[partition]

    def assign(self, places: Sequence[TopicPartition]) -> None:
        (self.place,) = places

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    def position(self, _: TopicPartition, timeout_ms: int) -> int:
        return self.at

    def poll(self, _: int, max_records: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        first, self.at = self.at, min(self.at + max_records, self.end(self.place.partition))
        self.noted("records", [self.place])
        blank = dict.fromkeys(ConsumerRecord._fields) | self.place._asdict()
        return {self.place: [ConsumerRecord(**blank | {"offset": at}) for at in range(first, self.at)]}


@pytest.fixture
def log_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Cluster], KafkaLog]:
    """The log of a cluster."""

    def log(cluster: Cluster) -> KafkaLog:
        monkeypatch.setattr(Broker, "opened", lambda _, *a, **b: cluster.opened(*a, **b))
        return KafkaLog(Broker("nowhere", "PLAINTEXT"))

    return log


def last(log: KafkaLog) -> dict[int, int]:
    return {partition: record.offset for partition, record in log.last_records(TOPIC).items()}


def test_only_where_something_was_written_is_asked_for_it_and_all_at_once(
    log_of: Callable[[Cluster], KafkaLog],
) -> None:
    log = log_of(cluster := Cluster([3, 0, 5]))
    assert last(log) == {0: 2, 2: 4}
    ends = [("ends", [0, 1, 2]), ("committed ends", [0, 1, 2])]
    assert cluster.asked == [*ends, ("beginnings", [0, 2]), ("records", [0]), ("records", [2])]

    cluster.asked.clear()
    cluster.ends[0] = 9
    assert last(log) == {0: 8, 2: 4}
    assert cluster.asked == [*ends, ("beginnings", [0]), ("records", [0])]


def test_only_partitions_whose_transactions_are_open_are_waited_for(
    log_of: Callable[[Cluster], KafkaLog],
) -> None:
    log = log_of(cluster := Cluster([3, 4, 5, 6], open={1: 1, 3: 2}))
    assert last(log) == {0: 2, 1: 3, 2: 4, 3: 5}
    assert [places for what, places in cluster.asked if what == "committed ends"] == [
        [0, 1, 2, 3], [1, 3], [3],
    ]  # fmt: skip


def test_a_transaction_that_stays_open_is_transient_whatever_the_others_do(
    log_of: Callable[[Cluster], KafkaLog], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka_log, "SETTLED", 0.1)
    log = log_of(Cluster([3, 4, 5], open={0: 1, 2: inf}))
    with pytest.raises(TransientError):
        last(log)
