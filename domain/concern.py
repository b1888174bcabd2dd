"""What do people want to be different, and how far has it come?"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, TypeAlias, assert_never

from domain.event import Reported
from domain.rules import Causes, made_once, related, unless
from domain.values import (
    Channel,
    Code,
    ConcernKind,
    Contributor,
    ModerationReason,
    Sealed,
    StreamId,
)  # fmt: skip


class Raised(Reported):
    """A concern, request, question, preference or praise came up."""

    TOPIC: ClassVar[str] = "heard.concern.raised.v1"
    MAKES: ClassVar[bool] = True

    kind: ConcernKind
    """Which of them it is."""
    theme: Code | None = None
    """What it is about, as the source classifies it."""
    section: Code | None = None
    """The section of the community that it comes from, where it is known."""
    contributor: Contributor | None = None
    """Who raised it; absent when anonymous or when it came up in a meeting."""
    words: Sealed | None = None
    """What was said."""
    address: Sealed | None = None
    """The address or place that it is about."""
    coordinates: Sealed | None = None
    """Exact coordinates, `latitude,longitude` in decimal degrees."""


class Acknowledged(Reported):
    """Whoever raised it was told that it has arrived."""

    TOPIC: ClassVar[str] = "heard.concern.acknowledged.v1"

    channel: Channel | None = None
    """By which channel."""


class TakenUp(Reported):
    """Somebody began to work on it."""

    TOPIC: ClassVar[str] = "heard.concern.taken_up.v1"


class Grouped(Reported):
    """It is about the same matter as another (`grouped_with`); both keep their words and support."""

    TOPIC: ClassVar[str] = "heard.concern.grouped.v1"


class Ungrouped(Reported):
    """It was not the same matter after all."""

    TOPIC: ClassVar[str] = "heard.concern.ungrouped.v1"


class Moderated(Reported):
    """It is not shown, for a reason that its author is told."""

    TOPIC: ClassVar[str] = "heard.concern.moderated.v1"

    reason: ModerationReason
    """Why."""
    reason_words: Sealed | None = None
    """Why, in plain words."""


class Withdrawn(Reported):
    """Whoever raised it took it back."""

    TOPIC: ClassVar[str] = "heard.concern.withdrawn.v1"


class Reopened(Reported):
    """It is not settled: it goes on."""

    TOPIC: ClassVar[str] = "heard.concern.reopened.v1"

    words: Sealed | None = None
    """Why, in somebody's words."""


class Confirmed(Reported):
    """Whoever raised it agrees that it has been dealt with."""

    TOPIC: ClassVar[str] = "heard.concern.confirmed.v1"


class Disputed(Reported):
    """Whoever raised it does not agree that it has been dealt with."""

    TOPIC: ClassVar[str] = "heard.concern.disputed.v1"

    words: Sealed | None = None
    """What is still wrong."""


class Closed(Reported):
    """The source closed its case. That says nothing about what was delivered."""

    TOPIC: ClassVar[str] = "heard.concern.closed.v1"

    reason_words: Sealed | None = None
    """Why, in the source's words."""


ConcernEvent: TypeAlias = (
    Raised | Acknowledged | TakenUp | Grouped | Ungrouped | Moderated | Withdrawn | Reopened
    | Confirmed | Disputed | Closed
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Concern:
    """What later facts depend on."""

    acknowledged: bool = False
    taken_up: bool = False
    group: StreamId | None = None
    """The concern that it is grouped with."""
    moderated: bool = False
    """Not shown; until it is reopened, whatever else is said of it."""
    withdrawn: bool = False
    """Taken back; until it is reopened, whatever else is said of it."""
    last: str = "raised"
    """The last of raised, moderated, withdrawn, reopened, confirmed, disputed, closed."""


def decide(state: Concern | None, event: ConcernEvent, causes: Causes) -> ConcernEvent | None:
    """The event, None if it changes nothing, or a broken rule."""
    if isinstance(event, Raised):
        made_once(state, event)
        return event
    assert state is not None
    match event:
        case Acknowledged():
            return None if state.acknowledged else event
        case TakenUp():
            return None if state.taken_up else event
        case Grouped():
            heads = {cause.thing for cause in related(causes, "grouped_with")}
            unless(
                "a_group_is_named",
                len(heads) == 1,
                f"a concern is grouped with exactly one other, {len(heads)} were named",
                "give one cause with the relation grouped_with",
            )
            head = heads.pop()
            unless(
                "one_group_at_a_time",
                state.group in (None, head),
                "this concern is grouped with another one",
                "ungroup it first: heard.concern.ungrouped.v1",
            )
            return None if state.group == head else event
        case Ungrouped():
            return None if state.group is None else event
        case Moderated():
            return None if state.moderated else event
        case Withdrawn():
            return None if state.withdrawn else event
        case Reopened():
            unless(
                "only_what_ended_is_reopened",
                state.last != "raised",
                "this concern was never withdrawn, moderated, closed, confirmed or disputed",
            )
            return None if state.last == "reopened" else event
        case Confirmed():
            _not_withdrawn(state)
            return None if state.last == "confirmed" else event
        case Disputed():
            _not_withdrawn(state)
            return None if state.last == "disputed" else event
        case Closed():
            return None if state.withdrawn or state.last == "closed" else event
        case _:
            assert_never(event)


def _not_withdrawn(state: Concern) -> None:
    unless(
        "what_was_withdrawn_is_not_judged",
        not state.withdrawn,
        "its contributor took this concern back",
        "reopen it first: heard.concern.reopened.v1",
    )


def evolve(state: Concern | None, event: ConcernEvent, causes: Causes) -> Concern:
    """The state after the event."""
    if isinstance(event, Raised):
        return Concern()
    before = state or Concern()
    match event:
        case Acknowledged():
            return replace(before, acknowledged=True)
        case TakenUp():
            return replace(before, taken_up=True)
        case Grouped():
            return replace(before, group=related(causes, "grouped_with")[0].thing)
        case Ungrouped():
            return replace(before, group=None)
        case Moderated():
            return replace(before, last="moderated", moderated=True)
        case Withdrawn():
            return replace(before, last="withdrawn", withdrawn=True)
        case Reopened():
            return replace(before, last="reopened", moderated=False, withdrawn=False, taken_up=False)
        case Confirmed():
            return replace(before, last="confirmed")
        case Disputed():
            return replace(before, last="disputed")
        case Closed():
            return replace(before, last="closed")
        case _:
            assert_never(event)
