"""What does each kind of error mean outside? One table: exit code, and HTTP status for later."""

from __future__ import annotations

from typing import Final

from domain.errors import (
    ConcurrencyError,
    ConfigurationError,
    FencedError,
    HeardError,
    IntegrityError,
    InvalidMessageError,
    NotFoundError,
    RuleBrokenError,
    TransientError,
)  # fmt: skip
from domain.evidence.canonical import NotCanonicalError
from services.desk import UnseenError
from services.questions import AmbiguousError

FINDING: Final = 1
USAGE: Final = 2
ENVIRONMENT: Final = 3

EXIT_CODES: Final[dict[type[HeardError], int]] = {
    RuleBrokenError: FINDING,
    InvalidMessageError: FINDING,
    NotFoundError: FINDING,
    AmbiguousError: USAGE,
    IntegrityError: FINDING,
    ConcurrencyError: ENVIRONMENT,
    TransientError: ENVIRONMENT,
    FencedError: ENVIRONMENT,
    ConfigurationError: ENVIRONMENT,
    NotCanonicalError: FINDING,
    UnseenError: FINDING,  # inside intake only: there it means to wait
    HeardError: USAGE,
}
"""Every kind of error, itself or by the nearest kind above it; a test walks them all.

What a consumer does about each is in `domain.errors`: what is RETRIED, what is a dead letter, and
that all others stop it.
"""


def exit_code(error: HeardError) -> int:
    """The exit code: 1 a finding, 2 wrong use, 3 the environment."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)
