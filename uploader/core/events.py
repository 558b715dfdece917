"""Frozen records: what happened (told to the session), what to do (told to the engine), what observers see.

Times are seconds on the engine's monotonic clock, sizes are bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from uploader.core.calls import Call
from uploader.core.outcomes import Answer, Cause
from uploader.core.plan import Part
from uploader.errors import UploaderError
from uploader.models import PresignedUrl, Upload, UploadResult


class Phase(StrEnum):
    """Where an upload stands on this side."""

    CREATING = "creating"
    RESUMING = "resuming"
    SENDING = "sending"
    COMPLETING = "completing"
    VALIDATING = "validating"
    DONE = "done"
    FAILED = "failed"


# What happened: told to the session.


@dataclass(frozen=True, slots=True)
class CallDone:
    """A control call went through; `server_time` is the service's clock then (epoch seconds)."""

    call: Call
    upload: Upload
    server_time: float


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A control call did not go through; `error` is what to raise unless the session knows a way on."""

    call: Call
    error: UploaderError


@dataclass(frozen=True, slots=True)
class PartEnded:
    """One attempt at one part ended.

    Attributes:
        attempt: the id the session gave it.
        sent: bytes put on the wire, stored or not.
        md5: hex MD5 of the bytes, where it was asked for and all were read.
        seconds: how long it took.
    """

    attempt: int
    answer: Answer
    sent: int
    md5: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """How far the attempts under way are: bytes put on the wire, by attempt; `reading` wait for the file."""

    sent: Mapping[int, int]
    reading: frozenset[int] = frozenset()


Happening = CallDone | CallFailed | PartEnded | Tick | Sampled


# What to do next: told to the engine.


@dataclass(frozen=True, slots=True)
class Ask:
    """Make a control call; `first`: it is the first of all, and given up sooner than the others."""

    call: Call
    upload_id: str | None = None
    first: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """Make one attempt at sending a part."""

    attempt: int
    part: Part
    url: PresignedUrl


@dataclass(frozen=True, slots=True)
class AbortPuts:
    """End every attempt under way at once; each still reports how it ended."""


@dataclass(frozen=True, slots=True)
class AbortPut:
    """End one attempt at once; it still reports how it ended, and until then its part is not sent again."""

    attempt: int


# What observers may know; also among the actions, so that the core decides what is worth telling.


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """A new phase began."""

    phase: Phase


@dataclass(frozen=True, slots=True)
class UploadCreated:
    """The service named the upload."""

    upload_id: str
    file_size: int
    parts: int
    part_size: int


@dataclass(frozen=True, slots=True)
class UploadResumed:
    """An upload of an earlier run is gone on with: `parts_stored` of its parts, `bytes_stored`, are there."""

    upload_id: str
    file_size: int
    parts: int
    part_size: int
    parts_stored: int
    bytes_stored: int


@dataclass(frozen=True, slots=True)
class PartStored:
    """The store acknowledged a part: it need never be sent again."""

    part: Part
    etag: str | None
    md5: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class PartRetrying:
    """An attempt failed, and there will be another, `delay` seconds from now at the earliest."""

    part: Part
    cause: Cause
    detail: str
    delay: float


@dataclass(frozen=True, slots=True)
class UrlsRefreshed:
    """The service handed out fresh presigned URLs for `parts` parts."""

    parts: int


@dataclass(frozen=True, slots=True)
class Recreating:
    """The upload is started over under a new id, and all of the file sent again.

    `old_upload_id` is "" where an earlier run was stopped before the service named it.
    """

    old_upload_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceChecked:
    """`checked` of the `total` bytes that an earlier run sent were read again, and are still in the file."""

    checked: int
    total: int


@dataclass(frozen=True, slots=True)
class JournalKept:
    """From here on a later run can go on with the upload, whatever becomes of this one."""

    upload_id: str


@dataclass(frozen=True, slots=True)
class JournalTrouble:
    """The journal could not be read or written; the upload goes on. `detail` says what that means."""

    detail: str


@dataclass(frozen=True, slots=True)
class LockAwaited:
    """Another process uploads this file; it is waited for."""

    detail: str


@dataclass(frozen=True, slots=True)
class CallRetrying:
    """A control call failed, and will be repeated `delay` seconds from now."""

    call: Call
    detail: str
    delay: float


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """The service's status, each time it is a new one."""

    status: str


@dataclass(frozen=True, slots=True)
class Progress:
    """Bytes of the file that are stored, or under way. Goes back when a part is sent again."""

    sent: int


@dataclass(frozen=True, slots=True)
class Finished:
    """It is done."""

    result: UploadResult


@dataclass(frozen=True, slots=True)
class Failed:
    """It is over, and not done."""

    error: UploaderError


Event = (
    PhaseChanged
    | UploadCreated
    | UploadResumed
    | PartStored
    | PartRetrying
    | UrlsRefreshed
    | Recreating
    | SourceChecked
    | JournalKept
    | JournalTrouble
    | LockAwaited
    | CallRetrying
    | StatusSeen
    | Progress
    | Finished
    | Failed
)
Action = Ask | Put | AbortPuts | AbortPut | Event

# What an observer is: it gets every event, in the order they happen.
Listener = Callable[[Event], None]
