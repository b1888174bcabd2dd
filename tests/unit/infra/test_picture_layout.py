"""Are things put in layers with few crossings, and does text fit where it is put?"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.picture.layers import Layered, crossings, layered
from infra.picture.measure import clean, ems, wrap


def test_the_order_within_the_layers_has_no_crossing_where_none_is_needed() -> None:
    result = layered(7, [(0, 2), (0, 4), (1, 3), (1, 5), (2, 6), (4, 6)])
    assert crossings(result) == 0


def test_crossings_are_counted() -> None:
    tangled = Layered(layers=[[0, 1], [2, 3]], layer_of=[0, 0, 1, 1], segments=[(0, 3), (1, 2)], lanes={})
    assert crossings(tangled) == 1


def test_the_arrows_of_one_cause_share_their_lanes() -> None:
    result = layered(5, [(0, 1), (1, 2), (2, 3), (2, 4), (0, 3), (0, 4)])
    assert sorted(result.lanes) == [(0, 1), (0, 2)]


@given(st.text(max_size=300), st.floats(3, 40), st.integers(1, 4))
def test_wrapped_lines_fit_and_lose_nothing_without_an_ellipsis(text: str, room: float, most: int) -> None:
    line = clean(text)
    lines = wrap(line, room, ems, most)
    assert len(lines) <= most
    assert all(ems(each) <= room for each in lines)
    if not lines or not lines[-1].endswith("…"):
        assert "".join(lines).replace(" ", "") == line.replace(" ", "")
