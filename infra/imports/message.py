"""How does an imported fact become a message: a CloudEvent 1.0 in structured mode?"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from domain.errors import InvalidMessageError
from domain.event import Reported
from domain.values import Identifier, Place, instant, stamp

_PLACE: Final[TypeAdapter[str]] = TypeAdapter(Place)
_IDENTIFIER: Final[TypeAdapter[str]] = TypeAdapter(Identifier)

UNKNOWN: Final[dict[str, str]] = {"kind": "unknown"}
"""Nobody says when it happened."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose messages they are: force, neighbourhood and CloudEvents source."""

    force: str
    neighbourhood: str
    source: str

    def __post_init__(self) -> None:
        """InvalidMessageError if no message from there could ever be used."""
        for name, given in (("force", self.force), ("neighbourhood", self.neighbourhood)):
            if not _fits(_PLACE, given):
                raise InvalidMessageError(
                    "field_invalid", f"the {name} is not an id", field=name,
                    expected="1 to 64 letters, digits, `.`, `_` or `-`", got="something else",
                    hint=f"give the id that the police use, like --{name} "
                    + ("leicestershire" if name == "force" else "NC04"),
                )  # fmt: skip
        if not self.source or len(self.source) > 512 or "\0" in self.source:
            raise InvalidMessageError(
                "field_invalid", "the source cannot be used", field="source",
                expected="1 to 512 characters", got=f"{len(self.source)} characters",
                hint="leave it out, or give one like /import/polis/F/N/second",
            )  # fmt: skip

    def message(
        self,
        event: type[Reported],
        id_: str,
        ref: str,
        *,
        occurred: dict[str, str],
        time: str | None,
        role: str,
        **fields: Any,
    ) -> dict[str, Any]:
        """One message; fields that are None are left out, and so is a time that nobody knows."""
        message: dict[str, Any] = {
            "specversion": "1.0",
            "id": id_,
            "source": self.source,
            "type": event.TOPIC,
            "time": time,
            "datacontenttype": "application/json",
            "data": {
                "ref": ref,
                "force": self.force,
                "neighbourhood": self.neighbourhood,
                "occurred": occurred,
                "actor": {"role": role},
                **{name: given for name, given in fields.items() if given is not None},
            },
        }
        if time is None:
            del message["time"]
        return message


def is_reference(text: str) -> bool:
    """Whether a thing may be called that."""
    return _fits(_IDENTIFIER, text)


def at(text: str | None) -> tuple[dict[str, str], str | None]:
    """`occurred` and `time` of an instant, which keeps the offset that it was written with."""
    return (UNKNOWN, None) if text is None else ({"kind": "instant", "from": text}, instant(text))


def on(day: date | None) -> tuple[dict[str, str], str | None]:
    """`occurred` and `time` of a day: its source knew of it from 00:00 UTC on."""
    if day is None:
        return UNKNOWN, None
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return {"kind": "date", "from": day.isoformat()}, stamp(midnight)


def later(first: str | None, second: str | None) -> str | None:
    """The later of two times; a thing cannot have gone on before it was known at all."""
    return max(first, second) if first and second else second


def _fits(adapter: TypeAdapter[str], text: str) -> bool:
    try:
        adapter.validate_python(text, strict=True)
    except ValidationError:
        return False
    return True
