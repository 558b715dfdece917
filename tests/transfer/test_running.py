"""The engine's manners: nothing left behind, stopped at once, bad files refused, changed files caught."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.faults.rig import make_file
from tests.transfer.conftest import QUICK, MiB, Open
from uploader import (
    InputError,
    UnreachableError,
    UploadCancelledError,
    Uploader,
    UploadTimeoutError,
)
from uploader.core.events import Event, Finished, Listener, PartStored, Phase, PhaseChanged, Progress


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("uploader")}


def test_no_thread_is_left_when_it_returns(glb: Path, opened: Open) -> None:
    with opened() as (_, uploader):
        uploader.upload(glb, part_size=5 * MiB, progress=False)
        assert not [name for name in threads() if name.startswith(("uploader-part", "uploader-call"))]


@pytest.mark.parametrize(
    "fault", ["stall:part=1:at=25%", "stall:on=create", "stall:on=complete", "503:part=1:after=60"]
)
def test_cancelling_ends_a_blocked_upload_at_once(fault: str, glb: Path, opened: Open) -> None:
    cancelled = threading.Event()
    with opened(fault) as (_, uploader):
        timer = threading.Timer(0.3, cancelled.set)
        timer.start()
        began = time.monotonic()
        with pytest.raises(UploadCancelledError):
            uploader.upload(glb, part_size=5 * MiB, progress=False, cancelled=cancelled)
        assert time.monotonic() - began < 5, "the stall would last 30 s"
        timer.join()
    assert not [name for name in threads() if name.startswith(("uploader-part", "uploader-call"))]


def test_going_on_with_an_upload_can_be_cancelled_too(glb: Path, opened: Open) -> None:
    stop_first, stop_second = threading.Event(), threading.Event()
    first = {"progress": at_a_part(stop_first), "cancelled": stop_first, "concurrency": 1}
    second = {"progress": at_a_part(stop_second), "cancelled": stop_second, "concurrency": 1}
    with opened() as (_, uploader):
        with pytest.raises(UploadCancelledError) as caught:
            uploader.upload(glb, part_size=5 * MiB, **first)
        upload_id = str(caught.value.upload_id)
        with pytest.raises(UploadCancelledError) as caught:
            uploader.resume(upload_id, **second)
        assert caught.value.upload_id == upload_id
        assert [pending.parts_stored for pending in uploader.uploads()] == [2]


def at_a_part(cancelled: threading.Event) -> Listener:
    """Cancels as soon as a part is stored."""

    def listener(event: Event) -> None:
        if isinstance(event, PartStored):
            cancelled.set()

    return listener


def test_cancelling_one_upload_leaves_another_alone(glb: Path, tmp_path: Path, opened: Open) -> None:
    cancelled, outcome = threading.Event(), list[str]()

    def run_stuck() -> None:
        with pytest.raises(UploadCancelledError):
            uploader.run(job, progress=False, cancelled=cancelled)
        outcome.append("cancelled")

    with opened("stall:part=1:at=25%") as (service, uploader):
        job = uploader.prepare(glb, part_size=5 * MiB)
        stuck = threading.Thread(target=run_stuck)
        stuck.start()
        while not any(record.status is None for record in service.requests):
            time.sleep(0.01)  # until the stall has begun, so that the other upload does not meet it
        another = shutil.copy(glb, tmp_path / "another.glb")
        other = uploader.upload(another, part_size=5 * MiB, progress=lambda event: cancelled.set())
        stuck.join()
    assert outcome == ["cancelled"]
    assert other.status in ("validated", "imported")
    assert other.retries == 0


def test_a_listener_that_raises_stops_the_upload(glb: Path, opened: Open) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, PartStored):
            raise ZeroDivisionError

    with opened() as (service, uploader):
        with pytest.raises(ZeroDivisionError):
            uploader.upload(glb, part_size=5 * MiB, progress=listener)
        assert not [record for record in service.requests if record.target == "complete"]


def test_progress_ends_at_the_files_size_and_phases_come_in_order(glb: Path, opened: Open) -> None:
    events: list[Event] = []
    with opened() as (_, uploader):
        uploader.upload(glb, part_size=5 * MiB, progress=events.append)
    assert isinstance(events[-1], Finished)
    progress = [event.sent for event in events if isinstance(event, Progress)]
    assert progress[-1] == glb.stat().st_size
    assert progress == sorted(progress)
    phases = [event.phase for event in events if isinstance(event, PhaseChanged)]
    assert phases == [Phase.CREATING, Phase.SENDING, Phase.COMPLETING, Phase.VALIDATING, Phase.DONE]


def test_time_up_while_validating_is_resumed_by_waiting(tmp_path: Path, opened: Open) -> None:
    """Sending 4 KiB is over before the time is up, and the verdict not there before another service is."""
    path, place = make_file(tmp_path / "scene.glb", 4096), tmp_path / "service"
    with opened(directory=place, stage_delay=3600) as (service, uploader):
        began = time.monotonic()
        with pytest.raises(UploadTimeoutError, match="while validating") as caught:
            uploader.upload(path, timeout=5, progress=False)
        assert time.monotonic() - began < QUICK.wait_limit, "which is for those that set no timeout"
        assert caught.value.resumable
    with opened(directory=place, port=urlsplit(service.base_url).port, stage_delay=0) as (_, uploader):
        result = uploader.wait(str(caught.value.upload_id), wait_for="imported", progress=False)
    assert result.entity_id
    assert result.file_name == "scene.glb"


def test_an_api_that_is_not_there_is_said_so_with_its_address_and_what_to_check(glb: Path) -> None:
    said = r"could not connect: http://127\.0\.0\.1:9: [^/]+; check the network and SCENARIO_BASE_URL$"
    with (
        Uploader(base_url="http://127.0.0.1:9/v1", api_key="k", api_secret="s", retry=QUICK) as uploader,
        pytest.raises(UnreachableError, match=said),
    ):
        uploader.upload(glb, progress=False)


@pytest.fixture
def offline() -> Uploader:
    """Any call it made would fail: nothing listens there."""
    return Uploader(base_url="http://127.0.0.1:9/v1", api_key="k", api_secret="s")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"kind": "sculpture"}, "unknown kind"),
        ({"kind": "model", "asset_options": {"hide": True}}, "not for kind model"),
        ({"asset_options": {"colour": 1}}, "unknown asset option"),
        ({"asset_options": {"hide": "perhaps"}}, "asset options"),
        ({"part_size": 4 * MiB}, "5,242,880"),
        ({"part_size": 0}, "too small"),
        ({"part_size": "16MiB"}, "whole number"),
        ({"timeout": "soon"}, "timeout"),
        ({"part_size": 6 * 1024 * MiB}, "at most"),
        ({"concurrency": 0}, "1 to 64"),
        ({"concurrency": 65}, "1 to 64"),
        ({"concurrency": True}, "1 to 64"),
        ({"wait_for": "godot"}, "wait_for"),
        ({"verify": "sha"}, "verify"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"content_type": "no\r\nheader"}, "content type"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(
    options: dict[str, object], said: str, glb: Path, offline: Uploader
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        offline.prepare(glb, **options)  # type: ignore[arg-type]
    assert caught.value.nothing_sent


def test_an_unknown_argument_is_a_type_error(glb: Path, offline: Uploader) -> None:
    with pytest.raises(TypeError, match="chunk_size"):
        offline.prepare(glb, chunk_size=1)  # type: ignore[call-arg]


def test_a_symbolic_link_is_known_by_its_own_name(tmp_path: Path, offline: Uploader) -> None:
    (tmp_path / "0a1b2c").write_bytes(b"weights")
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "0a1b2c")
    request = offline.prepare(tmp_path / "model.safetensors").cargo.request
    assert (request.file_name, request.kind) == ("model.safetensors", "model")
