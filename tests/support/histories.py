"""What may happen in a force? Random histories of every event type, each fact allowed by the domain.

Messages are read and decided on as intake does it; what the rules refuse is left out, so that
whatever is recorded is valid. The same seed gives the same history, byte for byte.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import orjson

from consumers.envelope import read
from consumers.upstream import STRUCTURED
from domain.catalogue import EVENTS
from domain.errors import RuleBrokenError
from domain.event import Actor, Envelope, Event, MessageId
from domain.ids import Ids
from domain.message import Discarded
from domain.relations import RELATIONS
from domain.subject import Erased, ErasureRequested
from domain.values import StreamId, stamp
from infra.randomness import SeededRandomness
from services.desk import ACCEPTED, Circumstances, Desk
from services.message import Message
from services.partitioning import partition_of
from services.ports import Work
from tests.support.memory import MemoryEventStore, MemoryKeyStore, MovableClock

FORCE: Final = "met"
SOURCE: Final = "/history"
ACROSS: Final = 0.24
"""How often a cause is looked for in another partition; it is found there more often than at home,
so that about 30 % of all links go across."""
_BEGIN: Final = datetime(2024, 1, 31, 9, 30, tzinfo=UTC)
_PEOPLE: Final = {f"P{n}": {"may_contact": n % 2 == 0, "public": n % 3 == 0} for n in range(6)}
_WAITS: Final = [timedelta(0)] * 3 + [
    timedelta(seconds=1), timedelta(hours=5), timedelta(days=1), timedelta(days=16),
]  # fmt: skip
_EARLIER: Final = [timedelta(0), timedelta(0), timedelta(minutes=1), timedelta(hours=30), timedelta(days=9)]


@dataclass(frozen=True)
class Thing:
    """Something that has been reported: how it is called, and where it lies."""

    kind: str
    ref: str
    neighbourhood: str | None
    partition: int


@dataclass(frozen=True)
class History:
    """What was committed, transaction by transaction, and under which ids and keys."""

    commits: Sequence[Work]
    keys: MemoryKeyStore
    ids: Ids
    places: Mapping[str, int]
    """{neighbourhood, `-` for the whole force: its partition}."""

    @property
    def events(self) -> list[Envelope]:
        """Every event, in commit order."""
        return [event for work in self.commits for event in work.events]

    def links(self) -> tuple[int, int]:
        """How many links there are, and how many of them join two partitions."""
        events = self.events
        where = {event.stream: self.places[event.place] for event in events}
        links = [(where[cause.thing], where[event.stream]) for event in events for cause in event.causes]
        return len(links), sum(cause != effect for cause, effect in links)


@dataclass
class Author:
    """Writes a history, one message at a time."""

    seed: int
    partitions: int = 4
    rng: random.Random = field(init=False)
    clock: MovableClock = field(init=False)
    keys: MemoryKeyStore = field(init=False)
    store: MemoryEventStore = field(init=False, default_factory=MemoryEventStore)
    ids: Ids = field(init=False)
    things: dict[str, list[Thing]] = field(init=False, default_factory=dict)
    places: dict[str, int] = field(init=False)
    commits: list[Work] = field(init=False, default_factory=list)
    _randomness: SeededRandomness = field(init=False)
    _desk: Desk | None = field(init=False, default=None)
    _sent: int = field(init=False, default=0)
    _known_at: datetime = field(init=False, default=_BEGIN)
    _supports: dict[str, tuple[list[str], dict[str, Any]]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = MovableClock(_BEGIN)
        self.keys = MemoryKeyStore(b"keys of %d" % self.seed)
        self._randomness = SeededRandomness(b"salts of %d" % self.seed)
        self.ids = Ids(self.keys.id_key())
        self.places = places(self.partitions)

    # -- by hand ---------------------------------------------------------------------------------

    def tell(
        self,
        fact: str,
        ref: str,
        *causes: str,
        at: str | None = "whole force",
        time: datetime | None = None,
        **fields: Any,
    ) -> bool:
        """Report a fact: `concern.raised`, `N1`, then causes as `relation kind ref`.

        `at` is the neighbourhood; False when the rules refuse it or nothing changes.
        """
        kind = fact.partition(".")[0]
        known = self._thing(kind, ref)
        if known is not None:
            at = known.neighbourhood
        elif at == "whole force":
            at = None
        self._sent += 1
        named = [dict(zip(("relation", "kind", "ref"), cause.split(), strict=True)) for cause in causes]
        message = self._read(
            {
                "specversion": "1.0",
                "id": f"m{self._sent}",
                "source": SOURCE,
                "type": f"heard.{fact}.v1",
                "time": stamp(time or self.clock.now()),
                "data": {
                    "ref": ref, "force": FORCE, "actor": {"role": "officer"}, "causes": named,
                    **({} if at is None else {"neighbourhood": at}), **fields,
                },
            }
        )  # fmt: skip
        desk = self._at_desk()
        desk.prepare([message])
        try:
            accepted = desk.handle(message) == ACCEPTED
        except RuleBrokenError:
            return False
        if accepted and known is None:
            self.things.setdefault(kind, []).append(Thing(kind, ref, at, self.places[at or "-"]))
        return accepted

    def own(self, kind: str, name: str, event: Event) -> None:
        """Record what Heard itself reports: an erasure, a dead letter that was discarded."""
        desk = self._at_desk()
        stream = StreamId(self.ids.of(kind, name))
        desk.load([stream])
        here = self.rng.choice([None, *(place for place in self.places if place != "-")])
        message = MessageId(SOURCE, name) if kind == "message" else None
        desk.record(stream, event, (), Circumstances(FORCE, here, Actor("data_protection"), message=message))

    def commit(self) -> None:
        """Write what was reported since the last commit, in one transaction."""
        if self._desk is not None and self._desk.work.events:
            self.store.commit(self._desk.work)
            self.commits.append(self._desk.work)
        self._desk = None

    def history(self) -> History:
        """Everything that was committed."""
        self.commit()
        return History(self.commits, self.keys, self.ids, self.places)

    def _at_desk(self) -> Desk:
        if self._desk is None:
            self._desk = Desk(self.store, self.keys, self.clock, self._randomness, self.ids)
        return self._desk

    def _read(self, document: dict[str, Any]) -> Message:
        found = read(orjson.dumps(document), STRUCTURED, self.ids, self.clock.now())
        assert isinstance(found, Message), (found.error.message, found.error.field, document)
        return found

    def _thing(self, kind: str, ref: str) -> Thing | None:
        return next((thing for thing in self.things.get(kind, ()) if thing.ref == ref), None)

    # -- at random -------------------------------------------------------------------------------

    def begin(self) -> None:
        """The force and its neighbourhoods; the settings stay at their defaults for a while."""
        self.tell("force.registered", FORCE, name="A police force")
        for place in self.places:
            if place != "-":
                self.tell("neighbourhood.registered", place, at=place, name=f"The ward {place}")

    def step(self) -> None:
        """One random fact, if the rules allow it; sometimes a commit, sometimes time goes by."""
        if self.rng.random() < 0.04:
            self._own_fact()
        else:
            (fact,) = self.rng.choices(list(_WEIGHTS), list(_WEIGHTS.values()))
            self._random_fact(fact)
        if self.rng.random() < 0.6:
            self.commit()
        self.clock.advance(self.rng.choice(_WAITS))

    def _random_fact(self, fact: str) -> None:
        kind, _, name = fact.partition(".")
        thing = self._subject_of(kind, name, makes=EVENTS[f"heard.{fact}.v1"].MAKES)
        if thing is None:
            return
        # Now and then the same instant again, and often earlier than it is written down.
        if self.rng.random() < 0.7:
            self._known_at = self.clock.now() - self.rng.choice(_EARLIER)
        fields = _FIELDS[fact](self.rng) if fact in _FIELDS else {}
        if kind in ("concern", "contact") and name in ("raised", "recorded") and self.rng.random() < 0.7:
            fields["contributor"] = self._person()
        if fields.get("audience") == "contributor":
            fields["contributor"] = self._person()
        causes = [] if kind in ("force", "neighbourhood") else self._causes(fact, thing)
        if kind == "support":  # whoever changes their mind says so of the same concern
            causes, fields["contributor"] = self._supports.setdefault(thing.ref, (causes, self._person()))
        if fact in _NEEDED and not causes:
            return
        self.tell(fact, thing.ref, *causes, at=thing.neighbourhood, time=self._known_at, **fields)

    def _subject_of(self, kind: str, name: str, *, makes: bool) -> Thing | None:
        known = self.things.get(kind, [])
        anew = name not in ("inputs_weighed", "implemented", "made", "held") or self.rng.random() < 0.5
        if kind in ("force", "neighbourhood") or not makes or (known and not anew):
            return self.rng.choice(known) if known else None
        place = self.rng.choice(list(self.places))
        ref = f"{kind[:2].upper()}{self._sent}"
        return Thing(kind, ref, None if place == "-" else place, self.places[place])

    def _person(self) -> dict[str, Any]:
        ref = self.rng.choice(list(_PEOPLE))
        return {"ref": ref, "contact": "by telephone", **_PEOPLE[ref]}

    def _causes(self, fact: str, effect: Thing) -> list[str]:
        chosen = [self._cause(effect, *_NEEDED[fact])] if fact in _NEEDED else []
        if effect.kind != "support" and fact not in ("concern.grouped", "concern.ungrouped"):
            pairs = _MAY[effect.kind]
            count = self.rng.choice((0, 0, 1, 2)) if pairs else 0
            chosen += [self._cause(effect, *self.rng.choice(pairs)) for _ in range(count)]
        return [cause for cause in dict.fromkeys(chosen) if cause is not None]

    def _cause(self, effect: Thing, relations: Sequence[str], kinds: Sequence[str]) -> str | None:
        across = self.rng.random() < ACROSS
        fitting = [
            thing
            for kind in kinds
            for thing in self.things.get(kind, ())
            if thing.ref != effect.ref and (thing.partition != effect.partition) == across
        ]
        if not fitting:
            return None
        # The last ones more often: threads grow long, and groups are joined and left again.
        (thing,) = self.rng.choices(fitting, [1 + n for n in range(len(fitting))])
        return f"{self.rng.choice(list(relations))} {thing.kind} {thing.ref}"

    def _own_fact(self) -> None:
        person = self.rng.choice(list(_PEOPLE))
        known = self.keys.subject(f"{FORCE}\0{SOURCE}\0{person}")
        match self.rng.randrange(3):
            case 0:
                self.own(
                    "message", f"dead{self._sent}",
                    Discarded(dead_letter=f"dead{self._sent}", code="not_json", reason_words="a test line"),
                )  # fmt: skip
            case 1 if known is not None:
                self.own("subject", known, ErasureRequested(key_id=StreamId(known)))
                if self.rng.random() < 0.5:
                    self.commit()
                self.own("subject", known, Erased(key_id=StreamId(known)))
            case _:
                pass


def places(partitions: int) -> dict[str, int]:
    """{place: partition}: the whole force, and neighbourhoods in every partition; two in the first."""
    found = {"-": partition_of(f"{FORCE}/-".encode(), partitions)}
    wanted = [*range(partitions), 0]
    for name in (f"ward-{n}" for n in range(1000)):
        if wanted and (part := partition_of(f"{FORCE}/{name}".encode(), partitions)) in wanted:
            wanted.remove(part)
            found[name] = part
    return found


def write(seed: int, facts: int, partitions: int = 4) -> History:
    """The random history of a seed: after its first `facts` facts it is committed and ends."""
    author = Author(seed, partitions)
    author.begin()
    while sum(len(work.events) for work in author.commits) < facts:
        author.step()
    return author.history()


def by_hand(*, partitions: int = 4) -> Author:
    """An author of a history that a test tells fact by fact."""
    author = Author(0, partitions)
    author.begin()
    author.commit()
    return author


# -- what a random fact says ---------------------------------------------------------------------

_MAY: Final = {
    kind: [
        ((relation,), causes)
        for relation, pairs in RELATIONS.items()
        for effects, causes in pairs
        if kind in effects and relation not in ("grouped_with", "supports", "rests_on")
    ]
    for kind in {event.split(".")[1] for event in EVENTS}
}
_NEEDED: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "concern.grouped": (("grouped_with",), ("concern",)),
    "support.given": (("supports",), ("concern",)),
    "support.changed": (("supports",), ("concern",)),
    "support.withdrawn": (("supports",), ("concern",)),
    "decision.inputs_weighed": (("weighed", "derived_from"), ("concern", "contact")),
    "decision.made": (("weighed", "derived_from"), ("concern", "contact")),
    "decision.revised": (("derived_from",), ("concern",)),
    "priority.set": (("derived_from",), ("decision", "concern")),
    "change.planned": (("derived_from",), ("decision", "concern", "priority")),
    "feedback.sent": (("reports_on",), ("decision", "change", "priority", "referral", "concern")),
    "referral.made": (("refers",), ("concern", "decision")),
}


def _outcome(rng: random.Random) -> dict[str, Any]:
    return rng.choice(
        [
            {"outcome": "changed_delivery"},
            {"outcome": "declined", "reasons": ["no_legal_power"], "reason_words": "It is not allowed."},
            {
                "outcome": "deferred", "reasons": ["resource_constraint"], "reason_words": "Not this year.",
                "review_on": "2025-04-01",
            },
        ]
    )  # fmt: skip


def _moderation(rng: random.Random) -> dict[str, Any]:
    return {"reason": rng.choice(["abusive", "off_topic"]), "reason_words": "It names somebody."}


def _telling(rng: random.Random) -> dict[str, Any]:
    audience = rng.choice(["contributor", "contributor", "section", "public", "public"])
    section = {"section": "under_21"} if audience == "section" else {}
    return {"audience": audience, "channel": rng.choice(["email", "website", "meeting"]), **section}


_FIELDS: Final[Mapping[str, Callable[[random.Random], dict[str, Any]]]] = {
    "force.settings_changed": lambda rng: {
        rng.choice(["decide_days", "tell_days", "measure_days", "review_months"]): rng.randint(1, 40)
    },
    "neighbourhood.boundary_revised": lambda rng: {
        "areas": [{"code": f"E0100{rng.randint(1000, 9999)}"}], "valid_from": "2024-04-01",
    },
    "neighbourhood.officer_named": lambda rng: {"officer": "Sgt A. Sample"},
    "engagement.planned": lambda rng: {
        "method": "public_meeting", "planned_for": f"2024-05-{rng.randint(1, 28):02d}", "words": "Come along",
    },
    "engagement.held": lambda rng: {"method": "public_meeting", "attendance": rng.randint(1, 50)},
    "contact.recorded": lambda rng: {"channel": "email", "words": "I wish to say this."},
    "contact.corrected": lambda rng: {"words": "I wished to say that."},
    "contact.moderated": _moderation,
    "concern.raised": lambda rng: {
        "kind": rng.choice(["concern", "request", "question"]), "theme": "noise", "words": "It is loud here.",
    },
    "concern.moderated": _moderation,
    "support.given": lambda rng: {"stance": rng.choice(["agree", "disagree", "pass"])},
    "support.changed": lambda rng: {"stance": rng.choice(["agree", "disagree", "pass"])},
    "decision.proposed": lambda rng: {"theme": "noise", "words": "Let us try this."},
    "decision.made": _outcome,
    "decision.revised": _outcome,
    "priority.set": lambda rng: {"issue": "Noise at night"},
    "priority.action_recorded": lambda rng: {"action": "Patrols at night"},
    "priority.closed": lambda rng: {"measure": "calls", "before": rng.randint(0, 9), "after": 1},
    "change.planned": lambda rng: {"kind": "patrol", "words": "More patrols"},
    "change.implemented": lambda rng: {"kind": "patrol", "words": "More patrols"},
    "change.measured": lambda rng: {"measure": "calls", "after": rng.randint(0, 9)},
    "change.abandoned": lambda rng: {"reasons": ["resource_constraint"], "reason_words": "Nobody was free."},
    "feedback.sent": _telling,
    "feedback.failed": lambda rng: {"reason": "bounced"},
    "feedback.answered": lambda rng: {"agrees": rng.random() < 0.5},
    "referral.made": lambda rng: {"partner": "council"},
    "referral.answered": lambda rng: {"reasons": rng.choice([[], ["no_legal_power"]])},
}  # fmt: skip

_OFTEN: Final = {
    "concern.raised": 9, "concern.grouped": 7, "concern.ungrouped": 5, "decision.made": 6, "feedback.sent": 6,
    "concern.reopened": 3, "support.given": 4, "change.implemented": 3, "force.settings_changed": 2,
    "referral.made": 3, "priority.set": 3, "contact.recorded": 3, "change.started": 4,
    "engagement.cancelled": 4, "force.registered": 0, "neighbourhood.registered": 0,
}  # fmt: skip
_WEIGHTS: Final = {
    fact: _OFTEN.get(fact, 1.5)
    for fact in (event.removeprefix("heard.").removesuffix(".v1") for event in EVENTS)
    if fact.partition(".")[0] not in ("duty", "subject", "message")
}
