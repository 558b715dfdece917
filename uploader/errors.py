"""Everything this library raises on purpose, as one tree.

    UploaderError
    ├── InputError                bad options or input (also a ValueError)
    │   ├── SourceError           the file: missing, a directory, a pipe, empty, unreadable
    │   ├── StateError            the state directory: a symbolic link, another user's, or unusable
    │   └── CredentialsError      no credentials given: says which variable is missing
    ├── ApiError                  the Scenario API refused a call (status, code)
    │   ├── AuthError             401 or 403: which credential was refused
    │   └── NotFoundError         404: no such upload for these credentials and project
    ├── AnswerError               the API answered something that cannot be used
    ├── UnreachableError          the API gave no usable answer however often it was asked
    ├── PartError                 a part could not be stored (part number)
    ├── SourceChangedError        the file changed while it was being uploaded, or since
    ├── UploadBusyError           another process, or this one, is uploading the same file
    ├── UploadFailedError         the service took the bytes and rejected the content
    ├── NotCompletedError         waited for, but never completed: its parts were not all sent
    ├── UploadConflictError       something else completed the upload before all parts were sent
    ├── UploadTimeoutError        the time allowed is up
    └── UploadCancelledError      the caller asked it to stop

Messages say what happened, to what, and what to do. None carries a credential, a signature or a presigned
URL's query, and none a character that would do something to a terminal.
"""

from __future__ import annotations

from typing import Any

from uploader.printable import printable


class UploaderError(Exception):
    """Root of the tree.

    Attributes:
        upload_id: the upload this is about, once the service has named one.
        resumable: whether the same upload can be gone on with: by the same call or command again, or by
            `uploader resume ID`; where nothing was recorded but all is sent, by `uploader wait ID`.
        nothing_sent: whether it was raised before any byte of the file left this machine.
        final: whether the same would come of it again, so that there is no use in going on with the upload.
    """

    nothing_sent = False
    resumable = False
    final = False

    def __init__(self, message: str, *, upload_id: str | None = None) -> None:
        super().__init__(printable(message))
        self.upload_id = upload_id

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword arguments travel in __dict__, so every error survives a process boundary whole.
        return _revive, (type(self), self.args, self.__dict__.copy())


def _revive(kind: type[UploaderError], args: tuple[Any, ...], state: dict[str, Any]) -> UploaderError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InputError(UploaderError, ValueError):
    """An option or an input cannot be used; nothing was sent, but for a file that cannot be read midway."""

    nothing_sent = True


class SourceError(InputError):
    """The file cannot be uploaded: missing, not a regular file, empty or unreadable.

    A read error midway through an upload is one too; `nothing_sent` is false then.
    """


class StateError(InputError):
    """What earlier uploads left in the state directory cannot be used, or is not safe to use."""


class CredentialsError(InputError):
    """Credentials are missing; the message names the environment variable."""


class ApiError(UploaderError):
    """The API refused a call.

    Attributes:
        status: the HTTP status.
        code: the service's own error code, or "".
    """

    def __init__(self, message: str, *, status: int, code: str = "", upload_id: str | None = None) -> None:
        super().__init__(message, upload_id=upload_id)
        self.status = status
        self.code = code
        self.final = status not in _MENDABLE


# Credentials and rights can be given, credits can be bought.
_MENDABLE = (401, 402, 403)


class AuthError(ApiError):
    """The API refused the credentials (401) or what they may do (403)."""


class NotFoundError(ApiError):
    """The API knows no such upload for these credentials and this project (404)."""


class AnswerError(UploaderError):
    """The API's answer cannot be used: not JSON, parts missing, duplicated or miscounted, unsafe URLs."""


class UnreachableError(UploaderError):
    """No usable answer from the API: connections failed, or it answered 5xx or 429, to the last attempt.

    Or a web page answered in its place: a firewall's, a login page's.

    Attributes:
        retry_after: seconds the API asked to wait before the next attempt, None where it did not.
    """

    retry_after: float | None = None


class PartError(UploaderError):
    """A part could not be stored.

    Attributes:
        part: the part number, from 1.
        final: whether the store would refuse it again; else the network, the proxy or the store may mend.
    """

    def __init__(self, message: str, *, part: int, upload_id: str | None = None, final: bool = False) -> None:
        super().__init__(message, upload_id=upload_id)
        self.part = part
        self.final = final


class SourceChangedError(UploaderError):
    """The file changed while it was being uploaded, or since; the upload was not completed.

    Attributes:
        touched: neither size nor modification time changed, only what the system notes of permissions, links
            and times: the content may be the same, and if every part was stored the next run finds out.
    """

    touched = False

    @property
    def final(self) -> bool:  # type: ignore[override]
        """Whether the content is another for sure."""
        return not self.touched


class UploadBusyError(UploaderError):
    """Another run is at it: the same file is being uploaded to the same place. This one sent nothing."""

    nothing_sent = True


class UploadFailedError(UploaderError):
    """The service rejected the content: its status is `failed`; the message carries its `errorMessage`."""

    final = True


class NotCompletedError(UploaderError):
    """What was waited for was never completed, so there will be no verdict: upload the file again."""

    final = True


class UploadConflictError(UploaderError):
    """Something else completed the upload before all parts were sent: who knows what is stored."""

    final = True


class UploadTimeoutError(UploaderError):
    """The time allowed is up. Where all bytes are there, `resumable` is true: `uploader wait ID` goes on."""


class UploadCancelledError(UploaderError):
    """The caller asked for it to stop before it was done."""
