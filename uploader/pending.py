"""The uploads that are not done: what the journal knows of them, and forgetting them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from uploader.errors import NotCompletedError, StateError, UploadBusyError
from uploader.io.journal import FILE, Journal, JournalError, Record, State
from uploader.io.state import HeldError, claim, is_held, make_directory
from uploader.models import PendingState, PendingUpload


def pending_uploads(directory: Path) -> list[PendingUpload]:
    """Every unfinished upload recorded in the state directory, the oldest first.

    Raises:
        StateError: what is there cannot be read, or is not safe to read.
    """
    with _journal(directory) as journal:
        return [_describe(directory, journal, record) for record in journal.all()] if journal else []


def find_record(directory: Path, upload_id: str, base_url: str, project_id: str | None) -> Record:
    """The record of an unfinished upload of that API and project.

    Raises:
        StateError: there is none.
    """
    with _journal(directory) as journal:
        return _ours(journal, upload_id, base_url, project_id)[-1]


def forget(directory: Path, upload_id: str, base_url: str, project_id: str | None) -> None:
    """Forget an unfinished upload of that API and project; the service has no call to be told by.

    Raises:
        UploadBusyError: some process is at it.
        StateError: nothing is known of it, or the journal cannot be written.
    """
    with _journal(directory) as journal:
        for record in _ours(journal, upload_id, base_url, project_id):
            assert journal is not None  # noqa: S101 - the record is of it
            try:
                with claim(directory, record.target.key):
                    journal.remove(record.row)
            except HeldError:
                name = record.target.file_name
                error = UploadBusyError(f"{name} is being uploaded right now", upload_id=upload_id)
                error.resumable = True
                raise error from None


def _ours(journal: Journal | None, upload_id: str, base_url: str, project_id: str | None) -> list[Record]:
    """The records of an upload: at least one.

    Raises:
        StateError: there is none; where the upload goes, if that is elsewhere.
    """
    records = journal.find(upload_id) if journal else []
    here = _going_to(base_url, records)
    ours = [record for record in here if record.target.project_id == (project_id or "")]
    if ours:
        return ours
    if here:
        owner = f"project {here[-1].target.project_id}" if here[-1].target.project_id else "no project"
        raise StateError(f"upload {upload_id} belongs to {owner}, not to {project_id or 'none'}")
    if records:
        there = records[-1].target.base_url
        raise StateError(f"upload {upload_id} goes to {there}, not to {base_url}: see SCENARIO_BASE_URL")
    raise StateError(f"nothing is known of an unfinished upload {upload_id}")


@contextmanager
def _journal(directory: Path) -> Iterator[Journal | None]:
    """The journal; None where nothing was ever recorded."""
    try:
        if _is_there(directory):
            make_directory(directory)  # or find out that it is none, or not ours
        if not _is_there(directory / FILE):
            yield None
            return
        troubles: list[str] = []
        with Journal.open(directory, troubles.append) as journal:
            if troubles:
                raise StateError(f"{directory}: {troubles[0]}")
            yield journal
    except OSError as error:
        raise StateError(f"{directory} cannot be used: {error.strerror or error}") from None
    except JournalError as error:
        raise StateError(f"the journal in {directory} cannot be used: {error}") from None


def _is_there(path: Path) -> bool:
    """Whether there is anything at `path`; below a file there never is.

    Raises:
        OSError: it cannot be found out, because a directory on the way may not be looked into.
    """
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _going_to(base_url: str, records: list[Record]) -> list[Record]:
    """Those of one service: ids are its own, and another may give the same."""
    return [record for record in records if record.target.base_url == base_url]


def _describe(directory: Path, journal: Journal, record: Record) -> PendingUpload:
    count, size = journal.stored(record)
    target = record.target
    return PendingUpload(
        upload_id=record.upload_id or "",
        path=target.path,
        file_name=target.file_name,
        file_size=record.plan.file_size,
        kind=target.kind,
        base_url=target.base_url,
        project_id=target.project_id or None,
        parts=record.plan.count,
        parts_stored=count,
        bytes_stored=size,
        state=_state(directory, record),
        reason=record.reason,
        created_at=datetime.fromtimestamp(record.created, UTC),
        updated_at=datetime.fromtimestamp(record.updated, UTC),
    )


def _state(directory: Path, record: Record) -> PendingState:
    if record.state is not State.OPEN:
        return PendingState(record.state.value)
    if is_held(directory, record.target.key):
        return PendingState.RUNNING
    if not os.path.exists(record.target.path):
        return PendingState.MISSING
    return PendingState.STOPPED if record.reason else PendingState.INTERRUPTED


def refuse_half_sent(directory: Path, upload_id: str, base_url: str) -> None:
    """There is no use in waiting for an upload that was interrupted here before all of it was sent.

    Nor while another process still sends it: that is to be waited for.

    Raises:
        NotCompletedError: it was interrupted.
        UploadBusyError: it is being sent.
    """
    with suppress(StateError), _recorded(directory, upload_id, base_url) as found:
        for journal, record in found:
            _refuse_half_sent(_describe(directory, journal, record))


def _refuse_half_sent(it: PendingUpload) -> None:
    if it.parts_stored >= it.parts:
        return
    there = f"{it.parts_stored} of {it.parts} parts"
    if it.state is not PendingState.RUNNING:
        raise NotCompletedError(
            f"{it.file_name} was interrupted with {there} sent: uploader resume {it.upload_id}",
            upload_id=it.upload_id,
        )
    busy = UploadBusyError(
        f"{it.file_name} is still being sent, {there} so far: wait for it when that is done",
        upload_id=it.upload_id,
    )
    busy.resumable = True
    raise busy


def settled(directory: Path, upload_id: str, base_url: str) -> None:
    """An upload was waited for until it was decided: there is nothing to go on with any more.

    A record that cannot be removed does no harm: whoever goes on with it finds it decided.
    """
    with suppress(StateError), _recorded(directory, upload_id, base_url) as found:
        for journal, record in found:
            # Whoever is at it right now removes it himself.
            with suppress(HeldError), claim(directory, record.target.key, wait=0):
                journal.remove(record.row)


@contextmanager
def _recorded(directory: Path, upload_id: str, base_url: str) -> Iterator[list[tuple[Journal, Record]]]:
    """The records of an upload of one service, each with the journal it is in, which is open meanwhile."""
    with _journal(directory) as journal:
        records = journal.find(upload_id) if journal else []
        yield [(journal, record) for record in _going_to(base_url, records) if journal]
