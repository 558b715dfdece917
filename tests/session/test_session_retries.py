"""When parts fail and are sent again, and when that ends."""

from __future__ import annotations

import pytest

from tests.session.world import MiB, World, error, make_session
from uploader.core.events import PartRetrying, PhaseChanged, Tick
from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.errors import PartError, SourceChangedError, SourceError
from uploader.options import Concurrency, RetryPolicy

MD5 = "0123456789abcdef0123456789abcdef"


def started(
    parts: int = 4,
    concurrency: Concurrency = 2,
    policy: RetryPolicy | None = None,
    timeout: float | None = None,
) -> World:
    world = World(make_session(parts, concurrency, policy, timeout=timeout))
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


@pytest.mark.parametrize("asked", [10.0, 100.0])
def test_it_wakes_for_what_is_due_first(asked: float) -> None:
    world = started(parts=1, timeout=30.0)
    world.end_put(Response(503, {"retry-after": str(asked)}))
    assert world.session.wake == world.now + min(asked, 30.0)


def test_throttling_lowers_the_concurrency() -> None:
    world = started(parts=20, concurrency=8)
    for _ in range(4):
        world.end_put(Response(503))
    assert len(world.puts) == 4
    world.end_put()
    assert len(world.puts) <= 4


def test_the_concurrency_comes_back_as_parts_are_stored() -> None:
    world = started(parts=40, concurrency=4)
    world.end_put(Response(503))
    world.end_put()
    assert len(world.puts) == 2
    for _ in range(15):
        world.end_put()
    assert len(world.puts) == 4


def test_auto_starts_with_four_and_hears_of_refusals_and_broken_connections() -> None:
    world = World(make_session(20, concurrency="auto"))
    world.start()
    world.end_call()
    assert len(world.puts) == 4
    world.end_put(Response(503))
    world.end_put()
    assert len(world.puts) == 2, "cut by the refusal"
    world.now += 10.0
    world.end_put(Broken(Break.RESET))
    world.end_put(Broken(Break.RESET))
    assert len(world.puts) == 1, "and by two that broke in a row"


@pytest.mark.parametrize("concurrency", [4, "auto"])
def test_of_what_there_is_a_shortage_no_more_is_used_than_there_is(concurrency: Concurrency) -> None:
    world = started(parts=16, concurrency=concurrency)
    for left in (3, 2, 1):
        world.end_put(Broken(Break.SHORTAGE, "Too many open files"))
        assert len(world.puts) == left
    world.end_put(Broken(Break.SHORTAGE, "Too many open files"))
    assert not world.puts
    world.sleep()
    assert len(world.puts) == 1
    world.finish()
    assert world.session.result is not None
    assert world.session.result.url_refreshes == 0


def test_one_that_does_not_end_says_what_to_do() -> None:
    world = started(parts=1, policy=RetryPolicy(attempts=2))
    world.end_put(Broken(Break.SHORTAGE, "Too many open files"))
    world.sleep()
    world.end_put(Broken(Break.SHORTAGE, "Too many open files"))
    assert isinstance(world.session.error, PartError)
    assert "Too many open files; gave up after 2 attempts: raise its limits" in str(world.session.error)
    assert not world.session.error.final


def test_attempts_run_out() -> None:
    world = started(parts=1, policy=RetryPolicy(attempts=3))
    for _ in range(2):
        world.end_put(error("InternalError", 500))
        world.sleep()
    world.end_put(error("InternalError", 500))
    assert isinstance(world.session.error, PartError)
    assert "gave up after 3 attempts" in str(world.session.error)
    assert not world.session.error.final, "the store may mend"
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
    began = world.now
    for _ in range(6):
        world.end_put(error("InternalError", 500))
    assert len(world.puts) == 14 + 5, "the sixth has to be earned"
    assert world.session.wake == began + 0.5
    world.sleep()
    assert len(world.puts) == 20


def test_a_retry_that_stores_its_part_is_not_counted() -> None:
    policy = RetryPolicy(base=0.0, cap=0.0, budget=1, budget_rate=0.001)
    world = started(parts=20, concurrency=2, policy=policy)
    for number in range(1, 8):
        world.end_put(error("InternalError", 500), number=number)
        world.end_put(number=number)
    assert delays(world) == [0.0] * 7
    world.finish()
    assert world.session.result is not None


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
    assert world.session.error.upload_id == "up0"
    assert not any(isinstance(event, PhaseChanged) and event.phase == "completing" for event in world.told)


def test_a_file_that_changed_is_sent_anew_the_next_time() -> None:
    world = started()
    world.end_put(Broken(Break.CHANGED, "f.glb was written to"))
    assert isinstance(world.session.error, SourceChangedError)
    assert not world.session.error.resumable
    assert "uploading it again starts anew" in str(world.session.error)


@pytest.mark.parametrize(
    ("answer", "final"), [(error("EntityTooLarge"), True), (Broken(Break.TLS, "unknown issuer"), False)]
)
def test_a_part_error_says_whether_the_store_would_refuse_it_again(answer: Answer, final: bool) -> None:
    world = started()
    world.end_put(answer, number=2)
    assert isinstance(world.session.error, PartError)
    assert (world.session.error.part, world.session.error.final) == (2, final)


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
    assert len(world.put_numbers) <= 2 * 4 * (2 * 12), "backoffs are half as long as they may be"


@pytest.mark.parametrize(("concurrency", "tried"), [(1, 4), (3, 3 + 3), (8, 8 + 7)])
def test_as_many_failures_in_a_row_as_are_in_flight_are_an_outage_but_no_less_than_four(
    concurrency: int, tried: int
) -> None:
    world = started(parts=20, concurrency=concurrency)
    while world.puts:
        world.end_put(error("InternalError", 500))
    assert world.put_numbers == list(range(1, tried + 1))


def test_failures_with_a_success_between_them_are_no_outage() -> None:
    world = started(parts=20, concurrency=1)
    for _ in range(3):
        world.end_put(error("InternalError", 500))
    world.end_put()
    while world.puts:
        world.end_put(error("InternalError", 500))
    assert world.put_numbers == [1, 2, 3, 4, 5, 6, 7, 8]


def pass_time(world: World, seconds: float) -> None:
    world.now += seconds
    world.tell(Tick())


def fail_all(world: World) -> None:
    while world.puts:
        world.end_put(error("InternalError", 500))


def test_in_a_long_outage_one_part_at_a_time_tells_when_it_is_over() -> None:
    world = started(parts=20, concurrency=4)
    fail_all(world)
    assert world.put_numbers == [1, 2, 3, 4, 5, 6, 7]
    pass_time(world, 1000.0)
    assert len(world.puts) == 4, "seven failed"
    world.end_put(error("InternalError", 500))
    assert len(world.puts) == 3, "the eighth was one too many"
    fail_all(world)
    pass_time(world, 1000.0)
    assert len(world.puts) == 1
    world.end_put()
    assert len(world.puts) == 4, "and all goes on"


def test_in_an_outage_no_part_is_given_up_before_the_backoffs_could_have_taken_as_long() -> None:
    world = started(parts=20, concurrency=4, policy=RetryPolicy(attempts=2, base=10.0))
    began = world.now
    fail_all(world)
    while not world.session.finished:
        assert world.now < began + 20.0
        world.sleep()
        fail_all(world)
    assert isinstance(world.session.error, PartError)
    assert began + 10.0 <= world.now
    assert len(world.put_numbers) > 7 + 1


def test_what_failed_in_an_outage_is_not_counted_against_a_part_that_fails_once_more_after_it() -> None:
    world = started(parts=20, concurrency=4, policy=RetryPolicy(attempts=2, base=10.0))
    fail_all(world)
    pass_time(world, 6.0)
    assert len(world.puts) == 4
    world.end_put()
    world.end_put(error("InternalError", 500))
    assert world.session.error is None, "its second failure, but the outage ended just now"
    pass_time(world, 100.0)
    assert len(world.puts) == 4
    fail_all(world)
    assert isinstance(world.session.error, PartError)


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
