"""Which duties follow from which facts? Six rules, each with the facts that start, meet and end it.

A workflow never speaks for the police: what goes out are duties. Deadlines are data: they come in
with the force's settings. State and answer depend on which facts there are, not on their order,
so every interleaving of partitions gives the same duties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final, Literal, TypeAlias

from domain import change, concern, decision, feedback, priority, referral
from domain.event import Event
from domain.force import Force
from domain.values import DutyRule
from projections.feedback_owed import MODERATING, MOVING

Says: TypeAlias = Literal["starts", "meets", "ends"]


@dataclass(frozen=True, slots=True)
class Signal:
    """A fact as one rule sees it, about one thing: it starts, meets or ends what is owed."""

    rule: DutyRule
    about: str
    says: Says
    event_id: str
    digest: str
    known_at: str
    order: str
    """Sorts by `since`, then by position; a duty is met by what comes after its start."""
    position: int
    correlation: str | None = None
    """The message that the fact came in, for logs."""
    again: bool = False
    """Whether it starts because telling failed."""
    since: str = ""
    """When it became known, but no sooner than what stands before it in its own stream."""


@dataclass(frozen=True, slots=True)
class Owed:
    """A duty that was started, and how it stands."""

    start: Signal
    opened: bool = False
    discharged: bool = False
    lapsed: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What one rule knows of one thing."""

    owed: Mapping[str, Owed] = field(default_factory=dict)
    """By the id of the event that started it."""
    met: Signal | None = None
    """The latest fact that meets the rule."""
    ended: Signal | None = None
    """The latest fact that ends it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A fact that a duty needs: opened by its start, discharged or lapsed by another fact."""

    start: Signal
    fact: Literal["opened", "discharged", "lapsed"]
    because: Signal


def evolve(case: Case, signal: Signal) -> Case:
    """The case after a signal; the same however often and in whatever order signals come."""
    match signal.says:
        case "starts":
            if signal.event_id in case.owed:
                return case
            return replace(case, owed={**case.owed, signal.event_id: Owed(signal)})
        case "meets":
            return replace(case, met=_later(case.met, signal))
        case "ends":
            return replace(case, ended=_later(case.ended, signal))


def _later(one: Signal | None, other: Signal) -> Signal:
    return other if one is None or one.order < other.order else one


def decide(case: Case) -> list[Step]:
    """The facts that the duties of this case still need."""
    steps: list[Step] = []
    for owed in case.owed.values():
        start = owed.start
        if not owed.opened:
            steps.append(Step(start, "opened", start))
        if case.met is not None and start.order < case.met.order and not owed.discharged:
            steps.append(Step(start, "discharged", case.met))
        if case.ended is not None and start.order < case.ended.order and not owed.lapsed:
            steps.append(Step(start, "lapsed", case.ended))
    return steps


def take(case: Case, steps: Iterable[Step]) -> Case:
    """The case once these steps are taken."""
    owed = dict(case.owed)
    for step in steps:
        taken: dict[str, Any] = {step.fact: True}
        owed[step.start.event_id] = replace(owed[step.start.event_id], **taken)
    return replace(case, owed=owed)


# -- the rules -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about a thing's own facts. What comes from other things is the graph's business."""

    name: DutyRule
    starts: tuple[type[Event], ...]
    due: Callable[[Force, datetime], datetime]
    meets: tuple[type[Event], ...] = ()
    ends: tuple[type[Event], ...] = ()


def _months_on(moment: datetime, months: int) -> datetime:
    """The same day of a later month, or that month's last day."""
    year, month = divmod(moment.month - 1 + months, 12)
    first = moment.replace(year=moment.year + year, month=month + 1, day=1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(moment.day, last.day))


_NO_LONGER_ASKED: Final = (concern.Withdrawn, concern.Moderated)

RULES: Final[Mapping[str, Rule]] = {
    rule.name: rule
    for rule in (
        Rule(
            "acknowledge_concern",
            starts=(concern.Raised,),
            meets=(concern.Acknowledged,),
            ends=_NO_LONGER_ASKED,
            due=lambda force, at: at + timedelta(hours=force.acknowledge_hours),
        ),
        Rule(
            "decide_concern",  # met by decisions that rest on it
            starts=(concern.Raised, concern.Reopened),
            ends=_NO_LONGER_ASKED,
            due=lambda force, at: at + timedelta(days=force.decide_days),
        ),
        Rule(
            "tell_contributor",  # started by what moves it on, met by feedback that reaches it
            starts=MODERATING,
            due=lambda force, at: at + timedelta(days=force.tell_days),
        ),
        Rule(
            "chase_referral",
            starts=(referral.Made,),
            meets=(referral.Answered,),
            ends=(referral.Withdrawn,),
            due=lambda force, at: at + timedelta(days=force.referral_days),
        ),
        Rule(
            "review_priority",
            starts=(priority.Set, priority.Reviewed),
            meets=(priority.Reviewed, priority.Closed),
            due=lambda force, at: _months_on(at, force.review_months),
        ),
        Rule(
            "measure_change",
            starts=(change.Implemented,),
            meets=(change.Measured,),
            ends=(change.Abandoned,),
            due=lambda force, at: at + timedelta(days=force.measure_days),
        ),
    )
}
"""By name."""

MOVES: Final[tuple[type[Event], ...]] = (*MOVING, feedback.Failed)
"""Facts by which the inputs that they rest on move on. Failed feedback has to be given again."""
DECIDES: Final[tuple[type[Event], ...]] = (decision.Made, decision.Revised)
TELLS: Final[tuple[type[Event], ...]] = (feedback.Sent,)
AGAIN: Final[tuple[type[Event], ...]] = (feedback.Failed,)


@cache
def says(event: type[Event]) -> tuple[tuple[DutyRule, Says], ...]:
    """(rule, what it says to the rule about its own thing) of an event of this type."""
    found: list[tuple[DutyRule, Says]] = []
    for rule in RULES.values():
        found += [(rule.name, "starts")] * (event in rule.starts)
        found += [(rule.name, "meets")] * (event in rule.meets)
        found += [(rule.name, "ends")] * (event in rule.ends)
    return tuple(found)


def signal(
    rule: DutyRule,
    about: str,
    says: Says,
    event_id: str,
    digest: str,
    known_at: str,
    position: int,
    correlation: str | None = None,
    again: bool = False,
    since: str | None = None,
) -> Signal:
    """A signal, with its order: by the time it became known, then by position; no two are equal.

    `since` is the latest time at which the event or one before it in its stream became known: within
    a stream the stream's order decides, whatever times the source gives. Absent: `known_at`.
    Telling is the exception: what is told on the day of a move tells of that move, whichever was
    written down first. Only what failed is not made good by what was sent before it.
    """
    told = rule == "tell_contributor" and says == "meets"
    since = known_at if since is None else since
    order = f"{since}{'~' if told or again else '/'}{position:020d}"
    return Signal(rule, about, says, event_id, digest, known_at, order, position, correlation, again, since)


def due(rule: str, force: Force, known_at: str) -> datetime:
    """Until when something is owed that began when it became known."""
    return RULES[rule].due(force, datetime.fromisoformat(known_at))
