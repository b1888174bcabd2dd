"""What do upstream systems report? Messages in the mix of a force, about things chosen by Zipf's law."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final, TypeVar

import orjson

from domain.ids import Ids
from domain.values import StreamId

FORCE: Final = "measured-force"
SOURCE: Final = "/benchmarks/upstream"
MIX: Final = {
    "contact.recorded": 40.0, "concern.raised": 30.0, "support.given": 20.0,
    "concern.grouped": 2.5, "decision.made": 2.5, "change.implemented": 2.5, "feedback.sent": 2.5,
}  # fmt: skip
"""Percent of all messages, by what they report."""
_WORDS: Final = (
    "cars", "speeding", "past", "the", "school", "every", "evening", "after", "dark", "street", "lights",
    "broken", "since", "spring", "noise", "litter", "needles", "near", "playground", "bins", "burnt",
    "again", "nobody", "came", "when", "we", "called", "people", "do", "not", "feel", "safe", "walking",
    "home", "from", "station", "please", "send", "a", "patrol",
)  # fmt: skip
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Line:
    """A message as it is published."""

    key: bytes
    body: bytes
    makes: tuple[str, str] | None
    """(kind, reference) of the thing that it makes, where its id follows from them."""

    def stream(self, ids: Ids) -> StreamId | None:
        """The id of that thing, and of the event that makes it."""
        return ids.stream(self.makes[0], FORCE, SOURCE, self.makes[1]) if self.makes else None

    @property
    def place(self) -> str:
        """The neighbourhood."""
        return self.key.decode().partition("/")[2]


@dataclass(slots=True)
class _Place:
    name: str
    contacts: list[str] = field(default_factory=list)
    concerns: list[str] = field(default_factory=list)
    decisions: list[tuple[str, str]] = field(default_factory=list)
    """(decision, concern that it is derived from)."""
    ungrouped: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Upstream:
    """All systems of one force. The same seed gives the same messages."""

    random: Random
    places: Sequence[_Place]
    people: int
    number: int = 0

    @classmethod
    def of(cls, messages: int, places: int, seed: int = 1) -> Upstream:
        """Systems that will report about so much."""
        found = [_Place(f"place-{number:04}") for number in range(places)]
        return cls(Random(seed), found, people=max(10, messages // 4))

    def registration(self) -> Line:
        """What the force says of itself; it comes first."""
        return self._line("-", "force.registered", FORCE, name="The force that is measured")

    def lines(self, count: int) -> Iterator[Line]:
        """The next messages; all of a place refer only to what came before in that place."""
        kinds, weights = list(MIX), list(MIX.values())
        for kind in self.random.choices(kinds, weights, k=count):
            self.number += 1
            yield self._about(kind, self._chosen(self.places))

    def _chosen(self, things: Sequence[_T]) -> _T:
        """One of them by Zipf's law: the k-th oldest in proportion to 1/k."""
        return things[int((len(things) + 1) ** self.random.random()) - 1]

    def _about(self, kind: str, place: _Place) -> Line:
        match kind:
            case "contact.recorded":
                return self._contact(place)
            case "support.given" if place.concerns:
                supported = [_cause("supports", "concern", self._chosen(place.concerns))]
                person = self._somebody()
                stance = "agree" if person["may_contact"] else "disagree"
                return self._line(
                    place.name,
                    kind,
                    f"S{self.number}",
                    supported,
                    stance=stance,
                    contributor=person,
                )
            case "concern.grouped" if len(place.ungrouped) > 1:
                one = place.ungrouped.pop()
                others = [_cause("grouped_with", "concern", self._chosen(place.ungrouped))]
                return self._line(place.name, kind, one, others)
            case "decision.made" if place.concerns:
                return self._decision(place)
            case "change.implemented" if place.decisions:
                decision, _ = self._chosen(place.decisions)
                because = [_cause("derived_from", "decision", decision)]
                return self._line(place.name, kind, f"A{self.number}", because, kind="patrol")
            case "feedback.sent" if place.decisions:
                decision, concern = self._chosen(place.decisions)
                about = [_cause("reports_on", "decision", decision), _cause("answers", "concern", concern)]
                words = {"words": self._words(), "audience": "public", "channel": "website"}
                return self._line(place.name, kind, f"F{self.number}", about, **words)
            case _ if kind != "concern.raised" and place is not self.places[0]:
                # There is nothing yet to support, group or decide on: the busiest place has it.
                return self._about(kind, self.places[0])
            case _:
                return self._concern(place)

    def _contact(self, place: _Place) -> Line:
        place.contacts.append(ref := f"K{self.number}")
        fields = {"channel": "online_form", "theme": "asb", "words": self._words()}
        return self._line(place.name, "contact.recorded", ref, contributor=self._somebody(), **fields)

    def _concern(self, place: _Place) -> Line:
        ref = f"N{self.number}"
        raised = [_cause("raised_in", "contact", self._chosen(place.contacts))] if place.contacts else []
        place.concerns.append(ref)
        place.ungrouped.append(ref)
        fields = {"kind": "concern", "theme": "asb", "words": self._words()}
        return self._line(place.name, "concern.raised", ref, raised, contributor=self._somebody(), **fields)

    def _decision(self, place: _Place) -> Line:
        concern, ref = self._chosen(place.concerns), f"D{self.number}"
        place.decisions.append((ref, concern))
        fields: dict[str, Any] = {"outcome": "adopted_as_priority", "business_area": "patrol"}
        if self.random.random() < 0.3:
            fields = {
                "outcome": "declined",
                "reasons": ["resource_constraint"],
                "reason_words": self._words(),
            }
        because = [_cause("derived_from", "concern", concern)]
        return self._line(place.name, "decision.made", ref, because, **fields)

    def _somebody(self) -> dict[str, Any]:
        number = int(self.people ** self.random.random())
        return {"ref": f"person-{number}", "may_contact": number % 2 == 0}

    def _words(self) -> str:
        return " ".join(self.random.choices(_WORDS, k=self.random.randrange(10, 50)))

    def _line(
        self, place: str, kind: str, ref: str, causes: Sequence[dict[str, str]] = (), /, **fields: Any
    ) -> Line:
        aggregate, _, fact = kind.partition(".")
        day = f"2025-{1 + self.number % 12:02}-{1 + self.number % 28:02}"
        data = {
            "ref": ref,
            "force": FORCE,
            "neighbourhood": None if place == "-" else place,
            "occurred": {"kind": "date", "from": day},
            "actor": {"role": "neighbourhood_officer"},
            "causes": causes,
        } | fields
        message = {
            "specversion": "1.0",
            "id": f"{self.number}.{fact}",
            "source": SOURCE,
            "type": f"heard.{kind}.v1",
            "time": f"{day}T09:00:00Z",
            "datacontenttype": "application/json",
            "data": {name: value for name, value in data.items() if value is not None},
        }
        made = None if aggregate == "support" or fact == "grouped" else (aggregate, ref)
        return Line(f"{FORCE}/{place}".encode(), orjson.dumps(message), made)


def _cause(relation: str, kind: str, ref: str) -> dict[str, str]:
    return {"relation": relation, "kind": kind, "ref": ref}
