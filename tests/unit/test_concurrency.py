"""Fewer parts in flight when the store says slow down, more again as parts are stored."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.concurrency import Window


def test_it_starts_at_the_limit_and_never_passes_it() -> None:
    window = Window(8)
    assert window.size == 8
    for _ in range(100):
        window.stored()
    assert window.size == 8


def test_throttling_halves_it_down_to_one() -> None:
    window = Window(8)
    sizes = []
    for now in range(5):
        window.throttled(float(now))
        sizes.append(window.size)
    assert sizes == [4, 2, 1, 1, 1]


def test_one_burst_counts_once() -> None:
    window = Window(8)
    for now in (10.0, 10.0, 10.3, 10.99):
        window.throttled(now)
    assert window.size == 4
    window.throttled(11.0)
    assert window.size == 2


@pytest.mark.parametrize("limit", [2, 8, 64])
def test_it_grows_back_by_about_one_for_each_windowful(limit: int) -> None:
    window = Window(limit)
    window.throttled(0.0)
    grown = [window.size]
    while window.size < limit:
        for _ in range(window.size + 1):
            window.stored()
        grown.append(window.size)
    assert all(before <= after <= before + 2 for before, after in pairwise(grown))


def test_a_windowful_of_stored_parts_earns_one_more() -> None:
    window = Window(16)
    window.throttled(0.0)
    sizes = []
    for _ in range(9):
        window.stored()
        sizes.append(window.size)
    assert sizes == [8] * 8 + [9]


@given(st.integers(1, 64), st.lists(st.one_of(st.none(), st.floats(0, 1e6))))
def test_it_stays_between_one_and_the_limit(limit: int, story: list[float | None]) -> None:
    """Whatever comes (None: a part was stored; else throttled at that moment)."""
    window = Window(limit)
    for moment in story:
        before = window.size
        if moment is None:
            window.stored()
            assert window.size >= before
        else:
            window.throttled(moment)
            assert window.size <= before
        assert 1 <= window.size <= limit
