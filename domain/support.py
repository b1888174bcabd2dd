"""Does this person agree with that concern? One stream for each concern and person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeAlias, assert_never

from domain.event import Reported
from domain.rules import Causes, related, unless
from domain.values import Contributor, Stance


class Given(Reported):
    """A person said whether they agree. A person counts once, however often they say the same."""

    TOPIC: ClassVar[str] = "heard.support.given.v1"
    MAKES: ClassVar[bool] = True

    stance: Stance
    """Agree, disagree, or passed over without an opinion."""
    contributor: Contributor | None = None
    """Who; absent when anonymous (then each reference counts as one person)."""


class Changed(Reported):
    """They changed their mind; what they said before stays in the record."""

    TOPIC: ClassVar[str] = "heard.support.changed.v1"

    stance: Stance
    """What they say now."""
    contributor: Contributor | None = None
    """Who, as when it was given."""


class Withdrawn(Reported):
    """They took it back."""

    TOPIC: ClassVar[str] = "heard.support.withdrawn.v1"

    contributor: Contributor | None = None
    """Who, as when it was given."""


SupportEvent: TypeAlias = Given | Changed | Withdrawn


@dataclass(frozen=True, slots=True)
class Support:
    """What the person says now; None when taken back."""

    stance: Stance | None


def decide(state: Support | None, event: SupportEvent, causes: Causes) -> SupportEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    unless(
        "support_names_one_concern",
        len(related(causes, "supports")) == 1,
        "support is for exactly one concern",
        "give one cause with the relation supports",
    )
    match event:
        case Given():
            if state is None or state.stance is None:
                return event
            unless(
                "a_changed_mind_is_reported_as_changed",
                state.stance == event.stance,
                "this person has said something else about this concern",
                "report it as heard.support.changed.v1",
            )
            return None
        case Changed():
            assert state is not None
            return None if state.stance == event.stance else event
        case Withdrawn():
            assert state is not None
            return None if state.stance is None else event
        case _:
            assert_never(event)


def evolve(state: Support | None, event: SupportEvent, causes: Causes) -> Support:
    """The state after the event."""
    match event:
        case Given() | Changed():
            return Support(event.stance)
        case Withdrawn():
            return Support(None)
        case _:
            assert_never(event)
