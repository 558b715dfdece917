"""Threads to make blocking calls in."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from uploader.io.shortage import start

T = TypeVar("T")
_Calls = queue.SimpleQueue[Callable[[], None] | None]


class Pool:
    """Threads, begun when there is a call for them, and kept until it is closed.

    A call is either taken or refused. `ThreadPoolExecutor` first queues it, and raises when then there is no
    thread for it: any other thread would make the call all the same, and nobody would be told what came of
    it. For one thread, as to its methods.

    Args:
        most: threads, at most.
        name: what their names begin with.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._threads: list[threading.Thread] = []
        self._calls: _Calls = queue.SimpleQueue()
        self._under_way: list[Future[object]] = []

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a call made: at once if fewer than the most are, else after another.

        Raises:
            OSError: there can be no further thread for it now.
        """
        self._under_way = [it for it in self._under_way if not it.done()]
        if len(self._under_way) >= len(self._threads) < self._most:
            self._begin()
        future = Future[T]()
        self._under_way.append(future)  # type: ignore[arg-type]
        self._calls.put(partial(_make, future, call))
        return future

    def _begin(self) -> None:
        name = f"{self._name}_{len(self._threads)}"
        # As a daemon: if even `close` is broken off, the process can still end.
        thread = threading.Thread(target=_work, args=(self._calls,), name=name, daemon=True)
        start(thread)
        self._threads.append(thread)

    def close(self) -> None:
        """Wait until all calls were made; no thread is left."""
        self._calls.put(None)
        for thread in self._threads:
            thread.join()


def _work(calls: _Calls) -> None:
    while (call := calls.get()) is not None:
        call()
        del call  # what it holds is not kept until the next one comes
    calls.put(None)  # for the other threads


def _make(future: Future[T], call: Callable[[], T]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - it is raised where the outcome is asked for
        future.set_exception(error)
    else:
        future.set_result(result)
