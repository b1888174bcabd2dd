"""Does a box open in its own place and nowhere else, and does a commitment hold?"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import IntegrityError
from domain.evidence.sealing import commit, decrypt_body, encrypt_body, open_sealed, salt_text, seal

KEY = bytes(range(32))
SALT = bytes(range(200, 232))
NONCE = bytes(range(100, 112))
BOX = seal(KEY, "key", "event", "words", SALT, "The lights are out.", NONCE)

values = st.text(st.characters(exclude_categories=["Cs"]))


def test_a_commitment_is_the_formula_of_the_evidence_page() -> None:
    salt = urlsafe_b64encode(SALT).decode()
    opening = json.dumps(["event", "words", salt, "naïve"], separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(b"heard/commit/v1" + b"\x00" + opening.encode()).digest()
    assert commit("event", "words", SALT, "naïve") == b64encode(digest).decode()


def test_a_commitment_stays_what_it_was() -> None:
    # A golden value: events that were written hold such commitments for ever.
    assert (
        commit("event", "words", SALT, "The lights are out.")
        == "uqqmnCSH1/af+Uj5Kff8uSKrHqsup+Wn0oPzR6RHtqw="
    )


def test_any_other_argument_gives_another_commitment() -> None:
    commitments = {
        commit("event", "words", SALT, "no"),
        commit("event2", "words", SALT, "no"),
        commit("event", "words2", SALT, "no"),
        commit("event", "words", SALT[::-1], "no"),
        commit("event", "words", SALT, "no "),
        commit("eventwords", "", SALT, "no"),
    }
    assert len(commitments) == 6


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=12, max_size=12),
    values,
)
def test_what_is_sealed_opens_to_salt_and_value(key: bytes, salt: bytes, nonce: bytes, value: str) -> None:
    box = seal(key, "key", "event", "words", salt, value, nonce)
    assert box[:12] == nonce
    assert open_sealed(key, "key", "event", "words", box) == (salt, value)


def test_sealing_is_a_function_of_its_arguments() -> None:
    assert seal(KEY, "key", "event", "words", SALT, "The lights are out.", NONCE) == BOX


@pytest.mark.parametrize(
    "attempt",
    [
        lambda: open_sealed(KEY[::-1], "key", "event", "words", BOX),
        lambda: open_sealed(KEY, "key2", "event", "words", BOX),
        lambda: open_sealed(KEY, "key", "event2", "words", BOX),
        lambda: open_sealed(KEY, "key", "event", "reason_words", BOX),
        lambda: open_sealed(KEY, "key", "words", "event", BOX),
    ],
    ids=["key", "key id", "event", "path", "event and path swapped"],
)
def test_a_box_does_not_open_elsewhere(attempt: Callable[[], object]) -> None:
    with pytest.raises(IntegrityError):
        attempt()


def test_a_box_with_any_bit_flipped_does_not_open() -> None:
    for bit in range(len(BOX) * 8):
        flipped = bytearray(BOX)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            open_sealed(KEY, "key", "event", "words", bytes(flipped))


def test_a_shortened_or_lengthened_box_does_not_open() -> None:
    for box in (*(BOX[:end] for end in range(len(BOX))), BOX + b"\0"):
        with pytest.raises(IntegrityError):
            open_sealed(KEY, "key", "event", "words", box)


def test_the_error_does_not_tell_the_key() -> None:
    with pytest.raises(IntegrityError) as refusal:
        open_sealed(KEY, "key2", "event", "words", BOX)
    assert KEY.hex() not in repr(vars(refusal.value))
    assert refusal.value.hint


@given(st.binary(), st.binary())
def test_a_body_comes_back_in_its_own_context(context: bytes, body: bytes) -> None:
    box = encrypt_body(KEY, context, body, NONCE)
    assert decrypt_body(KEY, context, box) == body
    for key, other in ((KEY[::-1], context), (KEY, context + b"\0")):
        with pytest.raises(IntegrityError):
            decrypt_body(key, other, box)


def test_a_sealed_value_is_no_body_and_a_body_no_sealed_value() -> None:
    with pytest.raises(IntegrityError):
        decrypt_body(KEY, b"event", BOX)
    with pytest.raises(IntegrityError):
        open_sealed(KEY, "key", "event", "words", encrypt_body(KEY, b"event", b'["",""]', NONCE))


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_that_is_not_32_bytes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        encrypt_body(bytes(length), b"", b"", NONCE)
    with pytest.raises(ValueError, match="32 bytes"):
        decrypt_body(bytes(length), b"", BOX)


@pytest.mark.parametrize("length", [0, 11, 13, 16])
def test_a_nonce_that_is_not_12_bytes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="12 bytes"):
        encrypt_body(KEY, b"", b"", bytes(length))


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_salt_that_is_not_32_bytes_is_refused(length: int) -> None:
    for use in (
        lambda salt: salt_text(salt),
        lambda salt: commit("event", "words", salt, "no"),
        lambda salt: seal(KEY, "key", "event", "words", salt, "no", NONCE),
    ):
        with pytest.raises(ValueError, match="32 bytes"):
            use(bytes(length))
