"""The modelled store of `benchmarks/virtual`: if it is wrong, so is all that is simulated with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.virtual.store import EXPIRED, Pipe, Quota, Store, Terms
from benchmarks.virtual.uploading import BUSY, EPOCH, STORED, Clock
from uploader.core.events import Put
from uploader.core.outcomes import Answer
from uploader.core.plan import Part
from uploader.models import PresignedUrl


def ends(rate: float, each: float, *transfers: tuple[float, int]) -> dict[int, float]:
    """When each transfer, of a start and a size, ends."""
    clock, ended = Clock(), dict[int, float]()
    pipe = Pipe(clock, rate, each)

    def send(number: int, now: float) -> None:
        pipe.send(transfers[number][1], now, lambda end: ended.update({number: end}))

    for number, (start, _) in enumerate(transfers):
        clock.at(start, send, number)
    clock.run()
    return ended


def test_one_transfer_has_what_a_connection_may_have() -> None:
    assert ends(1000.0, 100.0, (5.0, 200)) == {0: 7.0}


def test_many_share_the_rate_equally() -> None:
    assert ends(100.0, 1000.0, *[(0.0, 100)] * 5) == dict.fromkeys(range(5), 5.0)


def test_who_comes_later_slows_those_there_and_who_leaves_speeds_them_up() -> None:
    """100 B/s: alone for 1 s, then shared until the short one ends, then alone again."""
    assert ends(100.0, 1000.0, (0.0, 300), (1.0, 50)) == pytest.approx({0: 3.5, 1: 2.0})


def test_no_connection_gets_more_when_others_leave_than_it_may_have() -> None:
    assert ends(100.0, 60.0, (0.0, 240), (0.0, 50)) == pytest.approx({1: 1.0, 0: 1.0 + 190 / 60})


def test_as_many_bytes_leave_as_the_rate_allows_whenever_they_come() -> None:
    """Never idle while there is something to send: the last one ends when all bytes are through."""
    transfers = [(0.1 * n, 100 + 7 * n % 50) for n in range(40)]
    assert max(ends(100.0, 1000.0, *transfers).values()) == pytest.approx(
        sum(size for _, size in transfers) / 100.0
    )


def test_a_quota_takes_a_seconds_worth_at_once_and_then_its_rate() -> None:
    quota = Quota(10.0)
    assert [quota.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    assert [quota.take(100.25) for _ in range(3)] == [True, True, False]


def answers(terms: Terms, *starts: float, expires: float = 1e6) -> list[tuple[Answer, float]]:
    """What requests for 100 bytes come to, and when."""
    clock, told = Clock(), list[tuple[Answer, float]]()
    store = Store(clock, terms)
    url = PresignedUrl(f"https://store.example/1?Expires={EPOCH + expires}")
    ended: Callable[[Answer, float], None] = lambda answer, now: told.append((answer, now))  # noqa: E731
    for attempt, start in enumerate(starts):
        clock.at(start, lambda put, now: store.put(put, now, ended), Put(attempt, Part(1, 0, 100), url))
    clock.run()
    return told


def test_a_part_takes_a_round_trip_and_its_bytes() -> None:
    assert answers(Terms(100.0, 100.0, round_trip=0.5), 1.0) == [(STORED, 2.5)]


def test_a_request_above_the_quota_is_told_to_slow_down_after_a_round_trip() -> None:
    terms = Terms(1e6, 1e6, round_trip=0.5, requests=2.0)
    told = answers(terms, 8.0, 8.0, 8.0)
    assert (told.count((BUSY, 8.5)), len([end for answer, end in told if answer is STORED])) == (1, 2)


def test_a_link_is_judged_when_the_request_arrives_and_not_when_it_ends() -> None:
    terms = Terms(100.0, 100.0, round_trip=0.5)
    assert answers(terms, 1.0, expires=1.3) == [(STORED, 2.5)]
    assert answers(terms, 1.0, expires=1.2) == [(EXPIRED, 1.5)]
