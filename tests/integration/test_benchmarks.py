"""Do the benchmarks run through, write what the contract says, and fail when a figure is too low?"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import delete

from benchmarks.__main__ import LATEST, main
from benchmarks.concurrent import Ours, Rounds
from benchmarks.ground import ground, rebuild_all, views_at_the_end
from benchmarks.rebuilding import ask, share
from benchmarks.telling import AT_LEAST, AT_MOST, NAMES, PEERS, QUICK, Measure, judged
from benchmarks.upstream import MIX, Upstream
from consumers.upstream import Rejected, check
from domain.ids import Ids
from infra import databases
from infra.clock import SystemClock
from projections.trace import THINGS
from services.message import Message
from tests.support import kafka
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
    assert PROMISED <= {measure["name"] for measure in results["measures"]} <= set(NAMES)
    for measure in results["measures"]:
        assert {"name", "value", "unit", "against", "ratio", "samples"} <= measure.keys()
        assert measure["value"] > 0
        assert measure["samples"]


def test_all_is_measured_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "latest.json"
    # All but what pip would have to fetch libraries for.
    names = [name for name in NAMES if name not in PEERS]
    assert main(["--quick", "--out", str(out), *LENIENT, *(f"--only={name}" for name in names)]) == 0
    results = orjson.loads(out.read_bytes())
    shaped(results)
    assert {measure["name"] for measure in results["measures"]} == set(names)
    printed = capsys.readouterr().out
    assert all(name in printed for name in names)


def test_a_figure_beyond_its_threshold_is_named_and_the_exit_code_is_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--quick", "--only", "asat_growth", "--require", "asat_growth=0"]) == 1
    assert "at most 0 is allowed" in capsys.readouterr().err


def test_without_a_wait_for_the_disk_nothing_is_measured() -> None:
    assert main(["--only", "asat_growth"]) == 3


def test_without_a_broker_the_way_from_end_to_end_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka, "available", lambda: False)
    assert main(["--quick", "--only", "end_to_end_growth"]) == 3


class Unmarked(Ours):
    """Writers that do not say after which position their events will come."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._recorder._lock_table = lambda curs: None  # type: ignore[method-assign]


def test_a_reader_that_misses_an_event_of_those_that_write_at_once_is_a_failure(
    postgresql_server: str,
) -> None:
    rounds = Rounds(postgresql_server, QUICK)
    with rounds.running(slow=True), pytest.raises(AssertionError, match="missed of"):
        rounds.rate(Unmarked, 1)


def test_a_reader_that_sees_a_view_that_is_not_whole_is_a_failure(postgresql: str, tmp_path: Path) -> None:
    context: Any = multiprocessing.get_context("forkserver")
    begun, ended = context.Event(), context.Event()
    with ground(tmp_path / "ground", threads=20, places=2) as of:
        engine = databases.postgresql(postgresql)
        views = views_at_the_end(engine, of)
        rebuild_all(views, of)
        with ProcessPoolExecutor(1, context, share, (begun, ended)) as pool:
            asked = pool.submit(ask, postgresql, "place-0001")
            assert begun.wait(60)
            with views.writing() as db:
                things = views.tables_of("trace", views.live(db)["trace"])[THINGS]
                db.execute(delete(things).where(things.c.ref == "K1"))
            ended.set()
            with pytest.raises(AssertionError, match="trace answered otherwise"):
                asked.result()
        engine.dispose()


def test_upstream_reports_in_the_mix_that_is_said_and_only_what_can_be_used() -> None:
    upstream = Upstream.of(5_000, places=20)
    lines = [upstream.registration(), *upstream.lines(5_000)]
    ids = Ids(bytes(32))
    messages = [check(line.body, 1, ids, SystemClock().now()) for line in lines]
    assert not [found for found in messages if isinstance(found, Rejected)]
    found = Counter(m.event.TOPIC for m in messages if isinstance(m, Message))
    for fact, percent in MIX.items():
        assert found[f"heard.{fact}.v1"] == pytest.approx(50 * percent, rel=0.2), fact
    assert list(Upstream.of(5_000, places=20).lines(5_000)) == lines[1:]


@pytest.mark.parametrize(
    ("name", "ratio", "passes"),
    [
        ("rebuild_all_views_postgresql", 19.99, False), ("rebuild_all_views_postgresql", 20, True),
        ("growth_postgresql", 0.89, False), ("growth_sqlite", 0.89, False), ("growth_sqlite", 0.9, True),
        ("asat_growth", 1.21, False), ("asat_growth", 1.2, True), ("bare_loop_sqlite", 0.01, True),
        ("end_to_end_messages", 0.99, False), ("end_to_end_events", 0.99, False),
        ("end_to_end_growth", 0.89, False), ("end_to_end_growth", 0.9, True),
        ("concurrent_commands_1", 1.29, False), ("concurrent_commands_1", 1.3, True),
        ("concurrent_commands_10", 1.49, False), ("concurrent_commands_10_alone", 0.1, True),
        ("publish_to_visible_p95", 1.01, False), ("publish_to_visible_p95", 1.0, True),
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
    assert ratios.keys() == set(NAMES)
    assert all(ratios[name] >= least for name, least in AT_LEAST.items())
    assert all(ratios[name] <= most for name, most in AT_MOST.items())
    assert str(ROOT) not in LATEST.read_text()
