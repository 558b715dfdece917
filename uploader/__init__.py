"""Upload large files to the Scenario API: multipart and concurrent, to the exact bytes or a typed error.

import uploader
result = uploader.upload("model.safetensors", kind="model")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from uploader.errors import (
    AnswerError,
    ApiError,
    AuthError,
    CredentialsError,
    InputError,
    NotCompletedError,
    NotFoundError,
    PartError,
    SourceChangedError,
    SourceError,
    StateError,
    UnreachableError,
    UploadBusyError,
    UploadCancelledError,
    UploadConflictError,
    UploaderError,
    UploadFailedError,
    UploadTimeoutError,
)
from uploader.version import __version__

if TYPE_CHECKING:
    from uploader.aio import AsyncUploader
    from uploader.client import Uploader, upload
    from uploader.core import events
    from uploader.job import Job
    from uploader.models import AssetOptions, Kind, PendingUpload, Status, UploadResult
    from uploader.options import ResumeOptions, RetryPolicy, Timeouts, UploadOptions

__all__ = [
    "AnswerError",
    "ApiError",
    "AssetOptions",
    "AsyncUploader",
    "AuthError",
    "CredentialsError",
    "InputError",
    "Job",
    "Kind",
    "NotCompletedError",
    "NotFoundError",
    "PartError",
    "PendingUpload",
    "ResumeOptions",
    "RetryPolicy",
    "SourceChangedError",
    "SourceError",
    "StateError",
    "Status",
    "Timeouts",
    "UnreachableError",
    "UploadBusyError",
    "UploadCancelledError",
    "UploadConflictError",
    "UploadFailedError",
    "UploadOptions",
    "UploadResult",
    "UploadTimeoutError",
    "Uploader",
    "UploaderError",
    "__version__",
    "events",
    "upload",
]

# What is imported when it is first used: pydantic, httpx and asyncio take a fifth of a second, which a script
# that only might upload, and `uploader --help`, need not wait for.
_WHEN_USED = {
    "aio": ("AsyncUploader",),
    "client": ("Uploader", "upload"),
    "core": ("events",),
    "job": ("Job",),
    "models": ("AssetOptions", "Kind", "PendingUpload", "Status", "UploadResult"),
    "options": ("ResumeOptions", "RetryPolicy", "Timeouts", "UploadOptions"),
}
_MODULES = {name: module for module, names in _WHEN_USED.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "events":
        return import_module("uploader.core.events")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"uploader.{_MODULES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *_MODULES]
