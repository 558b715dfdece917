"""What ends a call before it is done: its time, counted once from its beginning, and whoever cancels it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from uploader.core.waiting import say_seconds
from uploader.errors import UploadCancelledError, UploaderError, UploadTimeoutError


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call, all it does included.

    Attributes:
        timeout: seconds it may take; None: as long as it goes on.
        cancelled: ends it when set, from any thread.
        began: when it began (seconds, monotonic).
    """

    timeout: float | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float | None:
        """Seconds that are left, at least 0; None where there is no end."""
        return None if self.timeout is None else max(0.0, self.began + self.timeout - time.monotonic())

    def check(self, doing: str) -> None:
        """Go on, if that may be.

        Raises:
            UploadCancelledError: it was cancelled while `doing`.
            UploadTimeoutError: its time is up.
        """
        if self.cancelled.is_set() or self.left == 0:
            raise self.error(doing)

    def error(self, doing: str) -> UploaderError:
        """What ended it while `doing`: that its time is up, where nobody cancelled it."""
        if self.cancelled.is_set():
            return UploadCancelledError(f"the upload was cancelled while {doing}")
        return UploadTimeoutError(f"time is up after {say_seconds(self.timeout or 0.0)} while {doing}")
