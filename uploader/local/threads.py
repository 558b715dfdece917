"""Calls that block, each in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

T = TypeVar("T")


class Threads:
    """Daemon threads, unlike those of concurrent.futures: what hangs in one does not keep the process alive.

    At most `at_once` calls are made at the same time, the others wait for their turn.
    """

    def __init__(self, at_once: int) -> None:
        self._turns = threading.Semaphore(at_once)
        self._begun: list[threading.Thread] = []

    async def run(self, call: Callable[[], T]) -> T:
        """What the call returns. One that has begun comes to its end though who waits for it is cancelled."""
        return await asyncio.wrap_future(self.start(call))

    def start(self, call: Callable[[], T]) -> Future[T]:
        """Make a call; what will come of it."""
        future, name = Future[T](), "uploader-local-call"
        thread = threading.Thread(target=self._work, args=(future, call), name=name, daemon=True)
        self._begun = [*filter(threading.Thread.is_alive, self._begun), thread]
        thread.start()
        return future

    def wait(self, deadline: float) -> None:
        """Until all calls have come to their end, and their threads, or `deadline`, by time.monotonic."""
        for thread in self._begun:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self, future: Future[T], call: Callable[[], T]) -> None:
        with self._turns:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is asked for
                future.set_exception(error)
            else:
                future.set_result(result)
