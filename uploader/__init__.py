"""Upload large files to the Scenario API: multipart and concurrent, to the exact bytes or a typed error.

import uploader
result = uploader.upload("model.safetensors", kind="model")
"""

from uploader.aio import AsyncUploader
from uploader.client import Job, Uploader, upload
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
    UnreachableError,
    UploadCancelledError,
    UploadConflictError,
    UploaderError,
    UploadFailedError,
    UploadTimeoutError,
)
from uploader.models import AssetOptions, Kind, Status, UploadResult
from uploader.options import RetryPolicy, Timeouts, UploadOptions
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
    "RetryPolicy",
    "SourceChangedError",
    "SourceError",
    "Status",
    "Timeouts",
    "UnreachableError",
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
