"""Is everything that can be seen from outside on the page that whoever operates Heard reads?"""

from __future__ import annotations

import re
from pathlib import Path

from domain.errors import DEAD_LETTER_CODES
from services.telemetry import METRICS

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "operations.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def alike(expression: str) -> bool:
    """Whether what stands on both sides of `and` or `unless` keeps the same labels."""
    sides = re.split(r" (?:and|unless) ", expression)
    kept = [re.match(r"(?:max|min|sum)(?: by (\([^)]*\)) )?\(", side) for side in sides]
    return len(sides) == 1 or (None not in kept and len({found[1] for found in kept if found}) == 1)


def test_every_metric_is_on_the_page_as_it_is_served() -> None:
    told = {
        row[0].strip("` "): (row[1], row[2], tuple(re.findall(r"`(\w+)`", row[3]))) for row in rows("Metrics")
    }
    assert told == {metric.name: (metric.kind, metric.unit, metric.labels) for metric in METRICS}


def test_every_alert_asks_only_for_metrics_that_there_are_and_says_what_to_do() -> None:
    series = {metric.name for metric in METRICS}
    series |= {
        f"{m.name}_{part}" for m in METRICS if m.kind == "histogram" for part in ("bucket", "count", "sum")
    }
    alerts = rows("Alerts")
    assert len(alerts) > 5
    for name, expression, _, remedy in alerts:
        asked = set(re.findall(r"heard_\w+", expression))
        assert asked, name
        assert asked <= series, name
        assert len(remedy) > 20, name


def test_both_sides_of_an_alert_have_the_same_labels() -> None:
    # Else they never match, and nobody is told.
    alerts = [expression.strip("`") for _, expression, _, _ in rows("Alerts")]
    assert any(" unless " in expression for expression in alerts)
    assert [expression for expression in alerts if not alike(expression)] == []
    assert not alike("max(a) > 0 and rate(b[5m]) == 0")
    assert not alike("max by (loop) (a) > 0 unless sum(rate(b[5m])) > 0")


def test_every_code_of_a_dead_letter_is_explained() -> None:
    explained = set(re.findall(r"^\| `(\w+)` \|", (DOCS / "dead-letters.md").read_text(), re.MULTILINE))
    assert explained == set(DEAD_LETTER_CODES)
