"""Create, complete, and the wait for the verdict."""

from __future__ import annotations

import pytest

from tests.session.world import World, make_session
from uploader.core.calls import Call
from uploader.core.events import (
    Ask,
    CallDone,
    CallFailed,
    CallRetrying,
    Failed,
    PartEnded,
    Phase,
    PhaseChanged,
    Recreating,
    StatusSeen,
    Tick,
)
from uploader.core.outcomes import Break, Broken
from uploader.core.retry import patience
from uploader.core.verdict import Poller
from uploader.core.waiting import WaitSession
from uploader.errors import (
    AnswerError,
    ApiError,
    AuthError,
    NotCompletedError,
    NotFoundError,
    PartError,
    SourceChangedError,
    UnreachableError,
    UploadCancelledError,
    UploadConflictError,
    UploaderError,
    UploadFailedError,
    UploadTimeoutError,
)
from uploader.models import Upload, UploadResult
from uploader.options import RetryPolicy


def sent(**options: object) -> World:
    """All parts are stored, and complete was asked for."""
    world = World(make_session(2, **options))
    world.start()
    world.end_call()
    world.end_put()
    world.end_put()
    assert world.calls[0].call is Call.COMPLETE
    return world


def test_a_refused_create_is_final_and_nothing_was_sent() -> None:
    world = World(make_session())
    world.start()
    world.fail_call(AuthError("401", status=401))
    assert isinstance(world.session.error, AuthError)
    assert world.session.error.nothing_sent


def test_only_the_first_call_of_all_is_marked_as_the_first() -> None:
    world = World(make_session(1))
    world.start()
    assert world.calls == [Ask(Call.CREATE, None, first=True)]
    world.end_call()
    world.end_put()
    assert world.calls == [Ask(Call.COMPLETE, "up0", first=False)]


def test_a_create_answer_without_parts_is_refused_before_a_byte_moves() -> None:
    world = World(make_session())
    world.start()
    world.tell(CallDone(Call.CREATE, Upload(id="up9", status="pending"), 0.0))
    assert isinstance(world.session.error, AnswerError)
    assert world.session.error.nothing_sent
    assert world.session.error.upload_id == "up9"
    assert not world.puts


def test_a_lost_answer_to_complete_looks_before_it_asks_again() -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    assert world.calls[0].call is Call.GET
    world.end_call()
    assert not world.calls, "still pending: asked again after a backoff"
    world.sleep()
    assert world.calls[0].call is Call.COMPLETE
    world.finish()
    assert world.session.result is not None


def test_a_complete_that_was_carried_out_is_not_asked_for_again() -> None:
    world = sent()
    world.current.status = "validating"
    world.fail_call(UnreachableError("no answer"))
    world.finish()
    assert world.asked.count(Call.COMPLETE) == 1
    assert world.session.result is not None


@pytest.mark.parametrize("status", [400, 409, 501])
def test_a_repeated_complete_that_is_refused_is_no_failure_if_the_service_goes_on(status: int) -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.sleep()
    world.current.status = "validating"
    world.fail_call(ApiError("not pending any more", status=status))
    world.finish()
    assert world.session.result is not None


@pytest.mark.parametrize("status", [400, 409, 501])
def test_a_complete_refused_while_the_upload_stays_pending_is_final(status: int) -> None:
    world = sent()
    world.fail_call(ApiError("part 2 is missing", status=status))
    world.end_call()
    assert "part 2 is missing" in str(world.session.error)


@pytest.mark.parametrize("status", [400, 501])
def test_so_is_a_repeated_one_refused_but_for_a_conflict(status: int) -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.sleep()
    world.fail_call(ApiError("part 2 is missing", status=status))
    world.end_call()
    assert "part 2 is missing" in str(world.session.error)


def test_a_complete_refused_for_good_is_final_at_once() -> None:
    world = sent()
    world.fail_call(ApiError("pay first", status=402))
    assert "pay first" in str(world.session.error)


def test_complete_is_not_asked_for_for_ever() -> None:
    policy = RetryPolicy(attempts=3)
    world = sent(policy=policy)
    began = world.now
    while not world.session.finished:
        if not world.calls:
            world.sleep()
        elif world.calls[0].call is Call.COMPLETE:
            world.fail_call(UnreachableError("no answer"))
        else:
            world.end_call()
    assert isinstance(world.session.error, UnreachableError)
    assert world.asked.count(Call.COMPLETE) >= 3
    assert patience(policy) <= world.now - began <= 10


def test_wait_for_none_is_done_when_complete_was_accepted() -> None:
    world = sent(wait_for=None)
    world.end_call()
    assert world.session.result is not None
    assert world.session.result.status == "validating"


def test_failed_raises_with_the_services_reason() -> None:
    world = sent()
    world.calls.clear()
    told = Upload(id="up0", status="failed", error_message="not a model")
    world.tell(CallDone(Call.COMPLETE, told, 0.0))
    assert isinstance(world.session.error, UploadFailedError)
    assert "not a model" in str(world.session.error)
    assert not world.session.error.resumable


def test_an_unknown_status_means_wait() -> None:
    world = sent()
    world.end_call()
    for status in ("brand-new", "validating", "validated"):
        world.sleep()
        world.calls[0]
        world.current.status = status
        world.end_call()
    assert world.session.result is not None
    seen = [event.status for event in world.told if isinstance(event, StatusSeen)]
    assert seen == ["validating", "brand-new", "validating", "validated"]


def test_an_upload_that_is_pending_for_a_moment_after_complete_was_accepted_is_waited_for() -> None:
    world = sent()
    world.end_call()
    world.current.status = "pending"
    world.sleep()
    world.end_call()
    assert world.session.error is None
    world.current.status = "validating"
    world.finish()
    assert world.session.result is not None
    assert world.asked.count(Call.COMPLETE) == 1


def test_a_repeat_of_complete_that_is_refused_was_accepted_before() -> None:
    """And a look that still finds the upload pending is older than that."""
    world = sent()
    world.fail_call(UnreachableError("no answer"))  # though it was carried out
    world.end_call()
    world.sleep()
    world.fail_call(ApiError("it is validating, not pending", status=409))
    for _ in range(3):
        world.end_call()
        assert world.session.phase is Phase.COMPLETING
        world.sleep()
    world.current.status = "validating"
    world.finish()
    assert world.session.result is not None
    assert world.asked.count(Call.COMPLETE) == 2


def test_but_not_for_ever() -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.sleep()
    world.fail_call(ApiError("no", status=409))
    while not world.session.finished:
        if world.calls:
            world.end_call()
        else:
            world.sleep()
    assert isinstance(world.session.error, ApiError)
    assert world.asked.count(Call.COMPLETE) == 2


def test_an_upload_that_vanishes_while_it_is_validated_is_not_sent_again() -> None:
    world = sent()
    world.end_call()
    world.sleep()
    world.lose()
    assert isinstance(world.session.error, NotFoundError)
    assert not world.session.error.resumable
    assert not any(isinstance(event, Recreating) for event in world.told)


def test_an_upload_that_vanishes_before_it_is_completed_is_sent_again_once() -> None:
    world = sent()
    world.lose()
    (event,) = [event for event in world.told if isinstance(event, Recreating)]
    assert event == Recreating("up0", "the service no longer knows the upload")
    world.end_call()
    world.end_put()
    world.end_put()
    world.lose()
    assert isinstance(world.session.error, AnswerError)
    assert not world.session.error.resumable, "nothing of it is there"


def test_what_seems_gone_is_looked_at_a_while_later_and_was_not_completed() -> None:
    world = sent(policy=RetryPolicy(base=4.0))
    world.fail_call(NotFoundError("gone", status=404))
    assert world.session.wake == world.now + 40.0
    retrying = next(event for event in world.told if isinstance(event, CallRetrying))
    assert (retrying.call, retrying.detail, retrying.delay) == (Call.COMPLETE, "gone", 40.0)
    world.session.cancel(world.now)
    assert world.session.error is not None
    assert not world.session.error.resumable, "waiting would not tell"


def test_of_slips_one_is_outlasted_each_time() -> None:
    world = sent()
    for _ in range(2):
        world.fail_call(NotFoundError("gone", status=404))
        world.sleep()
        assert world.calls[0].call is Call.GET
        world.end_call()
        world.sleep()
        assert world.calls[0].call is Call.COMPLETE
    world.finish()
    assert world.session.result is not None
    assert not world.session.result.recreated


def test_a_create_that_finds_nothing_is_final() -> None:
    world = World(make_session())
    world.start()
    world.fail_call(NotFoundError("no such page", status=404))
    assert isinstance(world.session.error, NotFoundError)
    assert world.session.error.nothing_sent


def test_imported_is_waited_for_unless_the_entity_is_there() -> None:
    world = sent(wait_for="imported")
    world.end_call()
    world.sleep()
    world.current.status = "validated"
    world.end_call()
    assert not world.session.finished
    world.sleep()
    world.end_call(entity_id="asset_7")
    assert world.session.result is not None
    assert world.session.result.entity_id == "asset_7"


def test_time_up_while_sending_is_not_resumable() -> None:
    world = World(make_session(timeout=30.0))
    world.start()
    world.end_call()
    world.sleep()
    assert isinstance(world.session.error, UploadTimeoutError)
    assert not world.session.error.resumable
    assert str(world.session.error) == "time is up after 30 s while sending"


@pytest.mark.parametrize("timeout", [None, 50.0])
def test_time_up_while_validating_can_be_waited_on(timeout: float | None) -> None:
    world = sent(timeout=timeout)
    world.end_call()
    for _ in range(2000):
        if world.session.finished:
            break
        world.sleep()
        if world.calls:
            world.end_call()
    assert isinstance(world.session.error, UploadTimeoutError)
    assert "(status validating): every part is there" in str(world.session.error)
    assert world.session.error.resumable
    assert world.session.error.upload_id == "up0"


def test_an_api_out_of_reach_while_validating_can_be_waited_on() -> None:
    world = sent()
    world.end_call()
    world.sleep()
    world.fail_call(UnreachableError("no answer"))
    assert world.session.error is not None
    assert world.session.error.resumable


def test_poll_intervals_grow_with_jitter_to_their_cap() -> None:
    policy = RetryPolicy(poll_first=1.0, poll_cap=4.0)
    least, most = Poller(policy, lambda: 0.0), Poller(policy, lambda: 1.0)
    assert [round(least.next_wait(), 3) for _ in range(5)] == [0.8, 1.2, 1.8, 2.7, 3.2]
    assert [round(most.next_wait(), 3) for _ in range(5)] == [1.2, 1.8, 2.7, 4.0, 4.0]


def touched(message: str) -> SourceChangedError:
    error = SourceChangedError(message)
    error.touched = True
    return error


def waiting(timeout: float | None = None) -> WaitSession:
    return WaitSession(
        policy=RetryPolicy(), random=lambda: 0.5, wait_for="validated", timeout=timeout, upload_id="up5"
    )


def test_waiting_outlasts_a_slip_but_no_wrong_id() -> None:
    session, gone = waiting(), CallFailed(Call.GET, NotFoundError("gone", status=404))
    session.start(0.0)
    session.handle(CallDone(Call.GET, Upload(id="up5", status="validating"), 0.0), 1.0)
    for now in (10.0, 20.0):
        session.handle(gone, now)
        assert session.wake == now + 5.0
        assert Ask(Call.GET, "up5") in session.handle(Tick(), now + 5.0)
        session.handle(CallDone(Call.GET, Upload(id="up5", status="validating"), 0.0), now + 5.0)
    session.handle(gone, 30.0)
    session.handle(gone, 35.0)
    assert isinstance(session.error, NotFoundError)
    wrong = waiting()
    wrong.start(0.0)
    wrong.handle(gone, 1.0)
    assert isinstance(wrong.error, NotFoundError)


def test_waiting_looks_until_the_verdict_is_in() -> None:
    session = waiting()
    assert Ask(Call.GET, "up5") in session.start(100.0)
    session.handle(CallDone(Call.GET, Upload(id="up5", status="validating"), 0.0), 101.0)
    wake = session.wake
    assert wake is not None
    assert Ask(Call.GET, "up5") in session.handle(Tick(), wake)
    told = Upload(
        id="up5", status="imported", entity_id="asset_1", file_name="f.glb", file_size=7, parts_count=3
    )
    session.handle(CallDone(Call.GET, told, 0.0), wake + 1)
    assert session.result == UploadResult(
        upload_id="up5",
        status="imported",
        entity_id="asset_1",
        file_name="f.glb",
        file_size=7,
        parts=3,
        elapsed_seconds=wake + 1 - 100.0,
    )


def test_what_the_service_does_not_tell_of_an_upload_is_left_open() -> None:
    session = waiting()
    session.start(0.0)
    session.handle(CallDone(Call.GET, Upload(id="up5", status="validated"), 0.0), 1.0)
    assert session.result == UploadResult(upload_id="up5", status="validated", elapsed_seconds=1.0)


def test_waiting_ends_when_its_time_is_up() -> None:
    session = waiting(timeout=10.0)
    session.start(0.0)
    session.handle(Tick(), 10.0)
    assert isinstance(session.error, UploadTimeoutError)
    assert session.error.resumable


def test_waiting_for_an_upload_that_is_not_there_is_final() -> None:
    session = waiting()
    session.start(0.0)
    session.handle(CallFailed(Call.GET, ApiError("no such upload", status=404)), 1.0)
    assert session.error is not None
    assert not session.error.resumable


def test_waiting_for_an_upload_that_was_never_completed_ends_soon() -> None:
    session = waiting()
    session.start(0.0)
    pending = CallDone(Call.GET, Upload(id="up5", status="pending"), 0.0)
    session.handle(pending, 100.0)
    assert not session.finished, "complete may have been accepted a moment ago"
    session.handle(pending, 129.5)
    assert not session.finished
    session.handle(pending, 130.0)
    assert isinstance(session.error, NotCompletedError)
    assert not session.error.resumable


def test_an_upload_that_is_still_pending_cannot_be_waited_on_again() -> None:
    session = waiting()
    session.start(0.0)
    session.handle(CallDone(Call.GET, Upload(id="up5", status="pending"), 0.0), 1.0)
    session.cancel(2.0)
    assert session.error is not None
    assert (session.error.nothing_sent, session.error.resumable) == (False, False)


def test_a_session_that_sends_nothing_takes_no_news_of_parts() -> None:
    session = waiting()
    session.start(0.0)
    with pytest.raises(AssertionError, match="no part was sent"):
        session.handle(PartEnded(1, Broken(Break.RESET), 0, None, 0.1), 1.0)


def test_complete_honours_retry_after() -> None:
    world = sent()
    busy = UnreachableError("429")
    busy.retry_after = 7.0
    world.fail_call(busy)
    world.end_call()
    assert world.session.wake == world.now + 7.0


def test_a_complete_answer_nobody_can_read_is_looked_into() -> None:
    world = sent()
    world.current.status = "validating"
    world.fail_call(AnswerError("no JSON"))
    world.finish()
    assert world.session.result is not None


def test_expired_credentials_while_validating_can_be_waited_on_with_new_ones() -> None:
    world = sent()
    world.end_call()
    world.sleep()
    world.fail_call(AuthError("401", status=401))
    assert world.session.error is not None
    assert world.session.error.resumable


@pytest.mark.parametrize("steps", [0, 1, 4])
def test_cancelling_is_a_failure_observers_hear_of(steps: int) -> None:
    world = World(make_session(2))
    world.start()
    for step in (world.end_call, world.end_put, world.end_put, world.end_call)[:steps]:
        step()
    told = world.session.cancel(world.now)
    error = world.session.error
    assert isinstance(error, UploadCancelledError)
    assert told == [PhaseChanged(Phase.FAILED), Failed(error)]
    assert error.nothing_sent == (steps == 0)
    assert error.resumable == (steps == 4)
    assert world.session.cancel(world.now) == []


@pytest.mark.parametrize(
    "error",
    [AuthError("401", status=401), ApiError("402", status=402), SourceChangedError("f.glb was written to")],
)
def test_a_complete_refused_or_never_sent_cannot_be_waited_on(error: UploaderError) -> None:
    world = sent()
    world.fail_call(error)
    assert world.session.error is error
    assert not error.resumable


def test_a_complete_of_unknown_fate_can_be_waited_on() -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.fail_call(UnreachableError("no answer to the look either"))
    assert world.session.error is not None
    assert world.session.error.resumable


def test_a_complete_asked_for_again_is_of_unknown_fate_again() -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.sleep()
    assert world.calls[0].call is Call.COMPLETE
    world.session.cancel(world.now)
    assert world.session.error is not None
    assert world.session.error.resumable


def test_a_repeated_complete_refused_as_a_conflict_can_be_waited_on() -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.sleep()
    world.fail_call(ApiError("not pending", status=409))
    world.end_call()
    world.session.cancel(world.now)
    assert world.session.error is not None
    assert world.session.error.resumable, "the first was accepted: what was looked at is older"


def test_the_waits_between_repeats_of_complete_grow() -> None:
    world = sent(policy=RetryPolicy(base=1.0, cap=100.0))
    waits = []
    for _ in range(4):
        world.fail_call(UnreachableError("no answer"))
        world.end_call()
        waits.append((world.session.wake or 0.0) - world.now)
        world.sleep()
    assert waits == pytest.approx([0.5, 1.0, 2.0, 4.0])


@pytest.mark.parametrize("wait_for", ["validated", None])
def test_a_status_nobody_knows_is_no_proof_that_a_complete_was_carried_out(wait_for: str | None) -> None:
    world = sent(wait_for=wait_for)
    world.current.status = "brand-new"
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    assert not world.session.finished
    world.sleep()
    assert world.calls[0].call is Call.COMPLETE
    world.fail_call(ApiError("not pending", status=409))
    world.end_call()
    assert not world.session.finished, "what it is now may be anything"
    world.sleep()
    world.current.status = "validated"
    world.end_call()
    assert world.session.result is not None
    assert world.asked.count(Call.COMPLETE) == 2


def test_a_repeat_refused_in_another_way_was_accepted_before_if_the_upload_is_not_pending() -> None:
    world = sent()
    world.current.status = "brand-new"
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.sleep()
    world.fail_call(ApiError("what now?", status=400))
    world.end_call()
    assert world.session.phase is Phase.VALIDATING


def test_a_complete_after_which_the_status_is_unknown_may_have_been_accepted() -> None:
    world = sent()
    world.current.status = "brand-new"
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.session.cancel(world.now)
    assert world.session.error is not None
    assert world.session.error.resumable


def test_a_refused_complete_stays_refused_where_the_status_is_unknown() -> None:
    world = sent(wait_for=None)
    world.current.status = "brand-new"
    world.fail_call(ApiError("not now", status=409))
    world.end_call()
    assert isinstance(world.session.error, ApiError)
    assert world.session.error.status == 409


def test_a_complete_that_will_be_asked_for_again_has_not_happened_yet() -> None:
    world = sent()
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    world.session.cancel(world.now)
    assert world.session.error is not None
    assert not world.session.error.resumable


def test_a_complete_that_the_service_knows_nothing_of_cannot_be_waited_on() -> None:
    world = sent(policy=RetryPolicy(attempts=1))
    world.fail_call(UnreachableError("no answer"))
    world.end_call()
    assert world.session.error is not None
    assert not world.session.error.resumable


@pytest.mark.parametrize("why", [AuthError("401", status=401), AnswerError("no JSON")])
@pytest.mark.parametrize("seen", [False, True])
def test_waiting_with_credentials_or_an_address_that_never_worked_is_bad_input(
    why: UploaderError, seen: bool
) -> None:
    session = waiting()
    session.start(0.0)
    if seen:
        session.handle(CallDone(Call.GET, Upload(id="up5", status="validating"), 0.0), 1.0)
    session.handle(CallFailed(Call.GET, why), 2.0)
    assert session.error is why
    assert (why.nothing_sent, why.resumable) == (not seen, seen)


def test_waiting_for_an_api_that_cannot_be_reached_may_be_tried_again() -> None:
    session = waiting()
    session.start(0.0)
    session.handle(CallFailed(Call.GET, UnreachableError("no answer")), 1.0)
    assert session.error is not None
    assert session.error.resumable


@pytest.mark.parametrize(
    ("error", "over"),
    [
        (AuthError("401", status=401), False),
        (ApiError("402", status=402), False),
        (ApiError("400", status=400), True),
        (ApiError("422", status=422), True),
        (NotFoundError("404", status=404), True),
        (PartError("too large", part=1, final=True), True),
        (PartError("no answer", part=1, final=False), False),
        (SourceChangedError("written to"), True),
        (touched("linked to"), False),
        (UploadFailedError("not a model"), True),
        (NotCompletedError("still pending"), True),
        (UploadConflictError("completed by something else"), True),
        (UnreachableError("no answer"), False),
        (AnswerError("no JSON"), False),
        (UploadTimeoutError("time is up"), False),
        (UploadCancelledError("stopped"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_it_is_over_where_the_same_would_come_of_it_again(error: UploaderError, over: bool) -> None:
    assert error.final == over
