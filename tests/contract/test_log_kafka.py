"""What if Kafka's retention deletes what nobody has read, or the database is away while it is read?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from kafka import KafkaAdminClient, TopicPartition
from kafka.record.default_records import DefaultRecordBatch

from consumers.wholeness import published_until
from domain.errors import IntegrityError, TransientError
from infra.kafka_log import GLANCE, KafkaLog
from services.ports import Outgoing, Record
from services.topics import EVENTS, INBOX, KEPT
from tests.contract.kafka_harness import PARTITIONS, kafka_harness
from tests.contract.log_contract import Harness, drain, from_the_first, in_partition, look_in
from tests.support.hostile import Raw, flood, send

TOPIC = INBOX.name


@pytest.fixture
def harness(kafka_servers: str) -> Iterator[Harness]:
    """New topics."""
    with kafka_harness(kafka_servers) as made:
        yield made


@pytest.fixture
def log(harness: Harness) -> KafkaLog:
    """Their log."""
    assert isinstance(harness.log, KafkaLog)
    return harness.log


def sent(log: KafkaLog, *values: bytes) -> list[int]:
    """Send each value in a batch of its own; where the partition ends after each."""
    ends = []
    for value in values:
        log.append(in_partition(0, [value], TOPIC))
        log.last_records(TOPIC)
        ends.append(log.end_offsets(TOPIC)[0])
    return ends


def retained(log: KafkaLog, offset: int) -> None:
    """Delete what lies before `offset`, as retention does."""
    with closing(KafkaAdminClient(**log._broker.client())) as admin:
        admin.delete_records({TopicPartition(log._broker.prefix + TOPIC, 0): offset})


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def test_where_unread_messages_were_deleted_it_stops(log: KafkaLog) -> None:
    first, second, _ = sent(log, b"a", b"b", b"c")
    retained(log, second)
    with pytest.raises(IntegrityError) as stopped:
        drain(log.consumer("group", [TOPIC], lambda *_: first), 1)
    assert (stopped.value.expected, stopped.value.got) == (f"records from {first} on", f"from {second} on")
    assert "HEARD_KAFKA_SKIP_DELETED" in stopped.value.hint


def test_it_stops_also_where_they_were_deleted_before_its_eyes(log: KafkaLog) -> None:
    consumer = log.consumer("group", [TOPIC], from_the_first)
    look_in([consumer], lambda: bool(consumer.assigned()))
    _, second, _ = sent(log, b"a", b"b", b"c")
    retained(log, second)
    with pytest.raises(IntegrityError):
        drain(consumer, 1)


def test_with_leave_it_goes_on_behind_what_was_deleted(log: KafkaLog) -> None:
    _, second, _ = sent(log, b"a", b"b", b"c")
    retained(log, second)
    with closing(KafkaLog(replace(log._broker, skip_deleted=True))) as with_leave:
        assert values(drain(with_leave.consumer("group", [TOPIC], from_the_first), 1)) == [b"c"]


def test_what_was_read_may_be_deleted_and_its_batch_s_marker_with_it(log: KafkaLog) -> None:
    sent(log, b"a")
    first = log.last_records(TOPIC)[0]
    retained(log, log.end_offsets(TOPIC)[0])
    consumer = log.consumer("group", [TOPIC], lambda _, partition: 0 if partition else first.offset + 1)
    look_in([consumer], lambda: bool(consumer.assigned()))
    sent(log, b"b")
    assert values(drain(consumer, 1)) == [b"b"]


def test_what_came_of_others_when_partitions_were_assigned_and_the_database_was_away_comes_again(
    log: KafkaLog,
) -> None:
    away: list[str] = []

    def start(topic: str, partition: int) -> int:
        if away:
            raise TransientError(away.pop())
        return 0

    consumer = log.consumer("group", [TOPIC], start)
    look_in([consumer], lambda: bool(consumer.assigned()))
    sent(log, b"a", b"b")
    away.append("it does not answer")
    consumer.on_partitions_assigned({TopicPartition(log._broker.prefix + TOPIC, 1)})
    with pytest.raises(TransientError):
        consumer.poll(10, timeout=5)
    assert values(drain(consumer, 2)) == [b"a", b"b"]


def test_of_each_partition_the_end_is_read_without_waiting_for_more(log: KafkaLog) -> None:
    log.append([out for p in range(PARTITIONS) for out in in_partition(p, [b"a"], TOPIC)])
    found = log.last_records(TOPIC)
    assert set(found) == set(range(PARTITIONS))
    for last in found.values():
        at = last.offset + 1  # where the marker of the batch stands
        assert log.read(TOPIC, last.partition, at, at + 1, 9) == []
    # How long the broker waits for more, and the next partition behind it: members have it wait 100 ms.
    assert log._plain().config["fetch_max_wait_ms"] == GLANCE


def test_whoever_asks_for_one_record_takes_one_of_those_that_were_fetched(log: KafkaLog) -> None:
    log.append(in_partition(0, [b"a", b"b", b"c"], TOPIC))
    log.last_records(TOPIC)
    end = log.end_offsets(TOPIC)[0]
    assert [values(log.read(TOPIC, 0, at, end, 1)) for at in range(3)] == [[b"a"], [b"b"], [b"c"]]
    assert log._plain().position(TopicPartition(log._broker.prefix + TOPIC, 0)) == 3


def test_how_far_everything_is_published_is_told_while_somebody_has_a_transaction_open(log: KafkaLog) -> None:
    # given an event that is published, and one that a sequencer has sent and not yet committed
    first, second = (Outgoing(EVENTS.name, b"k", b"{}", (("position", at),), 0) for at in (b"1", b"2"))
    log.append([first])
    assert log.last_records(EVENTS.name)[0].header("position") == b"1"
    producer = log.producer("sequencer")._producer
    producer.begin_transaction()
    producer.send(log._broker.prefix + EVENTS.name, second.value, partition=0, headers=list(second.headers))
    producer.flush()

    # then whoever starts is told so at once: the broker has not yet ended what is open
    assert published_until(log) == 1
    producer.commit_transaction()
    assert log.last_records(EVENTS.name)[0].header("position") == b"2"


# -- what others have written ---------------------------------------------------------------------


def test_what_is_larger_than_the_limit_once_it_is_unpacked_comes_cut(log: KafkaLog) -> None:
    body = b"a" * 5_000_000
    send(log._broker.servers, log._broker.prefix + TOPIC, [(0, Raw(body, codec="gzip"))])
    (record,) = drain(log.consumer("group", [TOPIC], from_the_first), 1)
    assert (record.value, record.headers) == (body[:KEPT], ())
    assert record.cut is not None
    assert (record.cut.code, record.cut.size) == ("too_large", len(body))
    assert record.cut.digest == hashlib.sha256(body).hexdigest()
    # and in the same way where no group reads
    assert log.last_records(TOPIC)[0] == record


def test_a_batch_that_unpacks_to_too_much_is_one_record_at_its_last_offset_and_reading_goes_on(
    log: KafkaLog,
) -> None:
    topic = log._broker.prefix + TOPIC
    records = [(0, Raw(bytes(9_000_000), codec="zstd")) for _ in range(6)]
    flood(log._broker.servers, topic, records, batch_size=100_000_000)
    send(log._broker.servers, topic, [(0, Raw(b"good"))])
    whole, good = drain(log.consumer("group", [TOPIC], from_the_first), 2)
    assert whole.cut is not None
    assert (whole.cut.code, whole.cut.why) == ("too_large", "a batch of 6 records from offset 0")
    assert whole.offset == 5
    assert (good.value, good.cut, good.offset) == (b"good", None, 6)


def test_after_an_error_that_may_not_be_tried_again_the_member_joins_anew_and_reads_on(
    log: KafkaLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a member that is told that a batch is damaged, as a broken disk would have it
    sent(log, b"a", b"b")
    consumer = log.consumer("group", [TOPIC], from_the_first)
    monkeypatch.setattr(DefaultRecordBatch, "validate_crc", lambda _: False)
    with pytest.raises(IntegrityError) as stopped:
        drain(consumer, 1)
    assert f"{TOPIC}/0 from offset 0" in stopped.value.got
    assert consumer._consumer.closed

    # when the batch is whole again
    monkeypatch.undo()

    # then it is read
    assert values(drain(consumer, 2)) == [b"a", b"b"]
