"""Which events are measured? Threads of ten, from a community's words to a change, all interleaved."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final

from domain import change, concern, contact, decision, feedback, priority, support
from domain.catalogue import schema_digest
from domain.event import Actor, Cause, Envelope, MessageId, Reported, write
from domain.ids import Ids
from domain.values import Contributor, Occurred, SubjectId, stamp

LENGTH: Final = 10
"""Events of one thread."""
FORCE: Final = "measured-force"
SOURCE: Final = "/benchmarks"
START: Final = datetime(2024, 1, 1, tzinfo=UTC)
IDS: Final = Ids(bytes(32))


@dataclass
class Thread:
    """One input and what became of it."""

    number: int
    place: str
    random: Random
    made: dict[str, Envelope] = field(default_factory=dict)

    def events(self) -> Iterator[Envelope]:
        """Its events in order; each is written when it is asked for."""
        somebody = Contributor(subject=SubjectId(IDS.of("person", str(self.number))), may_contact=True)
        yield self._next("K", contact.Recorded(ref=self._ref("K"), channel="email", contributor=somebody))
        yield self._next("N", concern.Raised(ref=self._ref("N"), kind="concern", theme="asb"), "raised_in K")
        yield self._next("N", concern.Acknowledged(ref=self._ref("N"), channel="email"))
        yield self._next("S", support.Given(ref=self._ref("S"), stance="agree"), "supports N")
        yield self._next("T", support.Given(ref=self._ref("T"), stance="disagree"), "supports N")
        made = decision.Made(ref=self._ref("D"), outcome="adopted_as_priority", business_area="patrol")
        yield self._next("D", made, "derived_from N", "derived_from K")
        yield self._next("P", priority.Set(ref=self._ref("P"), issue="Noise at night"), "derived_from D")
        yield self._next("A", change.Planned(ref=self._ref("A"), kind="patrol"), "derived_from D")
        yield self._next("A", change.Implemented(ref=self._ref("A"), kind="patrol"))
        sent = feedback.Sent(ref=self._ref("F"), audience="public", channel="website")
        yield self._next("F", sent, "reports_on A", "answers N")

    def _ref(self, letter: str) -> str:
        return f"{letter}{self.number}"

    def _next(self, letter: str, event: Reported, *causes: str) -> Envelope:
        kind = event.TOPIC.split(".", 2)[1]
        before = self.made.get(letter)
        stream = IDS.stream(kind, FORCE, SOURCE, event.ref)
        version = before.version + 1 if before else 1
        at = START + timedelta(minutes=self.random.randrange(500_000))
        links = []
        for cause in causes:
            relation, _, of = cause.partition(" ")
            first = self.made[of]
            links.append(Cause(relation, first.id, first.digest))
        words = {("words",)} & set(event.sealed_paths())
        envelope = write(
            event,
            sealed={path: b64encode(self.random.randbytes(32)).decode() for (path,) in words},
            schema=schema_digest(type(event)),
            id=IDS.event(stream, version),
            stream=stream,
            version=version,
            prev=before.digest if before else None,
            force=FORCE,
            neighbourhood=self.place,
            key=f"{FORCE}/{self.place}",
            occurred=Occurred.model_validate({"kind": "date", "from": str(at.date())}),
            known_at=stamp(at),
            recorded_at=stamp(at),
            actor=Actor("neighbourhood_officer", IDS.of("actor", self.place)),
            causes=tuple(links),
            message=MessageId(SOURCE, f"{event.ref}.{version}"),
            caused_by=f"{event.ref}.{version}",
            correlation=self._ref("K"),
        )
        # The causes of later events are the things that were made: their first events.
        self.made[letter] = envelope if before is None else before
        return envelope


def interleaved(threads: int, *, places: int, seed: int = 1) -> Iterator[Envelope]:
    """The events of so many threads over so many neighbourhoods, in an order drawn over all of them."""
    random = Random(seed)
    running = [Thread(number, f"place-{number % places:04}", random).events() for number in range(threads)]
    turns = [number for number in range(threads) for _ in range(LENGTH)]
    random.shuffle(turns)
    for number in turns:
        yield next(running[number])
