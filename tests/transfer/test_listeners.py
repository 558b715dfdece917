"""What a listener can count on, and that a slow one costs no more than its own time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests.transfer.conftest import QUICK, MiB, Open
from uploader import Timeouts, UploaderError
from uploader.core.events import Event, Failed, Finished, Listener, PartStored, Progress
from uploader.core.policy import StoragePolicy
from uploader.core.retry import RetryBudget
from uploader.core.session import UploadSession
from uploader.io.api import Api
from uploader.io.connections import Connections, make_tls_context
from uploader.io.engine import SAMPLE, Run
from uploader.io.limits import Limits
from uploader.io.storage import PartResult, PartTask
from uploader.io.workers import Threads
from uploader.job import Job
from uploader.local import Service, serve
from uploader.options import Credentials


@pytest.mark.parametrize(
    ("fault", "stored", "end"),
    [
        (None, 4, "Finished"),
        ("403:part=1:code=AccessDenied:early:times=inf", 3, "PartError"),
        ("500:on=complete:times=inf", 4, "UnreachableError"),
        ("400:on=create", 0, "ApiError"),
        ("stall:part=1:at=50%", 3, "UploadTimeoutError"),
        (None, 4, "UploadCancelledError"),
    ],
)
def test_nothing_is_told_after_the_end(
    fault: str | None, stored: int, end: str, glb: Path, opened: Open
) -> None:
    """Not even what parts that were under way then have sent since: `stored` is how many get through."""
    cancelled, events = threading.Event(), list[Event]()

    def listener(event: Event) -> None:
        events.append(event)
        if end == "UploadCancelledError" and isinstance(event, Progress) and event.sent:
            cancelled.set()
        if isinstance(event, Finished | Failed):
            until(lambda: len([it for it in service.requests if it.part and it.status == 200]) == stored)

    faults = [fault] if fault else []
    # All parts have begun before the time is up, and at this rate some are still under way then.
    timeout, rate = (5, 2 * MiB) if end == "UploadTimeoutError" else (None, 10 * MiB)
    with opened(*faults, rate=rate) as (service, uploader):
        job = uploader.prepare(glb, part_size=5 * MiB, concurrency=4, timeout=timeout)
        with suppress(UploaderError):
            uploader.run(job, progress=listener, cancelled=cancelled)
    last = events[-1]
    assert isinstance(last, Finished | Failed)
    assert end == ("Finished" if isinstance(last, Finished) else type(last.error).__name__)
    assert sum(isinstance(event, Finished | Failed) for event in events) == 1


def test_parts_that_ended_while_a_listener_took_its_time_are_heard_of_before_more_progress(
    glb: Path,
) -> None:
    """Each makes room for another part: it must not wait until the slow listener has heard all there is."""
    parts, events = Parts(), list[Event]()

    def listener(event: Event) -> None:
        events.append(event)
        if isinstance(event, Progress) and parts.begun == 4 and not parts.awaited:
            parts.wait_for(4)
            take_time()

    upload(glb, listener, parts, concurrency=4)
    slow = next(at for at, event in enumerate(events) if isinstance(event, PartStored))
    assert parts.awaited == 4
    assert isinstance(events[slow - 1], Progress), "this is the one that took its time"
    assert [type(event) for event in events[slow : slow + 4]] == [PartStored] * 4
    assert [event.sent for event in events[:slow] if isinstance(event, Progress)][-1] < glb.stat().st_size


def test_progress_is_told_while_parts_end_faster_than_they_are_heard_of(glb: Path) -> None:
    """The look at the attempts that tells it is what finds stragglers too."""
    parts, events = Parts(), list[Event]()

    def listener(event: Event) -> None:
        events.append(event)
        if isinstance(event, PartStored):
            parts.wait_for(min(4, parts.awaited + 1))
            take_time()

    parts.awaited = 1
    upload(glb, listener, parts, concurrency=2)
    stored = [at for at, event in enumerate(events) if isinstance(event, PartStored)]
    between = events[stored[0] : stored[-1]]
    assert any(isinstance(event, Progress) for event in between)


def take_time() -> None:
    """A listener that is slower than the attempts are looked at. Its own time, no wait for anything."""
    time.sleep(1.5 * SAMPLE)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


class Parts:
    """How many attempts have begun, and how many of them the run could have heard the end of by now."""

    def __init__(self) -> None:
        self.begun = 0
        self.awaited = 0
        self._ended = 0
        self._changed = threading.Condition()

    def ends(self) -> None:
        with self._changed:
            self._ended += 1
            self._changed.notify_all()

    def wait_for(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended >= count, 60)
        self.awaited = count


class Watched(Threads):
    """Threads whose ends are counted once the run has been told of them."""

    def __init__(self, connections: Connections, most: int, parts: Parts) -> None:
        super().__init__(connections, most)
        self._parts = parts

    def start(self, attempt: int, task: PartTask) -> Future[PartResult]:
        ended: Future[PartResult] = Future()

        def pass_on(done: Future[PartResult]) -> None:
            ended.set_result(done.result())  # the run's callback is done when this returns
            self._parts.ends()

        super().start(attempt, task).add_done_callback(pass_on)
        self._parts.begun += 1
        return ended


def upload(path: Path, listener: Listener, parts: Parts, concurrency: int) -> None:
    """Upload in parts of 5 MiB to a service that takes more than a second for 16 MiB."""
    with serve(stage_delay=0.01, rate=10 * MiB) as service:
        connections = Connections(make_tls_context, lambda _, addresses: addresses)
        with closing(connections):
            job = _job(service, path)
            workers = Watched(connections, concurrency, parts)
            session = UploadSession(
                job.plan,
                file_name=job.file_name,
                concurrency=concurrency,
                policy=QUICK,
                budget=RetryBudget(QUICK.budget, QUICK.budget_rate),
                random=random.random,
                storage=StoragePolicy(loopback=True),
            )
            Run(session, _api(service, connections), workers, job.cargo, listener, Limits()).result()


def _job(service: Service, path: Path) -> Job:
    from uploader.job import job_for

    return job_for(path, {"part_size": 5 * MiB}, service.base_url, None)


def _api(service: Service, connections: Connections) -> Api:
    credentials = Credentials.find({}, service.api_key, service.api_secret)
    return Api(
        service.base_url,
        credentials,
        None,
        connections,
        policy=QUICK,
        timeouts=Timeouts(),
        random=random.random,
    )
