"""When parts fail and are sent again, and when that ends."""

from __future__ import annotations

import pytest

from tests.session.world import MiB, World, error, make_session
from uploader.core.events import PartRetrying, PhaseChanged
from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.core.retry import RetryBudget
from uploader.errors import PartError, SourceChangedError, SourceError
from uploader.options import RetryPolicy

MD5 = "0123456789abcdef0123456789abcdef"


def started(parts: int = 4, concurrency: int = 2, policy: RetryPolicy | None = None) -> World:
    world = World(make_session(parts, concurrency, policy))
    world.start()
    world.end_call()
    return world


def delays(world: World) -> list[float]:
    return [event.delay for event in world.told if isinstance(event, PartRetrying)]


def test_a_failed_part_waits_out_its_backoff_without_holding_a_slot() -> None:
    world = started(parts=4, concurrency=2)
    world.end_put(error("InternalError", 500), number=1)
    assert [put.part.number for _, put in world.puts.values()] == [2, 3]
    world.finish()
    assert world.session.result is not None
    assert world.session.result.retries == 1


def test_backoff_doubles_to_its_cap() -> None:
    world = started(parts=1, policy=RetryPolicy(attempts=9, base=1.0, cap=8.0))
    for _ in range(7):
        world.end_put(error("InternalError", 500))
        world.sleep()
    assert delays(world) == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]  # half of each, as the random source says 0.5


@pytest.mark.parametrize(
    ("asked", "waited"), [("7", 7.0), ("1000000000", 120.0), ("-5", 0.25), ("soon", 0.25)]
)
def test_retry_after_is_honoured_within_bounds(asked: str, waited: float) -> None:
    world = started(parts=1)
    world.end_put(Response(503, {"retry-after": asked}))
    assert delays(world) == [waited]


def test_throttling_lowers_the_concurrency() -> None:
    world = started(parts=20, concurrency=8)
    for _ in range(4):
        world.end_put(Response(503))
    assert len(world.puts) == 4
    world.end_put()
    assert len(world.puts) <= 4


def test_attempts_run_out() -> None:
    world = started(parts=1, policy=RetryPolicy(attempts=3))
    for _ in range(2):
        world.end_put(error("InternalError", 500))
        world.sleep()
    world.end_put(error("InternalError", 500))
    assert isinstance(world.session.error, PartError)
    assert "gave up after 3 attempts" in str(world.session.error)
    assert world.session.error.upload_id == "up0"
    assert not world.session.error.nothing_sent


def test_progress_across_attempts_earns_new_attempts() -> None:
    world = started(parts=1, policy=RetryPolicy(attempts=3))
    for sent in (1, 2, 3, 4):
        for _ in range(2):
            world.end_put(Broken(Break.STALL), sent=sent * MiB)
            world.sleep()
            while world.calls:
                world.end_call()
    assert world.session.error is None
    world.finish()
    assert world.session.result is not None


@pytest.mark.parametrize(
    ("answer", "advice"),
    [
        (error("BadDigest"), "memory or network is corrupt"),
        (Response(200, {"etag": '"ffffffffffffffffffffffffffffffff"'}), "corrupted in transit"),
    ],
)
def test_corruption_is_retried_once(answer: Answer, advice: str) -> None:
    world = started(parts=1)
    world.end_put(answer, md5=MD5)
    world.sleep()
    world.end_put(answer, md5=MD5)
    assert isinstance(world.session.error, PartError)
    assert advice in str(world.session.error)


def test_all_parts_share_one_budget_of_retries() -> None:
    policy = RetryPolicy(attempts=100, base=0.0, cap=0.0, budget=5, budget_rate=2.0)
    world = started(parts=20, concurrency=20, policy=policy)
    for _ in range(9):
        world.end_put(error("InternalError", 500))
    assert delays(world) == [0.0] * 5 + [0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        (Broken(Break.CHANGED, "f.glb was written to during the upload"), SourceChangedError),
        (Broken(Break.UNREADABLE, "I/O error"), SourceError),
        (Broken(Break.TLS, "certificate verify failed"), PartError),
        (error("EntityTooLarge"), PartError),
    ],
)
def test_what_cannot_be_mended_ends_it_at_once(broken: Answer, kind: type[Exception]) -> None:
    world = started()
    world.end_put(broken, number=1)
    assert type(world.session.error) is kind
    assert world.session.error.nothing_sent is False
    assert not any(isinstance(event, PhaseChanged) and event.phase == "completing" for event in world.told)


def test_an_outage_is_not_multiplied_by_the_parts() -> None:
    """While nothing gets through, the parts that failed are tried again, and no others."""
    world = started(parts=1000, concurrency=4, policy=RetryPolicy(attempts=12))
    while not world.session.finished:
        if world.calls:
            world.end_call()
        elif world.puts:
            world.end_put(Broken(Break.CONNECT))
        else:
            world.sleep()
    assert len(set(world.put_numbers)) <= 2 * 4
    assert len(world.put_numbers) <= 2 * 4 * 12


def test_after_an_outage_all_goes_on() -> None:
    world = started(parts=50, concurrency=4)
    for _ in range(20):
        if world.puts:
            world.end_put(error("InternalError", 500))
        else:
            world.sleep()
    before = world.now
    world.finish()
    assert world.session.result is not None
    assert world.now - before < 60


def test_debt_in_the_shared_budget_is_bounded() -> None:
    budget = RetryBudget(10, 2.0)
    assert max(budget.reserve(0.0) for _ in range(1000)) <= 5.0
