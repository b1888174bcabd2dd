"""Which place is it, what does it cover, and which officer answers for it?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, ClassVar, TypeAlias, assert_never

from pydantic import Field

from domain.event import Reported
from domain.rules import Causes, made_once
from domain.values import Area, Count, PublicText, Sealed


class Registered(Reported):
    """A neighbourhood of the force was entered."""

    TOPIC: ClassVar[str] = "heard.neighbourhood.registered.v1"
    MAKES: ClassVar[bool] = True

    name: PublicText
    """The neighbourhood's name as the force publishes it."""
    population: Count | None = None
    """Residents, as the force publishes it."""


class BoundaryRevised(Reported):
    """The statistical areas that the neighbourhood covers, from a date on."""

    TOPIC: ClassVar[str] = "heard.neighbourhood.boundary_revised.v1"

    areas: Annotated[tuple[Area, ...], Field(min_length=1, max_length=500)]
    """The areas; a police neighbourhood is not one of them, only made up of them."""
    valid_from: date
    """The first day of this boundary."""


class OfficerNamed(Reported):
    """The officer whom residents can turn to."""

    TOPIC: ClassVar[str] = "heard.neighbourhood.officer_named.v1"

    officer: Sealed
    """The officer's name."""
    contact: Sealed | None = None
    """How the officer is reached."""


NeighbourhoodEvent: TypeAlias = Registered | BoundaryRevised | OfficerNamed


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """What later facts depend on."""

    areas: tuple[Area, ...] = ()
    valid_from: date | None = None


def decide(
    state: Neighbourhood | None, event: NeighbourhoodEvent, causes: Causes
) -> NeighbourhoodEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    match event:
        case Registered():
            made_once(state, event)
            return event
        case BoundaryRevised():
            assert state is not None
            same = (state.areas, state.valid_from) == (event.areas, event.valid_from)
            return None if same else event
        case OfficerNamed():
            return event
        case _:
            assert_never(event)


def evolve(state: Neighbourhood | None, event: NeighbourhoodEvent, causes: Causes) -> Neighbourhood:
    """The state after the event."""
    match event:
        case Registered():
            return Neighbourhood()
        case BoundaryRevised():
            return replace(state or Neighbourhood(), areas=event.areas, valid_from=event.valid_from)
        case OfficerNamed():
            return state or Neighbourhood()
        case _:
            assert_never(event)
