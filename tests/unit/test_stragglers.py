"""An attempt is a straggler when it stands still for longer than parts take, while others are stored."""

from __future__ import annotations

import pytest

from uploader.core.stragglers import CHANCES, LEAST_STILL, Stragglers


class Scene:
    """Parts that are sent one after the other; attempt n is at part n."""

    def __init__(self) -> None:
        self.it = Stragglers()
        self.now = 100.0
        self.sent: dict[int, int] = {}

    def begin(self, *numbers: int) -> None:
        for number in numbers:
            self.it.depart(number, number, self.now)
            self.sent[number] = 0

    def move(self, number: int, size: int, *reading: int) -> None:
        self.sent[number] += size
        self.it.hear(self.sent, self.now, reading)

    def store(self, *numbers: int, seconds: float = 0.1) -> None:
        for number in numbers:
            if number not in self.sent:
                self.begin(number)
            del self.sent[number]
            assert self.it.land(number) is None
            self.it.store(number, seconds)

    def overdue(self, after: float, *, left: int = 1000) -> list[int]:
        return self.it.overdue(self.now + after, left)


def scene(*still: int, stored: int = 5, seconds: float = 0.1) -> Scene:
    """These parts stand still since 100.0, while `stored` others are stored."""
    made = Scene()
    made.begin(*still)
    made.store(*range(101, 101 + stored), seconds=seconds)
    return made


def test_it_may_stand_still_for_two_seconds_on_any_link() -> None:
    it = scene(1)
    assert it.overdue(LEAST_STILL) == []
    assert it.overdue(LEAST_STILL + 0.01) == [1]
    assert LEAST_STILL == 2.0


def test_it_may_stand_still_for_half_as_long_again_as_the_slowest_recent_part_took() -> None:
    it = scene(1, seconds=4.0)
    it.store(2, seconds=20.0)
    it.store(3, seconds=4.0)
    assert it.overdue(30.0) == []
    assert it.overdue(30.01) == [1]


def test_those_that_still_move_tell_first_that_the_link_got_slower() -> None:
    it = scene(1)
    it.begin(2)
    it.now += 20.0
    it.move(2, 1)
    assert it.overdue(10.0) == []
    assert it.overdue(10.01) == [1]


def test_how_slow_the_link_was_long_ago_is_forgotten() -> None:
    it = Scene()
    it.begin(1)
    it.store(2, seconds=1000.0)
    it.store(*range(101, 116))
    assert it.overdue(3.0) == []
    it.store(3)
    assert it.overdue(3.0) == [1]


def test_too_few_parts_tell_nothing() -> None:
    assert scene(1, stored=4).overdue(1000.0) == []
    assert scene(1, stored=5).overdue(1000.0) == [1]


def test_one_that_moves_is_left_alone_however_slow_it_is() -> None:
    it = scene(1)
    for _ in range(20):
        it.now += LEAST_STILL
        assert it.overdue(0.0) == []
        it.move(1, 1)
        it.store(2)


def test_one_that_is_looked_at_and_did_not_move_stands_still_all_the_same() -> None:
    it = scene(1)
    it.now += LEAST_STILL
    it.move(1, 0)
    assert it.overdue(0.01) == [1]


def test_only_what_stands_still_itself_is_overdue() -> None:
    it = scene(1)
    it.now += LEAST_STILL
    it.begin(2)
    assert it.overdue(0.01) == [1]


def test_in_an_outage_nothing_is_overdue() -> None:
    it = scene(1, 2, 3)
    for number in (1, 2, 3):
        it.move(number, 1)
    assert it.overdue(1000.0) == []


@pytest.mark.parametrize(("stored", "expected"), [(2, []), (3, [1, 2])])
def test_more_must_have_been_stored_since_than_stand_still(stored: int, expected: list[int]) -> None:
    it = scene(1, 2)
    it.move(1, 1)
    it.move(2, 1)
    it.store(*range(201, 201 + stored))
    assert it.overdue(1000.0) == expected


def test_what_was_stored_before_it_last_moved_does_not_count() -> None:
    it = scene(1)
    it.move(1, 1)
    it.store(201)
    assert it.overdue(1000.0) == []
    it.store(202)
    assert it.overdue(1000.0) == [1]


def test_for_the_only_part_that_is_left_no_other_can_be_stored() -> None:
    it = scene(1)
    it.move(1, 1)
    assert it.overdue(LEAST_STILL, left=1) == []
    assert it.overdue(LEAST_STILL + 0.01, left=2) == []
    assert it.overdue(LEAST_STILL + 0.01, left=1) == [1]


def test_where_too_few_were_stored_it_is_not_known_what_a_part_takes() -> None:
    assert scene(1, stored=4).overdue(1000.0, left=1) == []


def test_one_that_waits_for_the_file_does_not_stand_still() -> None:
    it = scene(1)
    it.now += 1.0
    it.move(1, 0, 1)
    it.store(201, 202)
    assert it.overdue(LEAST_STILL) == []
    assert it.overdue(LEAST_STILL + 0.01) == [1]


def test_one_slow_connection_does_not_make_the_link_slow() -> None:
    it = scene(1)
    it.begin(2, 3, 4)
    for _ in range(30):
        it.now += 1.0
        it.move(2, 1)
        it.store(3, 4)
        it.begin(3, 4)
    assert it.overdue(0.0) == [1]


def test_one_that_is_being_aborted_is_not_aborted_again_and_tells_how_long_it_stood_still() -> None:
    it = scene(1)
    it.it.abort(1, it.now + 7.0)
    assert it.overdue(1000.0) == []
    assert it.it.land(1) == 7.0


def test_a_part_is_aborted_twice_at_the_most() -> None:
    it = Scene()
    for attempt in range(1, CHANCES + 1):
        it.it.depart(attempt, 1, it.now)
        it.store(*range(attempt * 100, attempt * 100 + 8))
        assert it.overdue(10.0) == [attempt]
        it.it.abort(attempt, it.now)
        it.it.land(attempt)
    it.it.depart(50, 1, it.now)
    it.store(*range(900, 908))
    assert it.overdue(1e6) == []
    assert CHANCES == 2


def test_storing_tells_whether_the_part_was_ever_aborted() -> None:
    it = scene(1, 2)
    it.it.abort(1, it.now)
    it.it.land(1)
    it.it.depart(3, 1, it.now)
    it.it.land(3)
    assert it.it.store(1, 0.1)
    assert not it.it.store(2, 0.1)
    assert not it.it.store(1, 0.1), "that is over"
