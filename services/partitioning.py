"""Which partition does a key belong to? The same one here as in every Java client of Kafka."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_WORD: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 of `data`, signed as in Java (`org.apache.kafka.common.utils.Utils`)."""
    whole = len(data) & ~3
    h = _SEED ^ len(data)
    for at in range(0, whole, 4):
        k = int.from_bytes(data[at : at + 4], "little") * _M & _WORD
        h = (h * _M & _WORD) ^ ((k ^ k >> 24) * _M & _WORD)
    if whole < len(data):
        h = (h ^ int.from_bytes(data[whole:], "little")) * _M & _WORD
    h = (h ^ h >> 13) * _M & _WORD
    h ^= h >> 15
    return h - (1 << 32) if h >> 31 else h


@lru_cache(maxsize=10_000)  # places are few, and each has many records
def partition_of(key: bytes, partitions: int) -> int:
    """The partition of `key` among `partitions` (1 or more), as Kafka's default partitioner has it."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions
