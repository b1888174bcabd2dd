"""What time is it? The system's clock, or one that stands still."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The clock of this machine."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        return datetime.now(UTC)


class FixedClock:
    """A clock that always shows `at`: for `--now`, for replays and tests."""

    def __init__(self, at: datetime) -> None:
        """`at` needs a time zone; without one it raises ValueError."""
        if at.utcoffset() is None:
            raise ValueError("a fixed clock needs an instant with a time zone")
        self._at = at.astimezone(UTC)

    def now(self) -> datetime:
        """The instant at which the clock stands, in UTC."""
        return self._at
