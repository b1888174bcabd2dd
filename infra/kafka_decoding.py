"""How does a batch of Kafka become records, whatever its sender has put into it?

The library decodes what a well-behaved producer writes. From any other it takes all there is to unpack,
and at a header name that is not UTF-8 it stops for ever in what it has left of the batch.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Literal

import lz4.frame
import zstandard
from kafka.codec import snappy_decode
from kafka.consumer.fetcher import Fetcher
from kafka.errors import CorruptRecordError
from kafka.record.default_records import DefaultRecord, DefaultRecordBatch
from kafka.record.util import decode_varint
from kafka.structs import TopicPartition

from services.ports import Cut, Record
from services.topics import KEPT, MAX_BESIDE, MAX_HEADERS, TOPICS, Topic

MAX_UNPACKED: Final = 32 * 1024 * 1024
"""As many bytes as a batch may hold once it is unpacked; a broker measures what is packed."""
_UNPACKING: Final[Mapping[int, Callable[[io.BytesIO], Any]]] = {
    DefaultRecordBatch.CODEC_GZIP: lambda packed: gzip.GzipFile(fileobj=packed),
    # Snappy makes at most about twenty bytes of each byte, and so needs no bound.
    DefaultRecordBatch.CODEC_SNAPPY: lambda packed: io.BytesIO(snappy_decode(packed.read())),
    DefaultRecordBatch.CODEC_LZ4: lz4.frame.LZ4FrameFile,
    DefaultRecordBatch.CODEC_ZSTD: lambda packed: zstandard.ZstdDecompressor().stream_reader(
        packed, read_across_frames=True
    ),
}


class _Beginning(bytes):
    """The first bytes of what is not given whole."""

    cut: Cut


def decode_safely(fetcher: Fetcher, prefix: str) -> None:
    """Let a consumer's fetcher cut what is over a limit of its topic or cannot be decoded.

    A batch that cannot be unpacked, or to more than MAX_UNPACKED, is one record, at its last offset.
    """
    fetcher.PartitionRecords = partial(_PartitionRecords, prefix)


def record_of(record: Any, prefix: str) -> Record:
    """Our record of one of the library's, without the installation's prefix."""
    cut = record.value.cut if isinstance(record.value, _Beginning) else None
    return Record(
        record.topic.removeprefix(prefix), record.partition, record.offset, record.key or b"", record.value,
        tuple(record.headers or ()), record.timestamp, cut,
    )  # fmt: skip


class _PartitionRecords(Fetcher.PartitionRecords):  # type: ignore[misc]
    """What was fetched of a partition: the library's own, with batches of ours."""

    def __init__(self, prefix: str, *arguments: Any, **options: Any) -> None:
        self._prefix = prefix
        super().__init__(*arguments, **options)

    def _unpack_records(self, place: TopicPartition, records: Any, *deserializers: Any) -> Iterator[Any]:
        name = place.topic.removeprefix(self._prefix)
        topic = next((topic for topic in TOPICS if topic.name == name), Topic(name))
        try:
            yield from super()._unpack_records(place, _Batches(records, topic), *deserializers)
        except CorruptRecordError as error:
            at = self.next_fetch_offset
            raise CorruptRecordError(f"{name}/{place.partition} from offset {at}: {error}") from error


class _Batches:
    """The batches of what was fetched."""

    def __init__(self, records: Any, topic: Topic) -> None:
        self._records = records
        self._topic = topic

    def next_batch(self) -> Any:
        """The next one; None at the end."""
        batch = self._records.next_batch()
        return _Batch(batch._buffer, self._topic) if isinstance(batch, DefaultRecordBatch) else batch


class _Batch(DefaultRecordBatch):  # type: ignore[misc]
    """A batch that gives every record that can be told from the others. Its checksum was looked at."""

    # The library's, which ships no types.
    _buffer: bytearray
    _pos: int
    _num_records: int
    _next_record_index: int
    _decompressed: bool

    def __init__(self, buffer: bytearray, topic: Topic) -> None:
        super().__init__(buffer)
        self._topic = topic
        self._stamp: Any = self.max_timestamp if self.timestamp_type == self.LOG_APPEND_TIME else None
        self._whole: DefaultRecord | None = None
        self._before: int = self.base_offset - 1
        """The offset of the record that was given last."""

    def _maybe_uncompress(self) -> None:
        if self._decompressed:
            return
        self._decompressed = True
        if self.compression_type == self.CODEC_NONE:
            return
        packed = bytes(self._buffer[self._pos :])
        what = f"a batch of {self.records_count} records from offset {self.base_offset}"
        try:
            with _UNPACKING[self.compression_type](io.BytesIO(packed)) as unpacking:
                unpacked = unpacking.read(MAX_UNPACKED + 1)
        except Exception as error:  # whatever it is that a decoder says of bytes that anybody may have sent
            whole = _cut("unreadable", what, "records packed in a known way", type(error).__name__, packed)
        else:
            if len(unpacked) <= MAX_UNPACKED:
                self._buffer, self._pos = bytearray(unpacked), 0
                return
            whole = _cut("too_large", what, f"at most {MAX_UNPACKED} bytes when unpacked", "more", packed)
        self._whole = self._cut_record(self.last_offset, self._stamp or self.first_timestamp, whole)
        self._buffer, self._pos, self._num_records = bytearray(), 0, 1

    def _read_msg(self, *arguments: Any) -> DefaultRecord:
        if self.is_control_batch:
            return super()._read_msg()
        record = self._whole or self._decoded()
        self._before = record.offset
        return record

    def _decoded(self) -> DefaultRecord:
        buffer, begin = self._buffer, self._pos
        offset = self._before + 1
        stamp = self._stamp or self.first_timestamp
        try:
            length, at = decode_varint(buffer, begin)
            end = at + length
            if not at <= end <= len(buffer):
                raise ValueError("it does not end in its batch")
        except (IndexError, ValueError) as error:
            # All that is left belongs to it, for nobody can say where the next one begins.
            self._pos, self._next_record_index = len(buffer), self._num_records - 1
            return self._cut_record(self.last_offset, stamp, _unreadable(error, buffer[begin:]))
        self._pos = end
        try:
            later, at = decode_varint(buffer, at + 1)  # behind a byte of attributes, which mean nothing
            further, at = decode_varint(buffer, at)
            stamp = self._stamp or self.first_timestamp + later
            # A broker takes any. One that does not rise, or leaves no room for those that follow, would
            # have the reader read messages twice, or not at all.
            to_come = self._num_records - self._next_record_index - 1
            if not self._before < self.base_offset + further <= self.last_offset - to_come:
                raise ValueError("its offset is not its own")
            offset = self.base_offset + further
            key, at = _field(buffer, at)
            value, at = _field(buffer, at)
            count, at = decode_varint(buffer, at)
            headers = []
            for _ in range(count if count <= MAX_HEADERS else 0):
                name, at = _field(buffer, at)
                content, at = _field(buffer, at)
                headers.append(((name or b"").decode(), content or b""))
            if length > MAX_BESIDE or count > MAX_HEADERS:  # else it is within every limit
                beside = len(key or b"") + sum(len(n.encode()) + len(c) for n, c in headers)
                if over := self._topic.over(len(value or b""), beside, count):
                    return self._cut_record(offset, stamp, _cut("too_large", *over, value or b""))
            if at != end:
                raise ValueError("it does not end where it says")
        except (IndexError, ValueError) as error:
            return self._cut_record(offset, stamp, _unreadable(error, buffer[begin:end]))
        return DefaultRecord(length, offset, stamp, None, key, value, headers)

    def _cut_record(self, offset: int, stamp: int, beginning: _Beginning) -> DefaultRecord:
        return DefaultRecord(len(beginning), offset, stamp, None, None, beginning, ())


def _field(buffer: bytearray, at: int) -> tuple[bytes | None, int]:
    """The field at `at`, and where the next one begins."""
    size, at = decode_varint(buffer, at)
    return (None, at) if size < 0 else (bytes(buffer[at : at + size]), at + size)


def _unreadable(error: Exception, content: bytes | bytearray) -> _Beginning:
    got = "a name that is not UTF-8" if isinstance(error, UnicodeDecodeError) else "another form"
    return _cut("unreadable", "a record", "Kafka's own form, with names of headers in UTF-8", got, content)


def _cut(
    code: Literal["too_large", "unreadable"], what: str, expected: str, got: str, content: bytes | bytearray
) -> _Beginning:
    beginning = _Beginning(content[:KEPT])
    digest = hashlib.sha256(content).hexdigest()
    beginning.cut = Cut(code, what, expected, got, len(content), digest)
    return beginning
