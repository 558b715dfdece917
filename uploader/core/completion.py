"""Whether a complete call was carried out, where its answer does not tell."""

from __future__ import annotations

from uploader.core.calls import Call
from uploader.core.retry import Random, is_spent, pause
from uploader.errors import AnswerError, ApiError, NotFoundError, UnreachableError, UploaderError
from uploader.models import Status, Upload
from uploader.options import RetryPolicy

# What an upload is only after complete was accepted. A status nobody knows is no proof of that.
ACCEPTED = frozenset({Status.VALIDATING, Status.VALIDATED, Status.IMPORTED, Status.COMPLETE})


class Completion:
    """The complete calls of one upload.

    Attributes:
        in_doubt: whether one was made, and is not known to have been refused.
    """

    def __init__(self, policy: RetryPolicy, random: Random) -> None:
        self._policy, self._random = policy, random
        self.in_doubt = False
        self._doubt: UploaderError = UploaderError("no complete call was made")
        self._tries = 0
        self._since = 0.0
        self._is_repeat = False  # whether complete may have been accepted before it was asked for

    def begin(self, now: float) -> None:
        """Every part is stored: complete is asked for, the first time in this run."""
        self._tries, self._since = 1, now

    def inherit(self) -> None:
        """An earlier run had stored every part: most likely it asked for complete, too."""
        self._is_repeat = True

    def ask(self) -> None:
        """A call is made."""
        self.in_doubt = True

    def doubt(self, error: UploaderError) -> None:
        """The last call ended in this: a look at the upload must tell what became of it."""
        self._doubt = error

    def refuse(self) -> None:
        """The last call was not carried out, by the service's word."""
        self.in_doubt = False

    def after(self, upload: Upload, now: float, *, watched: bool) -> tuple[float, Call] | None:
        """What to do after a look whose status does not tell either: None waits for the verdict.

        Args:
            upload: what was seen.
            now: the time.
            watched: whether a verdict is waited for.

        Returns:
            When to make which call.

        Raises:
            UploaderError: nothing is left to try; the error of the last complete call.
        """
        doubt, is_pending = self._doubt, upload.status == Status.PENDING
        # A repeat that is refused so was preceded by one that was accepted: what was looked at is older.
        accepted = self._is_repeat and isinstance(doubt, ApiError) and (doubt.status == 409 or not is_pending)
        self.in_doubt = accepted or not is_pending
        if accepted and not is_pending and watched:
            return None
        if accepted:
            return self._wait_out(now, Call.GET, None)
        if isinstance(doubt, UnreachableError):
            return self._wait_out(now, Call.COMPLETE, doubt.retry_after)
        if isinstance(doubt, NotFoundError):  # a slip: it was there when it was looked for
            return self._wait_out(now, Call.COMPLETE, None)
        raise doubt

    def _wait_out(self, now: float, call: Call, after: float | None) -> tuple[float, Call]:
        """Another call, later; or give up with the doubt."""
        if is_spent(self._policy, self._tries, now - self._since):
            raise self._doubt
        at = now + pause(self._policy, self._tries, after, self._random)
        self._tries += 1
        self._is_repeat = True
        return at, call


def is_past_complete(upload: Upload) -> bool:
    """Whether the status tells that complete was accepted, or is out of the question."""
    return upload.status in ACCEPTED or upload.status == Status.FAILED


def may_have_worked(error: UploaderError) -> bool:
    """Whether a complete call that ended so may have been carried out: answer lost, or it was a repeat."""
    if isinstance(error, ApiError):
        return error.status in (400, 409, 501)
    return isinstance(error, UnreachableError | AnswerError)
