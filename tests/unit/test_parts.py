"""Every part is in exactly one place, and its URL is renewed by the service's clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.links import Link
from uploader.core.outcomes import Cause
from uploader.core.parts import History, Parts
from uploader.models import PresignedUrl

DAY = 86_400.0
MiB = 1024 * 1024


def links(count: int, expires: float | None = None, tag: str = "a") -> dict[int, Link]:
    return {n: Link(PresignedUrl(f"https://h/{n}?{tag}"), expires) for n in range(1, count + 1)}


def parts(count: int = 3, expires: float | None = None, server_time: float = 0.0) -> Parts:
    made = Parts(count)
    made.grant(links(count, expires), 100.0, server_time)
    return made


def drain(some: Parts, now: float = 0.0) -> list[int]:
    taken = []
    while (number := some.next_ready(now)) is not None:
        taken.append(number)
    return taken


# Order


def test_parts_are_ready_in_order() -> None:
    assert drain(parts(4)) == [1, 2, 3, 4]


def test_a_resting_part_is_due_at_its_time_and_then_comes_first() -> None:
    some = parts(3)
    assert some.next_rested is None
    assert some.next_ready(0.0) == 1
    some.rest(1, until=5.0)
    assert some.next_rested == 5.0
    assert some.next_ready(4.9) == 2
    assert some.next_ready(5.0) == 1
    assert some.next_ready(5.0) == 3


def test_resting_parts_come_in_the_order_they_are_due() -> None:
    some = parts(3)
    for number in drain(some):
        some.rest(number, until=10.0 - number)
    assert drain(some, 8.0) == [3, 2]
    assert some.next_rested == 9.0


def test_parts_made_ready_again_go_next_in_order() -> None:
    some = parts(5)
    taken = [some.next_ready(0.0) for _ in range(3)]
    assert taken == [1, 2, 3]
    some.ready_again([3, 1])
    assert drain(some) == [1, 3, 4, 5]


def test_where_no_fresh_part_is_wanted_only_one_that_failed_before_is_taken() -> None:
    some = parts(3)
    assert some.next_ready(0.0, fresh=False) is None
    assert some.next_ready(0.0) == 1
    some.history(1).failed(0)
    some.ready_again([1])
    assert some.next_ready(0.0, fresh=False) == 1
    assert some.next_ready(0.0, fresh=False) is None
    assert drain(some) == [2, 3]


# Flights, storing, starting over


def test_an_attempt_has_its_own_id_and_remembers_its_url() -> None:
    some = parts(2)
    first = some.depart(1, 100.0)
    some.grant(links(2, tag="b"), 101.0, 0.0)
    again = some.depart(1, 102.0)
    assert first != again
    flight = some.land(first)
    assert (flight.number, flight.started) == (1, 100.0)
    assert flight.held.url != some.held(1).url
    assert flight.held.generation < some.held(1).generation
    assert list(some.in_flight) == [again]


def test_all_are_stored_when_each_is() -> None:
    some = parts(3)
    for number in (3, 1):
        some.store(number)
    assert not some.all_stored
    assert list(some.missing()) == [2]
    assert some.left == 1
    some.store(3)
    assert not some.all_stored
    some.store(2)
    assert some.all_stored
    assert list(some.missing()) == []
    assert some.left == 0


def test_starting_over_forgets_what_was_stored_but_not_what_parts_went_through() -> None:
    some = parts(4)
    numbers = drain(some)
    some.store(numbers[0])
    some.rest(2, until=1e9)
    some.block(3, "refused")
    some.history(2).strike(Cause.CORRUPT)
    some.start_over()
    assert list(some.missing()) == [1, 2, 3, 4]
    assert (some.blocked, some.next_rested) == ({}, None)
    assert drain(some) == [1, 2, 3, 4]
    assert some.history(2).strikes[Cause.CORRUPT] == 1


def test_something_is_under_way_while_a_part_is_in_flight_or_rests() -> None:
    some = parts(2)
    assert not some.any_under_way
    attempt = some.depart(1, 0.0)
    assert some.any_under_way
    some.land(attempt)
    assert not some.any_under_way
    some.rest(1, until=5.0)
    assert some.any_under_way


def test_storing_tells_whether_the_part_had_failed() -> None:
    some = parts(3)
    some.history(1).failed(0)
    some.history(2).strike(Cause.EXPIRED)
    assert [some.store(number) for number in (1, 2, 3)] == [True, False, False]


def test_history_ends_with_success() -> None:
    some = parts(1)
    some.history(1).failed(0)
    some.store(1)
    assert some.history(1).failures == 0


def test_blocked_parts_wait_for_links_and_some_must_have_them() -> None:
    some = parts(3)
    some.block(1)
    assert not some.must_have_url
    some.block(2, "refused")
    assert some.must_have_url
    some.block(3)
    assert some.must_have_url, "what one needs is not forgotten for another that does not"
    assert some.unblock() == {1: None, 2: "refused", 3: None}
    assert not some.must_have_url
    assert some.unblock() == {}


# History


def test_failures_count_up_while_the_part_gets_no_further() -> None:
    history = History()
    assert [history.failed(sent) for sent in (0, 100, MiB - 1)] == [1, 2, 3]


def test_progress_across_attempts_resets_the_count() -> None:
    history = History()
    assert [history.failed(0), history.failed(0)] == [1, 2]
    assert history.failed(MiB) == 1
    assert history.failed(MiB) == 2
    assert history.failed(2 * MiB - 1) == 3
    assert history.failed(2 * MiB) == 1


def test_strikes_are_counted_by_cause() -> None:
    history = History()
    strikes = [history.strike(cause) for cause in (Cause.CORRUPT, Cause.EXPIRED, Cause.CORRUPT)]
    assert strikes == [1, 1, 2]


# URLs


@pytest.mark.parametrize(
    ("url", "expires", "differs"),
    [
        ("https://h/1?a", 3600.0, False),
        ("https://h/1?a", 7200.0, True),
        ("https://h/1?a", None, True),
        ("https://h/1?b", 3600.0, True),
        ("https://h/1?b", 7200.0, True),
    ],
)
def test_a_link_is_another_if_its_url_or_its_end_is(url: str, expires: float | None, differs: bool) -> None:
    held = parts(1, expires=3600.0).held(1)
    assert held.differs(Link(PresignedUrl(url), expires)) is differs


@pytest.mark.parametrize("skew", [-DAY, 0.0, DAY, 1.7e9])
def test_expiry_is_measured_by_the_services_clock(skew: float) -> None:
    """faults.md case 40: this machine's clock may be a day off either way."""
    some = parts(1, expires=skew + 3600.0, server_time=skew)
    assert not some.wants_url(1, 100.0)
    assert not some.wants_url(1, 100.0 + 3600.0 - 10.1)
    assert some.wants_url(1, 100.0 + 3600.0 - 10.0)


def test_a_short_lived_link_is_used_for_most_of_its_life() -> None:
    some = parts(1, expires=20.0)
    assert not some.wants_url(1, 117.9)
    assert some.wants_url(1, 118.0)


def test_a_link_that_came_expired_is_left_to_the_store_to_judge() -> None:
    assert not parts(1, expires=-5.0).wants_url(1, 100.0)


def test_a_link_nobody_sets_an_end_to_is_used() -> None:
    assert not parts(1).wants_url(1, 1e12)


def test_a_distrusted_link_is_asked_for_anew_unless_there_is_none() -> None:
    some = parts(2, expires=3600.0)
    some.distrust(1)
    assert some.wants_url(1, 100.0)
    assert not some.wants_url(2, 100.0)
    some.keep_url(1)
    assert not some.wants_url(1, 100.0)
    assert not some.wants_url(1, 1e9)
    some.grant(links(1, 3600.0, "b"), 200.0, 0.0)
    assert not some.wants_url(1, 200.0)
    assert some.wants_url(1, 1e9)


# One place each


class Story:
    """A few parts, and an own account of where each of them is."""

    def __init__(self, count: int) -> None:
        self.count, self.now = count, 0.0
        self.parts = parts(count)
        self.flying: dict[int, int] = {}
        self.stored: set[int] = set()

    def send(self) -> None:
        number = self.parts.next_ready(self.now)
        if number is not None:
            assert number not in self.stored | set(self.flying.values())
            self.flying[self.parts.depart(number, self.now)] = number

    def set_aside(self) -> None:
        number = self.parts.next_ready(self.now)
        if number is not None:
            self.parts.block(number)

    def land(self) -> int | None:
        if not self.flying:
            return None
        attempt, number = self.flying.popitem()
        assert self.parts.land(attempt).number == number
        return number

    def fail(self) -> None:
        if number := self.land():
            self.parts.rest(number, self.now + 3)

    def lose_url(self) -> None:
        if number := self.land():
            self.parts.block(number, "refused")

    def renew(self) -> None:
        self.parts.ready_again(self.parts.unblock())

    def succeed(self) -> None:
        if number := self.land():
            self.parts.store(number)
            self.stored.add(number)

    def check(self) -> None:
        assert {flight.number for flight in self.parts.in_flight.values()} == set(self.flying.values())
        assert set(self.parts.missing()) == set(range(1, self.count + 1)) - self.stored


STEPS = ["send", "send", "send", "set_aside", "fail", "lose_url", "renew", "succeed"]


@given(st.integers(1, 6), st.lists(st.sampled_from(STEPS), max_size=80))
def test_every_part_is_in_exactly_one_place(count: int, steps: list[str]) -> None:
    """Whatever happens, no part is lost, and none is handed out while it is somewhere else."""
    story = Story(count)
    for step in steps:
        story.now += 1
        getattr(story, step)()
        story.check()
    elsewhere = {*story.flying.values(), *story.parts.blocked, *story.stored}
    assert sorted([*drain(story.parts, 1e9), *elsewhere]) == list(range(1, count + 1))
