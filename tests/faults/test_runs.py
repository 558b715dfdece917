"""One run after another, or beside it: what a run that is killed, stopped or held up leaves to the next."""

from __future__ import annotations

import gc
import os
import random
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import TypeVar

import pytest

from tests.command import test_signals as signals
from tests.command.conftest import spawn
from tests.crash import test_kills as kills
from tests.crash.test_kills import Moment, Setting, Siege, Stage
from tests.crash.witness import random_file
from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import broken
from tests.faults.rig import MiB, Rig, make_file
from tests.state import conftest as state
from tests.state import test_places as places
from tests.state.conftest import MakeDisk, at_part, make_uploader, puts, sha256, until
from tests.state.test_torn import SPOILT, set_aside
from tests.transfer.test_changes import interrupt
from uploader import UploadResult
from uploader.core.events import Event, JournalTrouble, LockAwaited, Recreating
from uploader.io.journal import FILE
from uploader.local import serve
from uploader.observe.report import exit_code
from uploader.saying import USAGE

PART = 5 * MiB
PARTS = 4

# How often Ctrl-C is pressed; the promise was made for 100.
MOMENTS = int(os.environ.get("UPLOADER_SIGNALS") or 20)

T = TypeVar("T")

disk = state.disk  # fixtures
known = places.known


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file of four parts."""
    return make_file(tmp_path / "weights.ckpt")


# Killed


@case(21, EXACT)
@pytest.mark.parametrize("seed", [kills.SEED])
def test_after_sigkill_only_what_was_not_acknowledged_is_sent(
    seed: int, tmp_path: Path, state_dir: Path
) -> None:
    """The command, killed twice in the midst of sending; at any moment, and more often, in tests/crash."""
    numbers = random.Random(seed)
    setting = Setting(26 * MiB, PART, concurrency=2, rate=48 * MiB, stage_delay=0.4)
    digest = random_file(tmp_path / "weights.ckpt", setting.size, seed)
    with serve(rate=setting.rate, stage_delay=setting.stage_delay) as service:
        siege = Siege(service, tmp_path / "weights.ckpt", setting, state_dir)
        for stored in (1, 3):  # the third is sent when one of the first two was acknowledged
            stage = numbers.choice([Stage.SENDING, Stage.STORED])
            run = siege.run(Moment(stage, numbers.uniform(0, 0.05), stored))
            assert run.result is None
            kills.check_against_store(run.committed, service)
        siege.run(None)
        until(lambda: not service.under_way)
        kills.check_requests(siege.runs, service.requests, setting)
        kills.check_result(siege.runs, service, setting, digest)


# Gone


@case(17, EXACT)
def test_an_upload_the_service_forgot_between_two_runs_is_started_over(path: Path, rig: Open) -> None:
    with rig(faults=("vanish:on=get",)) as it:
        old = interrupt(it.uploader, path)
        it.upload(path)
        assert it.result is not None
        assert (it.result.upload_id != old, it.result.recreated) == (True, True)
        assert (it.result.bytes_resumed, it.result.bytes_sent) == (0, path.stat().st_size)
        (told,) = [event for event in it.events if isinstance(event, Recreating)]
        assert told.old_upload_id == old
        assert "the service no longer knows it" in told.reason
        sent = Counter(
            put.part for put in it.service.requests if it.result.upload_id in put.path and put.part
        )
        assert sent == Counter(range(1, PARTS + 1))
        assert it.uploader.uploads() == []


# The journal


@case(22, EXACT)
@pytest.mark.parametrize(
    "spoilt", ["garbage", "a page overwritten", "half of it", "an older version", "a newer version"]
)
def test_a_journal_that_cannot_be_used_is_set_aside_and_the_upload_goes_on(
    spoilt: str, path: Path, state_dir: Path, rig: Open
) -> None:
    with rig() as it:
        interrupt(it.uploader, path)
        SPOILT[spoilt](state_dir / FILE)
        content = (state_dir / FILE).read_bytes()
        it.upload(path)
        (trouble,) = troubles(it)
        assert "set aside" in trouble
        assert set_aside(state_dir / FILE) == [content]
        assert it.uploader.uploads() == []


@case(22, EXACT)
@pytest.mark.parametrize("parts", [0, 1, PARTS])
def test_a_disk_that_is_full_or_fills_up_costs_no_byte(
    parts: int, path: Path, disk: MakeDisk, monkeypatch: pytest.MonkeyPatch, rig: Open
) -> None:
    small = disk()
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(small.path / "state"))
    if parts == 0:
        small.fill()
    filling = at_part(parts, small.fill)

    def listener(event: Event) -> None:
        it.events.append(event)
        filling(event)

    with rig() as it:
        it.upload(path, concurrency=1, progress=listener)
        assert len(troubles(it)) == 1
        assert puts(it.service) == [1, 2, 3, 4]
        small.clear()
        it.upload(path)
        assert troubles(it) == []
        assert it.uploader.uploads() == []


def troubles(it: Rig) -> list[str]:
    """What was told of trouble with the journal during the last upload."""
    return [event.detail for event in it.events if isinstance(event, JournalTrouble)]


@case(24, "StateError")
@pytest.mark.parametrize("how", places.REFUSED)
def test_a_state_directory_that_is_not_safe_is_refused_and_nothing_is_sent_or_written(
    how: str, known: Path, path: Path, rig: Open
) -> None:
    (places.UNSAFE | places.FOREIGN)[how](known)
    content = places.everything_in(known.parent)
    with rig() as it:
        it.upload(path)
        assert it.error is not None
        assert it.error.nothing_sent
        assert exit_code(it.error) == USAGE
        assert "UPLOADER_STATE_DIR" in str(it.error), "what to do"
        assert it.events == []
        assert it.service.requests == []
    assert places.everything_in(known.parent) == content


# Two at once


HOLD = broken(at=1 * MiB, then="hold")


@contextmanager
def another(it: Rig, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that uploads the same file and is in the midst of part 2, which the peer must `HOLD`."""
    place = it.service.environment | {"SCENARIO_BASE_URL": it.uploader.base_url}
    with spawn("upload", path, "--part-size", str(PART), "--concurrency", "1", **place) as process:
        try:
            until(lambda: it.peer.seen[2])
            yield process
        finally:
            process.kill()


@case(23, "UploadBusyError", EXACT)
def test_a_sleeping_process_is_left_alone_or_waited_for_and_a_killed_one_taken_over_at_once(
    path: Path, state_dir: Path, rig: Open
) -> None:
    killed_at: list[float] = []

    def listener(event: Event) -> None:
        if isinstance(event, LockAwaited):
            process.kill()
            killed_at.append(time.monotonic())

    with rig({2: [HOLD]}) as it:
        with another(it, path) as process:
            process.send_signal(signal.SIGSTOP)  # asleep is not dead: it may go on any time
            assert it.upload(path) == "UploadBusyError"
            assert re.search(rf"process {process.pid}\b", str(it.error))
            assert [upload.state for upload in it.uploader.uploads()] == ["running"]
            assert it.upload(path, wait_lock=True, progress=listener) == EXACT
            assert time.monotonic() - killed_at[0] < signals.PROMPT
        assert it.result is not None
        assert it.result.bytes_resumed == PART
        assert Counter(puts(it.service)) == Counter(range(1, PARTS + 1))
        assert it.asked("create") == 1
    assert list((state_dir / "locks").iterdir()) == []


# Ctrl-C


class Keyboard:
    """Presses Ctrl-C in this process.

    Attributes:
        seconds: how long it took until what it ended last was over.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._pressed_at = 0.0
        self._counts = False

    def pressed(self, delay: float, act: Callable[[], T]) -> T | None:
        """What `act` returns; None where Ctrl-C, pressed once, `delay` seconds from now, ended it before."""
        before = signal.signal(signal.SIGINT, self._interrupt)
        timer = threading.Timer(delay, self._press)
        timer.start()
        try:
            self._counts = True
            result = act()
            self._counts = False
        except KeyboardInterrupt:
            self.seconds = time.monotonic() - self._pressed_at
            return None
        finally:
            timer.cancel()
            timer.join()
            signal.signal(signal.SIGINT, before)
        return result

    def _press(self) -> None:
        self._pressed_at = time.monotonic()
        os.kill(os.getpid(), signal.SIGINT)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self._counts:
            self._counts = False
            raise KeyboardInterrupt


def threads() -> list[str]:
    """Those of uploads."""
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("uploader-call", "uploader-part"))]


def sockets() -> int:
    """How many this process has open, where the system tells."""
    folder = Path("/proc/self/fd")
    links = [it.readlink() for it in folder.iterdir() if it.is_symlink()] if folder.exists() else []
    return sum(str(link).startswith("socket:") for link in links)


def seconds_of(act: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.monotonic()
    act()
    return time.monotonic() - began


@case(36, EXACT)
@pytest.mark.parametrize("seed", [signals.SEED])
def test_ctrl_c_at_any_moment_leaves_nothing_but_what_the_next_run_goes_on_with(
    seed: int, tmp_path: Path
) -> None:
    """No thread, socket or lock; at the command, and with its words, in tests/command/test_signals.py.

    Some of the runs hang in mid-part when it comes.
    """
    path = make_file(tmp_path / "weights.ckpt", PART + 1 * MiB)
    numbers, keyboard = random.Random(seed), Keyboard()
    before, digest, stopped = sockets(), sha256(path), 0
    with serve(faults=["stall:part=1:at=50%:skip=3:times=2"], stage_delay=0.01) as service:
        with make_uploader(service) as uploader:

            def upload() -> UploadResult:
                return uploader.upload(path, part_size=PART, progress=False)

            usual = min(seconds_of(upload) for _ in range(3))
            for _ in range(MOMENTS):
                left = uploader.uploads()
                result = keyboard.pressed(numbers.uniform(0, usual), upload)
                assert keyboard.seconds < signals.PROMPT
                # One that was about to be joined, or was just started, may need an instant to end by itself.
                until(lambda: not threads(), signals.PROMPT)
                stopped += result is None
                if result is not None:
                    assert result.bytes_resumed == sum(it.bytes_stored for it in left)
                    assert result.bytes_sent == path.stat().st_size - result.bytes_resumed
                    assert service.sha256(result.upload_id) == digest
                assert {it.state for it in uploader.uploads()} <= {"interrupted"}, "nobody holds its lock"
            assert service.sha256(upload().upload_id) == digest
        assert stopped > MOMENTS / 10
    until(lambda: sockets() == before)
    gc.collect()  # what is left open is an error
