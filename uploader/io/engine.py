"""Runs a session: one coordinator, the calling thread, carries out its actions and feeds back what happened.

Workers make control calls and attempts at parts; whatever they find comes back through one queue, so no lock
guards a decision.
"""

from __future__ import annotations

import math
import queue
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial

from uploader.core.calls import Call, uncalled
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
    Tick,
    UploadCreated,
    UploadResumed,
)
from uploader.core.waiting import Session
from uploader.errors import UploaderError
from uploader.io.api import Api, Told
from uploader.io.connections import Scope
from uploader.io.limits import Limits
from uploader.io.pool import Pool
from uploader.io.shortage import shortage
from uploader.io.source import Source
from uploader.io.storage import PartResult, PartTask
from uploader.io.workers import Workers
from uploader.models import CreateRequest, UploadResult
from uploader.options import Timeouts, Verify

# How often the attempts are looked at and a cancel noticed. Also the longest wait for the queue: on Windows a
# wait without end ignores Ctrl-C.
SAMPLE = 0.1


@dataclass(frozen=True, slots=True)
class Cargo:
    """What is uploaded: the file, and the body of the create call."""

    source: Source
    request: CreateRequest
    verify: Verify


@dataclass(slots=True)
class _Crash:
    """A worker raised what it never should: a defect, raised again where it is seen."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class _Look:
    """It was time to look at the attempts.

    It stands in the queue with all else: what had come before goes first, or a listener as slow as the looks
    are frequent would keep parts that ended from making room for others; and what comes after waits for it,
    or in a queue that never runs empty no straggler would be found.
    """


@dataclass(slots=True)
class Run:
    """One session's run.

    Args:
        session: decides.
        api: makes the control calls.
        workers: make the attempts at parts.
        cargo: what is uploaded; None for a session that only waits.
        listener: told of every event, in the calling thread.
        limits: what ends it before it is done.
    """

    session: Session
    api: Api
    workers: Workers
    cargo: Cargo | None
    listener: Listener
    limits: Limits
    timeouts: Timeouts = field(default_factory=Timeouts)
    _queue: queue.SimpleQueue[Happening | CallRetrying | _Crash | _Look] = field(
        default_factory=queue.SimpleQueue
    )
    _calls: Scope = field(default_factory=Scope)
    _stored: int = 0
    _told: int = -1
    _look_at: float = 0.0

    def result(self) -> UploadResult:
        """Run to the end, in the calling thread.

        When it returns or raises, no call of it is left, and no thread but for lookups of names that the
        system has not answered yet. Of workers that are an executor's, see there.

        Raises:
            UploaderError: the session's.
            UploadCancelledError: it was cancelled.
            KeyboardInterrupt: Ctrl-C.
        """
        # A thread for calls alone: a refresh never waits behind parts.
        with closing(Pool(1, "uploader-call")) as call_pool, closing(self.workers):
            try:
                self._loop(call_pool)
            finally:
                self._calls.cancel()
        if self.session.error is not None:
            raise self.session.error
        assert self.session.result is not None  # noqa: S101 - finished without an error means with a result
        return self.session.result

    def _loop(self, call_pool: Pool) -> None:
        actions = self.session.start(self.limits.began)
        while True:
            # In their order: what is written down of an event may have to be, before the next action.
            for action in actions:
                self._perform(action, call_pool)
            if self.session.finished:
                return
            if self.limits.cancelled.is_set():
                actions = self.session.cancel(time.monotonic())
            else:
                actions = self.session.handle(self._next(), time.monotonic())

    def _perform(self, action: Action, call_pool: Pool) -> None:
        match action:
            case Ask():
                self._call_in(call_pool, action)
            case Put():
                self._put(action)
            case AbortPuts():
                self.workers.abort_all()
            case AbortPut():
                self.workers.abort(action.attempt)
            case _:
                if isinstance(action, Finished | Failed):
                    self._tell_progress()  # nothing is told after the end
                self._note(action)
                self.listener(action)

    def _call_in(self, pool: Pool, ask: Ask) -> None:
        try:
            pool.submit(partial(self._ask, ask)).add_done_callback(self._deliver)
        except (OSError, MemoryError) as error:
            self._queue.put(CallFailed(ask.call, uncalled(ask.call, shortage(error), ask.upload_id)))

    def _put(self, action: Put) -> None:
        assert self.cargo is not None  # noqa: S101 - only an upload's session puts
        task = PartTask(
            source=self.cargo.source,
            part=action.part,
            url=action.url,
            content_type=self.cargo.request.content_type,
            md5=self.cargo.verify == "md5",
            timeouts=self.timeouts,
        )
        self.workers.start(action.attempt, task).add_done_callback(partial(self._landed, action.attempt))

    def _next(self) -> Happening:
        """The next thing that happened; a Tick where it is nothing that the session knows."""
        if time.monotonic() >= self._look_at:
            self._look_at = math.inf  # one at a time
            self._queue.put(_Look())
        match item := self._take():
            case _Look():
                return self._look()
            case _Crash():
                raise item.error
            case CallRetrying():
                self.listener(item)
                return Tick()
            case PartEnded():
                self.workers.land(item.attempt)
        return item

    def _take(self) -> Happening | CallRetrying | _Crash | _Look:
        """The first of the queue; a Tick where nothing comes while it may be waited for."""
        wake = self.session.wake
        wait = SAMPLE if wake is None else min(SAMPLE, max(0.0, wake - time.monotonic()))
        try:
            return self._queue.get(timeout=wait)
        except queue.Empty:
            return Tick()

    def _look(self) -> Happening:
        """How far the attempts are: told as progress, and then, as it is by now, the session."""
        self._tell_progress()
        self._look_at = time.monotonic() + SAMPLE
        return self.workers.sample() or Tick()

    def _landed(self, attempt: int, future: Future[PartResult]) -> None:
        try:
            done = future.result()
            item = PartEnded(attempt, done.answer, done.sent, done.md5, done.seconds)
        except BaseException as error:  # noqa: BLE001 - raised again where it is seen
            self._queue.put(_Crash(error))
        else:
            self._queue.put(item)

    def _deliver(self, future: Future[Happening]) -> None:
        error = future.exception()
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

    # Progress

    def _note(self, event: Event) -> None:
        if isinstance(event, PartStored):
            self._stored += event.part.length
        elif isinstance(event, UploadResumed):
            self._stored = event.bytes_stored
        elif isinstance(event, UploadCreated):
            self._stored = 0

    def _tell_progress(self) -> None:
        sampled = self.workers.sample()
        sent = self._stored + (sum(sampled.sent.values()) if sampled else 0)
        if sent != self._told:
            self._told = sent
            self.listener(Progress(sent))
