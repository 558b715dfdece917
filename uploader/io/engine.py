"""Runs a session: one coordinator, the calling thread, carries out its actions and feeds back what happened.

Workers make control calls and attempts at parts; whatever they find comes back through one queue, so no lock
guards a decision.
"""

from __future__ import annotations

import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from uploader.core.calls import Call
from uploader.core.events import (
    AbortPut,
    AbortPuts,
    Action,
    Ask,
    CallDone,
    CallFailed,
    CallRetrying,
    Event,
    Failed,
    Finished,
    Happening,
    Listener,
    PartEnded,
    PartStored,
    Progress,
    Put,
    Sampled,
    Tick,
    UploadCreated,
    UploadResumed,
)
from uploader.core.waiting import Session
from uploader.errors import UploaderError
from uploader.io.api import Api, Told
from uploader.io.connections import Connections, Scope
from uploader.io.source import Source
from uploader.io.storage import Meter, PartResult, PartTask, put
from uploader.models import CreateRequest, UploadResult
from uploader.options import Timeouts, Verify

# How often progress is sampled and a cancel noticed. Also the longest wait for the queue: on Windows a wait
# without end ignores Ctrl-C.
SAMPLE = 0.1


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is uploaded: the file, and the body of the create call."""

    source: Source
    request: CreateRequest
    verify: Verify


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt under way: how far it is, and what ends it."""

    meter: Meter = field(default_factory=Meter)
    scope: Scope = field(default_factory=Scope)


@dataclass(slots=True)
class _Crash:
    """A worker raised what it never should: a defect, raised again where it is seen."""

    error: BaseException


@dataclass(slots=True)
class Run:
    """One session's run.

    Args:
        session: decides.
        api: makes the control calls.
        connections: carry the parts.
        cargo: what is uploaded; None for a session that only waits.
        concurrency: the most parts in flight.
        listener: told of every event, in the calling thread.
        cancelled: ends the run when set, from any thread.
    """

    session: Session
    api: Api
    connections: Connections
    cargo: Cargo | None
    concurrency: int
    listener: Listener
    cancelled: threading.Event
    timeouts: Timeouts = field(default_factory=Timeouts)
    _queue: queue.SimpleQueue[Happening | CallRetrying | _Crash] = field(default_factory=queue.SimpleQueue)
    _calls: Scope = field(default_factory=Scope)
    _attempts: dict[int, _Attempt] = field(default_factory=dict)
    _stored: int = 0
    _told: int = -1
    _told_at: float = 0.0
    _sampled_at: float = 0.0

    def result(self) -> UploadResult:
        """Run to the end, in the calling thread.

        When it returns or raises, no call of it is left, and no thread but for lookups of names that the
        system has not answered yet.

        Raises:
            UploaderError: the session's.
            UploadCancelledError: `cancelled` was set.
            KeyboardInterrupt: Ctrl-C.
        """
        # Two pools: a refresh never waits behind parts.
        with (
            ThreadPoolExecutor(1, thread_name_prefix="uploader-call") as call_pool,
            ThreadPoolExecutor(self.concurrency, thread_name_prefix="uploader-part") as part_pool,
        ):
            try:
                self._loop(call_pool, part_pool)
            finally:
                self._abort_all()
                self._calls.cancel()
        if self.session.error is not None:
            raise self.session.error
        assert self.session.result is not None  # noqa: S101 - finished without an error means with a result
        return self.session.result

    def _loop(self, call_pool: ThreadPoolExecutor, part_pool: ThreadPoolExecutor) -> None:
        actions = self.session.start(time.monotonic())
        while True:
            # In their order: what is written down of an event may have to be, before the next action.
            for action in actions:
                self._perform(action, call_pool, part_pool)
            self._tell_progress()
            if self.session.finished:
                return
            if self.cancelled.is_set():
                actions = self.session.cancel(time.monotonic())
            else:
                actions = self.session.handle(self._next(), time.monotonic())

    def _perform(self, action: Action, call_pool: ThreadPoolExecutor, part_pool: ThreadPoolExecutor) -> None:
        match action:
            case Ask():
                call_pool.submit(self._ask, action).add_done_callback(self._deliver)
            case Put():
                attempt = self._attempts[action.attempt] = _Attempt()
                part_pool.submit(self._put, action, attempt).add_done_callback(self._deliver)
            case AbortPuts():
                self._abort_all()
            case AbortPut():
                self._attempts[action.attempt].scope.cancel()
            case _:
                if isinstance(action, Finished | Failed):
                    self._tell_progress()  # nothing is told after the end
                self._note(action)
                self.listener(action)

    def _abort_all(self) -> None:
        for attempt in self._attempts.values():
            attempt.scope.cancel()

    def _next(self) -> Happening:
        """The next thing that happened, or a look at the attempts or a Tick when it is time for one."""
        if self._attempts and time.monotonic() - self._sampled_at >= SAMPLE:
            self._sampled_at = time.monotonic()
            return self._sample()
        wake = self.session.wake
        wait = SAMPLE if wake is None else min(SAMPLE, max(0.0, wake - time.monotonic()))
        try:
            item = self._queue.get(timeout=wait)
        except queue.Empty:
            return Tick()
        if isinstance(item, _Crash):
            raise item.error
        if isinstance(item, CallRetrying):
            self.listener(item)
            return Tick()
        if isinstance(item, PartEnded):
            del self._attempts[item.attempt]
        return item

    def _sample(self) -> Sampled:
        meters = {number: attempt.meter for number, attempt in self._attempts.items()}
        reading = frozenset(number for number, meter in meters.items() if meter.reading)
        return Sampled({number: meter.sent for number, meter in meters.items()}, reading)

    def _deliver(self, future: Future[Happening]) -> None:
        error = None if future.cancelled() else future.exception()
        self._queue.put(_Crash(error) if error else future.result())

    # In a worker

    def _ask(self, ask: Ask) -> Happening:
        try:
            told = self._call(ask)
        except UploaderError as error:
            return CallFailed(ask.call, error)
        return CallDone(ask.call, told.upload, told.server_time)

    def _call(self, ask: Ask) -> Told:
        upload_id = ask.upload_id or ""
        if ask.call is Call.GET or self.cargo is None:
            return self.api.get(upload_id, self._calls, self._queue.put, first=ask.first)
        if ask.call is Call.CREATE:
            return self.api.create(self.cargo.request, self._calls, self._queue.put, first=ask.first)
        # The last moment to notice that the parts are of a file that is no more.
        self.cargo.source.check()
        return self.api.complete(upload_id, self._calls)

    def _put(self, action: Put, attempt: _Attempt) -> Happening:
        assert self.cargo is not None  # noqa: S101 - only an upload's session puts
        task = PartTask(
            source=self.cargo.source,
            part=action.part,
            url=action.url,
            content_type=self.cargo.request.content_type,
            md5=self.cargo.verify == "md5",
            timeouts=self.timeouts,
        )
        done: PartResult = put(task, self.connections, attempt.scope, attempt.meter)
        return PartEnded(action.attempt, done.answer, done.sent, done.md5, done.seconds)

    # Progress

    def _note(self, event: Event) -> None:
        if isinstance(event, PartStored):
            self._stored += event.part.length
        elif isinstance(event, UploadResumed):
            self._stored = event.bytes_stored
        elif isinstance(event, UploadCreated):
            self._stored = 0

    def _tell_progress(self) -> None:
        now = time.monotonic()
        if now - self._told_at < SAMPLE and not self.session.finished:
            return
        self._told_at = now
        sent = self._stored + sum(attempt.meter.sent for attempt in self._attempts.values())
        if sent != self._told:
            self._told = sent
            self.listener(Progress(sent))
