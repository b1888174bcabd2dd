"""Where do salts, keys and people's ids come from? The system's source, or a seed."""

from __future__ import annotations

import hmac
import secrets


class SystemRandomness:
    """The operating system's source, fit for keys."""

    def bytes(self, count: int) -> bytes:
        """`count` unpredictable bytes."""
        return secrets.token_bytes(count)


class SeededRandomness:
    """The same bytes for the same seed and calls. For replays and tests only.

    Whoever knows the seed knows every key. The stream is HMAC-SHA-256 of a counter under the
    seed; each call begins a new block, so a call's bytes depend on how much was drawn before.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._blocks = 0

    def bytes(self, count: int) -> bytes:
        """The next `count` bytes of the seed's stream."""
        drawn = bytearray()
        while len(drawn) < count:
            drawn += hmac.digest(self._seed, self._blocks.to_bytes(8, "big"), "sha256")
            self._blocks += 1
        return bytes(drawn[:count])
