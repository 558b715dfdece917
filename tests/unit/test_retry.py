"""When to try again: full jitter, Retry-After, and a budget that all parts share."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.retry import (
    RetryBudget,
    backoff,
    is_spent,
    parse_http_date,
    parse_iso_date,
    parse_retry_after,
    patience,
)
from uploader.options import RetryPolicy

POLICY = RetryPolicy(base=0.5, cap=30.0)
NOVEMBER_1994 = 784111777.0  # RFC 9110's example: Sun, 06 Nov 1994 08:49:37 GMT


# Backoff


@pytest.mark.parametrize(
    ("failures", "longest"), [(0, 0.5), (1, 0.5), (2, 1.0), (3, 2.0), (6, 16.0), (7, 30.0), (10**6, 30.0)]
)
@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0 - 2**-53])
def test_backoff_is_full_jitter_up_to_a_doubling_cap(failures: int, longest: float, chance: float) -> None:
    assert backoff(POLICY, failures, lambda: chance) == pytest.approx(chance * longest)


@given(
    st.integers(0, 10**9),
    st.floats(0, 1, exclude_max=True),
    st.floats(0.001, 1e6),
    st.floats(0.001, 1e6),
)
def test_no_backoff_is_negative_or_longer_than_the_cap(
    failures: int, chance: float, base: float, cap: float
) -> None:
    assert 0 <= backoff(RetryPolicy(base=base, cap=cap), failures, lambda: chance) <= cap


# Retry-After and dates


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("-5", 0.0),
        ("1000000000", 1e9),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 7.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 7.0),
        ("Sun Nov  6 08:49:37 1994", 7.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", 0.0),
        ("Sun, 06 Nov 1994 07:49:37 -0100", 7.0),
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("-inf", None),
        ("1e999", None),
        ("Sun, 99 Nov 1994 08:49:37 GMT", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    """A date is measured by the server's own clock; never negative; garbage is no wish at all."""
    assert parse_retry_after(value, "Sun, 06 Nov 1994 08:49:30 GMT") == seconds


@pytest.mark.parametrize("date", [None, "", "garbage"])
def test_a_date_without_the_servers_clock_is_no_wish(date: str | None) -> None:
    assert parse_retry_after("Sun, 06 Nov 1994 08:49:37 GMT", date) is None
    assert parse_retry_after("9", date) == 9.0


@pytest.mark.parametrize(
    "value",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Sun, 06 Nov 1994 09:49:37 +0100",
    ],
)
def test_every_form_of_http_date_is_read(value: str) -> None:
    assert parse_http_date(value) == NOVEMBER_1994


@pytest.mark.parametrize(
    "value",
    [
        "1994-11-06T08:49:37Z",
        " 1994-11-06T08:49:37.000Z ",
        "1994-11-06T08:49:37.0000000Z",
        "1994-11-06T08:49:37+00:00",
        "1994-11-06T09:49:37+01:00",
        "1994-11-06 08:49:37",
        "19941106T084937Z",
    ],
)
def test_iso_dates_are_read_and_are_utc_unless_they_say(value: str) -> None:
    assert parse_iso_date(value) == NOVEMBER_1994


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's time zone cannot be set")
def test_a_date_without_a_zone_is_utc_wherever_this_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC-9")
        time.tzset()
        assert parse_iso_date("1994-11-06T08:49:37") == NOVEMBER_1994
        assert parse_http_date("Sun, 06 Nov 1994 08:49:37 -0000") == NOVEMBER_1994
    time.tzset()


@pytest.mark.parametrize(
    "value",
    [
        *("", "garbage", "1994-13-01", "0", "\ud800", "1994-11-06T08:49:37 GMT"),
        "Sun, 06 Nov 99999999999999999999 08:49:37 GMT",
    ],
)
def test_what_is_no_date_is_none(value: str) -> None:
    assert parse_http_date(value) is None
    assert parse_iso_date(value) is None


def test_no_date_is_none() -> None:
    assert parse_http_date(None) is None


date_like = st.one_of(
    st.text(),
    st.text(st.characters(codec="latin-1")),
    st.text("0123456789 :,+-./TZGMTJanFebSun"),
    st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d+:\d+:\d+ [+-]?\w{0,9}"),
    st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?[+-]\d\d:\d\d"),
    st.floats().map(str),
)


@given(date_like, st.one_of(st.none(), date_like))
def test_no_header_makes_a_parser_raise(value: str, date: str | None) -> None:
    for parsed in (parse_http_date(value), parse_iso_date(value)):
        assert parsed is None or math.isfinite(parsed)
    seconds = parse_retry_after(value, date)
    assert seconds is None or 0 <= seconds < math.inf


# The budget


def taken(budget: RetryBudget, now: float) -> int:
    """How many retries may be made at once."""
    return sum(1 for _ in iter(lambda: budget.take(now), False))


def test_a_burst_is_free_and_then_retries_come_at_the_rate() -> None:
    budget = RetryBudget(4, 2.0)
    assert taken(budget, 100.0) == 4
    assert budget.ready_at == 100.5
    assert [taken(budget, now) for now in (100.4, 100.5, 100.9, 101.0)] == [0, 1, 0, 1]


def test_it_is_earned_back_but_never_more_than_its_size() -> None:
    budget = RetryBudget(2, 1.0)
    assert [taken(budget, now) for now in (0.0, 3.0, 1e6)] == [2, 2, 2]


def test_a_budget_that_is_whole_is_ready() -> None:
    assert RetryBudget(2, 1.0).ready_at < 0.0


def test_what_is_given_back_may_be_taken_again() -> None:
    budget = RetryBudget(2, 1.0)
    assert taken(budget, 0.0) == 2
    budget.give_back()
    assert budget.ready_at <= 0.0
    assert taken(budget, 0.0) == 1
    for _ in range(9):
        budget.give_back()
    assert taken(budget, 0.0) == 2, "never more than its size"


def test_a_clock_that_goes_back_earns_nothing() -> None:
    budget = RetryBudget(1, 1.0)
    assert taken(budget, 10.0) == 1
    assert taken(budget, 0.0) == 0


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=60),
    st.integers(1, 20),
    st.floats(0.1, 10),
)
def test_no_stretch_of_time_sees_more_retries_than_size_and_rate_allow(
    gaps: list[float], size: int, rate: float
) -> None:
    budget, now, times = RetryBudget(size, rate), 0.0, list[float]()
    for gap in gaps:
        now += gap
        times += [now] * taken(budget, now)
    for first, start in enumerate(times):
        for last, end in enumerate(times[first:], first):
            assert last - first + 1 <= size + (end - start) * rate + 1e-3


# How long


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 0.0), (3, 1.5), (8, 61.5), (100, 30.0 * 93 + 31.5)])
def test_patience_is_what_the_attempts_take_at_the_longest(attempts: int, seconds: float) -> None:
    assert patience(RetryPolicy(attempts=attempts)) == seconds


def test_it_is_given_up_when_the_attempts_are_spent_and_so_is_the_patience() -> None:
    policy = RetryPolicy(attempts=3)
    assert is_spent(policy, 3, 1.5)
    assert not is_spent(policy, 2, 1e9)
    assert not is_spent(policy, 9, 1.4)
