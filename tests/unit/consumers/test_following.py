"""Does a reader of facts notice that a record is missing, twice or in another place?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import orjson
import pytest

from consumers.following import Batch, behind, follow
from domain.errors import IntegrityError
from projections.store import Mark, Sealed
from services.ports import Outgoing, Record
from services.topics import EVENTS, SEALED
from tests.support.envelopes import raised
from tests.support.memory import MemoryLog

POSITIONS = (3, 4, 9, 10)
"""Where the events of the partition stand in the event store; others lie in other partitions."""


def record(offset: int, position: int, previous: int, *, partition: int = 0) -> Record:
    headers = (("position", b"%d" % position), ("previous", b"%d" % previous))
    value = raised(f"N{position}").bytes
    return Record(EVENTS.name, partition, offset, b"river-police/riverside-ward", value, headers)


def partition_of_events(number: int = 0) -> list[Record]:
    """A partition as the sequencer wrote it, with a gap in its offsets."""
    before = (0, *POSITIONS)
    return [
        record(offset, position, previous, partition=number)
        for offset, position, previous in zip((0, 1, 5, 6), POSITIONS, before, strict=False)
    ]


def sealed(offset: int, position: int, path: str, value: bytes | None) -> Record:
    return Record(
        SEALED.name, 0, offset, f"an-event/{path}".encode(), value, (("position", b"%d" % position),)
    )


def box(text: str) -> bytes:
    return orjson.dumps({"key_id": "k", "key": "f/p", "box": text.encode().hex()})


def positions(batch: Batch) -> list[int]:
    return [position for position, _ in batch.events]


def test_records_in_order_lead_to_the_offset_and_the_position_behind_the_last() -> None:
    batch = follow(partition_of_events(), {})
    assert positions(batch) == list(POSITIONS)
    assert batch.moves == {(EVENTS.name, 0): (Mark(), Mark(7, 10))}


def test_however_a_partition_is_cut_into_batches_it_is_read_to_its_end() -> None:
    records = partition_of_events()
    for cut in range(len(records) + 1):
        first = follow(records[:cut], {})
        marks = {place: after for place, (_, after) in first.moves.items()}
        second = follow(records[cut:], marks)
        assert positions(first) + positions(second) == list(POSITIONS)


def test_each_partition_counts_for_itself_however_they_are_mixed() -> None:
    mixed = [r for pair in zip(partition_of_events(0), partition_of_events(1), strict=True) for r in pair]
    batch = follow(mixed, {})
    assert sorted(positions(batch)) == sorted(POSITIONS * 2)
    assert {after for _, after in batch.moves.values()} == {Mark(7, 10)}


@pytest.mark.parametrize("lost", range(len(POSITIONS) - 1))
def test_a_record_that_is_missing_is_found_by_the_next_one(lost: int) -> None:
    records = partition_of_events()
    del records[lost]
    with pytest.raises(IntegrityError, match="missing or out of order"):
        follow(records, {})


def test_the_last_record_that_was_lost_is_found_when_the_next_one_comes() -> None:
    batch = follow(partition_of_events()[:-1], {})
    marks = {place: after for place, (_, after) in batch.moves.items()}
    with pytest.raises(IntegrityError, match="missing or out of order"):
        follow([record(7, 12, previous=10)], marks)


@pytest.mark.parametrize("order", [o for o in permutations(range(4)) if o != (0, 1, 2, 3)])
def test_records_that_changed_places_are_found(order: Sequence[int]) -> None:
    records = partition_of_events()
    moved = [replace(records[one], offset=offset) for one, offset in zip(order, (0, 1, 5, 6), strict=True)]
    with pytest.raises(IntegrityError, match="missing or out of order"):
        follow(moved, {})


def test_a_record_that_is_delivered_again_is_passed_over() -> None:
    records = partition_of_events()
    marks = {(EVENTS.name, 0): Mark(2, 4)}
    assert positions(follow(records, marks)) == [9, 10]
    assert positions(follow([*records, *records], {})) == list(POSITIONS)
    assert follow(records[:2], marks) == Batch([], [], {})


def test_an_event_that_was_written_to_the_log_twice_is_found() -> None:
    records = partition_of_events()
    again = replace(records[-1], offset=7)
    with pytest.raises(IntegrityError, match="missing or out of order"):
        follow([*records, again], {})


@pytest.mark.parametrize(
    "headers",
    [(), (("position", b"3"),), (("previous", b"0"),), (("position", b"x"), ("previous", b"0")),
     (("position", b"-3"), ("previous", b"0"))],
)  # fmt: skip
def test_a_record_that_the_sequencer_did_not_write_is_found(headers: tuple[tuple[str, bytes], ...]) -> None:
    foreign = replace(partition_of_events()[1], headers=headers)
    with pytest.raises(IntegrityError):
        follow([partition_of_events()[0], foreign], {})


@pytest.mark.parametrize("value", [None, b"", b"[]", b"{}", b"\xff", b'{"v": 1}'])
def test_a_record_that_holds_no_event_is_found(value: bytes | None) -> None:
    with pytest.raises(IntegrityError):
        follow([replace(partition_of_events()[0], value=value)], {})


def test_sealed_values_may_have_gaps_as_compaction_leaves_them() -> None:
    records = [
        sealed(4, 9, "words", box("a")),
        sealed(9, 30, "address", box("b")),
        sealed(11, 0, "words", None),
    ]
    batch = follow(records, {})
    assert batch.sealed == [
        Sealed("an-event", "words", "k", "f/p", b"a"),
        Sealed("an-event", "address", "k", "f/p", b"b"),
        Sealed("an-event", "words", "", "", None),
    ]
    assert batch.moves == {(SEALED.name, 0): (Mark(), Mark(12, 30))}


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"key_id": "k", "key": "f/p", "box": "zz"}'])
def test_a_record_that_holds_no_sealed_value_is_found(value: bytes) -> None:
    with pytest.raises(IntegrityError, match="not a sealed value"):
        follow([sealed(0, 3, "words", value)], {})


def test_a_reader_is_behind_until_it_has_read_every_partition_to_its_end() -> None:
    log = MemoryLog(partitions=2)
    assert not behind(log, [EVENTS.name], lambda topic, partition: 0)
    log.append([Outgoing(EVENTS.name, b"k", b"", (), partition) for partition in (0, 0, 1)])
    ends = {0: 2, 1: 1}
    assert behind(log, [EVENTS.name], lambda topic, partition: 0)
    assert behind(log, [EVENTS.name], lambda topic, partition: ends[partition] - partition)
    assert not behind(log, [EVENTS.name], lambda topic, partition: ends[partition])
