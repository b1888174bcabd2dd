"""Which topics are there, and what does each promise about its records?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MEGABYTE: Final = 1024 * 1024


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
