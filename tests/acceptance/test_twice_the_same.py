"""Do two runs with the same clock and the same id key print the same bytes?"""

from __future__ import annotations

from pathlib import Path

import pytest

from infra import scenario
from projections.catalogue import VIEWS
from tests.support.program import outputs

NOW = f"{scenario.CLOCK:%Y-%m-%d}"
KEY = {"HEARD_ID_KEY": "5a" * 32}
REFS = sorted({message["data"]["ref"] for message in scenario.messages()})


@pytest.mark.embedded("in which order Kafka gives out its partitions, and so `history`, is its own affair")
def test_two_runs_with_the_same_clock_and_id_key_print_the_same_bytes(tmp_path: Path) -> None:
    # Each in a process with a hash seed of its own: no order may come from a set.
    calls: list[tuple[str, ...]] = [("demo",)]
    calls += [("trace", ref) for ref in REFS]
    calls += [("trace", ref, "--format", form) for ref in ("C1", "N7") for form in ("table", "svg")]
    calls += [("query", view, "--format", form) for view in VIEWS for form in ("json", "csv")]
    calls += [("query", view, "--at", "2008-10-15") for view in VIEWS]
    one, other = (
        outputs(calls, dir=tmp_path / seed, now=NOW, env=KEY | {"PYTHONHASHSEED": seed}) for seed in "12"
    )
    both = list(zip(calls, one, other, strict=True))
    assert [call for call, first, second in both if first != second] == []
    # Of the answers to one call each, only a ward's past can be empty.
    assert all(len(first) > 100 for call, first, _ in both if "--at" not in call)
