"""Which rules do several aggregates share?"""

from __future__ import annotations

from collections.abc import Iterable

from domain.errors import RuleBrokenError
from domain.event import Cause, Event

Causes = tuple[Cause, ...]


def unless(rule: str, allowed: bool, message: str, hint: str = "") -> None:
    """Raise the named rule unless `allowed`."""
    if not allowed:
        raise RuleBrokenError(rule, message, hint=hint)


def made_once(state: object | None, event: Event) -> None:
    """A reference names one thing: a second first fact for it is refused."""
    unless(
        "one_reference_one_thing",
        state is None,
        f"{event.TOPIC} came again, in another message, for a reference that is taken",
        "give the new thing a reference of its own, or report what changed about the first",
    )


def related(causes: Causes, *relations: str) -> tuple[Cause, ...]:
    """The causes that are joined by one of `relations`."""
    return tuple(cause for cause in causes if cause.relation in relations)


def some(items: Iterable[object]) -> bool:
    """Whether there is anything in it."""
    return any(True for _ in items)
