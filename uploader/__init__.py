"""Upload large files to the Scenario API: multipart and concurrent, to the exact bytes or a typed error.

import uploader
result = uploader.upload("model.safetensors", kind="model")
"""

from uploader.aio import AsyncUploader
from uploader.client import Uploader, upload
from uploader.core import events
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
from uploader.job import Job
from uploader.models import AssetOptions, Kind, PendingUpload, Status, UploadResult
from uploader.options import ResumeOptions, RetryPolicy, Timeouts, UploadOptions
from uploader.version import __version__

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
