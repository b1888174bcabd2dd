"""Do keys fall into the partitions that Kafka's Java clients choose?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.partitioning import murmur2, partition_of

# Kafka's own: clients/src/test/java/org/apache/kafka/common/utils/UtilsTest.java, testMurmur2.
VECTORS = {
    b"21": -973932308,
    b"foobar": -790332482,
    b"a-little-bit-long-string": -985981536,
    b"a-little-bit-longer-string": -1486304829,
    b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
    b"abc": 479470107,
}


@pytest.mark.parametrize(("key", "expected"), VECTORS.items())
def test_murmur2_gives_kafkas_own_vectors(key: bytes, expected: int) -> None:
    assert murmur2(key) == expected


def test_an_empty_key_has_a_hash_too() -> None:
    assert murmur2(b"") == 275646681


@pytest.mark.parametrize(("key", "expected"), [(b"foobar", 1357151166 % 12), (b"abc", 479470107 % 12)])
def test_the_sign_is_masked_before_the_remainder(key: bytes, expected: int) -> None:
    assert partition_of(key, 12) == expected


@given(key=st.binary(max_size=100), partitions=st.integers(1, 64))
def test_every_key_has_a_partition(key: bytes, partitions: int) -> None:
    assert -(2**31) <= murmur2(key) < 2**31
    assert 0 <= partition_of(key, partitions) < partitions
