"""Does every aggregate keep its promises, whatever comes in which order?"""

from __future__ import annotations

import ast
from dataclasses import fields
from itertools import product
from pathlib import Path

import orjson
import pytest

import domain
from domain.catalogue import AGGREGATES, EVENTS, Aggregate
from domain.errors import RuleBrokenError
from domain.event import Envelope, read, write
from tests.golden.samples import sample

HERE = Path(__file__).parent
STORED = {event: read(sample(topic).read_bytes()) for topic, event in EVENTS.items()}
SAMPLES = {event: (envelope.event, envelope.causes) for event, envelope in STORED.items()}
"""A fact of each type and what it rests on, as they are stored."""

every_aggregate = pytest.mark.parametrize("aggregate", AGGREGATES.values(), ids=list(AGGREGATES))


def named_rules(folder: Path) -> set[str]:
    """Every name that is the first argument of `unless(…)` in this folder’s files."""
    return {
        str(call.args[0].value)
        for path in folder.glob("*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "unless"
        and isinstance(call.args[0], ast.Constant)
    }


def expected_rules() -> set[str]:
    """Every name that a test here expects to be broken."""
    return {
        str(part.value)
        for path in HERE.glob("test_*.py")
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "then"
        for argument in call.args
        for part in ast.walk(argument)
        if isinstance(part, ast.Constant) and "_" in str(part.value)
    }


def test_every_named_rule_is_broken_by_a_test_here() -> None:
    rules = named_rules(Path(domain.__path__[0]))
    assert len(rules) > 20
    assert rules == expected_rules()


@pytest.mark.parametrize("stored", STORED.values(), ids=lambda stored: stored.type)
def test_what_is_written_is_what_will_be_read(stored: Envelope) -> None:
    taken = {field.name: getattr(stored, field.name) for field in fields(stored)}
    schema = orjson.loads(stored.bytes)["schema"]
    for name in ("bytes", "type", "place", "pub"):
        del taken[name]
    written = write(stored.event, schema=schema, **taken)
    assert written == stored
    assert read(written.bytes) == written


@pytest.mark.parametrize("stored", STORED.values(), ids=lambda stored: stored.type)
def test_the_state_is_the_same_with_words_in_the_clear(stored: Envelope) -> None:
    evolve, event = AGGREGATES[stored.kind].evolve, stored.event
    in_the_clear = event.model_copy(
        update={path[0]: "said" for path in event.sealed_paths() if len(path) == 1}
    )
    assert evolve(None, in_the_clear, stored.causes) == evolve(None, event, stored.causes)


@every_aggregate
def test_every_fact_can_be_taken_without_what_came_before(aggregate: Aggregate) -> None:
    # As at a date the facts before may not have been known yet.
    for event in aggregate.events:
        assert aggregate.evolve(None, *SAMPLES[event]) is not None


@every_aggregate
def test_to_decide_changes_no_state_and_gives_back_the_fact_as_it_was_reported(aggregate: Aggregate) -> None:
    for facts in product(aggregate.events, repeat=3):
        state = None
        for event in facts if facts[0].MAKES else ():
            before = repr(state)
            try:
                decided = aggregate.decide(state, *SAMPLES[event])
            except RuleBrokenError:
                decided = None
            assert repr(state) == before
            assert decided in (None, SAMPLES[event][0])
            if decided is not None:
                state = aggregate.evolve(state, *SAMPLES[event])
