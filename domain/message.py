"""Which message that could not be used was set aside for good, and why?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias, assert_never

from domain.event import Event
from domain.rules import Causes
from domain.values import Code, Identifier, Sealed


class Discarded(Event):
    """A dead letter was looked at and will not be tried again."""

    TOPIC: ClassVar[str] = "heard.message.discarded.v1"
    MAKES: ClassVar[bool] = True

    dead_letter: Identifier
    """The dead letter's id."""
    code: Code
    """Why the message could not be used."""
    reason_words: Sealed
    """Why it is discarded."""


MessageEvent: TypeAlias = Discarded


@dataclass(frozen=True, slots=True)
class Message:
    """It has been discarded."""


def decide(state: Message | None, event: MessageEvent, causes: Causes) -> MessageEvent | None:
    """The event, or None if it changes nothing."""
    match event:
        case Discarded():
            return event if state is None else None
        case _:
            assert_never(event)


def evolve(state: Message | None, event: MessageEvent, causes: Causes) -> Message:
    """The state after the event."""
    match event:
        case Discarded():
            return Message()
        case _:
            assert_never(event)
