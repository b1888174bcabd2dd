"""How is a value kept out of the record and yet bound to it?

The event holds a salted commitment; salt and value travel apart, encrypted under a key that can
be destroyed. The commitment binds the value, the encryption only hides it, so erasing never
touches a proof. Nonces and salts are arguments: the domain has no randomness. A nonce must
never serve twice under one key.
"""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from domain.errors import IntegrityError
from domain.evidence import canonical

KEY_BYTES = 32
SALT_BYTES = 32
NONCE_BYTES = 12

_COMMIT = b"heard/commit/v1\x00"


def salt_text(salt: bytes) -> str:
    """The salt's 32 bytes as they stand in commitments and disclosures: padded base64url (§5)."""
    if len(salt) != SALT_BYTES:
        raise ValueError(f"a salt has {SALT_BYTES} bytes, not {len(salt)}")
    return urlsafe_b64encode(salt).decode("ascii")


def commit(event_id: str, path: str, salt: bytes, value: str) -> str:
    """The commitment that an event holds for its field `path`, in padded base64.

    SHA-256("heard/commit/v1" ‖ 0x00 ‖ JCS([event id, path, base64url(salt), value])). Without the
    salt, one of 32 random bytes for each field, a postcode would fall to enumeration at once.
    """
    opening = canonical.encode([event_id, path, salt_text(salt), value])
    return b64encode(sha256(_COMMIT + opening).digest()).decode("ascii")


def seal(key: bytes, key_id: str, event_id: str, path: str, salt: bytes, value: str, nonce: bytes) -> bytes:
    """Salt and value under a key of 32 bytes: nonce (12) ‖ AES-256-GCM of JCS([base64url(salt), value]).

    Event id, path and key id are the associated data, so a box opens nowhere but in its own place.
    """
    opening = canonical.encode([salt_text(salt), value])
    return _encrypt(key, _place(event_id, path, key_id), opening, nonce)


def open_sealed(key: bytes, key_id: str, event_id: str, path: str, box: bytes) -> tuple[bytes, str]:
    """(salt, value) of a box that `seal` made for this place; IntegrityError if it does not verify.

    AES-GCM does not bind its key: compare `commit` of the result with the event's commitment.
    """
    opening = _decrypt(key, _place(event_id, path, key_id), box)
    salt, value = orjson.loads(opening)
    return urlsafe_b64decode(salt), value


def encrypt_body(key: bytes, context: bytes, body: bytes, nonce: bytes) -> bytes:
    """A parked or dead body under the key of its day: nonce (12) ‖ AES-256-GCM of `body`.

    `context` says where the box belongs and is needed again to open it; it is not in the box.
    """
    return _encrypt(key, context, body, nonce)


def decrypt_body(key: bytes, context: bytes, box: bytes) -> bytes:
    """The body that `encrypt_body` put away; IntegrityError if key, context or box is another."""
    return _decrypt(key, context, box)


def _place(event_id: str, path: str, key_id: str) -> bytes:
    return canonical.encode([event_id, path, key_id])


def _encrypt(key: bytes, context: bytes, data: bytes, nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise ValueError(f"a nonce has {NONCE_BYTES} bytes, not {len(nonce)}")
    return nonce + _cipher(key).encrypt(nonce, data, context)


def _decrypt(key: bytes, context: bytes, box: bytes) -> bytes:
    cipher = _cipher(key)
    try:
        return cipher.decrypt(box[:NONCE_BYTES], box[NONCE_BYTES:], context)
    except (InvalidTag, ValueError) as error:  # ValueError: the box is too short to hold a nonce
        raise IntegrityError(
            "An encrypted value does not open.",
            expected="the box as it was written, in its own place, under its own key",
            got=f"{len(box)} bytes that do not verify",
            hint="Look whether keys and data come from the same installation and the same backup.",
        ) from error


def _cipher(key: bytes) -> AESGCM:
    # The library would also take 16 or 24 bytes, and silently be AES-128 or AES-192.
    if len(key) != KEY_BYTES:
        raise ValueError(f"a key has {KEY_BYTES} bytes, not {len(key)}")
    return AESGCM(key)
