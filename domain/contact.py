"""What did one person or organisation bring, and through which channel?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias, assert_never

from domain.event import Reported
from domain.rules import Causes, made_once, unless
from domain.values import Channel, Code, Contributor, ModerationReason, Sealed


class Recorded(Reported):
    """Somebody got in touch."""

    TOPIC: ClassVar[str] = "heard.contact.recorded.v1"
    MAKES: ClassVar[bool] = True

    channel: Channel
    """How it came in."""
    theme: Code | None = None
    """What it is about, as the source classifies it."""
    section: Code | None = None
    """The section of the community that the contributor said they belong to."""
    contributor: Contributor | None = None
    """Who brought it; absent when anonymous."""
    words: Sealed | None = None
    """What they said."""
    address: Sealed | None = None
    """The address that it is about."""
    coordinates: Sealed | None = None
    """Exact coordinates, `latitude,longitude` in decimal degrees."""


class Corrected(Reported):
    """What was written down was put right; the first wording stays in the record."""

    TOPIC: ClassVar[str] = "heard.contact.corrected.v1"

    words: Sealed
    """What they said, put right."""


class Moderated(Reported):
    """It is not shown, for a reason that its author is told."""

    TOPIC: ClassVar[str] = "heard.contact.moderated.v1"

    reason: ModerationReason
    """Why."""
    reason_words: Sealed | None = None
    """Why, in plain words."""


class Withdrawn(Reported):
    """Whoever brought it took it back."""

    TOPIC: ClassVar[str] = "heard.contact.withdrawn.v1"


ContactEvent: TypeAlias = Recorded | Corrected | Moderated | Withdrawn


@dataclass(frozen=True, slots=True)
class Contact:
    """Where it stands."""

    state: Literal["received", "withdrawn"] = "received"
    moderated: bool = False
    """Not shown; whether or not it is taken back as well."""


def decide(state: Contact | None, event: ContactEvent, causes: Causes) -> ContactEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Recorded():
            made_once(state, event)
            return event
        case Corrected():
            assert state is not None
            unless(
                "what_was_withdrawn_is_not_corrected",
                state.state != "withdrawn",
                "its contributor took this contact back",
            )
            return event
        case Moderated():
            assert state is not None
            return None if state.moderated else event
        case Withdrawn():
            assert state is not None
            return None if state.state == "withdrawn" else event
        case _:
            assert_never(event)


def evolve(state: Contact | None, event: ContactEvent, causes: Causes) -> Contact:
    """The state after the event."""
    match event:
        case Recorded():
            return Contact()
        case Corrected():
            return state or Contact()
        case Moderated():
            return replace(state or Contact(), moderated=True)
        case Withdrawn():
            return replace(state or Contact(), state="withdrawn")
        case _:
            assert_never(event)
