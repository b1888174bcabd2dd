"""Is the system's source random, and the seeded one the same each time?"""

from __future__ import annotations

from infra.randomness import SeededRandomness, SystemRandomness
from services.ports import Randomness


def test_the_systems_bytes_differ_each_time() -> None:
    source: Randomness = SystemRandomness()
    assert len({source.bytes(32) for _ in range(100)}) == 100
    assert source.bytes(0) == b""


def test_the_same_seed_gives_the_same_bytes() -> None:
    first: Randomness = SeededRandomness(b"seed")
    second: Randomness = SeededRandomness(b"seed")
    assert [first.bytes(n) for n in (1, 32, 33, 0, 100)] == [second.bytes(n) for n in (1, 32, 33, 0, 100)]


def test_a_seeded_source_gives_as_many_bytes_as_asked_and_never_the_same() -> None:
    source = SeededRandomness(b"seed")
    assert [len(source.bytes(n)) for n in (0, 1, 31, 32, 33, 1_000)] == [0, 1, 31, 32, 33, 1_000]
    assert len({source.bytes(32) for _ in range(100)}) == 100


def test_another_seed_gives_other_bytes() -> None:
    assert SeededRandomness(b"one").bytes(32) != SeededRandomness(b"two").bytes(32)
