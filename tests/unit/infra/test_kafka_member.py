"""How much does a member take in one poll, and what does it leave behind when it cannot begin?"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from kafka.consumer.fetcher import ConsumerRecord
from kafka.structs import TopicPartition

from domain.errors import ConfigurationError
from infra.kafka_broker import Broker
from infra.kafka_member import HANDFUL, UNPACKING, Member
from services.topics import EVENTS, INBOX


@dataclass
class Reader:
    """A consumer of a partition that has no end; stands in for the library's."""

    partitions: set[int] | None = field(default_factory=lambda: {0})
    seconds: float = 0.0
    """What it takes to unpack a record."""
    now: float = 0.0
    at: int = 0
    asked: list[int] = field(default_factory=list)
    closed: bool = False
    _coordinator: Any = field(default_factory=lambda: SimpleNamespace(need_rejoin=lambda: False))

    def partitions_for_topic(self, _: str) -> set[int] | None:
        return self.partitions

    def subscribe(self, topics: list[str], listener: Member) -> None:
        self.place = TopicPartition(topics[0], 0)

    def beginning_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 0)

    def end_offsets(self, places: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
        return dict.fromkeys(places, 1_000_000)

    def seek(self, _: TopicPartition, offset: int) -> None:
        self.at = offset

    def pause(self, *_: TopicPartition) -> None:
        pass

    def resume(self, *_: TopicPartition) -> None:
        pass

    def poll(self, _: int, most: int) -> dict[TopicPartition, list[ConsumerRecord]]:
        self.asked.append(most)
        self.now += most * self.seconds
        first, self.at = self.at, self.at + most
        sizes = {f"serialized_{part}_size": 1 for part in ("key", "value", "header")}
        blank = dict.fromkeys(ConsumerRecord._fields) | self.place._asdict() | sizes
        return {self.place: [ConsumerRecord(**blank | {"offset": at}) for at in range(first, self.at)]}

    def close(self, autocommit: bool, timeout_ms: int) -> None:
        self.closed = True


@pytest.fixture
def member_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[Reader, str], Member]:
    """A member with this consumer, which is assigned a partition of the topic."""

    def member(reader: Reader, topic: str) -> Member:
        admin = SimpleNamespace(describe_topics=lambda _: [{"error_code": 3}], close=lambda: None)
        monkeypatch.setattr(Broker, "opened", lambda _, kind, **__: reader if __ else admin)
        monkeypatch.setattr("time.monotonic", lambda: reader.now)
        made = Member(Broker("nowhere", "PLAINTEXT"), "group", [topic], lambda *_: 0)
        made.on_partitions_assigned({TopicPartition(topic, 0)})
        made._begin()
        return made

    return member


def test_of_the_inbox_it_takes_handfuls_until_the_time_of_a_poll_is_over(
    member_of: Callable[[Reader, str], Member],
) -> None:
    # given records of which two handfuls and a half are unpacked within the time
    reader = Reader(seconds=UNPACKING / HANDFUL / 2.5)
    member = member_of(reader, INBOX.name)

    # then no handful is begun after it, and the next poll goes on where this one ended
    assert [record.offset for record in member.poll(500)] == list(range(3 * HANDFUL))
    assert [record.offset for record in member.poll(500)] == list(range(3 * HANDFUL, 6 * HANDFUL))
    assert reader.asked == [HANDFUL] * 6


def test_what_is_soon_unpacked_it_takes_up_to_the_limit(member_of: Callable[[Reader, str], Member]) -> None:
    reader = Reader()
    assert len(member_of(reader, INBOX.name).poll(2 * HANDFUL + 1)) == 2 * HANDFUL + 1
    assert reader.asked == [HANDFUL, HANDFUL, 1]


def test_of_what_heard_wrote_itself_it_takes_all_at_once(member_of: Callable[[Reader, str], Member]) -> None:
    reader = Reader()
    assert len(member_of(reader, EVENTS.name).poll(500)) == 500
    assert reader.asked == [500]


def test_where_a_topic_does_not_exist_nothing_is_left_open(
    member_of: Callable[[Reader, str], Member],
) -> None:
    reader = Reader(partitions=None)
    with pytest.raises(ConfigurationError):
        member_of(reader, INBOX.name)
    assert reader.closed
