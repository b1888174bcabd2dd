"""Can every record of a batch be had, whatever its sender has put into it?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecordBatchBuilder

from infra.kafka_decoding import MAX_UNPACKED, _Batch
from services.topics import INBOX, KEPT, MAX_BESIDE, MAX_HEADERS
from tests.support.hostile import AnyName

HEADER = 61
"""Bytes before the records of a batch."""
CODECS = range(5)
Headers = Sequence[tuple[str, bytes]]
names = st.binary(max_size=6).map(AnyName)
contents = st.tuples(
    st.none() | st.binary(max_size=8),
    st.none() | st.binary(max_size=40),
    st.lists(st.tuples(names, st.binary(max_size=8)), max_size=4),
)


def packed(records: Sequence[tuple[bytes | None, bytes | None, Headers]], codec: int = 0) -> bytearray:
    """A batch of (key, value, headers), as a producer packs it."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=0, producer_id=-1, producer_epoch=-1,
        base_sequence=-1, batch_size=1_000_000_000,
    )  # fmt: skip
    for offset, (key, value, headers) in enumerate(records):
        builder.append(offset, timestamp=1_000 + offset, key=key, value=value, headers=list(headers))
    return bytearray(builder.build())


def read(batch: bytearray) -> list[Any]:
    return list(_Batch(batch, INBOX))


@pytest.mark.parametrize("codec", CODECS)
@given(records=st.lists(contents, min_size=1, max_size=8))
@settings(max_examples=40)
def test_what_a_producer_wrote_is_what_is_read(
    codec: int, records: list[tuple[bytes | None, bytes | None, list[tuple[AnyName, bytes]]]]
) -> None:
    found = read(packed(records, codec))
    assert [(record.offset, record.timestamp) for record in found] == [
        (offset, 1_000 + offset) for offset in range(len(records))
    ]
    for record, (key, value, headers) in zip(found, records, strict=True):
        try:
            named = [(name.raw.decode(), content) for name, content in headers]
        except UnicodeDecodeError:
            assert record.value.cut.code == "unreadable"
        else:
            assert (record.key, record.value, list(record.headers)) == (key, value, named)


@given(
    codec=st.sampled_from(CODECS),
    records=st.lists(contents, min_size=1, max_size=8),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=6),
)
@settings(max_examples=500)
def test_whatever_bytes_a_batch_holds_reading_it_ends(
    codec: int,
    records: list[tuple[bytes | None, bytes | None, list[tuple[AnyName, bytes]]]],
    changes: list[tuple[int, int]],
) -> None:
    batch = packed(records, codec)
    for at, byte in changes:
        batch[HEADER + at % max(1, len(batch) - HEADER)] = byte
    try:
        found = read(batch)
    except CorruptRecordError as error:  # what is left behind the last record, which no broker takes
        assert "unconsumed" in str(error)  # noqa: PT017
    else:
        offsets = [record.offset for record in found]
        assert 1 <= len(offsets) <= len(records)
        assert offsets == sorted(set(offsets))
        assert 0 <= offsets[0] <= offsets[-1] < len(records)


@pytest.mark.parametrize(
    ("said", "given"),
    [([0, 1, 2], "..."), ([1_000, 1, 2], "#.."), ([0, 0, 2], ".#."), ([0, -7, 2], ".#."), ([2, 1, 2], "#..")],
)
def test_an_offset_that_is_not_its_own_is_none(said: list[int], given: str) -> None:
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=0, producer_id=-1, producer_epoch=-1, base_sequence=-1,
        batch_size=1_000_000,
    )  # fmt: skip
    for offset in said:
        builder.append(offset, timestamp=1_000, key=b"k", value=b"v", headers=[])
    batch = bytearray(builder.build())
    batch[23:27] = (2).to_bytes(4, "big")  # as a broker writes the last one
    found = read(batch)
    assert [record.offset for record in found] == [0, 1, 2]
    assert "".join(".#"[hasattr(record.value, "cut")] for record in found) == given


@pytest.mark.parametrize(
    ("key", "value", "headers", "why"),
    [
        (b"k", bytes(INBOX.max_bytes + 1), [], "the value"),
        (bytes(MAX_BESIDE + 1), b"v", [], "key and headers"),
        (b"k", b"v", [("h", bytes(MAX_BESIDE))], "key and headers"),
        (b"k", b"v", [("", b"")] * (MAX_HEADERS + 1), "the list of headers"),
    ],
)
def test_one_over_a_limit_is_cut_and_its_neighbours_are_whole(
    key: bytes, value: bytes, headers: Headers, why: str
) -> None:
    first, cut, last = read(packed([(b"k", b"a", []), (key, value, headers), (b"k", b"b", [])], codec=1))
    assert (first.value, last.value) == (b"a", b"b")
    assert (cut.value.cut.code, cut.value.cut.why) == ("too_large", why)
    assert (cut.value.cut.size, cut.value) == (len(value), value[:KEPT])
    assert list(cut.headers) == []


def test_one_at_every_limit_is_whole() -> None:
    headers = [("h" * 10, bytes(310))] * MAX_HEADERS
    key, value = bytes(MAX_BESIDE - 320 * MAX_HEADERS), bytes(INBOX.max_bytes)
    (record,) = read(packed([(key, value, headers)]))
    assert (record.key, record.value, record.headers) == (key, value, headers)


def test_of_millions_of_headers_none_is_looked_at() -> None:
    (record,) = read(packed([(b"k", b"v", [("", b"")] * 2_000_000)], codec=4))
    assert record.value.cut.got == "2000000 headers"


@pytest.mark.parametrize("codec", CODECS[1:])
def test_a_batch_that_cannot_be_unpacked_is_one_record_at_its_last_offset(codec: int) -> None:
    batch = packed([(b"k", b"a" * 100, [])] * 3, codec)
    del batch[HEADER + 8 :]
    (record,) = read(batch)
    assert (record.offset, record.value.cut.code) == (2, "unreadable")


def test_a_codec_that_nobody_knows_is_unreadable() -> None:
    batch = packed([(b"k", b"a", [])], codec=1)
    batch[22] = 7
    (record,) = read(batch)
    assert record.value.cut.code == "unreadable"


def test_a_batch_that_unpacks_to_too_much_is_one_record() -> None:
    (record,) = read(packed([(b"k", bytes(MAX_UNPACKED // 2), [])] * 3, codec=4))
    assert (record.offset, record.value.cut.code) == (2, "too_large")
    assert len(record.value) <= KEPT
