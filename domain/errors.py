"""Which errors are there, and what does each ask of whoever catches it?"""

from __future__ import annotations

from typing import Final

DEAD_LETTER_CODES: Final = (
    "not_json",
    "not_utf8",
    "not_a_cloudevent",
    "unknown_type",
    "newer_version",
    "field_missing",
    "field_invalid",
    "in_the_future",
    "too_large",
    "unreadable",
    "id_reused",
    "personal_reference",
    "relation_not_allowed",
    "rule_broken",
    "reference_never_came",
)
"""Why a message ends as a dead letter; what each means and what to do is in docs/dead-letters.md."""


class HeardError(Exception):
    """Something that Heard refuses or cannot do, told so that the reader can act.

    `code` is a stable snake_case name, the message says what happened, `expected` and `got` say
    what was wanted and what came (never a personal value), `hint` is the next command or step.
    """

    code = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.expected = expected
        self.got = got
        self.hint = hint


class RuleBrokenError(HeardError):
    """The facts so far do not allow this one. `rule` is a name that a policy person can read."""

    code = "rule_broken"

    def __init__(self, rule: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.rule = rule


class InvalidMessageError(HeardError):
    """A message that can never be used: a dead letter, not to be tried again.

    `code` is one of DEAD_LETTER_CODES; `field` is the path in the message.
    """

    code = "field_invalid"

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str = "",
        expected: str = "",
        got: str = "",
        hint: str = "",
    ) -> None:
        super().__init__(message, code=code, expected=expected, got=got, hint=hint)
        self.field = field


class NotFoundError(HeardError):
    """Nothing in the record answers to this name."""

    code = "not_found"


class ConcurrencyError(HeardError):
    """Somebody else wrote first: load again and retry."""

    code = "concurrency"


class TransientError(HeardError):
    """It may work in a moment: retry, commit nothing."""

    code = "transient"


class FencedError(HeardError):
    """Another process has taken over this role: stop, and do not retry."""

    code = "fenced"


class IntegrityError(HeardError):
    """The history does not verify: stop."""

    code = "integrity"


class ConfigurationError(HeardError):
    """The settings or the environment do not fit (exit code 3)."""

    code = "configuration"


RETRIED: Final = (TransientError, ConcurrencyError, FencedError)
"""What a consumer tries again, having committed nothing; a fenced one asks for its role anew."""
