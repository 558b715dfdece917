"""Several files at once, shown as one."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager, suppress

from uploader.core.events import Event, Finished, Listener, Phase, PhaseChanged, Progress
from uploader.observe import Shown
from uploader.observe.trouble import trouble


class Together:
    """Adds up what the uploads of `count` files tell, each from its own thread."""

    def __init__(self, shown: Shown, count: int) -> None:
        self._shown = shown
        self._count = count
        self._done = 0
        self._failed = 0
        self._sent = 0
        self._lock = threading.Lock()
        shown(PhaseChanged(Phase.SENDING))

    def listener(self, name: str) -> Listener:
        """Hears of one file."""
        sent = 0

        def hear(event: Event) -> None:
            nonlocal sent
            with self._lock:
                if isinstance(event, Progress):
                    self._sent += event.sent - sent
                    sent = event.sent
                    self._shown(Progress(self._sent))
                elif isinstance(event, Finished):
                    self._done += 1
                    self._rename()
                elif said := trouble(event):
                    self._shown.note(f"{name}: {said}")

        return hear

    def failed(self) -> None:
        """One of them is not going to be done."""
        with self._lock, suppress(OSError):  # nobody reads it; that changes nothing about the others
            self._failed += 1
            self._rename()

    def aside(self) -> AbstractContextManager[None]:
        """Make room for what somebody else prints."""
        return self._shown.aside()

    def _rename(self) -> None:
        failed = f"{self._failed} failed" if self._failed else ""
        self._shown.rename(f"{self._done} of {self._count} files", failed)
