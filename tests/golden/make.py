"""How does a new event version get its golden sample? `python -m tests.golden.make`, once it exists.

Writes the samples that are missing and touches none that is there: an event that was written
stays as it is for ever.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import orjson

from domain.catalogue import EVENTS
from infra.logging import configure
from tests.golden.samples import DIGESTS, Recipe, follow, recipe, sample
from tests.support.facts import Message, life

_THING = "00000000-0000-8000-8000-000000000001"
_HERE = {"force": "met", "neighbourhood": "st-margarets"}


def _words(type_: str, path: str) -> str:
    return f"Somebody’s {path} in {type_}"


def _thing(message: Message) -> tuple[str, str]:
    return message["type"].split(".")[1], message["data"]["ref"]


def _needed(all_: Sequence[Message], at: int) -> set[int]:
    """The places of the earlier messages that this one cannot do without."""
    causes = {(cause["kind"], cause["ref"]) for cause in all_[at]["data"].get("causes", ())}
    own = {i for i in range(at) if _thing(all_[i]) == _thing(all_[at])}
    made = {min(i for i in range(at) if _thing(all_[i]) == thing) for thing in causes}
    return own.union(made, *(_needed(all_, i) for i in own | made))


def _reported() -> dict[str, Recipe]:
    """For each type that upstream reports: its last message in `life`, and what that needs."""
    messages = life(_words)
    last = {message["type"]: at for at, message in enumerate(messages)}
    return {
        type_: {"messages": [messages[i] for i in sorted({*_needed(messages, at), at})], "own": []}
        for type_, at in last.items()
    }


def _own() -> dict[str, Recipe]:
    """For each type that only Heard writes: as the workflows, the erasure and the operator do."""
    start = [message for message in life(_words) if message["data"]["ref"] == "N0"][:1]
    rule = "decide_concern"

    def own(fact: str, role: str, stream: list[str], *, rests: bool, **fields: Any) -> dict[str, Any]:
        place = {"force": "-", "neighbourhood": None} if role == "operator" else _HERE
        named = {"type": f"heard.{fact}.v1", "role": role, "stream": stream, "rests_on_the_first": rests}
        because = {
            "known_at": "2009-01-05T09:30:00.000000Z", "caused_by": _THING, "correlation": start[0]["id"],
        }  # fmt: skip
        return {**named, **place, "because": because if rests else {}, "fields": fields}

    duty = ["duty", rule, _THING, _THING]
    opened = own(
        "duty.opened", "heard", duty, rests=True, rule=rule, about=_THING, about_kind="concern",
        about_ref="N0", owed_by="neighbourhood_team", owed_to=_THING, due="2009-02-02T09:30:00Z",
        settings_version=1,
    )  # fmt: skip
    requested = own(
        "subject.erasure_requested", "data_protection", ["subject", _THING], rests=False, key_id=_THING
    )
    return {
        made[-1]["type"]: {"messages": messages, "own": made}
        for messages, made in (
            (start, [opened]),
            (start, [opened, own("duty.discharged", "heard", duty, rests=True)]),
            (start, [opened, own("duty.lapsed", "heard", duty, rests=True)]),
            ([], [requested]),
            ([], [requested, requested | {"type": "heard.subject.erased.v1"}]),
            ([], [own(
                "message.discarded", "operator", ["message", _THING], rests=False, dead_letter=_THING,
                code="field_missing", reason_words="Somebody’s reason to discard it",
            )]),
        )
    }  # fmt: skip


def main() -> int:
    """Write what is missing; 1 if a type of the catalogue has no recipe yet."""
    configure("console", "warning")
    recipes = _reported() | _own()
    for type_ in EVENTS:
        if sample(type_).exists():
            continue
        if type_ not in recipes:
            sys.stderr.write(f"{type_}: add it to tests/support/facts.py, or here if Heard writes it\n")
            return 1
        envelope = follow(recipes[type_])
        recipe(type_).parent.mkdir(exist_ok=True)
        for path, data in (
            (recipe(type_), orjson.dumps(recipes[type_], option=orjson.OPT_INDENT_2) + b"\n"),
            (sample(type_), envelope.bytes),
        ):
            with path.open("xb") as file:
                file.write(data)
        with DIGESTS.open("a") as file:
            file.write(f"{envelope.digest} {type_}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
