"""What is a thing called inside Heard? Ids that nobody without the key can guess or look up."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from domain.values import EventId, StreamId

_SEPARATOR = "\x1f"


@dataclass(frozen=True, slots=True)
class Ids:
    """Ids under one installation's key (32 bytes): the same names give the same id, for ever."""

    key: bytes

    def __repr__(self) -> str:
        return "Ids(key=<secret>)"

    def of(self, kind: str, *names: str) -> str:
        """UUIDv8 (RFC 9562) of HMAC-SHA-256 over the kind and the names, lower case with hyphens."""
        mac = self._mac(kind, names)
        value = bytearray(mac[:16])
        value[6] = value[6] & 0x0F | 0x80
        value[8] = value[8] & 0x3F | 0x80
        text = value.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def stream(self, kind: str, force: str, source: str, reference: str) -> StreamId:
        """The stream of a thing, from the name that its source gives it.

        A force and a neighbourhood are called the same by every source, so theirs leaves it out.
        """
        if kind in ("force", "neighbourhood"):
            source = ""
        return StreamId(self.of(kind, force, source, reference))

    def event(self, stream: StreamId, version: int) -> EventId:
        """The id of a stream's event; the first one makes the thing and shares its id."""
        return EventId(stream if version == 1 else self.of("event", stream, str(version)))

    def fingerprint(self, *names: str) -> str:
        """64 hex digits that tell equal from different and nothing else (a message's body)."""
        return self._mac("fingerprint", names).hex()

    def _mac(self, kind: str, names: tuple[str, ...]) -> bytes:
        # Lengths, not only separators: ("a", "bc") and ("ab", "c") must differ whatever is in them.
        parts = [f"{len(part)}{_SEPARATOR}{part}" for part in (kind, *names)]
        return hmac.digest(self.key, _SEPARATOR.join(parts).encode(), "sha256")
