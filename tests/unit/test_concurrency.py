"""Fewer parts in flight when the store says slow down, more again as they succeed; as many as fill a link."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.links import MBIT, PART, Link, MiB, Transfer
from uploader.core.concurrency import BUDGET, Auto, Window, make_window

COUNTS = (1, 2, 4, 8, 16, 32, 64)


def ack(window: Window) -> None:
    window.stored(0.0, PART, 0.0, [])


def test_it_starts_at_the_limit_and_never_passes_it() -> None:
    window = Window(8)
    assert window.size == 8
    for _ in range(100):
        ack(window)
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
            ack(window)
        grown.append(window.size)
    assert all(before <= after <= before + 2 for before, after in pairwise(grown))


def test_a_windowful_of_stored_parts_earns_one_more() -> None:
    window = Window(16)
    window.throttled(0.0)
    sizes = []
    for _ in range(9):
        ack(window)
        sizes.append(window.size)
    assert sizes == [8] * 8 + [9]


@given(st.integers(1, 64), st.lists(st.one_of(st.none(), st.floats(0, 1e6))))
def test_it_stays_between_one_and_the_limit(limit: int, story: list[float | None]) -> None:
    """Whatever comes (None: a part was stored; else throttled at that moment)."""
    window = Window(limit)
    for moment in story:
        before = window.size
        if moment is None:
            ack(window)
            assert window.size >= before
        else:
            window.throttled(moment)
            assert window.size <= before
        assert 1 <= window.size <= limit


@pytest.mark.parametrize("window", [Window(4), Auto(PART)])
def test_what_there_is_room_for_is_kept_to_and_more_is_tried_as_parts_are_stored(
    window: Window | Auto,
) -> None:
    window.short(0.0, 3)
    window.short(0.0, 3)
    assert window.size == 3, "not a word about those that are in flight"
    window.short(0.0, 0)
    assert window.size == 1
    for second in range(1, 60):
        window.stored(float(second), PART, second - 1.0, [])
    assert window.size > 1


def test_a_broken_connection_does_not_lower_what_was_asked_for() -> None:
    window = Window(8)
    for now in range(5):
        window.broke(float(now))
    assert window.size == 8


# Auto


def test_a_number_is_kept_to_and_auto_finds_its_own() -> None:
    assert isinstance(make_window("auto", PART), Auto)
    fixed = make_window(7, PART)
    assert isinstance(fixed, Window)
    assert fixed.size == 7


def steady(rate: float) -> Callable[[float], float]:
    return lambda now: rate


def changing(before: float, after: float, at: float) -> Callable[[float], float]:
    return lambda now: before if now < at else after


LINKS = {
    "10 Mbit/s 20 ms": Link(steady(10 * MBIT), 0.04, jitter=0.3),
    "100 Mbit/s 50 ms": Link(steady(100 * MBIT), 0.1, jitter=0.3),
    "200 Mbit/s 150 ms": Link(steady(200 * MBIT), 0.3, jitter=0.3),
    "1 Gbit/s 2 ms": Link(steady(1000 * MBIT), 0.004, jitter=0.3),
    "lossy": Link(steady(200 * MBIT), 0.1, loss=1 / 4e6, jitter=0.3),
    "connections break": Link(steady(200 * MBIT), 0.1, breaks=0.03, jitter=0.3),
}


@cache
def sent(name: str) -> Transfer:
    return Transfer(LINKS[name], Auto(PART)).run(60.0)


@pytest.mark.parametrize("name", LINKS)
def test_it_sends_95_percent_of_what_the_best_count_does_the_way_there_included(name: str) -> None:
    fixed = (Transfer(LINKS[name], Window(count)).run(60.0).goodput(0, 60) for count in COUNTS)
    assert sent(name).goodput(0, 60) >= 0.95 * max(fixed)


def test_what_was_too_few_is_not_tried_again_all_the_time() -> None:
    """Each trial of too few costs a cycle; of a minute between them nothing is noticed."""
    link = LINKS["200 Mbit/s 150 ms"]
    best = Transfer(link, Window(8)).run(300.0).goodput(60, 300)
    assert Transfer(link, Auto(PART)).run(300.0).goodput(60, 300) >= 0.98 * best


@pytest.mark.parametrize("name", LINKS)
def test_a_link_that_few_fill_is_not_crowded(name: str) -> None:
    """A dozen parts fill each of them; what is in flight is lost in an interruption."""
    assert sent(name).typical(30, 60) <= 12


def test_on_a_slow_link_it_comes_down_to_one_or_two() -> None:
    transfer = Transfer(LINKS["10 Mbit/s 20 ms"], Auto(PART)).run(900.0)
    assert transfer.typical(600, 900) <= 2
    assert max(size for _, size in transfer.sizes) <= 2 * Auto.START, "those were 107 s of sending"


def test_on_a_very_slow_link_it_does_not_try_more_than_a_few() -> None:
    transfer = Transfer(Link(steady(5 * MBIT), 0.04, jitter=0.3), Auto(PART)).run(600.0)
    assert max(size for _, size in transfer.sizes) <= Auto.START + 1


@pytest.mark.parametrize("cap", [2, 4, 8])
def test_where_a_part_takes_a_minute_on_any_connection_it_takes_many_within_minutes(cap: float) -> None:
    link = Link(steady(100 * MBIT), 0.2, cap=cap * MBIT, jitter=0.3)
    transfer = Transfer(link, Auto(PART)).run(600.0)
    best = min(100.0, 64 * cap) * MBIT
    assert transfer.goodput(0, 600) >= 0.65 * best
    assert transfer.goodput(300, 600) >= 0.85 * best


def test_where_each_connection_is_slow_it_takes_many() -> None:
    link = Link(steady(1000 * MBIT), 0.03, cap=4e6, jitter=0.3)
    transfer = Transfer(link, Auto(PART)).run(90.0)
    assert transfer.goodput(30, 90) >= 0.9 * 1000 * MBIT
    assert transfer.typical(45, 90) <= 48


@pytest.mark.parametrize("at", [20, 27, 34])
@pytest.mark.parametrize(
    ("before", "after", "rtt"),
    [(100, 50, 0.1), (100, 200, 0.1), (200, 100, 0.3), (200, 400, 0.3), (10, 5, 0.04), (10, 20, 0.04)],
)
def test_15_seconds_after_the_rate_halves_or_doubles_the_link_is_full_again(
    before: float, after: float, rtt: float, at: int
) -> None:
    link = Link(changing(before * MBIT, after * MBIT, at), rtt, jitter=0.3)
    assert Transfer(link, Auto(PART)).run(at + 30.0).goodput(at + 15, at + 30) >= 0.9 * after * MBIT


def test_a_store_that_refuses_more_than_ten_is_asked_for_fewer() -> None:
    link = Link(steady(400 * MBIT), 0.1, cap=4e6, tolerance=10, jitter=0.3)
    transfer = Transfer(link, Auto(PART)).run(120.0)
    assert transfer.typical(30, 120) <= 10
    assert transfer.goodput(30, 120) >= 0.6 * 10 * 4e6
    assert transfer.refusals <= 0.1 * len(transfer.acknowledged)


def test_a_burst_of_refusals_cuts_once() -> None:
    auto = Auto(PART)
    for now in (10.0, 10.0, 10.3, 10.99):
        auto.throttled(now)
    assert auto.size == 2
    auto.throttled(11.0)
    assert auto.size == 1


def test_one_broken_connection_is_nothing_two_in_a_row_cut_once_until_a_part_is_stored() -> None:
    auto = Auto(PART)
    auto.broke(10.0)
    auto.stored(11.0, PART, 10.0, [])
    auto.broke(12.0)
    assert auto.size == 4
    for now in range(13, 60):
        auto.broke(float(now))
    assert auto.size == 2


@pytest.mark.parametrize(
    ("part_size", "most"),
    [(5 * MiB, 64), (16 * MiB, 64), (17 * MiB, 60), (256 * MiB, 4), (5 * 1024 * MiB, 4)],
)
def test_no_more_is_in_flight_than_the_budget_but_always_four_parts(part_size: int, most: int) -> None:
    auto, now = Auto(part_size), 0.0
    largest = auto.size
    while now < 1000.0:  # every connection brings as much as the one before
        began = now
        now += 5.0
        for _ in range(auto.size):
            auto.stored(now, part_size, began, [])
        largest = max(largest, auto.size)
    assert largest <= most
    assert largest * part_size <= BUDGET or largest == Auto.START
    # What takes over a minute to send is not doubled, but grown in small steps: it may not get there.
    assert largest >= most // 2


@given(
    st.integers(5, 5 * 1024).map(lambda size: size * MiB),
    st.lists(st.tuples(st.sampled_from("sstb"), st.floats(0.0, 100.0), st.floats(0.0, 100.0)), max_size=300),
)
def test_whatever_comes_at_least_one_part_may_be_in_flight_and_no_more_than_64(
    part_size: int, story: list[tuple[str, float, float]]
) -> None:
    auto, now = Auto(part_size), 1000.0
    for what, later, age in story:
        now += later
        before = auto.size
        if what == "s":
            auto.stored(now, part_size, now - age, [now - age / 2] * (before - 1))
        elif what == "t":
            auto.throttled(now)
        else:
            auto.broke(now)
        assert 1 <= auto.size <= 64
        assert what == "s" or auto.size <= before
