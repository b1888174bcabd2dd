"""Which topics are there, and what does each promise about its records?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domain.errors import InvalidMessageError
from services.ports import Outgoing

_MEGABYTE: Final = 1024 * 1024
MAX_BESIDE: Final = 64 * 1024
"""As many bytes as key, header names and header values of a record may have together."""
MAX_HEADERS: Final = 200
"""As many headers as a record may have."""
KEPT: Final = 64 * 1024
"""As many bytes as are kept of a value that is too large."""
BATCH_BYTES: Final = 16 * _MEGABYTE
"""After so many bytes a batch ends, however few records it holds."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A named sequence of records in partitions; every topic of a log has as many as the others."""

    name: str
    """As Kafka knows it; the last part is the version of what the records hold."""
    compacted: bool = False
    """Whether a record makes earlier ones of its key superfluous. A tombstone is a record too."""
    max_bytes: int = _MEGABYTE
    """The largest value in bytes; a value of exactly this size passes."""
    redactable: bool = False
    """Whether bodies arrive in the clear, and so are overwritten once they have been handled.

    Not together with `compacted`.
    """

    def over(self, value: int, beside: int, headers: int) -> tuple[str, str, str] | None:
        """What of a record is too large, what is taken and what came; None if it is within the limits.

        `value`: bytes of its value; `beside`: bytes of its key and headers; `headers`: how many there are.
        """
        for what, got, most, unit in (
            ("the value", value, self.max_bytes, "bytes"),
            ("key and headers", beside, MAX_BESIDE, "bytes"),
            ("the list of headers", headers, MAX_HEADERS, "headers"),
        ):
            if got > most:
                return what, f"at most {most} {unit}", f"{got} {unit}"
        return None

    def require(self, out: Outgoing) -> None:
        """Raise InvalidMessageError (`too_large`) for a record that is over a limit."""
        beside = len(out.key) + sum(len(name.encode()) + len(value) for name, value in out.headers)
        if over := self.over(len(out.value or b""), beside, len(out.headers)):
            what, expected, got = over
            raise InvalidMessageError(
                "too_large", f"{what} of a record is too large for {self.name}", expected=expected, got=got,
                hint="send less in one message",
            )  # fmt: skip


INBOX: Final = Topic("heard.inbox.v1", max_bytes=256 * 1024, redactable=True)
"""What upstream systems report: bodies as received, with personal data, until each has ended."""

EVENTS: Final = Topic("heard.events.v1")
"""The events as first written, by their keys; nothing is ever taken out."""

SEALED: Final = Topic("heard.sealed.v1", compacted=True)
"""Sealed values, encrypted, by what they belong to; a tombstone after their erasure."""

PARKED: Final = Topic("heard.parked.v1", compacted=True)
"""Messages that refer to something not yet seen, encrypted, by message; a tombstone once released."""

DEAD_LETTERS: Final = Topic("heard.dead-letters.v1")
"""Messages that can never be used, encrypted, each with code, field and reason."""

TOPICS: Final = (INBOX, EVENTS, SEALED, PARKED, DEAD_LETTERS)
