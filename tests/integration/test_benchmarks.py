"""Do the benchmarks run through, write what the contract says, and fail when a figure is too low?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from benchmarks.__main__ import AT_LEAST, AT_MOST, LATEST, NAMES, Measure, judged, main
from tests.support.requires import ROOT

LENIENT = [f"--require={name}=0" for name in AT_LEAST] + [f"--require={name}=1000" for name in AT_MOST]
PROMISED = {
    "rebuild_all_views_postgresql", "rebuild_all_views_sqlite", "growth_postgresql", "growth_sqlite",
    "asat_growth",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _on_the_tests_server(postgresql_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEARD_TEST_DATABASE_URL", postgresql_server)


def shaped(results: dict[str, Any]) -> None:
    """Fail if it is not what the contract promises of the results."""
    assert {"python", "postgresql", "sqlite", "eventsourcing"} <= results["versions"].keys()
    assert results["sizes"]["events"] == 10 * results["sizes"]["threads"]
    assert {measure["name"] for measure in results["measures"]} == set(NAMES) > PROMISED
    for measure in results["measures"]:
        assert {"name", "value", "unit", "against", "ratio", "samples"} <= measure.keys()
        assert measure["value"] > 0
        assert measure["samples"]


def test_all_is_measured_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "latest.json"
    assert main(["--quick", "--out", str(out), *LENIENT]) == 0
    shaped(orjson.loads(out.read_bytes()))
    printed = capsys.readouterr().out
    assert all(name in printed for name in NAMES)


def test_a_figure_beyond_its_threshold_is_named_and_the_exit_code_is_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--quick", "--only", "asat_growth", "--require", "asat_growth=0"]) == 1
    assert "at most 0 is allowed" in capsys.readouterr().err


def test_without_a_wait_for_the_disk_nothing_is_measured() -> None:
    assert main(["--only", "asat_growth"]) == 3


@pytest.mark.parametrize(
    ("name", "ratio", "passes"),
    [
        ("rebuild_all_views_postgresql", 19.99, False), ("rebuild_all_views_postgresql", 20, True),
        ("growth_postgresql", 0.89, False), ("growth_sqlite", 0.89, False), ("growth_sqlite", 0.9, True),
        ("asat_growth", 1.21, False), ("asat_growth", 1.2, True), ("bare_loop_sqlite", 0.01, True),
    ],
)  # fmt: skip
def test_each_threshold_has_two_sides(name: str, ratio: float, passes: bool) -> None:
    found = judged([Measure(name, 1.0, "times", "", ratio, [1.0])], {})
    assert (found == []) is passes


def test_the_results_that_are_committed_are_full_ones_and_pass() -> None:
    results = orjson.loads(LATEST.read_bytes())
    shaped(results)
    assert results["sizes"]["events"] == 100_000
    assert results["sizes"]["postgresql_fsync"] == "on"
    ratios = {measure["name"]: measure["ratio"] for measure in results["measures"]}
    assert all(ratios[name] >= least for name, least in AT_LEAST.items())
    assert all(ratios[name] <= most for name, most in AT_MOST.items())
    assert str(ROOT) not in LATEST.read_text()
