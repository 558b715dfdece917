"""Runs schedules and holds the promise.

    python -m tests.faults.ordeal --first 1000 --count 50
    python -m tests.faults.ordeal --times 50 "Schedule(size=5242881, lives=(Life(…),))"

One schedule at a time, so that what is left afterwards is known to be of it. The last line on stdout is a
JSON object that tells how many there were and what their runs ended in.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import math
import os
import random
import re
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.faults import mischief, schedules
from tests.faults.cases import EXACT
from tests.faults.mischief import NEEDS_MD5, Witness, script, without
from tests.faults.peer import Peer, peer
from tests.faults.scenery import SECRET, Changing, Place, Workshop
from tests.faults.schedules import CHANGES, JOURNALS, PART, REWRITES, Blow, Life, Schedule
from uploader import ApiError, RetryPolicy, Timeouts, UploadBusyError, Uploader, UploaderError, UploadResult
from uploader.core.events import Event, PhaseChanged, Progress
from uploader.core.events import Phase as At

# Soon tired while there are faults, and patient when there are none any more, however slow the machine.
RETRY = RetryPolicy(
    attempts=4,
    first_attempts=3,
    base=0.002,
    cap=0.02,
    retry_after_cap=0.1,
    budget=64,
    budget_rate=100.0,
    poll_first=0.005,
    poll_cap=0.05,
    wait_limit=1.0,
)
TIMEOUTS = Timeouts(connect=2.0, stall=0.3, answer=0.4, api=0.4)
PATIENT_RETRY = RetryPolicy(base=0.002, cap=0.1, poll_first=0.005, poll_cap=0.1, wait_limit=60.0)
PATIENT = Timeouts(connect=10.0, stall=20.0, answer=20.0, api=20.0)

# Seconds a run may take before it is said to hang. By the settings above the worst there is takes about ten:
# each of four parts fails as often as it may, and each time it was silent before for as long as it may.
WATCHDOG = 120.0
# Seconds until the service has done what it does by itself.
SOON = 20.0
# Seconds that are spent on making a schedule that failed simpler.
SHRINKING = 60.0

SIMPLEST = Schedule(size=PART + 1, lives=(Life(),))  # where hypothesis begins


class Run:
    """Listens to one run in this process, and strikes as it was told.

    Attributes:
        cancelled: as for `Uploader.run`.
        events: what was told.
        completing: whether it was about to complete the upload.
        early: whether other bytes came into the file before that.
    """

    def __init__(self, blows: tuple[Blow, ...], strike: Callable[[str], None]) -> None:
        self.cancelled = threading.Event()
        self.events: list[Event] = []
        self.completing = self.early = False
        self._blows, self._strike = blows, strike
        self._timers: list[threading.Timer] = []
        self._count = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Progress):
            return
        self.events.append(event)
        self.completing = self.completing or event == PhaseChanged(At.COMPLETING)
        at, self._count = self._count, self._count + 1
        for blow in self._blows:
            if blow.at == at:
                self._begin(blow)

    def _begin(self, blow: Blow) -> None:
        if blow.what == "Ctrl-C":
            raise KeyboardInterrupt
        if blow.delay:
            self._timers.append(threading.Timer(blow.delay, self._do, [blow.what]))
            self._timers[-1].start()
        else:
            self._do(blow.what)

    def _do(self, what: str) -> None:
        if what == "cancel":
            self.cancelled.set()
            return
        self._strike(what)
        self.early = self.early or (what in REWRITES and not self.completing)

    def end(self) -> None:
        """What has not begun does not happen any more."""
        for timer in self._timers:
            timer.cancel()
        for timer in self._timers:
            timer.join()


class Ordeal:
    """One schedule, on the way through it.

    Attributes:
        ended: what each run ended in.
        witness: what the peer did.
    """

    def __init__(self, schedule: Schedule, workshop: Workshop, folder: Path, stack: ExitStack) -> None:
        self.ended: list[str] = []
        self._schedule, self._workshop = schedule, workshop
        self._state = folder / "state"
        self._file = Changing(folder / "weights.ckpt", workshop.bytes[: schedule.size])
        self._place = Place(folder / "service", resign=schedule.resign)
        self.witness = Witness(self._place.lacks_parts)
        self._peer: Peer | None = None
        if schedule.front != "service":
            tls = workshop.certificate if schedule.front == "https" else None
            narrow = schedule.front == "narrow"
            front = peer(self._place.service.base_url, {}, certificate=tls, narrow=narrow)
            self._peer = stack.enter_context(front)
        stack.callback(self._place.close)  # before the peer, whose requests may hang on it
        self._dead_locks: set[str] = set()  # files only: the locks themselves died with their owners

    def go(self) -> None:
        """All lives, and then one without trouble."""
        with Uploader(**self._settings(), retry=RETRY, timeouts=TIMEOUTS) as uploader:
            for life in self._schedule.lives:
                self._prepare(life)
                self.ended.append(self._killed(life) if life.kill else self._lived(life, uploader))
                self._check_place()
        self._settle()

    def _settings(self) -> dict[str, Any]:
        front = f"{self._peer.origin}/v1" if self._peer is not None else self._place.service.base_url
        state = str(self._state)
        return {"base_url": front, "api_key": "local-key", "api_secret": SECRET, "state_dir": state}

    def _prepare(self, life: Life) -> None:
        if not self._file.path.exists():
            self._file.change("rewrite")
        for what in life.before:
            self._strike(what)
        self._place.start_with(life.service)
        if self._peer is not None:
            faults = life.faults if life.verify == "md5" else without(life.faults, NEEDS_MD5)
            self._peer.tell(script(faults, self.witness))

    def _strike(self, what: str) -> None:
        if what in CHANGES:
            self._file.change(what)
        elif what in JOURNALS:
            self._spoil(self._state / "journal.sqlite3", what)
        elif what == "rival":
            self._rival()
        else:
            self._place.happen(what)

    def _spoil(self, journal: Path, how: str) -> None:
        with suppress(FileNotFoundError):
            if how == "lose the journal":
                journal.unlink()
            else:
                os.truncate(journal, journal.stat().st_size // 2)

    def _rival(self) -> None:
        """Somebody else wants to upload the same."""
        if not self._file.path.exists():
            return
        try:
            with Uploader(**self._settings(), retry=RETRY, timeouts=TIMEOUTS) as uploader:
                uploader.upload(self._file.path, kind="model", progress=False)
        except UploadBusyError:
            return
        raise AssertionError("two uploads of the same at once")

    # A run in this process

    def _lived(self, life: Life, uploader: Uploader) -> str:
        run, version = Run(life.blows, self._strike), self._file.version
        try:
            result = self._run(uploader, run, life)
        except KeyboardInterrupt:
            return "Ctrl-C"
        except UploaderError as error:
            self._check_error(error, run.events)
            return type(error).__name__
        finally:
            run.end()
            self._check_nothing_left()
        self._check_result(result.upload_id, result.status, life.wait_for, version)
        assert not (run.early and run.completing), "completed, though other bytes were in the file by then"
        return EXACT

    def _run(self, uploader: Uploader, run: Run, life: Life) -> UploadResult:
        faulthandler.dump_traceback_later(WATCHDOG, exit=True)
        try:
            job = None
            options = life.options()
            if life.call == "resume":
                kept = [it.upload_id for it in uploader.uploads() if it.state != "gone"]
                del options["kind"], options["part_size"], options["resume"]
                job = uploader.prepare_resume(kept[-1], **options) if kept else None
            job = job or uploader.prepare(self._file.path, **life.options())
            return uploader.run(job, progress=run, cancelled=run.cancelled)
        finally:
            faulthandler.cancel_dump_traceback_later()

    # A run in a process that kills itself

    def _killed(self, life: Life) -> str:
        assert life.kill is not None
        order = {
            "uploader": self._settings() | {"retry": asdict(RETRY), "timeouts": asdict(TIMEOUTS)},
            "path": str(self._file.path),
            "options": life.options(),
            "at": life.kill.at,
            "delay": life.kill.delay,
            "watchdog": WATCHDOG,
        }
        came_to, code = self._workshop.doom(order)
        if came_to is None:
            assert code == -signal.SIGKILL, f"ended with {code}"
            self._dead_locks |= self._locks()
            return "SIGKILL"
        if "error" in came_to:
            self._check_said(came_to["said"])
            return str(came_to["error"])
        self._check_result(came_to["upload_id"], came_to["status"], life.wait_for, self._file.version)
        return EXACT

    # The end

    def _settle(self) -> None:
        """All is well from here on: the same call again succeeds."""
        self._prepare(Life())
        with Uploader(**self._settings(), retry=PATIENT_RETRY, timeouts=PATIENT) as uploader:
            refused = ""
            try:
                self._settled(uploader)
            except ApiError as error:
                refused = f"{error.status}"
            if refused:
                # What the store swallowed cannot be known before; but then it is, and it is sent again.
                assert (refused, self.witness.swallowed) == ("400", True), "refused, though all was well"
                self._settled(uploader)
            assert uploader.uploads() == []
        with closing(sqlite3.connect(self._state / "journal.sqlite3")) as journal:
            left = journal.execute("SELECT * FROM upload").fetchall()
        assert not left, f"the journal still holds {left}"
        assert self._locks() <= {"journal.lock"} & self._dead_locks, "a lock is left"
        self._check_place()

    def _settled(self, uploader: Uploader) -> None:
        life, run = Life(), Run((), self._strike)
        result = self._run(uploader, run, life)
        self._check_result(result.upload_id, result.status, life.wait_for, self._file.version)
        self._check_nothing_left()

    # The promise

    def _check_result(self, upload_id: str, status: str, wait_for: str | None, version: int) -> None:
        assert wait_for is None or status in ("validated", "imported"), f"{status} is not what was waited for"
        deadline = time.monotonic() + SOON
        while time.monotonic() < deadline:
            try:
                digest = self._place.service.sha256(upload_id)
                assert digest == self._file.digest(version), "not the bytes of the file"
            except KeyError:
                assert self._place.service.upload(upload_id)["status"] == "validating", "never completed"
                time.sleep(0.002)
            else:
                return
        raise AssertionError("the service does not come to an end")

    def _check_error(self, error: UploaderError, events: list[Event]) -> None:
        self._check_said(str(error))
        self._check_clean("\n".join(map(repr, [error, *events])))

    def _check_said(self, said: str) -> None:
        assert len(said) > 10, f"it says too little: {said!r}"
        self._check_clean(said)

    def _check_clean(self, said: str) -> None:
        for secret in self._secrets():
            assert secret not in said, f"a secret is told: {said}"

    def _secrets(self) -> set[str]:
        found = self._place.secrets | {SECRET, b64encode(f"local-key:{SECRET}".encode()).decode()}
        for head in self._peer.heads if self._peer is not None else ():
            tokens = re.findall(rb"X-Amz-(?:Signature|Security-Token)=([^& ]+)", head)
            found |= {form for token in tokens for form in (token.decode(), unquote(token.decode()))}
        return found

    def _check_nothing_left(self) -> None:
        names = [thread.name for thread in threading.enumerate()]
        left = [it for it in names if it.startswith("uploader-") and not it.startswith("uploader-local")]
        assert not left, f"threads are left: {left}"
        assert self._locks() <= self._dead_locks, "a lock is left"

    def _check_place(self) -> None:
        assert all(map(self._file.was, self._place.digests())), "an object of several versions"
        assert self.witness.swallowed or not self._place.asked_too_early, "completed with parts missing"

    def _locks(self) -> set[str]:
        return {path.name for path in (self._state / "locks").glob("*.lock")}


class Bench:
    """Runs one schedule after another.

    Attributes:
        count: how many there were.
        ended: what their runs ended in.
        fired: which mischief was done.
    """

    def __init__(self, workshop: Workshop) -> None:
        self.count = 0
        self.ended: Counter[str] = Counter()
        self.fired: Counter[str] = Counter()
        self._workshop = workshop

    def run(self, schedule: Schedule) -> None:
        """One schedule; an error that comes out of it tells which, and how far it got."""
        threads, descriptors = set(threading.enumerate()), open_descriptors()
        folder = Path(tempfile.mkdtemp(dir=self._workshop.folder))
        random.seed(repr(schedule))
        os.write(2, f"running {schedule!r}\n".encode())  # if it hangs, this is the last line
        ordeal = None
        try:
            with ExitStack() as stack:
                ordeal = Ordeal(schedule, self._workshop, folder, stack)
                ordeal.go()
            assert set(threading.enumerate()) <= threads, "a thread is left"
            left = open_descriptors().items() - descriptors.items()
            assert not left, f"descriptors are left: {left}"
        except BaseException as error:
            error.add_note(f"in {schedule!r}, after {ordeal.ended if ordeal else 'nothing'}")
            raise
        finally:
            shutil.rmtree(folder)
        self.count += 1
        self.ended.update(ordeal.ended)
        self.fired += ordeal.witness.fired
        del ordeal
        gc.collect()  # megabytes hang on a few objects, so it would not come by itself


def open_descriptors() -> dict[str, str]:
    """What is open, where the system tells."""
    found = {}
    for path in Path("/proc/self/fd").glob("*"):
        with suppress(FileNotFoundError):  # the one that the listing itself used
            found[path.name] = os.readlink(path)
    return found


def explore(bench: Bench, number: int) -> None:
    """The schedule of that number, of hypothesis's making; one that fails is made as simple as can be.

    One at a time: of many at once hypothesis makes most by changing an earlier one a little, which finds less
    where each takes so long.
    """
    failed: Schedule | None = None
    until = math.inf

    @seed(number)
    @settings(
        max_examples=2,  # the simplest there is, always the same, and another
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )
    @given(schedules.schedules())
    def any_schedule(schedule: Schedule) -> None:
        nonlocal failed, until
        if schedule == SIMPLEST or (time.monotonic() > until and schedule != failed):
            return
        try:
            bench.run(schedule)
        except BaseException:
            failed, until = schedule, min(until, time.monotonic() + SHRINKING)
            raise

    try:
        any_schedule()
    except BaseException as error:
        variables = f"UPLOADER_SCHEDULES=1 UPLOADER_SCHEDULES_SEED={number}"
        error.add_note(f"again: {variables} pytest tests/faults/test_schedules.py")
        raise


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("schedules", nargs="*", help="schedules as they are printed")
    parser.add_argument("--times", type=int, default=1, help="how often to run those")
    parser.add_argument("--first", type=int, default=1, help="the number of the first one to make up")
    parser.add_argument("--count", type=int, default=0, help="how many to make up")
    parser.add_argument("--step", type=int, default=1, help="from one number to the next")
    parser.add_argument("--folder", type=Path, help="where to put files")
    asked = parser.parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(dir=asked.folder) as folder,
        closing(Workshop(Path(folder))) as workshop,
    ):
        bench = Bench(workshop)
        gc.freeze()
        try:
            for text in asked.schedules * asked.times:
                bench.run(eval(text, vars(mischief) | vars(schedules)))
            for number in range(asked.first, asked.first + asked.count * asked.step, asked.step):
                explore(bench, number)
        finally:
            told = {"count": bench.count, "seconds": round(time.monotonic() - began, 1)}
            sys.stdout.write(json.dumps(told | {"ended": bench.ended, "fired": bench.fired}) + "\n")


if __name__ == "__main__":
    main()
