"""Do the clocks show what they say?"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from infra.clock import FixedClock, SystemClock
from services.ports import Clock

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_the_systems_clock_shows_the_present_in_utc() -> None:
    clock: Clock = SystemClock()
    before, now, after = datetime.now(UTC), clock.now(), datetime.now(UTC)
    assert before <= now <= after
    assert now.tzinfo is UTC


def test_a_fixed_clock_stands_still() -> None:
    clock: Clock = FixedClock(NOON)
    assert clock.now() == clock.now() == NOON


def test_a_fixed_clock_shows_utc_whatever_zone_it_was_given() -> None:
    shown = FixedClock(NOON.astimezone(timezone(timedelta(hours=2)))).now()
    assert (shown, shown.tzinfo) == (NOON, UTC)


def test_a_fixed_clock_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        FixedClock(NOON.replace(tzinfo=None))
