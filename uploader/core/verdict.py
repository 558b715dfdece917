"""Waiting for the service's verdict: which status ends it, and when to look next."""

from __future__ import annotations

from uploader.core.retry import Random
from uploader.core.scrub import scrub
from uploader.errors import UploadFailedError
from uploader.models import Status, Upload
from uploader.options import RetryPolicy, WaitFor

_ENDS = {
    "validated": frozenset({Status.VALIDATED, Status.IMPORTED, Status.COMPLETE}),
    "imported": frozenset({Status.IMPORTED, Status.COMPLETE}),
}
_GROWTH = 1.5


def is_decided(upload: Upload, wait_for: WaitFor | None) -> bool:
    """Whether the wait is over, and well. An unknown status means: not yet.

    Raises:
        UploadFailedError: the service's status is `failed`.
    """
    if upload.status == Status.FAILED:
        reason = scrub(upload.error_message or "") or "the service gave no reason"
        raise UploadFailedError(f"the service rejected the upload: {reason}", upload_id=upload.id)
    if wait_for is None:
        return True
    if upload.status in _ENDS[wait_for]:
        return True
    return upload.status == Status.VALIDATED and bool(upload.entity_id)


class Poller:
    """Growing, jittered intervals between two looks at the status."""

    def __init__(self, policy: RetryPolicy, random: Random) -> None:
        self._interval = policy.poll_first
        self._cap = policy.poll_cap
        self._random = random

    def next_wait(self) -> float:
        """Seconds until the next look: the interval, give or take a fifth, but never above the cap."""
        wait = min(self._cap, self._interval * (0.8 + 0.4 * self._random()))
        self._interval = min(self._cap, self._interval * _GROWTH)
        return wait
