"""What every session shares, and the smallest one: wait for the verdict on an upload that is all there."""

from __future__ import annotations

from abc import ABC, abstractmethod

from uploader.core.calls import Call
from uploader.core.events import (
    Action,
    Ask,
    CallDone,
    CallFailed,
    CallRetrying,
    Failed,
    Finished,
    Happening,
    PartEnded,
    Phase,
    PhaseChanged,
    Sampled,
    StatusSeen,
    Tick,
)
from uploader.core.retry import Random
from uploader.core.verdict import Poller, is_decided
from uploader.errors import (
    AnswerError,
    AuthError,
    NotCompletedError,
    NotFoundError,
    UploadCancelledError,
    UploaderError,
    UploadTimeoutError,
)
from uploader.models import Status, Upload, UploadResult
from uploader.options import RetryPolicy, WaitFor

# An upload that the service seems not to know is looked at once more after so many first backoffs (5 s by
# default): a replica that lags, or a deployment under way, is over then.
_SLIP = 10


class Session(ABC):
    """A state machine: told what happened, it returns what to do next. It never blocks or reads a clock.

    Attributes:
        phase: where it stands.
        upload_id: the service's id, once known.
        result: what it came to, when done.
        error: why it failed, when it did.
    """

    def __init__(
        self,
        *,
        policy: RetryPolicy,
        random: Random,
        wait_for: WaitFor | None,
        timeout: float | None,
        upload_id: str | None = None,
    ) -> None:
        self.phase = Phase.CREATING
        self.upload_id = upload_id
        self.result: UploadResult | None = None
        self.error: UploaderError | None = None
        self._policy = policy
        self._random = random
        self._wait_for = wait_for
        self._timeout = timeout
        self._deadline: float | None = None
        self._started = 0.0
        self._now = 0.0
        self._actions: list[Action] = []
        self._asked: Call | None = None
        self._next_ask: tuple[float, Call] | None = None
        self._poller = Poller(policy, random)
        self._status = ""
        self._missed = False  # whether the service did not know the upload when it was last asked

    @property
    def finished(self) -> bool:
        """Whether it is over, well or not."""
        return self.phase in (Phase.DONE, Phase.FAILED)

    @property
    def wake(self) -> float | None:
        """When it wants to be told of a Tick at the latest, if nothing else happens before."""
        times = [self._deadline]
        if self._asked is None and self._next_ask is not None:
            times.append(self._next_ask[0])
        return min((at for at in times if at is not None), default=None)

    def start(self, now: float) -> list[Action]:
        """The first actions.

        Args:
            now: when the call began that this is the most of (seconds, monotonic): its time counts from then.
        """
        self._started = self._now = now
        if self._timeout is not None:
            self._deadline = now + self._timeout
        self._begin()
        return self._take()

    def handle(self, happening: Happening, now: float) -> list[Action]:
        """What to do after `happening`; nothing once it is finished."""
        if self.finished:
            return []
        self._now = now
        try:
            self._hear(happening)
            if not self.finished:
                self._check_deadline()
                self._advance()
        except UploaderError as error:
            self._fail(error)
        return self._take()

    def cancel(self, now: float) -> list[Action]:
        """The caller wants it to end."""
        if self.finished:
            return []
        self._now = now
        self._fail(UploadCancelledError("the upload was cancelled before it was done"))
        return self._take()

    @abstractmethod
    def _begin(self) -> None:
        """Queue the first actions."""

    @abstractmethod
    def _call_done(self, done: CallDone) -> None:
        """A control call went through."""

    @abstractmethod
    def _finish(self, upload: Upload) -> UploadResult:
        """The result, once the service's verdict is in."""

    def _call_failed(self, failed: CallFailed) -> None:
        raise failed.error

    def _part_ended(self, ended: PartEnded) -> None:
        raise AssertionError(f"no part was sent: {ended}")

    def _sampled(self, sampled: Sampled) -> None:
        raise AssertionError(f"no part is under way: {sampled}")

    def _advance(self) -> None:
        """Do what time and state call for."""
        if self._asked is None and self._next_ask is not None and self._now >= self._next_ask[0]:
            call, self._next_ask = self._next_ask[1], None
            self._ask(call)

    def _hear(self, happening: Happening) -> None:
        match happening:
            case CallDone():
                self._asked, self._missed = None, False
                self._call_done(happening)
            case CallFailed():
                self._asked = None
                if isinstance(happening.error, NotFoundError) and self._was_known and not self._missed:
                    self._look_again(happening)
                else:
                    self._call_failed(happening)
            case PartEnded():
                self._part_ended(happening)
            case Sampled():
                self._sampled(happening)
            case Tick():
                pass

    @property
    def _was_known(self) -> bool:
        """Whether the service has known the upload: then it is no wrong id."""
        return self.upload_id is not None

    def _look_again(self, failed: CallFailed) -> None:
        """The service does not know the upload. All that was sent hangs on that word: hear it twice."""
        self._missed, delay = True, _SLIP * self._policy.base
        self._next_ask = (self._now + delay, Call.GET)
        self._tell(CallRetrying(failed.call, str(failed.error), delay))

    def _check_deadline(self) -> None:
        if self._deadline is None or self._now < self._deadline:
            return
        said = f"time is up after {say_seconds(self._now - self._started)} while {self.phase}"
        if self._all_there:
            said += f" (status {self._status or 'unknown'}): every part is there, waiting on will tell"
        raise UploadTimeoutError(said)

    @property
    def _all_there(self) -> bool:
        """Whether every byte is there, so that waiting will tell what became of it."""
        return self.phase is Phase.VALIDATING

    def _watch(self, upload: Upload) -> None:
        """Take note of the service's status: done, or look again later."""
        if self.phase is not Phase.VALIDATING:
            self._enter(Phase.VALIDATING)
            if self._deadline is None:
                self._deadline = self._now + self._policy.wait_limit
        if upload.status != self._status:
            self._status = upload.status
            self._tell(StatusSeen(str(upload.status)))
        if is_decided(upload, self._wait_for):
            self._done(upload)
        else:
            self._next_ask = (self._now + self._poller.next_wait(), Call.GET)

    def _done(self, upload: Upload) -> None:
        self.result = self._finish(upload)
        self._enter(Phase.DONE)
        self._tell(Finished(self.result))

    def _fail(self, error: UploaderError) -> None:
        error.upload_id = error.upload_id or self.upload_id
        error.resumable = self._all_there and not error.final
        self.error = error
        self._enter(Phase.FAILED)
        self._tell(Failed(error))

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._tell(PhaseChanged(phase))

    def _ask(self, call: Call, *, first: bool = False) -> None:
        self._asked = call
        self._tell(Ask(call, self.upload_id, first))

    def _tell(self, action: Action) -> None:
        self._actions.append(action)

    def _take(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions


def say_seconds(seconds: float) -> str:
    """A time span for a message: below ten seconds its fraction counts."""
    return f"{seconds:,.0f} s" if seconds >= 10 else f"{seconds:.2g} s"


class WaitSession(Session):
    """Waits until an upload is decided, whoever sent it."""

    @property
    def _all_there(self) -> bool:
        return self._status != Status.PENDING

    @property
    def _was_known(self) -> bool:
        return self._status != ""

    def _fail(self, error: UploaderError) -> None:
        # Credentials or an address that never worked are bad input; what was never seen is not known to be
        # there.
        error.nothing_sent = self._status == ""
        super()._fail(error)
        if error.nothing_sent and isinstance(error, AuthError | AnswerError):
            error.resumable = False

    # An upload may be pending for a moment after complete was accepted; for this long, in seconds, it is
    # believed.
    GRACE = 30.0
    _pending_since: float | None = None

    def _begin(self) -> None:
        self._ask(Call.GET)

    def _call_done(self, done: CallDone) -> None:
        if done.upload.status == Status.PENDING:
            self._pending_since = self._now if self._pending_since is None else self._pending_since
            if self._now - self._pending_since >= self.GRACE:
                raise NotCompletedError("the upload was never completed: upload the file again")
        self._watch(done.upload)

    def _finish(self, upload: Upload) -> UploadResult:
        return UploadResult(
            upload_id=upload.id,
            status=upload.status,
            entity_id=upload.entity_id,
            file_name=upload.file_name,
            file_size=upload.file_size,
            parts=upload.parts_count or 0,
            elapsed_seconds=self._now - self._started,
        )
