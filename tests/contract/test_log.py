"""Does every adapter of the `Log` port keep its contract? The same tests for each of them."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.errors import (
    ConfigurationError,
    FencedError,
    IntegrityError,
    InvalidMessageError,
    TransientError,
)  # fmt: skip
from services.partitioning import partition_of
from services.ports import Log, Outgoing, Record
from services.topics import (
    BATCH_BYTES,
    DEAD_LETTERS,
    EVENTS,
    INBOX,
    MAX_BESIDE,
    MAX_HEADERS,
    SEALED,
    TOPICS,
    Topic,
)  # fmt: skip
from tests.contract.kafka_harness import kafka_harness
from tests.contract.local_log_harness import local_harness
from tests.contract.log_contract import (
    PIECES,
    TRIES,
    Harness,
    drain,
    from_the_first,
    hold_alone,
    hold_group,
    in_partition,
    keys_of,
    look_in,
    process,
    read,
    send_for_ever,
)

TOPIC = EVENTS.name


@pytest.fixture(params=["kafka", "local"])
def harness(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Harness]:
    if request.param == "local":
        with local_harness(tmp_path) as harness:
            yield harness
    else:
        with kafka_harness(request.getfixturevalue("kafka_servers")) as harness:
            yield harness


@pytest.fixture
def connect(harness: Harness) -> Iterator[Callable[[], Log]]:
    """Further views of the same log, in this process: none outlives the test."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(harness.connect()))


def values(records: list[Record]) -> list[bytes | None]:
    return [record.value for record in records]


def test_records_of_a_key_come_in_the_order_in_which_they_were_sent(harness: Harness) -> None:
    keys = keys_of(harness.log, 40)
    producer = harness.log.producer("sequencer")
    for turn in range(3):
        producer.send([Outgoing(TOPIC, key, b"%d" % turn) for key in keys])
    came = defaultdict(list)
    for record in read(harness.log, TOPIC, 120):
        came[record.key].append(record.value)
    assert came == {key: [b"0", b"1", b"2"] for key in keys}


def test_a_key_decides_the_partition_and_all_partitions_are_used(harness: Harness) -> None:
    keys = keys_of(harness.log, 100)
    harness.log.append([Outgoing(TOPIC, key, b"") for key in keys])
    count = harness.log.partitions(TOPIC)
    placed = {record.key: record.partition for record in read(harness.log, TOPIC, 100)}
    assert placed == {key: partition_of(key, count) for key in keys}
    assert set(placed.values()) == set(range(count))


def test_every_topic_has_as_many_partitions_as_the_others(harness: Harness) -> None:
    assert len({harness.log.partitions(topic.name) for topic in TOPICS}) == 1


def test_offsets_rise_within_a_partition(harness: Harness) -> None:
    harness.log.append(in_partition(0, [b"a", b"b"]))
    harness.log.append(in_partition(0, [b"c"]))
    records = read(harness.log, TOPIC, 3)
    assert values(records) == [b"a", b"b", b"c"]
    assert records[0].offset < records[1].offset < records[2].offset


def test_a_consumer_begins_where_it_is_told(harness: Harness) -> None:
    harness.log.append(in_partition(1, [b"a", b"b", b"c"]))
    second = read(harness.log, TOPIC, 3)[1].offset
    start = {1: second}
    assert values(read(harness.log, TOPIC, 2, start=lambda _, partition: start.get(partition, 0))) == [
        b"b",
        b"c",
    ]


def test_start_is_asked_once_for_each_partition_that_is_assigned(harness: Harness) -> None:
    asked: list[tuple[str, int]] = []

    def start(topic: str, partition: int) -> int:
        asked.append((topic, partition))
        return 0

    harness.log.append(in_partition(0, [b"a"]))
    consumer = harness.log.consumer("group", [TOPIC, INBOX.name], start)
    drain(consumer, 1)
    assert Counter(asked) == Counter(consumer.assigned())
    assert set(asked) == {
        (topic, partition)
        for topic in (TOPIC, INBOX.name)
        for partition in range(harness.log.partitions(topic))
    }


def test_a_poll_gives_no_more_than_its_limit_and_loses_nothing_by_it(harness: Harness) -> None:
    harness.log.append([Outgoing(TOPIC, key, b"") for key in keys_of(harness.log, 100)])
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    sizes, came = [], set()
    for _ in range(300):
        records = consumer.poll(7, timeout=0.1)
        sizes.append(len(records))
        came |= {record.key for record in records}
        if len(came) == 100:
            break
    assert max(sizes) <= 7
    assert sum(sizes) == len(came) == 100


def test_a_poll_of_an_empty_log_gives_nothing(harness: Harness) -> None:
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    assert consumer.poll(10) == []
    assert consumer.poll(10, timeout=0.02) == []


def test_a_waiting_poll_ends_when_a_record_comes(harness: Harness, connect: Callable[[], Log]) -> None:
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    consumer.poll(10, timeout=0.02)
    other = connect()
    later = threading.Timer(0.1, lambda: other.append(in_partition(0, [b"late"])))
    later.start()
    records = consumer.poll(10, timeout=30)
    later.join()
    assert values(records) == [b"late"]


def test_what_was_not_committed_before_a_crash_comes_again(harness: Harness) -> None:
    harness.log.append([Outgoing(TOPIC, key, b"") for key in keys_of(harness.log, 40)])
    crashed = harness.log.consumer("group", [TOPIC], from_the_first)
    first = drain(crashed, 40)
    crashed.close()
    again = harness.log.consumer("group", [TOPIC], from_the_first)
    by_place = {(record.partition, record.offset): record for record in drain(again, 40)}
    assert by_place == {(record.partition, record.offset): record for record in first}


def test_the_callers_position_rules_and_not_what_was_committed(harness: Harness) -> None:
    harness.log.append(in_partition(0, [b"a", b"b"]))
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    last = drain(consumer, 2)[-1]
    consumer.commit({(TOPIC, 0): last.offset + 1})
    consumer.close()
    assert values(drain(harness.log.consumer("group", [TOPIC], from_the_first), 2)) == [b"a", b"b"]


def test_a_batch_can_be_taken_again(harness: Harness) -> None:
    harness.log.append(in_partition(0, [b"a", b"b", b"c"]))
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    records = drain(consumer, 3)
    consumer.seek(TOPIC, 0, records[1].offset)
    assert values(drain(consumer, 2)) == [b"b", b"c"]


def test_a_member_that_only_looks_in_is_soon_given_its_partitions(harness: Harness) -> None:
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    looks = 0
    while not consumer.assigned() and looks < 20:
        consumer.poll(1)
        looks += 1
        time.sleep(0.05)  # as long as other loops of the same process take
    assert looks < 10


def test_the_caller_is_asked_for_its_start_in_its_own_thread(harness: Harness) -> None:
    asked: list[int] = []

    def start(topic: str, partition: int) -> int:
        asked.append(threading.get_ident())
        return 0

    harness.log.append(in_partition(0, [b"a"]))
    consumer = harness.log.consumer("group", [TOPIC], start)
    assert values(drain(consumer, 1)) == [b"a"]
    assert set(asked) == {threading.get_ident()}


def test_nothing_is_lost_when_the_database_is_away_while_partitions_come(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    partitions = range(harness.log.partitions(TOPIC))
    away: list[str] = []

    def start(topic: str, partition: int) -> int:
        if away:
            raise TransientError(away.pop())
        return 0

    members = [connect().consumer("group", [TOPIC], start) for _ in range(2)]
    look_in(members, lambda: sum(len(member.assigned()) for member in members) == len(partitions))
    stays, leaves = sorted(members, key=lambda member: len(member.assigned()))
    harness.log.append([out for each in partitions for out in in_partition(each, [b"a", b"b"])])
    away += ["it does not answer"] * 3
    leaves.close()  # and when its partitions come, there are records of the others as well
    came: Counter[tuple[int, bytes | None]] = Counter()
    deadline = time.monotonic() + 30
    while came.total() < 2 * len(partitions) and time.monotonic() < deadline:
        with suppress(TransientError):
            came.update((record.partition, record.value) for record in stays.poll(100, timeout=0.3))
    assert not away
    assert came == Counter((each, value) for each in partitions for value in (b"a", b"b"))


def test_a_position_behind_the_end_of_the_log_stops(harness: Harness) -> None:
    harness.log.append(in_partition(1, [b"a", b"b"]))
    end = harness.log.end_offsets(TOPIC)
    consumer = harness.log.consumer("group", [TOPIC], lambda _, partition: end[partition] + (partition == 1))
    with pytest.raises(IntegrityError) as stopped:
        drain(consumer, 1)
    assert stopped.value.got == f"{end[1]} records"
    assert stopped.value.hint


def test_two_groups_read_the_same_records(harness: Harness) -> None:
    harness.log.append(in_partition(0, [b"a"]))
    one = harness.log.consumer("one", [TOPIC], from_the_first)
    two = harness.log.consumer("two", [TOPIC], from_the_first)
    assert values(drain(one, 1)) == values(drain(two, 1)) == [b"a"]


def test_a_partition_has_one_reader_in_a_group_and_the_rest_take_over(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    everything = {(TOPIC, partition) for partition in range(harness.log.partitions(TOPIC))}
    one = harness.log.consumer("group", [TOPIC], from_the_first)
    two = connect().consumer("group", [TOPIC], from_the_first)
    for _ in range(300):
        one.poll(1, timeout=0.02)
        two.poll(1, timeout=0.02)
        if one.assigned() | two.assigned() == everything:
            break
    assert not one.assigned() & two.assigned()
    one.close()
    for _ in range(300):
        two.poll(1, timeout=0.1)
        if two.assigned() == everything:
            break
    assert two.assigned() == everything
    two.close()


def test_when_a_reader_is_killed_another_process_takes_over(harness: Harness) -> None:
    harness.log.append([Outgoing(TOPIC, b"%d" % number, b"") for number in range(20)])
    with process(hold_group, harness) as (said, kill):
        assert said.recv() == 20
        kill()
        successor = harness.log.consumer("held", [TOPIC], from_the_first)
        assert len(drain(successor, 20)) == 20


def test_a_member_that_is_alone_holds_everything_while_others_come_and_go(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    asked: list[tuple[str, int]] = []

    def start(topic: str, partition: int) -> int:
        asked.append((topic, partition))
        return 0

    everything = {(TOPIC, partition) for partition in range(harness.log.partitions(TOPIC))}
    one = harness.log.consumer("group", [TOPIC], start, alone=True)
    others = [connect().consumer("group", [TOPIC], from_the_first, alone=True) for _ in range(2)]
    look_in([one], lambda: one.assigned() == everything)
    while others:
        look_in([one, *others], lambda: False, seconds=1.5)
        assert [member.assigned() for member in (one, *others)] == [everything, *(set() for _ in others)]
        others.pop().close()
    harness.log.append([Outgoing(TOPIC, key, b"") for key in keys_of(harness.log, 40)])
    assert len(drain(one, 40)) == 40
    assert Counter(asked) == Counter(everything)  # it never lost one and got it back


def test_when_the_one_that_is_alone_leaves_one_of_the_others_holds_everything(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    everything = {(TOPIC, partition) for partition in range(harness.log.partitions(TOPIC))}
    members = [connect().consumer("group", [TOPIC], from_the_first, alone=True) for _ in range(3)]
    while members:
        look_in(members, lambda: any(member.assigned() == everything for member in members))
        assert sorted(len(member.assigned()) for member in members)[:-1] == [0] * (len(members) - 1)
        first = max(members, key=lambda member: len(member.assigned()))
        assert first.assigned() == everything
        first.close()
        members.remove(first)


def test_when_the_one_that_is_alone_is_killed_one_that_stands_by_takes_over(harness: Harness) -> None:
    harness.log.append([Outgoing(TOPIC, b"%d" % number, b"") for number in range(20)])
    with process(hold_alone, harness) as (said, kill):
        assert said.recv() == 20
        successor = harness.log.consumer("held", [TOPIC], from_the_first, alone=True)
        look_in([successor], lambda: False, seconds=1.5)
        assert not successor.assigned()
        kill()
        assert len(drain(successor, 20)) == 20


def test_a_member_that_lost_its_partitions_cannot_commit(harness: Harness) -> None:
    harness.log.append(in_partition(0, [b"a"]))
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    (record,) = drain(consumer, 1)
    harness.make_stale("group")
    with pytest.raises(FencedError):
        consumer.commit({(TOPIC, 0): record.offset + 1})


def test_to_tell_how_far_it_is_while_the_group_shares_out_anew_is_no_failure(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    members = [connect().consumer("group", [TOPIC], from_the_first) for _ in range(2)]
    first, second = members
    look_in(members, lambda: len(first.assigned() | second.assigned()) == harness.log.partitions(TOPIC))
    place = next(iter(first.assigned() or second.assigned()))
    member = first if place in first.assigned() else second
    third = connect().consumer("group", [TOPIC], from_the_first)
    look_in([member, third], lambda: False, seconds=2)  # and the other does not answer
    member.commit({place: 0})


def test_a_batch_that_is_refused_leaves_nothing_behind(harness: Harness) -> None:
    good = [Outgoing(TOPIC, key, b"") for key in keys_of(harness.log, 40)]
    ends = harness.log.end_offsets(TOPIC)
    with pytest.raises(InvalidMessageError):
        harness.log.producer("sequencer").send([*good, Outgoing(TOPIC, b"k", bytes(EVENTS.max_bytes + 1))])
    assert harness.log.end_offsets(TOPIC) == ends


def test_a_sender_killed_in_the_middle_leaves_whole_batches(harness: Harness) -> None:
    for delay in (0.0, 0.003, 0.011, 0.023, 0.042):
        with process(send_for_ever, harness) as (said, kill):
            said.recv()
            time.sleep(delay)
            kill()
    harness.log.producer("sender").send([Outgoing(TOPIC, b"end", b"", (), 0)])
    expected = sum(harness.log.end_offsets(TOPIC).values())
    consumer = harness.log.consumer("reader", [TOPIC], from_the_first)
    counts: Counter[bytes] = Counter()
    while sum(counts.values()) < expected and (records := consumer.poll(500, timeout=5)):
        counts.update(record.key for record in records)
    assert counts.pop(b"end") == 1
    assert set(counts.values()) <= {PIECES}


def test_a_newer_producer_fences_the_older_one_of_its_name(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    older = harness.log.producer("sequencer")
    older.send(in_partition(0, [b"older"]))
    newer = connect().producer("sequencer")
    with pytest.raises(FencedError):
        older.send(in_partition(0, [b"too late"]))
    newer.send(in_partition(0, [b"newer"]))
    with pytest.raises(FencedError):
        older.send(in_partition(0, [b"still too late"]))
    assert values(read(harness.log, TOPIC, 2)) == [b"older", b"newer"]
    older.close()
    newer.close()


def test_producers_of_other_names_do_not_fence_each_other(harness: Harness) -> None:
    one, two = harness.log.producer("one"), harness.log.producer("two")
    one.send(in_partition(0, [b"1"]))
    two.send(in_partition(0, [b"2"]))
    one.send(in_partition(0, [b"3"]))
    assert values(read(harness.log, TOPIC, 3)) == [b"1", b"2", b"3"]


def test_what_is_sent_is_there_for_others_when_send_returns(
    harness: Harness, connect: Callable[[], Log]
) -> None:
    harness.log.append(in_partition(2, [b"a"]))
    assert connect().last_records(TOPIC)[2].value == b"a"


def test_a_tombstone_is_a_record_and_not_an_empty_value(harness: Harness) -> None:
    harness.log.append([Outgoing(SEALED.name, b"k", b"sealed", (), 0)])
    harness.log.append([Outgoing(SEALED.name, b"e", b"", (), 0), Outgoing(SEALED.name, b"k", None, (), 0)])
    latest = {record.key: record.value for record in read(harness.log, SEALED.name, 2)}
    assert latest == {b"e": b"", b"k": None}


def test_of_a_compacted_topic_the_latest_record_of_each_key_is_read(harness: Harness) -> None:
    for turn in range(3):
        harness.log.append([Outgoing(SEALED.name, b"k%d" % key, b"%d" % turn) for key in range(20)])
    latest = {record.key: record.value for record in read(harness.log, SEALED.name, 20)}
    assert latest == {b"k%d" % key: b"2" for key in range(20)}


def test_headers_keep_their_order_and_their_bytes(harness: Harness) -> None:
    headers = (("a", b"\xff\xfe\x00"), ("empty", b""), ("a", "é".encode()), ("z", bytes(range(256))))
    for topic in (EVENTS, INBOX):
        harness.log.append([Outgoing(topic.name, b"k", b"v", headers)])
        (record,) = read(harness.log, topic.name, 1)
        assert record.headers == headers
        assert record.header("a") == b"\xff\xfe\x00"
        assert record.header("empty") == b""
        assert record.header("none") is None


@pytest.mark.parametrize("topic", [INBOX, EVENTS, DEAD_LETTERS], ids=lambda topic: topic.name)
def test_a_value_of_exactly_the_limit_passes_and_one_byte_more_does_not(
    harness: Harness, topic: Topic
) -> None:
    largest = bytes(topic.max_bytes)
    harness.log.append([Outgoing(topic.name, b"k", largest)])
    with pytest.raises(InvalidMessageError) as refused:
        harness.log.append([Outgoing(topic.name, b"k", largest + b"\0")])
    assert refused.value.code == "too_large"
    assert values(read(harness.log, topic.name, 1)) == [largest]


@pytest.mark.parametrize(
    "out",
    [
        Outgoing(INBOX.name, b"k", b"v", (("h", bytes(MAX_BESIDE)),)),
        Outgoing(INBOX.name, bytes(MAX_BESIDE + 1), b"v"),
        Outgoing(INBOX.name, b"k", b"v", tuple((f"h{n}", b"") for n in range(MAX_HEADERS + 1))),
    ],
    ids=["headers", "key", "many headers"],
)
def test_what_lies_beside_a_value_has_limits_as_well(harness: Harness, out: Outgoing) -> None:
    with pytest.raises(InvalidMessageError) as refused:
        harness.log.append([out])
    assert refused.value.code == "too_large"
    assert refused.value.got


def test_a_poll_ends_after_so_many_bytes_and_nothing_is_left_out(harness: Harness) -> None:
    # given more than one poll gives, in two partitions
    count = 3 * BATCH_BYTES // INBOX.max_bytes
    bodies = [b"%4d" % n + bytes(INBOX.max_bytes - 4) for n in range(count)]
    for n, body in enumerate(bodies):
        harness.log.append([Outgoing(INBOX.name, b"k", body, (), n % 2)])

    # when they are polled
    consumer = harness.log.consumer("reader", [INBOX.name], from_the_first)
    polled: list[list[Record]] = []
    while sum(len(records) for records in polled) < count and len(polled) < TRIES:
        polled.append(consumer.poll(2_000, timeout=0.1))
    consumer.close()

    # then no poll gave much more, and all came, each partition's in order
    sizes = [sum(len(record.value or b"") for record in records) for records in polled]
    assert max(sizes) <= BATCH_BYTES + 32 * INBOX.max_bytes < count * INBOX.max_bytes
    for partition in (0, 1):
        found = [r.value for records in polled for r in records if r.partition == partition]
        assert found == bodies[partition::2]


def test_a_record_says_when_the_log_took_it(harness: Harness) -> None:
    before = time.time_ns() // 1_000_000
    harness.log.append(in_partition(0, [b"a"]))
    after = time.time_ns() // 1_000_000
    (record,) = read(harness.log, TOPIC, 1)
    assert record.appended is not None
    assert before <= record.appended <= after


def test_gaps_in_the_offsets_are_read_over(harness: Harness) -> None:
    harness.log.append(in_partition(0, [b"a"]))
    harness.make_gap(TOPIC, 0)
    harness.log.append(in_partition(0, [b"b"]))
    harness.make_gap(TOPIC, 0)
    first, second = read(harness.log, TOPIC, 2)
    assert (first.value, second.value) == (b"a", b"b")
    assert second.offset > first.offset + 1


def test_a_consumer_may_begin_in_a_gap(harness: Harness) -> None:
    harness.make_gap(TOPIC, 0)
    harness.log.append(in_partition(0, [b"a"]))
    assert values(read(harness.log, TOPIC, 1, start=lambda _, partition: int(partition == 0))) == [b"a"]


def test_a_gap_at_the_end_of_a_partition_does_not_hold_up_the_others(harness: Harness) -> None:
    harness.make_gap(TOPIC, 0)
    harness.log.append(in_partition(1, [b"a", b"b"]))
    consumer = harness.log.consumer("group", [TOPIC], from_the_first)
    came = []
    for _ in range(300):
        came += consumer.poll(1, timeout=0.1)
        if len(came) == 2:
            break
    assert values(came) == [b"a", b"b"]


def test_the_last_records_are_found_over_gaps_and_of_every_partition_that_has_one(harness: Harness) -> None:
    assert harness.log.last_records(TOPIC) == {}
    harness.make_gap(TOPIC, 3)
    assert harness.log.last_records(TOPIC) == {}
    harness.log.append([Outgoing(TOPIC, b"k", b"v", (("h", b"1"),), 3)])
    harness.make_gap(TOPIC, 3)
    assert harness.log.last_records(TOPIC) == {3: read(harness.log, TOPIC, 1)[0]}
    harness.log.append(in_partition(1, [b"a", b"b"]))
    assert {p: last.value for p, last in harness.log.last_records(TOPIC).items()} == {1: b"b", 3: b"v"}


def test_end_offsets_say_which_offset_comes_next(harness: Harness) -> None:
    assert set(harness.log.end_offsets(TOPIC)) == set(range(harness.log.partitions(TOPIC)))
    harness.log.append(in_partition(0, [b"a", b"b"]))
    harness.make_gap(TOPIC, 0)
    end = harness.log.end_offsets(TOPIC)[0]
    harness.log.append(in_partition(0, [b"c"]))
    assert harness.log.last_records(TOPIC)[0].offset == end
    assert harness.log.end_offsets(TOPIC)[0] > end


def test_a_redacted_body_gives_way_to_its_digest_where_the_log_overwrites(harness: Harness) -> None:
    harness.log.append(
        [
            Outgoing(INBOX.name, b"k", b"call me on 01", (("h", b"1"),), 0),
            Outgoing(INBOX.name, b"k", b"b", (), 0),
        ]
    )
    first, second = read(harness.log, INBOX.name, 2)
    for _ in range(2):  # safe to repeat
        harness.log.redact({(INBOX.name, 0, first.offset): b"digest"})
    redacted = replace(first, key=b"", value=b"digest", headers=()) if harness.overwrites else first
    assert read(harness.log, INBOX.name, 2) == [redacted, second]


def test_what_is_still_to_be_redacted_can_be_asked_for(harness: Harness) -> None:
    harness.log.append([Outgoing(INBOX.name, b"k", b"%d" % number, (), 0) for number in range(4)])
    records = read(harness.log, INBOX.name, 4)
    harness.log.redact({(INBOX.name, 0, records[1].offset): b"digest"})
    left = [records[0], records[2]] if harness.overwrites else []
    assert harness.log.unredacted(INBOX.name, 0, records[3].offset) == left
    assert harness.log.unredacted(INBOX.name, 1, records[3].offset) == []
    assert harness.log.unredacted(TOPIC, 0, records[3].offset) == []


def test_a_topic_that_nobody_knows_is_refused(harness: Harness) -> None:
    for ask in (
        lambda: harness.log.append([Outgoing("heard.unknown.v1", b"k", b"v")]),
        lambda: harness.log.consumer("group", ["heard.unknown.v1"], from_the_first),
        lambda: harness.log.partitions("heard.unknown.v1"),
        lambda: harness.log.end_offsets("heard.unknown.v1"),
        lambda: harness.log.last_records("heard.unknown.v1"),
    ):
        with pytest.raises(ConfigurationError):
            ask()


def test_closing_is_safe_to_repeat(harness: Harness, connect: Callable[[], Log]) -> None:
    log = connect()
    producer, consumer = log.producer("sequencer"), log.consumer("group", [TOPIC], from_the_first)
    for _ in range(2):
        consumer.close()
        producer.close()
        log.close()


SENT = st.builds(
    Outgoing,
    topic=st.sampled_from([topic.name for topic in (INBOX, EVENTS, DEAD_LETTERS)]),
    key=st.binary(max_size=40),
    value=st.none() | st.binary(max_size=300),
    headers=st.lists(st.tuples(st.text("abc-é", max_size=5), st.binary(max_size=20)), max_size=3).map(tuple),
    partition=st.none() | st.just(2),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(SENT, min_size=1, max_size=40))
def test_whatever_is_sent_comes_back_byte_for_byte_and_in_order(
    harness: Harness, batch: list[Outgoing]
) -> None:
    log = harness.log
    topics = sorted({out.topic for out in batch})
    starts = {topic: log.end_offsets(topic) for topic in topics}
    log.append(batch)
    consumer = log.consumer("reader", topics, lambda topic, partition: starts[topic][partition])
    came = defaultdict(list)
    for record in drain(consumer, len(batch)):
        came[record.topic, record.partition].append((record.key, record.value, record.headers))
    consumer.close()
    sent = defaultdict(list)
    for out in batch:
        partition = (
            partition_of(out.key, log.partitions(out.topic)) if out.partition is None else out.partition
        )
        sent[out.topic, partition].append((out.key, out.value, out.headers))
    assert came == sent
