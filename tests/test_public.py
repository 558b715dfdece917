"""The public surface is what it says it is."""

from __future__ import annotations

import inspect
import re
from importlib.metadata import version

import pytest

import uploader
from uploader import errors
from uploader.client import UploaderSettings
from uploader.options import ResumeOptions, TransferOptions, UploadOptions


def test_exported_names_are_pinned() -> None:
    helpers = {"Any", "TYPE_CHECKING", "import_module"}
    public = {
        name
        for name in dir(uploader)
        if not name.startswith("_") and not inspect.ismodule(getattr(uploader, name))
    }
    assert (public | {"__version__", "events"}) - helpers == set(uploader.__all__)
    assert set(uploader.__all__) == {
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
    }


def test_every_error_is_exported() -> None:
    tree = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.UploaderError)}
    assert tree <= set(uploader.__all__)


@pytest.mark.parametrize("name", [n for n in uploader.__all__ if n != "__version__"])
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(uploader, name))


def test_both_uploaders_take_the_same_arguments() -> None:
    for method in ("upload", "resume", "wait", "uploads", "forget"):
        ours = set(inspect.signature(getattr(uploader.Uploader, method)).parameters)
        theirs = set(inspect.signature(getattr(uploader.AsyncUploader, method)).parameters)
        assert ours - {"cancelled"} == theirs


def test_both_uploaders_take_the_same_settings() -> None:
    assert set(inspect.signature(uploader.Uploader).parameters) == set(UploaderSettings.__annotations__)


def test_upload_options_document_each_key_and_cover_the_transfer_options() -> None:
    keys = set(UploadOptions.__annotations__)
    text = f"{inspect.getdoc(ResumeOptions)}\n{inspect.getdoc(UploadOptions)}"
    documented = re.findall(r"^    +(\w+): ", text, re.MULTILINE)
    assert sorted(documented) == sorted(keys)
    assert set(TransferOptions.__dataclass_fields__) <= keys


def test_the_version_is_that_of_the_package() -> None:
    assert version("scenario-uploader") == uploader.__version__
