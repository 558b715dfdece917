"""The rate at which the service takes parts in."""

from __future__ import annotations

import re
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.command.conftest import spawn
from uploader.local import serve
from uploader.local.pacing import SLACK, Pacer

MIB = 1024 * 1024
PART = 5 * MIB


def test_the_pacer_spreads_what_comes_at_once() -> None:
    pacer = Pacer(100)
    waits = [pacer.wait(50, now=7.0) for _ in range(4)]
    assert waits == pytest.approx([0.5 - SLACK, 1.0 - SLACK, 1.5 - SLACK, 2.0 - SLACK])


def test_what_comes_slower_than_the_rate_does_not_wait() -> None:
    pacer = Pacer(100)
    assert [pacer.wait(1, now=float(second)) for second in range(10)] == [0.0] * 10


def test_a_sleep_that_was_a_little_late_costs_nothing_and_a_long_silence_saves_nothing_up() -> None:
    pacer = Pacer(100)
    slept = 0.0
    for _ in range(100):
        slept += pacer.wait(10, now=slept) + SLACK / 2  # every sleep comes late
    assert slept == pytest.approx(10, abs=2 * SLACK)
    assert pacer.wait(100, now=1000.0) == pytest.approx(1 - SLACK)


def test_a_part_is_taken_in_no_faster_than_the_rate(start: Any) -> None:
    api = start(rate=8 * MIB)
    upload = api.create(fileSize=4 * MIB)
    began = time.monotonic()
    assert api.put(upload, 1, bytes(4 * MIB)).status_code == 200
    assert time.monotonic() - began >= 0.4


def test_parts_share_the_rate(start: Any) -> None:
    api = start(rate=20 * MIB)
    upload = api.create(fileSize=2 * PART, parts=2)
    answers: list[httpx.Response] = []
    threads = [
        threading.Thread(target=lambda part=part: answers.append(api.put(upload, part, bytes(PART))))
        for part in (1, 2)
    ]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - began >= 0.4
    assert [answer.status_code for answer in answers] == [200, 200]


def test_control_calls_are_not_slowed(start: Any) -> None:
    api = start(rate=1)
    upload = api.create()
    assert api.show(upload)["status"] == "pending"


def test_a_paced_request_is_seen_under_way_and_ends_with_the_service(
    session: Any, raw: Any, eventually: Any
) -> None:
    with session(rate=1) as api:
        upload = api.create(fileSize=PART)
        raw(upload["parts"][0]["url"], f"Content-Length: {PART}").socket.sendall(bytes(MIB))
        service = api.service
        (seen,) = eventually(lambda: [request for request in service.under_way if request.body_bytes])
        assert (seen.target, seen.part, seen.status) == ("part", 1, None)
        assert seen.query == {"uploadId": upload["id"], "partNumber": "1"} | seen.query
        assert [request.target for request in service.requests] == ["create"]
    assert service.under_way == []
    assert [(request.target, request.status) for request in service.requests] == [
        ("create", 200),
        ("part", None),
    ]


@pytest.mark.parametrize("rate", [0, -1, float("inf"), float("nan")])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="rate must be more than 0"), serve(rate=rate):
        pass


def test_the_command_takes_a_rate(tmp_path: Path) -> None:
    process = spawn("serve", "--port", "0", "--dir", tmp_path, "--rate", "8MiB")
    try:
        assert process.stdout is not None
        said = "".join(process.stdout.readline() for _ in range(4))
        settings = dict(re.findall(r"export SCENARIO_(\w+)=(\S+)", said))
        auth = (settings["SDK_API_KEY"], settings["SDK_API_SECRET"])
        body = {"fileName": "a.bin", "contentType": "application/octet-stream", "fileSize": 4 * MIB}
        body |= {"kind": "asset", "parts": 1}
        created = httpx.post(f"{settings['BASE_URL']}/uploads", json=body, auth=auth).json()
        began = time.monotonic()
        put = httpx.put(created["upload"]["parts"][0]["url"], content=bytes(4 * MIB))
        assert time.monotonic() - began >= 0.4
        assert put.status_code == 200
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 0
