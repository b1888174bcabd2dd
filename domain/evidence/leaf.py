"""By which digest is an event known to the tree, to its successor and to its effects?"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256


def digest(data: bytes) -> str:
    """The leaf hash SHA-256(0x00 ‖ data), RFC 6962 §2.1, in padded base64 (RFC 4648 §4)."""
    return b64encode(sha256(b"\x00" + data).digest()).decode("ascii")
