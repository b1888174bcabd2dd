"""Can somebody work out a small number that was withheld?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.questions import SMALL, WITHHELD, suppressed

COUNTS = st.lists(st.integers(0, 30), max_size=6)


def fitting(shown: Sequence[int | str], total: int) -> Iterator[list[int]]:
    """Every breakdown that adds up to the total and would be shown with these figures and marks."""
    if not shown:
        if total == 0:
            yield []
        return
    first, *others = shown
    for n in range(total + 1):
        mark = n if isinstance(first, int) else f"<{SMALL}" if n < SMALL else WITHHELD
        if mark == first:
            yield from ([n, *rest] for rest in fitting(others, total - n))


@given(counts=COUNTS)
def test_a_total_gives_no_withheld_count_back(counts: list[int]) -> None:
    shown, total = suppressed(counts, sum(counts))
    if total == sum(counts):
        for at, mark in enumerate(shown):
            if isinstance(mark, str):
                could_be = {breakdown[at] for breakdown in fitting(shown, sum(counts))}
                assert len(could_be) > 1, (shown, total)


@given(counts=COUNTS, total=st.none() | st.integers(0, 200))
def test_no_small_count_is_shown_and_what_is_shown_is_true(counts: list[int], total: int | None) -> None:
    shown, whole = suppressed(counts, total)
    assert len(shown) == len(counts)
    for mark, count in zip(shown, counts, strict=True):
        assert (mark == f"<{SMALL}") if count < SMALL else (mark in (count, WITHHELD))
    assert whole in (total, WITHHELD)
    if min(counts, default=SMALL) >= SMALL:
        assert (shown, whole) == (counts, total)


@given(counts=COUNTS)
def test_no_more_than_one_small_count_stands_alone(counts: list[int]) -> None:
    shown, whole = suppressed(counts, sum(counts))
    withheld = sum(isinstance(mark, str) for mark in shown)
    assert withheld != 1 or (len(counts) == 1 and whole == WITHHELD)


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        ([12, 8, 5], 25, ([12, 8, 5], 25)),
        ([12, 8, 3], 23, ([12, "withheld", "<5"], 23)),
        ([12, 2, 3], 17, ([12, "<5", "<5"], 17)),
        # Both could only be 4, or both 0: their sum alone would tell.
        ([12, 4, 4], 20, (["withheld", "<5", "<5"], 20)),
        ([12, 0, 0], 12, (["withheld", "<5", "<5"], 12)),
        ([3], 3, (["<5"], "withheld")),
        ([3], None, (["<5"], None)),
        ([], 7, ([], 7)),
    ],
)
def test_as_much_is_withheld_as_it_takes(
    counts: list[int], total: int | None, expected: tuple[list[int | str], int | str | None]
) -> None:
    assert suppressed(counts, total) == expected
