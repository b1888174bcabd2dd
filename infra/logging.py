"""What does Heard say while it works? Structured lines on standard error, never a personal value."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog


def _traceable(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Every line has both ids: of the first message, and of what was being handled.

    Lines about a whole batch, or about the process, have none: there they are null.
    """
    line.setdefault("correlation", None)
    line.setdefault("causation", None)
    return line


def configure(format_: str, level: str, stream: TextIO | None = None) -> None:
    """Write log lines of at least `level` as `console` or `json`."""
    out = stream or sys.stderr
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if format_ == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            _traceable,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
