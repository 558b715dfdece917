"""Many sessions that share a modelled store, and large ones; `benchmarks/simulate.py` prints more."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType

import pytest

from benchmarks.virtual.fleet import Fleet, Outcome, sail
from benchmarks.virtual.store import Terms

CORE = "/uploader/core/"
NARROW = Terms(rate=1e9)


def done(fleet: Fleet) -> Outcome:
    """Every upload is done, and every part was stored once."""
    it = sail(fleet)
    assert it.failed == []
    assert len(it.ends) == fleet.sessions
    assert it.requests["put"] == fleet.all_parts + it.refused
    return it


@pytest.mark.parametrize("sessions", [1, 10, 200])
def test_no_request_is_made_twice_where_nothing_is_in_the_way(sessions: int) -> None:
    it = done(Fleet(sessions, parts=20))
    assert it.requests == {"create": sessions, "put": 20 * sessions, "complete": sessions, "get": sessions}
    assert (it.retries, it.refreshes) == (0, 0)


def test_a_hundred_fill_what_they_share() -> None:
    fleet = Fleet(100, parts=40, terms=NARROW)
    assert max(done(fleet).ends) <= 1.05 * fleet.ideal


def test_a_burst_that_the_store_refuses_costs_requests_but_no_time() -> None:
    """It takes 300 requests a second, 60 would do, and 800 come at once."""
    fleet = Fleet(100, parts=40, terms=Terms(rate=1e9, requests=300.0), spread=0.1)
    it = done(fleet)
    assert it.refused > 0
    assert max(it.ends) <= 1.05 * fleet.ideal


def test_a_store_that_takes_too_few_requests_is_kept_busy() -> None:
    fleet = Fleet(100, parts=40, terms=Terms(requests=40.0))
    it = done(fleet)
    assert it.retries > 0
    assert max(it.ends) <= 1.5 * fleet.ideal


def test_links_are_renewed_before_they_run_out_by_one_look_for_all_parts() -> None:
    fleet = Fleet(100, parts=40, terms=Terms(rate=1e9, lifetime=30.0))
    it = done(fleet)
    assert it.refused == 0
    lives = max(it.ends) / (30.0 - 3.0 - 1.0)  # renewed a tenth before, signed for whole seconds
    assert 1 <= it.refreshes / fleet.sessions <= lives
    assert it.requests["get"] == it.refreshes + fleet.sessions


def core_calls(run: Callable[[], object]) -> int:
    """How many calls the core makes and takes, generators' steps among them."""
    count = 0

    def profile(frame: FrameType, event: str, _: object) -> None:
        nonlocal count
        count += event in ("call", "c_call") and CORE in frame.f_code.co_filename.replace("\\", "/")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("terms", [Terms(), Terms(requests=15.0)], ids=["calm", "throttled"])
def test_what_a_part_costs_does_not_grow_with_the_number_of_parts(terms: Terms) -> None:
    few = core_calls(lambda: done(Fleet(parts=250, terms=terms)))
    many = core_calls(lambda: done(Fleet(parts=2000, terms=terms)))
    assert many / 2000 <= 1.05 * few / 250
