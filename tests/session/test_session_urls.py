"""When URLs lapse, are refused, or cannot be had anew."""

from __future__ import annotations

import pytest

from tests.session.world import ETAG, EXPIRED, Signs, World, error, make_session
from uploader.core.calls import Call
from uploader.core.events import AbortPuts, Ask, CallDone, PartRetrying, PartStored, Recreating, UrlsRefreshed
from uploader.core.outcomes import Break, Broken, Cause, Response
from uploader.core.session import SIGNED_IN
from uploader.errors import AnswerError, NotFoundError, PartError, UploadFailedError
from uploader.models import Upload
from uploader.options import RetryPolicy

# The service's clock stands at 1985-11-05T00:53:20Z in World.end_call, far from any of this side's.


def started(
    parts: int = 4, concurrency: int = 2, *, signs: Signs = "anew", expires: str | None = None
) -> World:
    world = World(make_session(parts, concurrency), signs=signs)
    world.start()
    world.end_call(expires=expires)
    return world


def test_one_refresh_serves_every_part_that_needs_one() -> None:
    world = started(parts=8, concurrency=4)
    for _ in range(4):
        world.end_put(EXPIRED)
    assert world.asked == [Call.CREATE, Call.GET]
    world.finish()
    assert world.session.result is not None
    assert world.session.result.url_refreshes == 1
    assert world.session.result.retries == 4


def test_no_part_is_sent_while_one_must_have_a_new_url() -> None:
    world = started(parts=8, concurrency=2)
    world.end_put(EXPIRED, number=1)
    world.end_put(number=2)
    assert not world.puts
    world.end_call()
    assert [put.part.number for _, put in world.puts.values()] == [1, 3]


def test_a_part_refused_with_an_old_url_takes_the_newer_one_without_another_refresh() -> None:
    world = started(parts=4, concurrency=2)
    world.end_put(EXPIRED, number=1)
    world.end_call()
    world.end_put(EXPIRED, number=2)
    assert world.asked == [Call.CREATE, Call.GET]
    world.finish()
    assert world.session.result is not None


@pytest.mark.parametrize(
    ("refusal", "advice"),
    [
        (EXPIRED, "check its clock"),
        (error("RequestTimeTooSkewed", 403), "signing server's clock is wrong"),
        (error("SignatureDoesNotMatch", 403), "link rejected"),
        (error("InvalidToken", 400), "link rejected"),
        (Response(307, {"location": "https://elsewhere.example/"}), "redirects"),
    ],
)
def test_a_fresh_url_refused_again_is_final(refusal: Response, advice: str) -> None:
    world = started()
    world.end_put(refusal, number=1)
    world.end_call()
    world.end_put(refusal, number=1)
    assert isinstance(world.session.error, PartError)
    assert world.session.error.part == 1
    assert advice in str(world.session.error)
    assert world.asked.count(Call.GET) == 1


def test_a_url_that_ran_out_while_parts_waited_is_no_strike() -> None:
    world = started(parts=6, concurrency=1)
    for _ in range(5):
        world.now += 3600
        world.end_put()
        world.end_put(EXPIRED)
        world.end_call()
    world.finish()
    assert world.session.result is not None
    assert world.session.result.url_refreshes == 5


@pytest.mark.parametrize(
    ("refusal", "age", "final"),
    [(EXPIRED, 30.0, True), (EXPIRED, 30.5, False), (error("SignatureDoesNotMatch", 403), 3600.0, True)],
)
def test_an_expiry_is_no_strike_where_the_url_is_older_than_half_a_minute(
    refusal: Response, age: float, final: bool
) -> None:
    world = started(parts=2, concurrency=1)
    world.now += age
    world.end_put(number=1)
    world.end_put(refusal, number=2, seconds=0.0)
    world.end_call()
    world.end_put(refusal, number=2, seconds=0.0)
    assert isinstance(world.session.error, PartError) == final


@pytest.mark.parametrize(("seconds", "final"), [(0.1, False), (40.0, True)])
def test_a_url_that_ran_out_while_its_part_waited_for_a_worker_is_no_strike(
    seconds: float, final: bool
) -> None:
    world = started(parts=2, concurrency=1)
    world.now += 40
    world.end_put(EXPIRED, number=1, seconds=seconds)
    world.end_call()
    world.now += 40
    world.end_put(EXPIRED, number=1, seconds=seconds)
    assert isinstance(world.session.error, PartError) == final


def test_a_url_about_to_lapse_by_the_services_clock_is_renewed_before_it_is_used() -> None:
    world = started(expires="1985-11-05T00:54:20Z")  # in a minute
    world.now += 55
    world.end_put(number=1)
    assert world.calls[0].call is Call.GET
    assert world.put_numbers == [1, 2], "no part goes out on a URL about to lapse"
    world.end_call(expires="1985-11-05T01:53:20Z")
    assert world.put_numbers == [1, 2, 3]


def test_a_lapsing_url_that_is_not_renewed_is_used_until_the_store_refuses_it() -> None:
    world = started(signs="never", expires="1985-11-05T00:53:21Z")
    world.now += 5
    world.end_put(number=1)
    world.end_call(expires="1985-11-05T00:53:21Z")
    world.finish()
    assert world.session.result is not None
    assert world.asked.count(Call.GET) - 1 == 1, "asked once, not for every part"
    assert world.session.result.url_refreshes == 0, "what came was no fresh one"
    assert not world.session.result.recreated


def test_without_fresh_urls_the_upload_is_started_over_once_and_says_so() -> None:
    world = started(parts=4, concurrency=2, signs="never")
    world.end_put(number=1)
    world.now += SIGNED_IN
    world.end_put(EXPIRED, number=2)
    world.end_call()
    (said,) = [event.reason for event in world.told if isinstance(event, Recreating)]
    assert "Request has expired" in said, "what the store says of the link"
    assert world.aborted
    world.end_put(number=3)  # what was under way ends first
    assert world.calls == [Ask(Call.CREATE, None, first=False)]
    world.finish()
    assert world.session.result is not None
    assert world.session.result.recreated
    assert world.session.result.upload_id == "up1"
    assert world.put_numbers == [1, 2, 3, 1, 2, 3, 4]


@pytest.mark.parametrize("offered", [None, [], [3, 4]])
def test_an_answer_without_a_link_for_the_part_that_needs_one_is_no_refresh(
    offered: list[int] | None,
) -> None:
    world = started(parts=4, concurrency=1)
    world.now += SIGNED_IN
    world.end_put(EXPIRED, number=1)
    links = offered and [{"number": n, "url": f"https://s.example/up0/{n}?X-Sig=2"} for n in offered]
    world.calls.clear()
    told = Upload.model_validate({"id": "up0", "status": "pending", "parts": links})
    world.tell(CallDone(Call.GET, told, 5e8))
    assert any(isinstance(event, Recreating) for event in world.told)
    world.finish()
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"


@pytest.mark.parametrize("age", [0.0, 0.5, 0.99])
def test_a_url_signed_in_the_same_second_is_asked_for_again_before_anything_is_given_up(age: float) -> None:
    world = started(parts=3, concurrency=1, signs="by second")
    world.now += age
    world.end_put()
    world.end_put(error("SignatureDoesNotMatch", 403))
    world.end_call()
    assert not world.calls, "not before another second"
    world.sleep()
    assert world.now == pytest.approx(1000 + SIGNED_IN)
    world.finish()
    assert world.session.result is not None
    assert not world.session.result.recreated
    assert world.session.result.url_refreshes == 1
    assert world.put_numbers == [1, 2, 2, 3]


def test_a_service_asked_late_in_the_second_is_asked_again_at_once() -> None:
    world = started(parts=2, concurrency=1, signs="never")
    world.end_put(EXPIRED)
    world.now += SIGNED_IN  # so long the answer took
    world.end_call()
    assert [ask.call for ask in world.calls] == [Call.GET]
    world.end_call()
    assert any(isinstance(event, Recreating) for event in world.told)


def offer(world: World, generations: dict[int, int]) -> None:
    """The service answers with links of these generations for these parts, and no others."""
    world.calls.clear()
    links = [{"number": n, "url": f"https://s.example/up0/{n}?X-Sig={g}"} for n, g in generations.items()]
    told = Upload.model_validate({"id": "up0", "status": "pending", "parts": links})
    world.tell(CallDone(Call.GET, told, 5e8))


def test_while_one_part_waits_for_another_second_those_with_new_urls_are_held_ready() -> None:
    world = started(parts=3, concurrency=2, signs="never")
    world.end_put(EXPIRED, number=1)
    world.end_put(EXPIRED, number=2)
    offer(world, {1: 1, 2: 2})
    assert not world.puts
    world.sleep()
    offer(world, {1: 3, 2: 2})
    assert {put.part.number for _, put in world.puts.values()} == {1, 2}
    world.finish()
    assert world.session.result is not None
    assert not world.session.result.recreated


def test_the_youngest_refused_url_tells_when_to_ask_again() -> None:
    world = started(parts=2, concurrency=2, signs="never")
    world.now += 40
    world.end_put(EXPIRED, number=2)
    offer(world, {1: 1, 2: 2})
    world.end_put(EXPIRED, number=2)
    world.end_put(EXPIRED, number=1)
    offer(world, {1: 1, 2: 2})
    assert not any(isinstance(event, Recreating) for event in world.told)
    world.sleep()
    assert world.now == 1040 + SIGNED_IN


def test_other_dates_for_a_refused_url_do_not_put_off_its_end() -> None:
    world = started(parts=1, signs="never")
    world.end_put(EXPIRED)
    world.end_call(expires="1985-11-05T01:54:20Z")
    world.sleep()
    world.end_call(expires="1985-11-05T01:55:20Z")
    assert world.asked == [Call.CREATE, Call.GET, Call.GET, Call.CREATE]


def test_the_refusal_that_is_told_is_of_the_url_that_was_not_renewed() -> None:
    world = started(parts=2, concurrency=2, signs="never")
    world.now += SIGNED_IN
    world.end_put(EXPIRED, number=1)
    world.end_put(error("SignatureDoesNotMatch", 403), number=2)
    offer(world, {1: 1, 2: 2})
    (said,) = [event.reason for event in world.told if isinstance(event, Recreating)]
    assert "Request has expired" in said
    assert "SignatureDoesNotMatch" not in said


def test_what_the_old_upload_stored_meanwhile_does_not_count() -> None:
    world = started(parts=3, concurrency=2, signs="never")
    world.now += SIGNED_IN
    world.end_put(EXPIRED, number=1)
    world.end_call()
    world.aborted.clear()  # its answer was on its way already
    before = [event for event in world.told if isinstance(event, PartStored)]
    world.end_put(number=2)
    assert [event for event in world.told if isinstance(event, PartStored)] == before
    world.finish()
    assert world.current.parts == {1, 2, 3}


def test_failures_of_the_old_upload_are_no_outage_of_the_new_one() -> None:
    world = started(parts=10, concurrency=1, signs="never")
    world.end_put(error("InternalError", 500))
    world.now += SIGNED_IN
    world.end_put(EXPIRED)
    world.end_call()
    world.end_call()
    while world.puts:
        world.end_put(error("InternalError", 500))
    assert world.put_numbers == [1, 2, *[1, 2, 3, 4]]


def test_starting_over_a_second_time_is_refused() -> None:
    world = started(parts=2, concurrency=1, signs="never")
    world.now += SIGNED_IN
    world.end_put(EXPIRED)
    world.end_call()
    world.end_call()
    world.now += 3600  # so that the next expiry is no strike
    world.end_put()
    world.now += 3600
    world.end_put(EXPIRED)
    world.end_call()
    assert isinstance(world.session.error, AnswerError)
    assert "started over once" in str(world.session.error)


def test_two_broken_connections_in_a_row_ask_for_a_url_and_go_on_without_one() -> None:
    world = started(parts=1, signs="never")
    world.end_put(Broken(Break.RESET))
    world.sleep()
    assert world.asked.count(Call.GET) == 0
    world.end_put(Broken(Break.RESET))
    world.sleep()
    assert world.calls[0].call is Call.GET
    world.end_call()
    assert world.put_numbers == [1, 1, 1]
    world.finish()
    assert world.session.result is not None
    assert not world.session.result.recreated


@pytest.mark.parametrize(
    ("faults", "looks"),
    [
        ("n", 0),
        ("nn", 1),
        ("nnn", 1),
        ("nnnn", 2),
        ("n" * 7, 2),
        ("n" * 8, 3),
        ("nsn", 0),
        ("nsnn", 1),
        ("sn", 0),
    ],
)
def test_two_four_or_eight_broken_connections_in_a_row_ask_for_a_url(faults: str, looks: int) -> None:
    world = World(make_session(1, policy=RetryPolicy(attempts=20)))
    world.start()
    world.end_call()
    for fault in faults:
        world.end_put(Broken(Break.RESET) if fault == "n" else error("InternalError", 500))
        world.sleep()
        if world.calls:
            world.end_call()
    assert world.asked.count(Call.GET) == looks


def test_observers_hear_of_a_refused_url_as_of_a_retry_at_once() -> None:
    world = started(parts=1)
    world.end_put(EXPIRED)
    (event,) = [event for event in world.told if isinstance(event, PartRetrying)]
    assert (event.part.number, event.cause, event.delay) == (1, Cause.EXPIRED, 0.0)
    assert "expired" in event.detail


def test_an_upload_that_failed_while_parts_are_sent_is_an_error() -> None:
    world = started(parts=2)
    world.end_put(EXPIRED)
    world.current.status = "failed"
    world.end_call()
    assert isinstance(world.session.error, UploadFailedError)


def test_nothing_more_is_sent_to_an_upload_the_store_forgot() -> None:
    world = started(parts=4, concurrency=2)
    world.end_put(error("NoSuchUpload", 404), number=1)
    world.end_put(number=2)
    assert not world.puts
    assert world.asked == [Call.CREATE, Call.GET]


def test_an_upload_the_store_forgot_is_started_over_if_the_service_still_waits() -> None:
    world = started()
    world.end_put(error("NoSuchUpload", 404), number=1)
    world.end_call()
    assert AbortPuts() not in world.told
    world.end_put(number=2)
    world.finish()
    assert world.session.result is not None
    assert world.session.result.recreated


def test_an_upload_the_service_forgot_is_started_over() -> None:
    world = started()
    world.end_put(error("NoSuchUpload", 404), number=1)
    world.fail_call(NotFoundError("gone", status=404))
    world.end_put(number=2)
    world.finish()
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"


def test_an_upload_that_the_service_twice_does_not_know_is_started_over() -> None:
    world = started()
    world.end_put(EXPIRED, number=1)
    world.end_put(number=2)
    world.lose()
    world.finish()
    assert world.session.result is not None
    assert (world.session.result.upload_id, world.session.result.recreated) == ("up1", True)


def test_a_slip_of_the_services_costs_nothing_but_another_look() -> None:
    world = started()
    world.end_put(EXPIRED, number=1)
    world.fail_call(NotFoundError("gone", status=404))
    world.end_put(number=2)
    assert not world.calls, "it is not asked at once"
    world.sleep()
    assert [ask.call for ask in world.calls] == [Call.GET]
    world.finish()
    assert world.session.result is not None
    assert (world.session.result.upload_id, world.session.result.recreated) == ("up0", False)


def test_an_upload_that_something_else_completed_is_an_error() -> None:
    world = started()
    world.end_put(error("NoSuchUpload", 404), number=1)
    world.current.status = "validating"
    world.end_call()
    assert "something else completed it" in str(world.session.error)


def test_observers_hear_of_fresh_urls() -> None:
    world = started(parts=3, concurrency=1)
    world.end_put(number=1)
    world.end_put(EXPIRED, number=2)
    world.end_call()
    assert [event.parts for event in world.told if isinstance(event, UrlsRefreshed)] == [2]


def test_an_early_200_for_part_of_the_bytes_is_no_success() -> None:
    world = started(parts=1)
    world.end_put(ETAG, sent=1000)
    world.sleep()
    world.finish()
    assert world.put_numbers == [1, 1]
    assert world.session.result is not None
    assert world.session.result.retries == 1


@pytest.mark.parametrize("expires", ["1985-11-04T00:53:20Z", "1970-01-01T00:00:01Z", "1985-11-05T00:53:20Z"])
def test_urls_that_came_expired_are_left_to_the_store_to_judge(expires: str) -> None:
    world = started(parts=3, expires=expires)
    assert world.put_numbers == [1, 2]
    world.finish()
    assert world.session.result is not None
    assert world.asked.count(Call.GET) == 1, "only to wait for the verdict"


def test_urls_that_ran_out_again_and_again_are_no_strikes() -> None:
    world = started(parts=1)
    for _ in range(4):
        world.end_put(Response(503, {"retry-after": "100"}))  # it starts again when its URL is old
        world.sleep()
        world.end_put(EXPIRED)
        world.end_call()
    world.finish()
    assert world.session.result is not None


def test_a_later_expiry_of_the_same_url_is_a_renewal() -> None:
    world = started(parts=4, concurrency=1, signs="never", expires="1985-11-05T00:54:20Z")
    world.now += 55
    world.end_put()
    world.end_call(expires="1985-11-05T01:54:20Z")
    world.end_put()
    world.now += 55
    world.finish()
    assert world.session.result is not None
    assert world.asked[: world.asked.index(Call.COMPLETE)].count(Call.GET) == 1
    assert world.session.result.url_refreshes == 1


def test_a_later_expiry_does_not_mend_a_refused_url() -> None:
    world = started(parts=1, signs="never")
    world.end_put(EXPIRED)
    world.end_call(expires="1985-11-05T01:54:20Z")
    world.finish()
    assert world.session.result is not None
    assert world.session.result.recreated


def test_urls_that_run_out_in_an_outage_do_not_stop_everything() -> None:
    world = started(parts=4, concurrency=2)
    world.now += 40
    world.end_put(number=1)
    world.end_put(number=2)
    for _ in range(6):
        world.end_put(error("InternalError", 500), number=4)
        world.sleep()
    world.end_put(EXPIRED, number=3)
    if 4 in [put.part.number for _, put in world.puts.values()]:
        world.end_put(EXPIRED, number=4)
    world.finish()
    assert world.session.result is not None
