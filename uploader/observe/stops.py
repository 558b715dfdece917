"""Ctrl-C and SIGTERM: heeded while something is tried, and put off where what came of it is being told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Seconds after which a stop comes again that came where no exception gets out.
_AGAIN = 0.01


class Terminated(KeyboardInterrupt):
    """The system asks the command to end: SIGTERM, or Ctrl-Break on Windows."""


class Stops:
    """What the two signals do. The first one counts: stopping is prompt, and not to be stopped half way.

    Where nothing is being tried it waits for the next attempt, so that arguments are read, and an outcome is
    told, whole. A second one does not wait.
    """

    def __init__(self) -> None:
        self._armed = False
        self._waiting: type[KeyboardInterrupt] | None = None

    @contextmanager
    def heeded(self) -> Iterator[None]:
        """Take both signals over, in the main thread; elsewhere nothing is changed."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM))
        before = {number: signal.getsignal(number) for number in numbers}
        self._armed, self._waiting = False, None
        for number, handler in before.items():
            if handler is not signal.SIG_IGN:  # as in a background job
                signal.signal(number, self._stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """A stop that comes in this block, or came before it, is raised in it."""
        before, self._armed = self._armed, True
        try:
            self._raise_waiting()
            yield
        finally:
            self._armed = before

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A stop that comes in this block waits, though it be part of an armed one."""
        before, self._armed = self._armed, False
        try:
            yield
        finally:
            self._armed = before

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if _in_destructor(frame):
            later = threading.Timer(_AGAIN, signal.raise_signal, (number,))
            later.daemon = True
            later.start()
            return
        again = self._waiting is not None
        self._waiting = KeyboardInterrupt if number == signal.SIGINT else Terminated
        if self._armed or again:
            self._raise_waiting()

    def _raise_waiting(self) -> None:
        kind, self._waiting = self._waiting, None
        if kind is None:
            return
        for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
            signal.signal(number, signal.SIG_IGN)
        raise kind


def _in_destructor(frame: FrameType | None) -> bool:
    """Whether a `__del__` is being run: Python prints what it raises, and goes on."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


# One for the process, as the signals are.
STOPS = Stops()
