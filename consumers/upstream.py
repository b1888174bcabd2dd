"""How does a message get on the inbox? Checked first, all lines or none, in order for each place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from consumers.envelope import Unusable, read
from domain.errors import InvalidMessageError
from domain.ids import Ids
from services.message import Message
from services.ports import Log, Outgoing
from services.topics import INBOX

STRUCTURED: Final = (("content-type", b"application/cloudevents+json"),)
_BATCH: Final = 1000
_NO_MESSAGE: Final = ("not_json", "not_a_cloudevent")
_EACH_LINE: Final = "; each line is one message (a JSON object)"
"""Said where a line is none: whoever gives a list, or a document over many lines, learns the form."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A line that cannot be used, and why; lines count from 1."""

    line: int
    code: str
    field: str
    reason: str


def check(line: bytes, number: int, ids: Ids, now: datetime) -> Message | Rejected:
    """The message in a line, or why there is none."""
    try:
        fits(line)
        found = read(line, STRUCTURED, ids, now)
        if isinstance(found, Unusable):
            raise found.error
    except InvalidMessageError as error:
        expected = f"{error.expected}{_EACH_LINE}" if error.code in _NO_MESSAGE else error.expected
        return Rejected(number, error.code, error.field, f"{error.message}: {expected}")
    return found


def fits(line: bytes) -> None:
    """Raise InvalidMessageError (`too_large`) for a body that the inbox does not take."""
    if len(line) > INBOX.max_bytes:
        raise InvalidMessageError(
            "too_large", "the body is too large for the inbox",
            expected=f"at most {INBOX.max_bytes} bytes", got=f"{len(line)} bytes",
            hint="send less in one message",
        )  # fmt: skip


def send(log: Log, lines: Iterable[tuple[bytes, bytes]]) -> int:
    """Put (key, line) on the inbox in batches; how many were sent."""
    sent = 0
    for batch in _batches(lines):
        log.append([Outgoing(INBOX.name, key, line, STRUCTURED) for key, line in batch])
        sent += len(batch)
    return sent


def key_of(message: Message) -> bytes:
    """Messages about one place keep their order."""
    return f"{message.force}/{message.neighbourhood or '-'}".encode()


def _batches(lines: Iterable[tuple[bytes, bytes]]) -> Iterator[list[tuple[bytes, bytes]]]:
    source = iter(lines)
    while batch := list(islice(source, _BATCH)):
        yield batch
