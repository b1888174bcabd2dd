"""Given these facts, when that one is reported: does it happen, change nothing, or break a rule?

given(RAISED).when(CLOSED).then(CLOSED)
given(RAISED, CLOSED).when(CLOSED).then(nothing)
given(RAISED).when(REOPENED).then("only_what_ended_is_reopened")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from domain.catalogue import Aggregate, aggregate_of
from domain.errors import RuleBrokenError
from domain.event import Cause, Event
from domain.ids import Ids
from domain.rules import Causes
from domain.values import Digest, EventId, Influence

nothing: Final = None
"""The fact is known already: nobody writes it down again."""

Fact = Event | tuple[Event, Causes]


def because(relation: str, ref: str, influence: Influence | None = None) -> Cause:
    """A cause, whatever it is that is called so."""
    return Cause(relation, EventId(Ids(b"").of("thing", ref)), Digest(f"digest of {ref}"), influence)


def given(*facts: Fact) -> Given:
    """A thing to which these have happened, in this order; each is taken as it is."""
    state, aggregate = None, None
    for fact in facts:
        event, causes = _parts(fact)
        aggregate = aggregate_of(event.TOPIC)
        state = aggregate.evolve(state, event, causes)
    return Given(state, aggregate)


@dataclass(frozen=True)
class Given:
    """A thing as it stands; `state` None: there is none yet."""

    state: Any
    aggregate: Aggregate | None

    def when(self, event: Event, *causes: Cause) -> When:
        """Decide on one more fact."""
        aggregate = aggregate_of(event.TOPIC)
        assert self.aggregate in (None, aggregate), "facts of one aggregate"
        try:
            return When(aggregate.decide(self.state, event, causes))
        except RuleBrokenError as error:
            return When(error)


@dataclass(frozen=True)
class When:
    """What became of it."""

    outcome: Event | RuleBrokenError | None

    def then(self, expected: Event | str | None) -> None:
        """It is this event, `nothing`, or a broken rule, by its name."""
        if isinstance(self.outcome, RuleBrokenError):
            assert self.outcome.rule == expected
            assert self.outcome.message, "a rule says what it wants"
        else:
            assert self.outcome == expected


def _parts(fact: Fact) -> tuple[Event, Causes]:
    return fact if isinstance(fact, tuple) else (fact, ())
