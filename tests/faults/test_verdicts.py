"""The calls at the end: complete is accepted once, and the service's verdict is waited for and told."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import Behaviour, Exchange, broken, carried_out, reply, response
from tests.faults.rig import Rig, make_file
from uploader import RetryPolicy, Timeouts, UploadFailedError
from uploader.core.events import CallRetrying, StatusSeen

FEW = RetryPolicy(attempts=3, base=0.01, cap=0.02, poll_first=0.02, poll_cap=0.05)
JSON = "Content-Type: application/json"
OOPS = response(500, '{"error": "InternalError", "message": "try again"}', JSON)
GATEWAY = response(502, "<html><h1>502 Bad Gateway</h1></html>", "Content-Type: text/html")
BUSY = response(429, '{"error": "TooManyRequests"}', JSON, "Retry-After: 0")
TIMED_OUT = response(504, '{"message": "Endpoint request timed out"}', JSON)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One part: how it got there matters little here."""
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 64 * 1024)


def told(**fields: Any) -> Behaviour:
    """Carried out, and answered; but the upload in the answer has these fields."""

    def behave(exchange: Exchange) -> None:
        body = json.loads(exchange.ask_service().partition(b"\r\n\r\n")[2])
        body["upload"] |= fields
        exchange.send(response(200, json.dumps(body), JSON))

    return behave


def carried_out_but_answered(raw: bytes) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        exchange.ask_service()
        exchange.send(raw)

    return behave


def completes(it: Rig) -> list[int | None]:
    """How the service answered each complete call that reached it."""
    return [request.status for request in it.service.requests if request.target == "complete"]


@case(13, EXACT)
@pytest.mark.parametrize("then", ["reset", "close", "hold"])
def test_a_complete_whose_answer_is_lost_is_not_repeated(then: str, tls: bool, path: Path, rig: Open) -> None:
    """The upload is looked at first, and is not pending any more."""
    timeouts = Timeouts(connect=20, stall=20, answer=30, api=0.5 if then == "hold" else 30)
    with rig({"complete": [carried_out(then)]}, tls=tls, timeouts=timeouts) as it:
        it.upload(path)
        assert completes(it) == [200]


@case(13, EXACT)
@pytest.mark.parametrize(
    "raw",
    [OOPS, GATEWAY, BUSY, TIMED_OUT, response(200, "<html>"), response(200, '{"upload": {"id"', length=4000)],
    ids=["500", "502", "429", "504", "200 and no JSON", "200 and cut off"],
)
def test_a_complete_that_worked_whatever_was_answered_is_not_repeated(
    raw: bytes, path: Path, rig: Open
) -> None:
    def behave(exchange: Exchange) -> None:
        carried_out_but_answered(raw)(exchange)
        exchange.reset()

    with rig({"complete": [behave]}) as it:
        it.upload(path)
        assert completes(it) == [200]


@case(13, EXACT)
def test_a_lost_answer_and_then_a_service_out_of_reach_for_a_while(path: Path, rig: Open) -> None:
    script = {"complete": [carried_out("reset")], "get": [broken(None), reply(OOPS), broken(0, "close")]}
    with rig(script) as it:
        it.upload(path)
        assert completes(it) == [200]


@case(13, EXACT)
@pytest.mark.parametrize("lost", [False, True], ids=["409 heard", "409 lost"])
def test_a_lost_answer_and_then_an_old_status_do_not_complete_it_twice(
    lost: bool, path: Path, rig: Open
) -> None:
    """A replica of the service that has not heard of the first call: the second is refused, without harm."""
    script: dict[int | str, list[Behaviour]] = {
        "complete": [carried_out("reset")] * (1 + lost),
        "get": [told(status="pending")],
    }
    with rig(script) as it:
        it.upload(path)
        assert completes(it) == [200, 409]


@case(13, EXACT)
def test_a_complete_that_fails_and_then_one_whose_answer_is_lost_are_one(path: Path, rig: Open) -> None:
    with rig({"complete": [reply(OOPS), broken(None), carried_out("close")]}) as it:
        it.upload(path)
        assert it.peer.seen["complete"] == 3
        assert completes(it) == [200]


@case(14, EXACT)
@pytest.mark.parametrize(
    "answers",
    [[OOPS], [OOPS] * 4, [GATEWAY, BUSY, TIMED_OUT, OOPS]],
    ids=["once", "four times", "each time another"],
)
def test_a_complete_that_was_not_carried_out_is_repeated(
    answers: Sequence[bytes], tls: bool, path: Path, rig: Open
) -> None:
    """Each time the upload is looked at before, and still pending."""
    with rig({"complete": [reply(raw) for raw in answers]}, tls=tls) as it:
        it.upload(path)
        assert completes(it) == [200]
        assert it.peer.seen["complete"] == len(answers) + 1
        assert it.peer.seen["get"] > len(answers)


@case(14, "UnreachableError")
def test_a_complete_that_never_works_ends_and_can_be_gone_on_with(path: Path, rig: Open) -> None:
    with rig({"complete": [reply(OOPS)] * 999}, retry=FEW) as it:
        it.upload(path)
        assert it.peer.seen["complete"] >= FEW.attempts
        assert completes(it) == []
        assert it.error is not None
        assert it.error.resumable
        assert "could not complete the upload: the API answered 500" in str(it.error)


@case(15, EXACT)
def test_a_service_in_trouble_while_it_is_asked_is_outlasted(tls: bool, path: Path, rig: Open) -> None:
    trouble = [reply(raw) for raw in (OOPS, BUSY, GATEWAY, TIMED_OUT)]
    script = {"get": [*trouble, broken(0), told(status="validating"), *trouble, broken(None, "close")]}
    with rig(script, tls=tls) as it:
        it.upload(path)
        assert completes(it) == [200]
        assert it.heard(CallRetrying) == 10
        assert it.peer.seen[1] == 1


@case(15, "UnreachableError")
@pytest.mark.parametrize("raw", [OOPS, BUSY], ids=["500", "429"])
def test_a_service_that_never_tells_its_verdict_leaves_an_upload_to_wait_for(
    raw: bytes, path: Path, rig: Open
) -> None:
    with rig({"get": [reply(raw)] * 999}, retry=FEW) as it:
        it.upload(path)
        it.peer.tell({})
        assert it.error is not None
        assert it.error.resumable
        assert it.error.upload_id
        result = it.uploader.wait(it.error.upload_id, progress=False)
        assert result.status in ("validated", "imported")
        assert completes(it) == [200]


MESSAGE = (
    "bad header in https://store.example/b/k?X-Amz-Credential=ASIA1&X-Amz-Signature=deadbeef, "
    "token FwoGZXIvYXdzEAIaDBWAegzEgYY7xesCKoBJof: 12 bytes are no tensor"
)


@case(16, "UploadFailedError")
@pytest.mark.parametrize("call", ["complete", "get"])
def test_a_rejection_tells_the_reason_and_nothing_secret(call: str, path: Path, rig: Open) -> None:
    with rig({call: [told(status="failed", errorMessage=MESSAGE)]}) as it:
        it.upload(path)
        assert isinstance(it.error, UploadFailedError)
        assert str(it.error) == (
            "the service rejected the upload: bad header in [URL removed], token [removed]: "
            "12 bytes are no tensor"
        )
        assert it.error.upload_id
        assert not it.error.resumable
        assert "deadbeef" not in repr(it.events)


@case(16, "UploadFailedError")
@pytest.mark.parametrize("message", [None, ""])
def test_a_rejection_without_a_reason_says_so(message: str | None, path: Path, rig: Open) -> None:
    with rig({"get": [told(status="failed", errorMessage=message)]}) as it:
        it.upload(path)
        assert str(it.error) == "the service rejected the upload: the service gave no reason"


@case(16, "UploadFailedError")
def test_a_rejected_file_raises_with_the_services_reason(tmp_path: Path, rig: Open) -> None:
    """The service has read the object itself, and it is no .safetensors file."""
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\xff" * 1000)
    with rig() as it:
        it.upload(path)
        assert it.error is not None
        assert "header" in str(it.error)
        assert it.error.upload_id
        assert not it.error.resumable
        assert [event.status for event in it.events if isinstance(event, StatusSeen)] == [
            "validating",
            "failed",
        ]
