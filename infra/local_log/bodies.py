"""How does a body lie in the local log so that it can be taken out of it for good?

SQLite keeps old pages in its write-ahead log for as long as a reader may want them. So a body that
must be removable is encrypted under a key of its own, used once, which lies in another file; with
the key destroyed, copies of the old page can no longer be opened.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import IntegrityError
from services.ports import Randomness

_LENGTH: Final = struct.Struct(">I")
# Each key encrypts one body and no other, so the nonce need not vary.
_NONCE: Final = bytes(12)


class BodyKeys(Protocol):
    """Where the keys of bodies lie: apart from the log, in a file that forgets what is destroyed.

    Each method is one durable transaction.
    """

    def add_keys(self, keys: Mapping[str, bytes], /) -> None:
        """Keep {key id: 32 bytes}; the ids are new."""
        ...

    def keys(self, key_ids: Sequence[str], /) -> dict[str, bytes]:
        """{key id: 32 bytes} of those that exist."""
        ...

    def destroy(self, key_ids: Sequence[str], /) -> None:
        """Destroy keys for ever; safe to repeat."""
        ...


class Body(NamedTuple):
    """What a sender wrote: everything in a record that may be personal."""

    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class Bodies:
    """Seals bodies, opens them and makes them unreadable."""

    def __init__(self, keys: BodyKeys, randomness: Randomness) -> None:
        self._keys = keys
        self._randomness = randomness

    def seal(self, bodies: Sequence[Body]) -> list[tuple[str, bytes]]:
        """(key id, ciphertext) for each body; the keys are durable when this returns.

        A crash before the ciphertexts are stored leaves keys behind that open nothing.
        """
        if not bodies:
            return []
        made = {f"body/{self._randomness.bytes(16).hex()}": self._randomness.bytes(32) for _ in bodies}
        if len(made) != len(bodies):
            raise IntegrityError("The source of randomness repeats itself.", hint="check its wiring")
        self._keys.add_keys(made)
        return [
            (key_id, AESGCM(key).encrypt(_NONCE, _encode(body), key_id.encode()))
            for (key_id, key), body in zip(made.items(), bodies, strict=True)
        ]

    def open(self, sealed: Mapping[str, bytes]) -> dict[str, Body]:
        """{key id: body} of {key id: ciphertext}; those whose key is missing are left out."""
        keys = self._keys.keys(list(sealed)) if sealed else {}
        try:
            return {
                key_id: _decode(AESGCM(keys[key_id]).decrypt(_NONCE, ciphertext, key_id.encode()))
                for key_id, ciphertext in sealed.items()
                if key_id in keys
            }
        except (InvalidTag, ValueError) as error:
            raise IntegrityError(
                "A body in the local log does not fit its key.",
                hint="restore log.db and keys.db from backups of the same time",
            ) from error

    def destroy(self, key_ids: Sequence[str]) -> None:
        """Make the bodies under these keys unreadable, wherever copies may lie; safe to repeat."""
        if key_ids:
            self._keys.destroy(key_ids)


def pack_headers(headers: Sequence[tuple[str, bytes]]) -> bytes:
    """Headers as bytes, in order, whatever their values hold."""
    return _pack([part for name, value in headers for part in (name.encode(), value)])


def unpack_headers(packed: bytes) -> tuple[tuple[str, bytes], ...]:
    """The headers that `pack_headers` packed."""
    parts = _unpack(packed)
    return tuple(zip(map(bytes.decode, parts[::2]), parts[1::2], strict=True))


def _encode(body: Body) -> bytes:
    # A tombstone is told from an empty value by having no third part.
    value = [] if body.value is None else [body.value]
    return _pack([body.key, pack_headers(body.headers), *value])


def _decode(encoded: bytes) -> Body:
    key, headers, *value = _unpack(encoded)
    return Body(key, value[0] if value else None, unpack_headers(headers))


def _pack(parts: Sequence[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def _unpack(packed: bytes) -> list[bytes]:
    parts, at = [], 0
    end, size, length = len(packed), _LENGTH.size, _LENGTH.unpack_from
    while at < end:
        start = at + size
        at = start + length(packed, at)[0]
        parts.append(packed[start:at])
    return parts
