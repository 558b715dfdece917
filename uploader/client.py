"""Uploader: upload files, and wait for the service's verdict."""

from __future__ import annotations

import os
import random
import re
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack
from urllib.parse import urlsplit

import httpx

from uploader.core.events import Listener
from uploader.core.plan import Plan, make_plan
from uploader.core.retry import RetryBudget
from uploader.core.session import UploadSession
from uploader.core.waiting import Session, WaitSession
from uploader.errors import InputError
from uploader.hosts import is_loopback
from uploader.io.api import Api
from uploader.io.connections import Connections
from uploader.io.engine import Cargo, Run
from uploader.io.source import Source
from uploader.media import parse_content_type, parse_kind
from uploader.models import AssetOptions, CreateRequest, Kind, UploadResult
from uploader.observe import ProgressOption, listening
from uploader.options import (
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    Credentials,
    RetryPolicy,
    Timeouts,
    TransferOptions,
    UploadOptions,
    WaitFor,
    check_base_url,
)


class UploaderSettings(TypedDict, total=False):
    """The keyword arguments of `Uploader`, which documents them, and of `AsyncUploader`."""

    api_key: str | None
    api_secret: str | None
    jwt: str | None
    base_url: str | None
    project_id: str | None
    retry: RetryPolicy | None
    timeouts: Timeouts | None


@dataclass(frozen=True, slots=True)
class Job:
    """A file that was looked at and found fit to be uploaded; nothing was sent yet."""

    cargo: Cargo
    plan: Plan
    options: TransferOptions

    @property
    def file_name(self) -> str:
        """The file's name, as the service will see it."""
        return self.cargo.request.file_name


class Uploader:
    """Uploads files to the Scenario API. Any number of threads may share one.

    Use it as a context manager, or call `close`.

    Args:
        api_key: the API key; default: SCENARIO_SDK_API_KEY.
        api_secret: its secret; default: SCENARIO_SDK_API_SECRET.
        jwt: a token used instead of key and secret; default: SCENARIO_SDK_JWT.
        base_url: the API; default: SCENARIO_BASE_URL, else https://api.cloud.scenario.com/v1. Plain http for
            loopback only.
        project_id: the project that owns what is uploaded; default: the credentials' own.
        retry: how failures are outlasted.
        timeouts: when silence counts as one.

    Raises:
        CredentialsError: credentials are missing; the message names the variable.
        InputError: the base URL is not https, nor loopback.
    """

    def __init__(
        self,
        *,
        api_key: str | None = None,
        api_secret: str | None = None,
        jwt: str | None = None,
        base_url: str | None = None,
        project_id: str | None = None,
        retry: RetryPolicy | None = None,
        timeouts: Timeouts | None = None,
    ) -> None:
        self._credentials = Credentials.find(os.environ, api_key, api_secret, jwt)
        self.base_url = check_base_url(base_url or os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL)
        self.project_id = project_id
        if project_id is not None and not project_id.isprintable():
            raise InputError(f"{project_id!r} is no project id")
        self._retry = retry or RetryPolicy()
        self._timeouts = timeouts or Timeouts()
        self._budget = RetryBudget(self._retry.budget, self._retry.budget_rate)
        # Two sets of connections, so that no credential ever shares one with the object store.
        self._storage_connections = Connections(lambda: self._tls)
        self._api_connections = Connections(lambda: self._tls)
        self._api = Api(
            self.base_url,
            self._credentials,
            project_id,
            self._api_connections,
            policy=self._retry,
            timeouts=self._timeouts,
            random=random.random,
        )

    def upload(
        self,
        path: str | os.PathLike[str],
        *,
        progress: ProgressOption = None,
        **options: Unpack[UploadOptions],
    ) -> UploadResult:
        """Upload one file and wait for the service's verdict.

        Args:
            path: the file.
            progress: None (default) shows a bar on stderr if that is a terminal; True shows one, or lines
                where there is no terminal; False shows nothing; a function is called with every event, in
                this thread.
            **options: see `UploadOptions`.

        Raises:
            InputError: the file or an option cannot be used; nothing was sent.
            UploaderError: it could not be done; see `uploader.errors` for the tree.
        """
        return self.run(self.prepare(path, **options), progress=progress)

    def prepare(self, path: str | os.PathLike[str], **options: Unpack[UploadOptions]) -> Job:
        """Check a file and options as `upload` does, and send nothing.

        Raises:
            InputError: the file or an option cannot be used.
        """
        transfer, asset = _split_options(options)
        source = Source.find(path)
        # Of a symbolic link its own name counts, not the target's: model caches link to files without
        # extensions.
        name = os.path.basename(os.fspath(path)) or source.path.name
        kind = parse_kind(options.get("kind"), name)
        if asset is not None and kind is Kind.MODEL:
            raise InputError("asset options are for kinds that become an asset, not for kind model")
        plan = make_plan(source.size, transfer.part_size)
        request = CreateRequest(
            file_name=name,
            content_type=parse_content_type(options.get("content_type"), name),
            file_size=source.size,
            kind=kind,
            parts=plan.count,
            asset_options=asset,
        )
        return Job(Cargo(source, request, transfer.verify), plan, transfer)

    def run(
        self, job: Job, *, progress: ProgressOption = None, cancelled: threading.Event | None = None
    ) -> UploadResult:
        """Upload what was prepared.

        Args:
            job: from `prepare`.
            progress: as in `upload`.
            cancelled: ends it promptly when set, from any thread, with UploadCancelledError.

        Raises:
            UploaderError: it could not be done.
        """
        session = UploadSession(
            job.plan,
            file_name=job.file_name,
            concurrency=job.options.parts_in_flight,
            policy=self._retry,
            budget=self._budget,
            random=random.random,
            wait_for=job.options.wait_for,
            timeout=job.options.timeout,
            loopback=is_loopback(urlsplit(self.base_url).hostname or ""),
        )
        with listening(progress, job.file_name, job.plan.file_size) as listener:
            return self._run(session, job.cargo, job.options.parts_in_flight, listener, cancelled)

    def wait(
        self,
        upload_id: str,
        *,
        wait_for: WaitFor = "validated",
        timeout: float | None = None,
        progress: ProgressOption = None,
        cancelled: threading.Event | None = None,
    ) -> UploadResult:
        """Wait for the service's verdict on an upload that is all there.

        Args:
            upload_id: which.
            wait_for: "validated" or "imported".
            timeout: seconds; None waits for an hour.
            progress: as in `upload`.
            cancelled: as in `run`.

        Raises:
            UploadFailedError: the service rejected the content.
            UploadTimeoutError: the time is up; wait again with the same id.
            UploaderError: it could not be found out.
        """
        options = TransferOptions(wait_for=wait_for, timeout=timeout)
        if wait_for is None:
            raise InputError("wait needs wait_for 'validated' or 'imported'")
        if not re.fullmatch(r"[\w.:-]*\w[\w.:-]*", upload_id, re.ASCII):
            raise InputError(f"{upload_id!r} is no upload id")
        session = WaitSession(
            policy=self._retry,
            random=random.random,
            wait_for=options.wait_for,
            timeout=options.timeout,
            upload_id=upload_id,
        )
        with listening(progress, upload_id, None) as listener:
            return self._run(session, None, 1, listener, cancelled)

    def _run(
        self,
        session: Session,
        cargo: Cargo | None,
        concurrency: int,
        listener: Listener,
        cancelled: threading.Event | None,
    ) -> UploadResult:
        return Run(
            session,
            self._api,
            self._storage_connections,
            cargo,
            concurrency,
            listener,
            cancelled or threading.Event(),
            self._timeouts,
        ).result()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when first needed: it takes 25 ms. It trusts SSL_CERT_FILE or SSL_CERT_DIR, else certifi."""
        try:
            return httpx.create_ssl_context()
        except OSError as error:  # ssl.SSLError is one
            raise InputError(
                f"SSL_CERT_FILE or SSL_CERT_DIR cannot be used: {error.strerror or error}"
            ) from None

    def close(self) -> None:
        """Close its connections."""
        self._storage_connections.close()
        self._api_connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def upload(
    path: str | os.PathLike[str],
    *,
    project_id: str | None = None,
    progress: ProgressOption = None,
    **options: Unpack[UploadOptions],
) -> UploadResult:
    """Upload one file with credentials from the environment: `Uploader(project_id=…).upload(path, …)`."""
    with Uploader(project_id=project_id) as uploader:
        return uploader.upload(path, progress=progress, **options)


def _split_options(options: Mapping[str, Any]) -> tuple[TransferOptions, AssetOptions | None]:
    unknown = options.keys() - UploadOptions.__annotations__.keys()
    if unknown:
        raise TypeError(f"upload() got an unexpected keyword argument {min(unknown)!r}")
    fields = TransferOptions.__dataclass_fields__
    transfer = TransferOptions(**{name: value for name, value in options.items() if name in fields})
    return transfer, _asset_options(options.get("asset_options"))


def _asset_options(given: AssetOptions | Mapping[str, Any] | None) -> AssetOptions | None:
    if given is None or isinstance(given, AssetOptions):
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"asset options are a mapping, not {type(given).__name__}")
    unknown = given.keys() - AssetOptions.model_fields.keys()
    if unknown:
        raise InputError(
            f"unknown asset option {min(unknown)!r}: there are {', '.join(AssetOptions.model_fields)}"
        )
    try:
        return AssetOptions.model_validate(dict(given))
    except ValueError as error:
        raise InputError(f"asset options cannot be used: {error}") from None
