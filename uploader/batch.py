"""Several small files at once: alone, none of them fills the link, nor the wait for its verdict."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import partial

from uploader.client import Uploader
from uploader.core.events import Listener
from uploader.core.outcomes import RAISE_LIMITS
from uploader.errors import UploadCancelledError, UploaderError
from uploader.io.pool import Pool
from uploader.job import Job
from uploader.models import UploadResult
from uploader.observe.attempt import Attempt
from uploader.observe.report import Report
from uploader.observe.stops import STOPS

# Files at once. Each has one part, and most of its time goes to calls and to waiting for its verdict.
FILES = 8


@dataclass(frozen=True, slots=True)
class Item:
    """One file of several.

    Attributes:
        job: the file as it was when all were looked at.
        again: looks at it again, when it is its turn: that may be hours later.
    """

    attempt: Attempt
    job: Job
    again: Callable[[], Job]


def small_ones(items: Sequence[Item]) -> list[Item]:
    """Those of one part, which are sent at once; none if it would be alone."""
    found = [item for item in items if item.job.plan.count == 1]
    return found if len(found) > 1 else []


def upload_small(report: Report, uploader: Uploader, items: Sequence[Item]) -> list[Item]:
    """Upload these, `FILES` at once; those that were not begun when it was stopped.

    Stops are to be deferred by the caller: they come where nothing is half told.
    """
    size = sum(item.job.plan.file_size for item in items)
    with (
        closing(Pool(FILES, "uploader-file")) as pool,
        report.listening_together(size, len(items)) as listener,
    ):
        batch = _Batch(report, uploader, items, pool, listener)
        try:
            batch.run()
        except KeyboardInterrupt as error:
            batch.stop(error)
        finally:
            batch.cancelled.set()  # a defect ends the others, too
    return list(batch.waiting)


@dataclass(frozen=True, slots=True)
class _End:
    """How one upload ended."""

    attempt: Attempt
    result: UploadResult | None = None
    error: BaseException | None = None


class _Batch:
    """What is under way, and what waits for its turn."""

    def __init__(
        self,
        report: Report,
        uploader: Uploader,
        items: Sequence[Item],
        pool: Pool,
        listener: Callable[[Attempt], Listener],
    ) -> None:
        self.waiting = deque(items)
        self._report = report
        self._uploader = uploader
        self._pool = pool
        self._listener = listener
        self._under_way = 0
        self._most = FILES
        self.cancelled = threading.Event()
        self._ends: queue.SimpleQueue[_End] = queue.SimpleQueue()
        self._ended = threading.Event()

    def run(self) -> None:
        """Until all are done."""
        while self.waiting or self._under_way:
            while self.waiting and self._under_way < self._most:
                self._begin(self.waiting.popleft())
            with STOPS.armed():  # and not while an end is taken from the queue: it would be lost
                self._ended.wait(0.1)  # a wait without end cannot be interrupted on Windows
            self._ended.clear()
            with suppress(queue.Empty):
                while True:
                    self._tell(self._ends.get_nowait())

    def _begin(self, item: Item) -> None:
        try:
            self._pool.submit(partial(self._send, item))
        except OSError as error:  # no further thread can be started: as many at once as there are
            if not self._under_way:
                self._report.failed(item.attempt, UploaderError(f"{error.strerror}; {RAISE_LIMITS}"))
                return
            self._most = self._under_way
            self.waiting.appendleft(item)
        else:
            self._under_way += 1

    def stop(self, stop: KeyboardInterrupt) -> None:
        """End what is under way, and tell how far it got."""
        self.cancelled.set()
        while self._under_way:
            self._tell(self._ends.get(), stop)
        self._report.stop(stop)

    def _tell(self, end: _End, stop: KeyboardInterrupt | None = None) -> None:
        self._under_way -= 1
        if end.result is not None:
            self._report.done(end.attempt, end.result)
        elif stop is not None and isinstance(end.error, UploadCancelledError):
            self._report.interrupted(end.attempt, stop)
        elif isinstance(end.error, UploaderError):
            self._report.failed(end.attempt, end.error)
        elif end.error is not None:
            raise end.error  # a defect

    def _send(self, item: Item) -> None:
        listener = self._listener(item.attempt)
        try:
            result = self._uploader.run(item.again(), progress=listener, cancelled=self.cancelled)
        except BaseException as error:  # noqa: BLE001 - raised again where it is seen
            self._ends.put(_End(item.attempt, error=error))
        else:
            self._ends.put(_End(item.attempt, result))
        self._ended.set()
