"""What may lie on the inbox that no upstream system means to write? Any size, codec and header."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from kafka import KafkaProducer

from consumers.upstream import STRUCTURED
from tests.support.messages import concern

CODECS: Final = (None, "gzip", "snappy", "lz4", "zstd")
"""Every codec that a producer of Kafka may use."""


class AnyName(str):
    """The name of a header in any bytes: the library would make UTF-8 of it."""

    raw: bytes

    def __new__(cls, raw: bytes) -> AnyName:
        made = super().__new__(cls, raw.decode("latin-1"))
        made.raw = raw
        return made

    def encode(self, *_: Any) -> bytes:
        """The bytes that it was made of."""
        return self.raw


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as some producer sends it."""

    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = STRUCTURED
    codec: str | None = None
    key: bytes | None = b"key"


def padded(ref: str, size: int) -> bytes:
    """A message that could be used but for its size: blanks after it."""
    return orjson.dumps(concern(ref)).ljust(size)


HOSTILE: Final[dict[str, tuple[str, Raw]]] = {
    "600 kB of a letter, gzip": ("too_large", Raw(b"a" * 600_000, codec="gzip")),
    "a message of 600 kB, zstd": ("too_large", Raw(padded("H2", 600_000), codec="zstd")),
    "a message of 2 MB, snappy": ("too_large", Raw(padded("H3", 2_000_000), codec="snappy")),
    "a message of 2 MB, lz4": ("too_large", Raw(padded("H4", 2_000_000), codec="lz4")),
    "20 MB of zeros, gzip": ("too_large", Raw(bytes(20_000_000), codec="gzip")),
    "200 MB of zeros, zstd": ("too_large", Raw(bytes(200_000_000), codec="zstd")),
    "300 kB as they are, without a key": ("too_large", Raw(padded("H7", 300_000), key=None)),
    "a header whose name is no text": (
        "unreadable", Raw(orjson.dumps(concern("H8")), [*STRUCTURED, (AnyName(b"\xff\xfe"), b"x")]),
    ),
    "a type of content that is no text": (
        "not_utf8", Raw(orjson.dumps(concern("H9")), [("content-type", b"\xff\xfe\x00")]),
    ),
    "900 kB of headers, gzip": (
        "too_large",
        Raw(orjson.dumps(concern("H10")), [*STRUCTURED, *[("h", bytes(9_000))] * 100], codec="gzip"),
    ),
    "5,000 headers": (
        "too_large",
        Raw(orjson.dumps(concern("H11")), [*STRUCTURED, *[(f"h{n}", b"") for n in range(5_000)]]),
    ),
    "no value": ("not_json", Raw(None)),
}  # fmt: skip
"""{what it is: (the code of its dead letter, the record)}; as many as the inbox has partitions."""


def send(servers: str, topic: str, records: Sequence[tuple[int, Raw]]) -> None:
    """Send each to its partition, in order, each in a batch of its own."""
    with _Producers(servers) as producers:
        for partition, raw in records:
            producers.send(topic, partition, raw).get(timeout=60)


def flood(servers: str, topic: str, records: Iterable[tuple[int, Raw]], *, batch_size: int = 16_384) -> None:
    """Send each to its partition, in batches of so many bytes; one codec may overtake another."""
    with _Producers(servers, batch_size, 1_000) as producers:
        waiting = [producers.send(topic, partition, raw) for partition, raw in records]
        for each in producers.made.values():
            each.flush(timeout=60)
        for sent in waiting:
            sent.get(timeout=0)


class _Producers:
    """A producer of each codec, opened when it is first needed."""

    def __init__(self, servers: str, batch_size: int = 16_384, linger_ms: int = 0) -> None:
        self._servers, self._batch_size, self._linger = servers, batch_size, linger_ms
        self.made: dict[str | None, KafkaProducer] = {}

    def __enter__(self) -> _Producers:
        return self

    def __exit__(self, *_: object) -> None:
        for producer in self.made.values():
            producer.close()

    def send(self, topic: str, partition: int, raw: Raw) -> Any:
        if raw.codec not in self.made:
            self.made[raw.codec] = KafkaProducer(
                bootstrap_servers=self._servers,
                compression_type=raw.codec,
                linger_ms=self._linger,
                batch_size=self._batch_size,
                max_request_size=512_000_000,
            )
        headers = list(raw.headers)
        return self.made[raw.codec].send(topic, raw.value, raw.key, headers, partition)


def anything(chance: random.Random, count: int, partitions: int) -> Iterator[tuple[int, Raw]]:
    """So many records of random bytes, codecs and headers; some of them are messages, whole or bent."""
    for number in range(count):
        match chance.randrange(4):
            case 0:
                value = chance.randbytes(chance.randrange(400))
            case 1:
                value = orjson.dumps(concern(f"A{number}"))
            case 2:
                bent = bytearray(orjson.dumps(concern(f"B{number}")))
                for _ in range(chance.randrange(1, 6)):
                    bent[chance.randrange(len(bent))] = chance.randrange(256)
                value = bytes(bent)
            case _:
                value = bytes([chance.randrange(256)]) * chance.choice((0, 1, 1_000, 300_000))
        yield (
            chance.randrange(partitions),
            Raw(
                None if chance.random() < 0.05 else value,
                [*STRUCTURED, *_headers(chance)] if chance.random() < 0.7 else list(_headers(chance)),
                # 300 kB go over the wire packed only.
                chance.choice(CODECS[1:] if len(value) > 200_000 else CODECS),
                chance.choice((b"", chance.randbytes(8))),
            ),
        )


def _headers(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    names = [b"ce_id", b"ce_type", b"content-type", b"traceparent", b"", b"\xff", b"\xed\xa0\x80"]
    for _ in range(chance.choice((0, 0, 1, 3, 250))):
        name = chance.choice((*names, chance.randbytes(4)))
        yield AnyName(name), chance.choice((b"", chance.randbytes(6), b"application/json"))
