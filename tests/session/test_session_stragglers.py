"""A part that stands still while others get through is sent again, when its attempt is surely gone."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from tests.session.world import ETAG, EXPIRED, MiB, World, error, make_session
from uploader.core.events import AbortPuts, PartEnded, PartRetrying, Sampled, Tick
from uploader.core.outcomes import Answer, Break, Broken, Cause, Response
from uploader.core.waiting import WaitSession
from uploader.errors import PartError, SourceChangedError
from uploader.options import RetryPolicy

STOPPED = Broken(Break.RESET, "stopped")


def standing_still(parts: int = 50, policy: RetryPolicy | None = None) -> World:
    """Part 1 of many stands still from 1000.0 to 1003.0, and eight others were stored meanwhile."""
    world = World(make_session(parts, 3, policy))
    world.start()
    world.end_call()
    for number in range(2, 10):
        world.end_put(number=number)
    world.now += 3.0
    return world


def straggling(parts: int = 50, policy: RetryPolicy | None = None) -> World:
    """The same, and it is being aborted."""
    world = standing_still(parts, policy)
    world.sample()
    assert world.aborts == {1: 1}
    return world


def retries(world: World) -> list[PartRetrying]:
    return [event for event in world.told if isinstance(event, PartRetrying)]


def in_flight(world: World) -> list[int]:
    return [put.part.number for _, put in world.puts.values()]


def test_it_is_aborted_alone_and_sent_again_next_when_it_is_gone() -> None:
    world = straggling()
    assert in_flight(world) == [1, 10, 11]
    assert retries(world) == []
    world.end_put(number=10)
    assert in_flight(world) == [1, 11, 12], "not before it is gone"
    world.end_put(number=1, sent=MiB)
    assert in_flight(world) == [11, 12, 1]


def test_it_is_told_as_a_retry_of_its_own_kind() -> None:
    world = straggling()
    world.end_put(number=1)
    (retry,) = retries(world)
    assert (retry.part.number, retry.cause, retry.delay) == (1, Cause.STRAGGLER, 0.0)
    assert retry.detail == "it stood still for 3.0 s, longer than other parts take"
    world.finish()
    assert world.session.result is not None
    assert world.session.result.retries == 1


def test_one_that_moves_is_not_aborted() -> None:
    world = standing_still()
    world.sample({1: 1})
    assert not world.aborts


def test_when_nothing_gets_through_nothing_is_aborted() -> None:
    world = standing_still()
    world.sample({1: 1, 10: 1, 11: 1})
    for _ in range(40):
        world.now += 3.0
        world.sample()
    assert not world.aborts


def test_it_is_aborted_once_however_long_it_takes_to_end() -> None:
    world = straggling()
    for _ in range(3):
        world.now += 3.0
        world.end_put()
        world.sample()
    assert world.aborts[1] == 1


@pytest.mark.parametrize("is_last", [True, False])
def test_of_the_last_part_those_stored_before_it_stood_still_count(is_last: bool) -> None:
    world = standing_still(parts=10 if is_last else 11)
    world.sample({1: 1})
    world.end_put(number=10)
    world.now += 5.0
    world.sample()
    assert world.aborts == ({1: 1} if is_last else {})


def test_the_last_part_may_be_a_straggler_twice() -> None:
    world = standing_still(parts=10)
    world.end_put(number=10)
    for _ in range(2):
        world.now += 3.0
        world.sample()
        world.end_put(number=1)
    world.now += 60.0
    world.sample()
    assert world.aborts.total() == 2
    assert in_flight(world) == [1]


def test_it_is_no_failure_of_the_part() -> None:
    policy = RetryPolicy(attempts=1, base=0.0, cap=0.0)
    world = straggling(policy=policy)
    world.end_put(number=1)
    assert world.session.error is None
    world.end_put(error("InternalError", 500), number=1)
    assert isinstance(world.session.error, PartError)
    assert "gave up after 1 attempts" in str(world.session.error)


def test_it_is_no_part_of_an_outage() -> None:
    world = straggling()
    for _ in range(3):
        world.end_put(error("InternalError", 500), number=in_flight(world)[-1])
    world.end_put(number=1)
    assert not world.session._is_outage


def test_it_takes_a_token_of_the_retry_budget_when_it_is_aborted() -> None:
    policy = RetryPolicy(base=0.0, cap=0.0, budget=1, budget_rate=0.001)
    world = straggling(policy=policy)
    world.end_put(error("InternalError", 500), number=10)
    assert 10 not in in_flight(world), "no token is left"
    world.end_put(number=1)
    assert 1 in in_flight(world), "it was paid for"
    world.end_put(number=1)
    assert 10 in in_flight(world), "and the token came back when the part was stored"


def test_without_a_token_it_is_left_alone() -> None:
    policy = RetryPolicy(base=0.0, cap=0.0, budget=1, budget_rate=1.0)
    world = standing_still(policy=policy)
    world.end_put(error("InternalError", 500), number=10)
    assert in_flight(world)[-1] == 10
    world.sample()
    assert not world.aborts
    world.now += 1.0
    world.sample()
    assert world.aborts == {1: 1}


def test_one_that_is_stored_while_it_is_aborted_is_stored() -> None:
    world = straggling()
    end_unstopped(world, ETAG)
    world.finish()
    assert retries(world) == []
    assert world.put_numbers.count(1) == 1


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        (EXPIRED, Cause.EXPIRED),
        (error("InternalError", 500), Cause.SERVER),
        (Response(200, {}, b"<html>"), Cause.STRANGE),
        (STOPPED, Cause.STRAGGLER),
    ],
)
def test_one_that_is_answered_while_it_is_aborted_was_answered(answer: Answer, cause: Cause) -> None:
    world = straggling()
    end_unstopped(world, answer)
    assert [retry.cause for retry in retries(world)] == [cause]


def test_one_whose_file_changed_while_it_was_aborted_ends_it() -> None:
    world = straggling()
    end_unstopped(world, Broken(Break.CHANGED, "f.glb was written to"))
    assert isinstance(world.session.error, SourceChangedError)


def end_unstopped(world: World, answer: Answer) -> None:
    """What ended the attempt at part 1 came before the abort."""
    world.aborted.clear()
    world.aborts.clear()
    world.end_put(answer, number=1)


def test_a_connection_that_broke_unasked_is_a_failure() -> None:
    world = standing_still()
    world.end_put(Broken(Break.RESET), number=1)
    assert [retry.cause for retry in retries(world)] == [Cause.NETWORK]


def test_while_all_are_aborted_none_is_aborted_alone() -> None:
    world = standing_still()
    world.end_put(error("NoSuchUpload", 404), number=10)
    world.end_call()
    assert world.aborted == world.puts.keys()
    world.sample()
    assert not world.aborts
    assert AbortPuts() not in world.told
    world.finish()
    assert world.session.result is not None


def test_a_session_without_parts_hears_of_none() -> None:
    policy = RetryPolicy()
    session = WaitSession(policy=policy, random=lambda: 0.5, wait_for=None, timeout=None, upload_id="up0")
    session.start(0.0)
    for happening in (Sampled({}), PartEnded(1, ETAG, 0, None, 0.0)):
        with pytest.raises(AssertionError):
            session.handle(happening, 0.0)
    assert session.handle(Tick(), 0.0) == []


class Link:
    """One that all attempts share, each by its weight. Socket buffers hide how far they are."""

    BLOCK, BUFFER, STEP = 256 * 1024, 2 * MiB, 0.25

    def __init__(self, world: World, rate: Callable[[float], float], weights: Sequence[float]) -> None:
        self.world = world
        self.rate = rate
        self.weights = weights
        self.began = world.now
        self.departed: dict[int, float] = {}
        self.arrived: dict[int, float] = {}

    def run(self) -> None:
        """Until every part is stored."""
        while self.world.puts:
            self.world.now += self.STEP
            self._carry()
            self.world.sample({put.part.number: self._taken(a) for a, (_, put) in self.world.puts.items()})
            for attempt in [it for it, size in self.arrived.items() if size >= 5 * MiB]:
                number = self.world.puts[attempt][1].part.number
                seconds = self.world.now - self.departed[attempt]
                del self.arrived[attempt]
                self.world.end_put(number=number, seconds=seconds)

    def _carry(self) -> None:
        for attempt in self.world.puts:
            self.departed.setdefault(attempt, self.world.now)
            self.arrived.setdefault(attempt, 0.0)
        shares = {it: self.weights[it % len(self.weights)] for it in self.arrived}
        size = self.rate(self.world.now - self.began) * self.STEP / sum(shares.values())
        for attempt, weight in shares.items():
            self.arrived[attempt] += size * weight

    def _taken(self, attempt: int) -> int:
        """What the socket took since it was looked at last, in whole blocks."""
        room = min(5 * MiB, self.arrived[attempt] + self.BUFFER) - self.world.sent.get(attempt, 0)
        return max(0, int(room) // self.BLOCK) * self.BLOCK


RATES: dict[str, Callable[[float], float]] = {
    "steady": lambda _: 4 * MiB,
    "slow": lambda _: MiB / 4,
    "twenty times slower after a while": lambda now: 10 * MiB if now < 10.0 else MiB / 2,
    "slower and slower": lambda now: 10 * MiB / (1 + now / 4),
    "fast and slow in turns": lambda now: 10 * MiB if now % 40 < 20 else MiB / 2,
}


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("concurrency", [2, 8, 32])
@pytest.mark.parametrize("weights", [(1.0,), (1.0, 3.0, 2.0, 4.0)])
def test_no_link_makes_stragglers_of_its_parts(
    name: str, concurrency: int, weights: tuple[float, ...]
) -> None:
    """However slow, unfair, or changing: with socket buffers that hold two fifths of a part."""
    world = World(make_session(40, concurrency))
    world.start()
    world.end_call()
    Link(world, RATES[name], weights).run()
    assert world.put_numbers == list(range(1, 41))
