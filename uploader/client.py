"""Uploader: upload files, and wait for the service's verdict."""

from __future__ import annotations

import os
import random
import ssl
import threading
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, TypedDict, Unpack
from urllib.parse import urlsplit

from uploader.arguments import check_arguments
from uploader.core.events import Listener
from uploader.core.policy import StoragePolicy
from uploader.core.retry import RetryBudget
from uploader.core.session import UploadSession
from uploader.core.waiting import Session, WaitSession
from uploader.errors import InputError, UploadFailedError
from uploader.hosts import is_loopback, is_private
from uploader.io.api import Api
from uploader.io.connections import Connections, make_tls_context
from uploader.io.engine import Cargo, Run
from uploader.io.executor import OnExecutor
from uploader.io.limits import Limits
from uploader.io.state import state_directory
from uploader.io.workers import Threads
from uploader.job import Job, job_for, job_from
from uploader.models import PendingUpload, UploadResult, is_upload_id
from uploader.observe import ProgressOption, listening
from uploader.options import (
    BASE_URL_VARIABLE,
    DEFAULT_BASE_URL,
    STORAGE_HOSTS_VARIABLE,
    Credentials,
    ResumeOptions,
    RetryPolicy,
    Timeouts,
    TransferOptions,
    UploadOptions,
    WaitFor,
    check_base_url,
    check_storage_hosts,
)
from uploader.pending import find_record, forget, pending_uploads, refuse_half_sent, settled
from uploader.resuming import keeping, take_up


class UploaderSettings(TypedDict, total=False):
    """The keyword arguments of `Uploader`, which documents them, and of `AsyncUploader`."""

    api_key: str | None
    api_secret: str | None
    jwt: str | None
    base_url: str | None
    project_id: str | None
    retry: RetryPolicy | None
    timeouts: Timeouts | None
    state_dir: str | os.PathLike[str] | None
    storage_hosts: Iterable[str] | None
    executor: Executor | None


class Uploader:
    """Uploads files to the Scenario API. Any number of threads may share one.

    Use it as a context manager, or call `close`; what is closed sends nothing any more.

    Args:
        api_key: the API key; default: SCENARIO_SDK_API_KEY.
        api_secret: its secret; default: SCENARIO_SDK_API_SECRET.
        jwt: a token used instead of key and secret; default: SCENARIO_SDK_JWT.
        base_url: the API; default: SCENARIO_BASE_URL, else https://api.cloud.scenario.com/v1. Plain http for
            loopback only.
        project_id: the project that owns what is uploaded; default: the credentials' own.
        retry: how failures are outlasted.
        timeouts: when silence counts as one.
        state_dir: the directory where unfinished uploads are recorded; default: UPLOADER_STATE_DIR, else the
            one this system has for a user's state.
        storage_hosts: the only hosts to send files to, "store.example" or "*.store.example", which may then
            be in a private network; default: UPLOADER_STORAGE_HOSTS (separated by commas), else any host
            that is in none, unless the API itself is.
        executor: runs the parts elsewhere: a `ProcessPoolExecutor`, `distributed.Client.get_executor()`, or
            any other whose workers have this library and see the file at the same path. It is not shut down
            here. Presigned URLs go to its workers, credentials do not. Default: threads of this process.

    Raises:
        CredentialsError: credentials are missing; the message names the variable.
        InputError: the base URL is not https, nor loopback; an argument is none such as it should be.
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
        state_dir: str | os.PathLike[str] | None = None,
        storage_hosts: Iterable[str] | None = None,
        executor: Executor | None = None,
    ) -> None:
        check_arguments(
            api_key=api_key,
            api_secret=api_secret,
            jwt=jwt,
            base_url=base_url,
            project_id=project_id,
            retry=retry,
            timeouts=timeouts,
            state_dir=state_dir,
            storage_hosts=storage_hosts,
            executor=executor,
        )
        self._closed = False
        self._credentials = Credentials.find(os.environ, api_key, api_secret, jwt)
        self.base_url = check_base_url(base_url or os.environ.get(BASE_URL_VARIABLE) or DEFAULT_BASE_URL)
        self.project_id = project_id
        if project_id is not None and not project_id.isprintable():
            raise InputError(f"{project_id!r} is no project id")
        self._state_dir = Path(state_dir).absolute() if state_dir else state_directory(os.environ)
        if "\0" in str(self._state_dir):
            raise InputError(f"{str(state_dir)!r} is no directory")
        self._retry = retry or RetryPolicy()
        self._timeouts = timeouts or Timeouts()
        self._budget = RetryBudget(self._retry.budget, self._retry.budget_rate)
        self._executor = executor
        self._storage = _storage_policy(self.base_url, storage_hosts)
        self._api_is_private = False
        # Two sets of connections, so that no credential ever shares one with the object store.
        self._storage_connections = Connections(lambda: self._tls, self._may_store_at)
        self._api_connections = Connections(lambda: self._tls, self._note_api)
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
        cancelled: threading.Event | None = None,
        **options: Unpack[UploadOptions],
    ) -> UploadResult:
        """Upload one file and wait for the service's verdict.

        Where an upload of the same file to the same place was interrupted, it goes on with that: only what
        the store did not acknowledge is sent.

        Args:
            path: the file.
            progress: None (default) shows a bar on stderr if that is a terminal; True shows one, or lines
                where there is no terminal; False shows nothing; a function is called with every event, in
                this thread.
            cancelled: ends it promptly when set, from any thread, with UploadCancelledError.
            **options: see `UploadOptions`.

        Raises:
            InputError: the file or an option cannot be used, or it was closed; nothing was sent.
            UploadBusyError: the same file is being uploaded to the same place already.
            UploaderError: it could not be done; see `uploader.errors` for the tree.
        """
        return self.run(self.prepare(path, **options), progress=progress, cancelled=cancelled)

    def prepare(self, path: str | os.PathLike[str], **options: Unpack[UploadOptions]) -> Job:
        """Check a file and options as `upload` does, and send nothing.

        Raises:
            InputError: the file or an option cannot be used.
        """
        check_arguments(path=path)
        self._check_open()
        return job_for(path, options, self.base_url, self.project_id)

    def resume(
        self,
        upload_id: str,
        *,
        progress: ProgressOption = None,
        cancelled: threading.Event | None = None,
        **options: Unpack[ResumeOptions],
    ) -> UploadResult:
        """Go on with an unfinished upload of this API and project.

        Args:
            upload_id: which; see `uploads`.
            progress: as in `upload`.
            cancelled: as in `upload`.
            **options: see `ResumeOptions`.

        Raises:
            StateError: nothing is known of it here.
            SourceError: its file is not there any more, or cannot be read.
            SourceChangedError: its file is another since.
            UploaderError: it could not be done.
        """
        return self.run(self.prepare_resume(upload_id, **options), progress=progress, cancelled=cancelled)

    def prepare_resume(self, upload_id: str, **options: Unpack[ResumeOptions]) -> Job:
        """Check an unfinished upload and options as `resume` does, and send nothing.

        Raises:
            InputError: the upload, its file or an option cannot be used.
        """
        check_arguments(upload_id=upload_id)
        self._check_open()
        record = find_record(self._state_dir, upload_id, self.base_url, self.project_id)
        return job_from(record, options)

    def uploads(self) -> list[PendingUpload]:
        """The unfinished uploads of this API and project, the oldest first.

        Raises:
            StateError: the journal cannot be read.
        """
        return [
            pending
            for pending in pending_uploads(self._state_dir)
            if (pending.base_url, pending.project_id) == (self.base_url, self.project_id or None)
        ]

    def forget(self, upload_id: str) -> None:
        """Forget an unfinished upload of this API and project.

        What was sent stays at the service, which has no call to drop it.

        Raises:
            UploadBusyError: it is being worked on.
            StateError: nothing is known of it here.
        """
        check_arguments(upload_id=upload_id)
        forget(self._state_dir, upload_id, self.base_url, self.project_id)

    def run(
        self, job: Job, *, progress: ProgressOption = None, cancelled: threading.Event | None = None
    ) -> UploadResult:
        """Upload what was prepared, or go on with what an earlier run left of it.

        Args:
            job: from `prepare`.
            progress: as in `upload`.
            cancelled: as in `upload`.

        Raises:
            UploaderError: it could not be done.
        """
        check_arguments(job=job, progress=progress, cancelled=cancelled)
        self._check_open()
        source, options = job.cargo.source, job.options
        limits = Limits(options.timeout, cancelled or threading.Event())
        with (
            listening(progress, job.file_name, source.size) as listener,
            keeping(self._state_dir, job.target, listener, options, limits, job.upload_id) as keeper,
        ):
            plan, resumed = take_up(keeper, source, job.plan, options, limits, job.upload_id)
            session = UploadSession(
                plan,
                file_name=job.file_name,
                concurrency=options.concurrency,
                policy=self._retry,
                budget=self._budget,
                random=random.random,
                wait_for=options.wait_for,
                timeout=limits.timeout,
                storage=self._storage,
                resumed=resumed,
            )
            request = job.cargo.request.model_copy(update={"parts": plan.count})
            cargo = replace(job.cargo, request=request)
            try:
                return self._run(session, cargo, options.parts_in_flight, keeper, limits)
            except KeyboardInterrupt as error:
                if keeper.kept:
                    error.add_note(
                        f"The same call again, or Uploader.resume({session.upload_id!r}), goes on."
                    )
                raise

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
            cancelled: as in `upload`.

        Raises:
            UploadFailedError: the service rejected the content.
            NotCompletedError: it was interrupted before every part was sent.
            UploadBusyError: another process still sends it.
            UploadTimeoutError: the time is up; wait again with the same id.
            UploaderError: it could not be found out.
        """
        check_arguments(upload_id=upload_id, progress=progress, cancelled=cancelled)
        self._check_open()
        options = TransferOptions(wait_for=wait_for, timeout=timeout)
        if wait_for is None:
            raise InputError("wait needs wait_for 'validated' or 'imported'")
        if not is_upload_id(upload_id):
            raise InputError(f"{upload_id!r} is no upload id")
        limits = Limits(options.timeout, cancelled or threading.Event())
        session = WaitSession(
            policy=self._retry,
            random=random.random,
            wait_for=options.wait_for,
            timeout=limits.timeout,
            upload_id=upload_id,
        )
        refuse_half_sent(self._state_dir, upload_id, self.base_url)
        with listening(progress, upload_id, None) as listener:
            try:
                result = self._run(session, None, 1, listener, limits)
            except UploadFailedError:
                settled(self._state_dir, upload_id, self.base_url)
                raise
        settled(self._state_dir, upload_id, self.base_url)
        return result

    def _run(
        self,
        session: Session,
        cargo: Cargo | None,
        concurrency: int,
        listener: Listener,
        limits: Limits,
    ) -> UploadResult:
        executor, connections = self._executor, self._storage_connections
        workers = (
            OnExecutor(executor, self._reach) if executor is not None else Threads(connections, concurrency)
        )
        return Run(session, self._api, workers, cargo, listener, limits, self._timeouts).result()

    def _note_api(self, _host: str, addresses: list[str]) -> list[str]:
        """The API may be anywhere; where it is decides where the store may be."""
        self._api_is_private = bool(addresses) and all(map(is_private, addresses))
        return addresses

    def _may_store_at(self, host: str, addresses: list[str]) -> list[str]:
        return self._reach().permitted(host, addresses)

    def _reach(self) -> StoragePolicy:
        """Where parts may be sent, now that it is known where the API is."""
        return replace(self._storage, private=True) if self._api_is_private else self._storage

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """Made when first needed."""
        return make_tls_context()

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("this Uploader was closed: make another one")

    def close(self) -> None:
        """Close its connections; what is under way goes on to its end."""
        self._closed = True
        self._storage_connections.close()
        self._api_connections.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _storage_policy(base_url: str, hosts: Iterable[str] | None) -> StoragePolicy:
    if hosts is None:
        told = os.environ.get(STORAGE_HOSTS_VARIABLE)
        hosts = told.split(",") if told else None
    elif isinstance(hosts, str):
        raise InputError(f"storage_hosts is a list of hosts, not {hosts!r}")
    api = urlsplit(base_url).hostname or ""
    allowed = None if hosts is None else check_storage_hosts(hosts)
    return StoragePolicy(loopback=is_loopback(api), private=is_private(api), hosts=allowed)


def upload(
    path: str | os.PathLike[str],
    *,
    project_id: str | None = None,
    progress: ProgressOption = None,
    cancelled: threading.Event | None = None,
    **options: Unpack[UploadOptions],
) -> UploadResult:
    """Upload one file with credentials from the environment: `Uploader(project_id=…).upload(path, …)`."""
    with Uploader(project_id=project_id) as uploader:
        return uploader.upload(path, progress=progress, cancelled=cancelled, **options)
