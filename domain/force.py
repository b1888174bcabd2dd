"""What is known of a police force, and which time limits has it set itself?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias, assert_never
from zoneinfo import ZoneInfo, available_timezones

from pydantic import Field, field_validator

from domain.event import Reported
from domain.rules import Causes, made_once
from domain.values import Count, Days, Identifier, PublicText


class Registered(Reported):
    """A police force began to keep its record here."""

    TOPIC: ClassVar[str] = "heard.force.registered.v1"
    MAKES: ClassVar[bool] = True

    name: PublicText
    """The force's name in full."""
    time_zone: Identifier = "Europe/London"
    """IANA name of the time zone in which its days begin and end."""

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in available_timezones():
            raise ValueError("an IANA time zone such as Europe/London is expected")
        ZoneInfo(name)
        return name


class SettingsChanged(Reported):
    """The force set the times in which it owes something; what is left out keeps its value."""

    TOPIC: ClassVar[str] = "heard.force.settings_changed.v1"

    acknowledge_hours: Count | None = Field(default=None, ge=1, le=8760)
    """Hours in which a concern is acknowledged."""
    decide_days: Days | None = None
    """Days in which a concern is decided on."""
    tell_days: Days | None = None
    """Days in which contributors are told that their input moved on."""
    referral_days: Days | None = None
    """Days after which a partner who has not answered is asked again."""
    measure_days: Days | None = None
    """Days after which an implemented change is measured."""
    review_months: Days | None = Field(default=None, ge=1, le=120)
    """Months after which a priority is reviewed."""


ForceEvent: TypeAlias = Registered | SettingsChanged


@dataclass(frozen=True, slots=True)
class Force:
    """The force's settings as they stand; `version` counts its events, 0 for the defaults."""

    version: int = 0
    time_zone: str = "Europe/London"
    acknowledge_hours: int = 72
    decide_days: int = 28
    tell_days: int = 14
    referral_days: int = 28
    measure_days: int = 90
    review_months: int = 3


def decide(state: Force | None, event: ForceEvent, causes: Causes) -> ForceEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Registered():
            made_once(state, event)
            return event
        case SettingsChanged():
            assert state is not None
            changed = replace(evolve(state, event, causes), version=state.version) != state
            return event if changed else None
        case _:
            assert_never(event)


def evolve(state: Force | None, event: ForceEvent, causes: Causes) -> Force:
    """The state after the event."""
    match event:
        case Registered():
            return Force(version=1, time_zone=event.time_zone)
        case SettingsChanged():
            before = state or Force()
            given = event.model_dump(exclude_none=True, exclude={"ref"})
            return replace(before, version=before.version + 1, **given)
        case _:
            assert_never(event)
