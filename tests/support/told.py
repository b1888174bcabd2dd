"""What does a run tell at its end? Figures that tests measured, and what did not run and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

TOLD = "told"
"""The property under which a test records {what: figure}."""
Tell = Callable[[str, object], None]
"""What pytest's `record_property` is."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every figure that was told, under the name of its test, and how to run what was skipped."""
    for report in terminalreporter.getreports("passed"):
        for name, figures in report.user_properties:
            if name == TOLD:
                terminalreporter.section(report.nodeid.partition("::")[2])
                for what, figure in figures.items():
                    terminalreporter.write_line(f"{figure:>7}  {what}")
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ")
        for report in terminalreporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    if reasons:
        terminalreporter.section("what did not run, and what it wants")
        for reason, count in reasons.most_common():
            terminalreporter.write_line(f"{count:>7}  {reason}")
