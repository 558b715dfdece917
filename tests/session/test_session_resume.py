"""Going on with the upload of an earlier run: what is there is not sent again, nothing else is trusted."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.session.world import EXPIRED, Chaos, MiB, Signs, Stored, World, error, make_session
from uploader.core.calls import Call
from uploader.core.events import (
    Ask,
    CallDone,
    Failed,
    Phase,
    PhaseChanged,
    Put,
    Recreating,
    StatusSeen,
    Tick,
    UploadCreated,
    UploadResumed,
)
from uploader.core.plan import Plan
from uploader.core.retry import RetryBudget
from uploader.core.session import Resumed, UploadSession
from uploader.errors import (
    AnswerError,
    ApiError,
    AuthError,
    NotFoundError,
    UnreachableError,
    UploadCancelledError,
    UploaderError,
    UploadFailedError,
    UploadTimeoutError,
)
from uploader.models import Upload
from uploader.options import RetryPolicy

DONE = {"validated", "imported", "complete"}
EVERY_STATUS = ["pending", "validating", "validated", "imported", "complete", "failed", "brand-new-status"]


def resuming(
    stored: Iterable[int] = (1, 3),
    parts: int = 4,
    *,
    status: str = "pending",
    signs: Signs = "anew",
    **options: Any,
) -> World:
    """An earlier run left upload "up0" with these parts; the service is about to be asked."""
    session = make_session(parts, resumed=Resumed("up0", frozenset(stored)), **options)
    upload = Stored("up0", session.plan, status, parts=set(stored))
    world = World(session, signs=signs, uploads={"up0": upload})
    world.start()
    return world


def whole(status: str = "pending", **options: Any) -> World:
    """As `resuming`, with every part there."""
    return resuming((1, 2, 3, 4), status=status, **options)


def answer(world: World, **fields: Any) -> None:
    """The service says this, whatever it knows."""
    ask = world.calls.pop()
    world.tell(CallDone(ask.call, Upload.model_validate({"id": "up0", "status": "pending"} | fields), 5e8))


def links(*numbers: int, url: str = "https://s.example/up0/{}?X-Sig=9") -> list[dict[str, Any]]:
    return [{"number": number, "url": url.format(number)} for number in numbers]


def started_over(world: World) -> list[Recreating]:
    return [event for event in world.told if isinstance(event, Recreating)]


# Going on


def test_the_service_is_asked_first_and_nothing_else_is_done_before_it_answers() -> None:
    session = make_session(resumed=Resumed("up0", frozenset({1})))
    assert session.start(0.0) == [PhaseChanged(Phase.RESUMING), Ask(Call.GET, "up0", first=True)]


def test_only_the_missing_parts_are_sent_and_no_upload_is_created() -> None:
    world = resuming((1, 3), parts=6)
    world.finish()
    assert world.put_numbers == [2, 4, 5, 6]
    assert Call.CREATE not in world.asked
    assert world.asked.count(Call.COMPLETE) == 1
    assert world.session.result is not None
    assert world.session.result.upload_id == "up0"
    assert not world.session.result.recreated


def test_what_was_there_and_what_was_sent_are_counted_apart() -> None:
    world = resuming((1, 3), parts=4)
    world.finish()
    result = world.session.result
    assert result is not None
    assert (result.bytes_resumed, result.bytes_sent) == (10 * MiB, 10 * MiB)
    assert (result.file_size, result.parts, result.retries) == (20 * MiB, 4, 0)


@pytest.mark.parametrize(("stored", "there"), [({1, 2}, 10 * MiB), ({1, 3}, 6 * MiB), ({1, 2, 3}, 11 * MiB)])
def test_the_last_part_counts_as_what_it_has(stored: set[int], there: int) -> None:
    session = UploadSession(
        Plan(11 * MiB, 5 * MiB),
        file_name="f.glb",
        concurrency=2,
        policy=RetryPolicy(),
        budget=RetryBudget(64, 1.0),
        random=lambda: 0.5,
        resumed=Resumed("up0", frozenset(stored)),
    )
    session.start(0.0)
    pending = Upload.model_validate({"id": "up0", "status": "pending", "parts": links(1, 2, 3)})
    told = session.handle(CallDone(Call.GET, pending, 5e8), 1.0)
    assert told[0] == UploadResumed("up0", 11 * MiB, 3, 5 * MiB, len(stored), there)


def test_bytes_sent_again_count_as_sent_and_not_as_resumed() -> None:
    world = resuming((1, 2, 3), parts=4)
    world.end_call()
    world.end_put(error("InternalError", 500), sent=2 * MiB)
    world.finish()
    result = world.session.result
    assert result is not None
    assert (result.bytes_resumed, result.bytes_sent, result.retries) == (15 * MiB, 7 * MiB, 1)


def test_observers_hear_what_is_there_before_a_byte_is_sent() -> None:
    world = resuming((1, 3), parts=4)
    world.end_call()
    assert world.told == [
        PhaseChanged(Phase.RESUMING),
        UploadResumed("up0", 20 * MiB, 4, 5 * MiB, 2, 10 * MiB),
        PhaseChanged(Phase.SENDING),
    ]
    assert not any(isinstance(event, UploadCreated) for event in world.told)


def test_an_upload_without_a_part_there_is_gone_on_with_too() -> None:
    world = resuming((), parts=3)
    world.finish()
    assert Call.CREATE not in world.asked
    assert world.put_numbers == [1, 2, 3]
    assert world.session.result is not None
    assert world.session.result.bytes_resumed == 0


def test_every_part_there_and_still_pending_is_completed_without_a_byte_sent() -> None:
    world = whole()
    world.end_call()
    assert world.calls == [Ask(Call.COMPLETE, "up0")]
    world.finish()
    assert world.asked[:2] == [Call.GET, Call.COMPLETE]
    assert world.session.result is not None
    assert (world.session.result.bytes_resumed, world.session.result.bytes_sent) == (20 * MiB, 0)


def test_no_link_is_needed_for_parts_that_are_there() -> None:
    world = resuming((1, 3), parts=4)
    answer(world, parts=links(2, 4))
    world.finish()
    assert world.put_numbers == [2, 4]
    assert world.session.result is not None


def test_links_that_lapse_while_resuming_are_renewed_as_ever() -> None:
    world = resuming((1, 3), parts=6)
    world.end_call()
    world.end_put(EXPIRED)
    world.finish()
    assert world.session.result is not None
    assert world.session.result.url_refreshes == 1
    assert world.session.result.bytes_resumed == 10 * MiB
    assert set(world.put_numbers) == {2, 4, 5, 6}


def test_links_that_are_not_signed_anew_and_refused_lead_to_a_new_upload() -> None:
    world = resuming((1, 3), parts=4, signs="never")
    world.end_call()
    world.end_put(EXPIRED)
    world.end_call()
    world.end_put()  # aborted
    world.finish()
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"
    assert world.session.result.bytes_resumed == 0, "of the new upload nothing was there"
    assert world.current.parts == {1, 2, 3, 4}


# What an earlier run got as far as


@pytest.mark.parametrize("status", ["validated", "imported", "complete"])
def test_an_upload_that_was_decided_is_done_at_once(status: str) -> None:
    world = whole(status)
    world.end_call()
    assert world.session.result is not None
    assert world.session.result.status == status
    assert world.asked == [Call.GET]


def test_an_upload_that_was_completed_is_waited_for_and_not_completed_again() -> None:
    world = whole("validating")
    world.end_call()
    assert world.session.phase is Phase.VALIDATING
    assert not world.calls
    world.sleep()
    world.current.status = "validated"
    world.end_call()
    assert world.session.result is not None
    assert world.asked == [Call.GET, Call.GET]
    assert [event.status for event in world.told if isinstance(event, StatusSeen)] == [
        "validating",
        "validated",
    ]


@pytest.mark.parametrize("wait_for", ["validated", None])
def test_a_status_nobody_knows_is_no_proof_that_it_was_completed(wait_for: str | None) -> None:
    world = whole("brand-new-status", wait_for=wait_for)
    world.finish()
    assert world.session.result is not None
    assert world.asked[:2] == [Call.GET, Call.COMPLETE]


@pytest.mark.parametrize("wait_for", ["validated", None])
def test_a_conflict_where_the_status_is_unknown_means_it_was_completed_before(wait_for: str | None) -> None:
    world = whole("brand-new-status", wait_for=wait_for)
    world.end_call()
    world.fail_call(ApiError("not pending", status=409))
    world.end_call()
    assert not world.session.finished, "what it is now may be anything"
    assert (world.session.phase is Phase.VALIDATING) == bool(wait_for)
    world.sleep()
    world.current.status = "validated"
    world.end_call()
    assert world.session.result is not None
    assert world.asked.count(Call.COMPLETE) == 1


def test_a_conflict_where_the_upload_still_seems_to_be_pending_is_looked_into() -> None:
    world = whole()
    world.end_call()
    world.fail_call(ApiError("not pending", status=409))
    world.end_call()
    world.sleep()
    assert [ask.call for ask in world.calls] == [Call.GET]
    world.current.status = "validating"
    world.finish()
    assert world.session.result is not None
    assert world.asked.count(Call.COMPLETE) == 1


def test_what_was_asked_of_the_old_upload_is_no_repeat_for_the_new_one() -> None:
    world = whole()
    world.end_call()
    world.lose()
    world.end_call()
    while world.puts:
        world.end_put()
    world.fail_call(ApiError("not pending", status=409))
    world.end_call()
    assert isinstance(world.session.error, ApiError)


def test_the_entity_is_waited_for_where_it_was_asked_for() -> None:
    world = whole("validated", wait_for="imported")
    world.end_call()
    assert not world.session.finished
    world.sleep()
    world.end_call(entity_id="asset_7")
    assert world.session.result is not None
    assert world.session.result.entity_id == "asset_7"


def test_an_upload_that_was_rejected_is_an_error_and_not_tried_again() -> None:
    world = whole()
    answer(world, status="failed", errorMessage="not a model")
    assert isinstance(world.session.error, UploadFailedError)
    assert "not a model" in str(world.session.error)
    assert world.session.error.upload_id == "up0"
    assert not world.session.error.resumable
    assert not world.session.error.nothing_sent
    assert world.asked == [Call.GET]


@pytest.mark.parametrize("status", ["validating", "validated", "imported", "complete"])
def test_without_waiting_it_is_done_when_complete_was_accepted_in_an_earlier_run(status: str) -> None:
    world = whole(status, wait_for=None)
    world.end_call()
    assert world.session.result is not None
    assert world.session.result.status == status
    assert world.asked == [Call.GET]


def test_without_waiting_it_still_sends_and_completes_what_is_pending() -> None:
    world = resuming((1, 3), parts=4, wait_for=None)
    world.finish()
    assert world.session.result is not None
    assert world.session.result.status == "validating"
    assert world.asked == [Call.GET, Call.COMPLETE]
    assert world.put_numbers == [2, 4]


def test_without_waiting_a_rejected_upload_is_an_error_all_the_same() -> None:
    world = whole("failed", wait_for=None)
    world.end_call()
    assert isinstance(world.session.error, UploadFailedError)


def test_a_lost_answer_to_complete_is_looked_into_after_a_resume_too() -> None:
    world = whole()
    world.end_call()
    world.current.status = "validating"
    world.fail_call(UnreachableError("no answer"))
    world.finish()
    assert world.asked.count(Call.COMPLETE) == 1
    assert world.session.result is not None


# Starting over


def test_an_upload_that_failed_before_every_part_was_there_is_started_over_once() -> None:
    world = resuming()
    answer(world, status="failed", errorMessage="abandoned")
    (event,) = started_over(world)
    assert event.old_upload_id == "up0"
    assert "abandoned" in event.reason
    assert world.calls[0].call is Call.CREATE
    world.finish()
    result = world.session.result
    assert result is not None
    assert result.recreated
    assert result.upload_id == "up1"
    assert (result.bytes_resumed, result.bytes_sent) == (0, 20 * MiB)
    assert world.put_numbers == [1, 2, 3, 4]
    assert len(started_over(world)) == 1


@pytest.mark.parametrize("wait_for", ["validated", "imported", None])
@pytest.mark.parametrize("status", ["validating", "validated", "imported", "complete"])
def test_a_verdict_on_an_upload_with_parts_missing_is_no_success(status: str, wait_for: str | None) -> None:
    world = resuming(status=status, wait_for=wait_for)
    world.end_call(entity_id="asset_of_something_else")
    assert not world.session.finished
    (event,) = started_over(world)
    assert status in event.reason
    world.end_call()
    while world.puts:
        world.end_put()
    world.end_call()
    while not world.session.finished:
        world.sleep()
        world.current.status = "imported"
        world.end_call(entity_id="asset_1")
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"
    assert world.session.result.entity_id != "asset_of_something_else"
    assert world.put_numbers == [1, 2, 3, 4]


def test_a_status_nobody_knows_with_parts_missing_is_no_success() -> None:
    world = resuming(status="brand-new-status", wait_for=None)
    world.finish()
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"


@pytest.mark.parametrize("stored", [(), (1, 3), (1, 2, 3, 4)])
def test_an_upload_the_service_no_longer_knows_is_started_over(stored: tuple[int, ...]) -> None:
    world = resuming(stored)
    world.current.gone = True
    world.finish()
    assert len(started_over(world)) == 1
    assert "no longer knows" in started_over(world)[0].reason
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"
    assert world.session.result.bytes_resumed == 0
    assert world.put_numbers == [1, 2, 3, 4]


@pytest.mark.parametrize("offered", [None, [], [2], [1, 3], [1, 2, 3], [0, 2, 5]])
def test_without_a_link_for_every_missing_part_it_is_started_over(offered: list[int] | None) -> None:
    world = resuming((1, 3), parts=4)
    answer(world, parts=None if offered is None else links(*offered))
    assert "no links" in started_over(world)[0].reason
    assert not any(isinstance(event, UploadResumed) for event in world.told)
    assert not world.puts, "not a byte goes to an upload that cannot be done"
    world.finish()
    assert world.session.result is not None
    assert world.session.result.upload_id == "up1"


@pytest.mark.parametrize(
    "url",
    [
        "http://s.example/{}",
        "https://user:pass@s.example/{}",
        "https://169.254.169.254/{}",
        "ftp://s.example/{}",
        "file:///etc/passwd?{}",
        "https://[nonsense/{}",
    ],
)
def test_a_link_that_is_no_place_to_send_a_file_to_is_an_error_before_a_byte_moves(url: str) -> None:
    world = resuming((1, 3), parts=4)
    answer(world, parts=links(2) + links(4, url=url))
    assert isinstance(world.session.error, AnswerError)
    assert world.session.error.upload_id == "up0"
    assert not world.session.error.nothing_sent
    assert not world.puts
    assert world.asked == [Call.GET]


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_one_404_of_many_answers_is_a_slip(calls: int) -> None:
    """To the first look, to complete, to a look at the status."""
    world = whole()
    for _ in range(calls):
        world.end_call()
        if not world.calls:
            world.sleep()
    world.fail_call(NotFoundError("gone", status=404))
    assert not world.calls, "it is not asked at once"
    world.finish()
    assert world.session.result is not None
    assert (world.session.result.recreated, world.session.result.bytes_sent) == (False, 0)


def test_what_the_new_upload_stores_is_all_that_counts_after_a_start_over() -> None:
    world = resuming((1, 3), parts=4)
    world.lose()
    world.end_call()
    world.end_put(number=2)
    world.end_put(number=1)
    assert not world.calls, "parts 3 and 4 are missing in the new upload"
    world.finish()
    assert world.session.result is not None
    assert world.current.parts == {1, 2, 3, 4}


def test_one_more_start_over_is_allowed_after_the_one_from_a_resume_and_no_third() -> None:
    world = resuming((1, 3), parts=4, concurrency=1)
    world.lose()
    world.end_call()
    assert world.session.upload_id == "up1"
    world.end_put(error("NoSuchUpload", 404))
    world.end_call()
    world.end_call()
    assert world.session.upload_id == "up2"
    assert [event.old_upload_id for event in started_over(world)] == ["up0", "up1"]
    world.end_put(error("NoSuchUpload", 404))
    world.end_call()
    assert isinstance(world.session.error, AnswerError)
    assert "started over once" in str(world.session.error)
    assert world.session.error.upload_id == "up2"
    assert world.asked.count(Call.CREATE) == 2


def test_after_two_start_overs_the_third_upload_may_be_done() -> None:
    world = resuming((1, 3), parts=4, concurrency=1)
    world.lose()
    world.end_call()
    world.end_put(error("NoSuchUpload", 404))
    world.finish()
    assert world.session.result is not None
    assert world.session.result.upload_id == "up2"
    assert world.current.parts == {1, 2, 3, 4}


def test_a_resume_that_was_gone_on_with_may_be_started_over_once_like_any_other() -> None:
    world = resuming((1, 3), parts=4, concurrency=1)
    world.end_call()
    for _ in range(2):
        assert world.session.error is None
        world.end_put(error("NoSuchUpload", 404))
        world.end_call()
        if world.calls:
            world.end_call()
    assert isinstance(world.session.error, AnswerError)
    assert [event.old_upload_id for event in started_over(world)] == ["up0"]


# When it cannot even be asked


@pytest.mark.parametrize(
    "why",
    [
        UnreachableError("no answer"),
        AuthError("401", status=401),
        ApiError("pay first", status=402),
        AnswerError("no JSON"),
    ],
)
@pytest.mark.parametrize("stored", [(1, 3), (1, 2, 3, 4)])
def test_an_upload_that_cannot_be_looked_at_is_an_error_and_not_started_over(
    why: UploaderError, stored: tuple[int, ...]
) -> None:
    world = resuming(stored)
    world.fail_call(why)
    assert world.session.error is why
    assert not why.nothing_sent, "an earlier run sent something"
    assert why.upload_id == "up0"
    assert world.asked == [Call.GET]
    assert not started_over(world)


def test_a_refused_create_after_a_start_over_is_final_but_something_was_sent_before() -> None:
    world = resuming()
    world.lose()
    assert world.calls[0].call is Call.CREATE
    world.fail_call(AuthError("401", status=401))
    assert isinstance(world.session.error, AuthError)
    assert not world.session.error.nothing_sent


def test_time_may_be_up_while_resuming() -> None:
    world = resuming(timeout=30.0)
    world.sleep()
    assert isinstance(world.session.error, UploadTimeoutError)
    assert "while resuming" in str(world.session.error)
    assert not world.session.error.nothing_sent
    assert world.session.error.upload_id == "up0"


def test_an_answer_that_comes_when_time_is_up_changes_nothing_any_more() -> None:
    world = resuming(timeout=30.0)
    world.sleep()
    assert world.session.handle(CallDone(Call.GET, world.current.told(), 5e8), world.now) == []


def test_time_that_is_up_with_the_answer_sends_nothing() -> None:
    world = resuming(timeout=30.0)
    world.now += 30.0
    world.end_call()
    assert isinstance(world.session.error, UploadTimeoutError)
    assert not world.puts


def test_cancelling_while_resuming_is_a_failure_observers_hear_of() -> None:
    world = resuming()
    told = world.session.cancel(world.now)
    why = world.session.error
    assert isinstance(why, UploadCancelledError)
    assert told == [PhaseChanged(Phase.FAILED), Failed(why)]
    assert not why.nothing_sent
    assert why.upload_id == "up0"
    assert world.session.handle(CallDone(Call.GET, world.current.told(), 5e8), world.now) == []
    assert world.session.cancel(world.now) == []


def test_time_passing_while_resuming_does_nothing() -> None:
    world = resuming()
    assert world.session.wake is None
    for seconds in (0.0, 1.0, 1e6):
        assert world.session.handle(Tick(), world.now + seconds) == []
    assert world.session.phase is Phase.RESUMING


# Any order of events


@settings(max_examples=300)
@given(
    seed=st.integers(0, 2**32),
    parts=st.integers(1, 16),
    concurrency=st.integers(1, 6),
    trouble=st.sampled_from([0.0, 0.02, 0.1, 0.3, 0.7]),
    status=st.sampled_from(["pending", "pending", "pending", *EVERY_STATUS]),
    signs=st.sampled_from(get_args(Signs)),
    timeout=st.sampled_from([None, None, 300.0]),
    wait_for=st.sampled_from(["validated", "imported", None]),
    data=st.data(),
)
def test_a_resume_ends_in_all_parts_stored_or_a_typed_error(
    seed: int,
    parts: int,
    concurrency: int,
    trouble: float,
    status: str,
    signs: Signs,
    timeout: float | None,
    wait_for: str | None,
    data: st.DataObject,
) -> None:
    every = set(range(1, parts + 1))
    stored = data.draw(st.sets(st.integers(1, parts)))
    more = data.draw(st.sets(st.integers(1, parts)))  # stored, but the earlier run did not live to know
    random = Random(seed)
    world = resuming(
        stored,
        parts,
        status=status,
        signs=signs,
        concurrency=concurrency,
        policy=RetryPolicy(attempts=6),
        random=random.random,
        timeout=timeout,
        wait_for=wait_for,
    )
    world.uploads["up0"].parts |= more
    sent: list[Put] = []
    seen = {status}
    while not world.session.finished:
        Chaos(world, random, trouble).step()
        seen.add(world.uploads["up0"].status)
        sent += [put for upload_id, put in world.puts.values() if upload_id == "up0"]
    assert not stored & {put.part.number for put in sent}, "sent again, though it was there"
    told = [event for event in world.told if isinstance(event, UploadResumed)]
    assert len(told) + len(started_over(world)) > 0 or world.session.error
    if world.session.error is not None:
        assert trouble > 0 or isinstance(world.session.error, UploadFailedError | UploadTimeoutError)
        assert not world.session.error.nothing_sent
        return
    result = world.session.result
    assert result is not None
    assert world.current.parts == every
    assert result.status in (DONE if wait_for else {*DONE, "validating", "brand-new-status"})
    assert result.recreated == (result.upload_id != "up0") == bool(started_over(world))
    assert result.bytes_resumed == (0 if result.recreated else 5 * MiB * len(stored))
    if status != "pending" and stored != every:
        assert result.recreated, "a verdict on something else was taken for ours"
    if not seen & {"pending", "brand-new-status"} and not result.recreated:
        assert Call.COMPLETE not in world.asked, "it was known to be completed"
