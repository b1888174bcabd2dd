"""What does a test tell beside its having passed? Figures, printed at the end of the run."""

from __future__ import annotations

import pytest

TOLD = "told"
"""The property under which a test records {what: figure}."""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print every figure that was told, under the name of its test."""
    for report in terminalreporter.getreports("passed"):
        for name, figures in report.user_properties:
            if name == TOLD:
                terminalreporter.section(report.nodeid.partition("::")[2])
                for what, figure in figures.items():
                    terminalreporter.write_line(f"{figure:>7}  {what}")
