"""Going on with what an earlier run left: who may, whether the file is still the same, and what is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from uploader.core.events import JournalTrouble, Listener, LockAwaited, Recreating, SourceChecked
from uploader.core.plan import Plan
from uploader.core.session import Resumed
from uploader.errors import (
    SourceChangedError,
    StateError,
    UploadBusyError,
    UploaderError,
)
from uploader.io.journal import Journal, JournalError, Owner, Record, State, Target
from uploader.io.keeper import Keeper
from uploader.io.limits import Limits
from uploader.io.source import Source, reason
from uploader.io.state import PATIENCE, HeldError, claim, make_directory
from uploader.options import STATE_VARIABLE, TransferOptions

_ORPHAN = (
    "an earlier run was stopped while the upload was being created; if the service made one, it stays empty"
)
_UNREAD = "what was sent of it cannot be read from the journal"


@contextmanager
def keeping(
    directory: Path,
    target: Target,
    listener: Listener,
    options: TransferOptions,
    limits: Limits,
    upload_id: str | None = None,
) -> Iterator[Keeper]:
    """Own a target meanwhile, and keep a journal of what becomes of it.

    There may be none, but where `upload_id` must be gone on with: without it nobody knows what was sent.

    Raises:
        StateError: the state directory is a symbolic link, or another user's, or there is no journal.
        UploadBusyError: another run owns the target.
    """
    with ExitStack() as stack:
        journal: Journal | None = None
        told = list[str]()
        trouble = _own(stack, directory, target, listener, options, limits)
        if not trouble:
            try:
                journal = Journal.open(directory, told.append)
            except JournalError as error:
                trouble = str(error)
        keeper = Keeper(journal, target, listener)
        stack.callback(keeper.attempt, Journal.close)
        if upload_id is not None and (trouble or told):
            raise _unusable(upload_id, trouble or told[0])
        if trouble:
            keeper.trouble(
                f"there can be no journal in {directory}: {trouble}; the upload goes on, but a later run"
                f" could not go on with it; {STATE_VARIABLE} names another directory"
            )
        for said in told:
            listener(JournalTrouble(said))
        yield keeper


def _own(
    stack: ExitStack,
    directory: Path,
    target: Target,
    listener: Listener,
    options: TransferOptions,
    limits: Limits,
) -> str:
    """Own a target until the stack is closed; why that cannot be, "" where it is so.

    Where another run owns it, it is waited for, if that is wanted.
    """
    trouble = _claim(stack, directory, target, PATIENCE)
    if trouble is not None:
        return trouble
    who = _who(directory, target)
    if not options.wait_lock:
        busy = UploadBusyError(
            f"{who}: try again when that is done, or wait for it (--wait-lock, wait_lock=True)"
        )
        busy.resumable = True
        raise busy
    listener(LockAwaited(f"{who}; waiting until it is done"))
    trouble = _claim(stack, directory, target, limits.left, limits.cancelled)
    if trouble is not None:
        return trouble
    over = limits.error(who)
    over.resumable = over.nothing_sent = True
    raise over


def _claim(
    stack: ExitStack,
    directory: Path,
    target: Target,
    wait: float | None,
    cancelled: threading.Event | None = None,
) -> str | None:
    """Try to own a target until the stack is closed; as `_own`, but None where another run owns it."""
    try:
        make_directory(directory)
        stack.enter_context(claim(directory, target.key, wait=wait, cancelled=cancelled))
    except HeldError:
        return None
    except OSError as error:
        return reason(error)
    return ""


def _who(directory: Path, target: Target) -> str:
    """Who uploads a target, in words."""
    record = None
    with suppress(JournalError), Journal.peek(directory) as journal:
        record = journal.last(target.key)
    if record is None:  # it is about to begin
        return f"{target.file_name} is being uploaded by another process"
    owner, this = record.owner, Owner.this()
    mine = (owner.pid, owner.host) == (this.pid, this.host)
    who = "this process" if mine else f"process {owner.pid} on {owner.host}"
    since = time.strftime("%H:%M:%S", time.localtime(owner.since))
    return f"{target.file_name} is being uploaded by {who} since {since}"


def take_up(
    keeper: Keeper,
    source: Source,
    plan: Plan,
    options: TransferOptions,
    limits: Limits,
    upload_id: str | None = None,
) -> tuple[Plan, Resumed | None]:
    """How a run begins: with what an earlier one left, or anew.

    Args:
        keeper: told what the run is about.
        source: the file as it is now.
        plan: how to split it if it is sent anew.
        options: how it is taken up.
        limits: end the check of what was sent.
        upload_id: the upload that must be gone on with; None takes the last of the same target, if any.

    Raises:
        SourceChangedError: the file is another than that upload's.
        StateError: the journal does not know that upload any more, or cannot be read.
    """
    journal = keeper.journal
    if journal is None:
        return plan, None
    try:
        digest = source.digest()
    except SourceChangedError as error:  # since it was looked at
        error.nothing_sent = True
        raise
    record = _found(keeper, journal, upload_id)
    if record is not None:
        try:
            resumed = _resumed(keeper, journal, record, source, digest, options, limits)
        except _AnewError as error:
            if upload_id is not None:
                raise _refusal(keeper, record, error) from None
            if isinstance(error.__cause__, JournalError):
                keeper.do_without(journal, error.__cause__)
            keeper.listener(Recreating(record.upload_id or "", str(error)))
        else:
            keeper.begin(record.plan, source, digest, record)
            return record.plan, resumed
    keeper.begin(plan, source, digest, None)
    return plan, None


def _found(keeper: Keeper, journal: Journal, upload_id: str | None) -> Record | None:
    """The record to go on with, None where there is none; that must be known only of an upload of that id."""
    try:
        record = _record(journal, keeper.target, upload_id)
    except JournalError as error:
        if upload_id is not None:
            raise _unusable(upload_id, str(error)) from None
        keeper.do_without(journal, error)
        return None
    if record is None and upload_id is not None:
        raise StateError(
            f"upload {upload_id} was finished or forgotten by another run meanwhile:"
            f" uploader wait {upload_id} tells what became of it"
        )
    return record


def _unusable(upload_id: str, why: str) -> StateError:
    return StateError(
        f"upload {upload_id} cannot be gone on with, as its journal cannot be used: {why}",
        upload_id=upload_id,
    )


def _resumed(
    keeper: Keeper,
    journal: Journal,
    record: Record,
    source: Source,
    digest: str,
    options: TransferOptions,
    limits: Limits,
) -> Resumed:
    """Go on with a recorded upload, if that is wanted and its file still the same."""
    if not options.resume:
        raise _AnewError("as it was asked for")
    parts = _parts(journal, record)
    keeper.take(record)
    try:
        resumed = _go_on(keeper.listener, record, parts, source, digest, options, limits)
    except UploaderError as error:
        error.upload_id, error.resumable = record.upload_id, not error.final
        if error.final:
            keeper.attempt(partial(Journal.mark, row=record.row, state=State.CHANGED, reason=str(error)))
        raise
    keeper.attempt(lambda it: it.go_on(record.row, source.identity))
    return resumed


def _parts(journal: Journal, record: Record) -> Mapping[int, str | None]:
    """The parts the store acknowledged, by number, with their MD5s."""
    try:
        parts = journal.parts(record.row)
    except JournalError as error:
        raise _AnewError(f"{_UNREAD}: {error}") from error
    if not all(type(it) is int and 1 <= it <= record.plan.count for it in parts):
        raise _AnewError(_UNREAD)  # nothing could be proved of them
    return parts


class _AnewError(Exception):
    """The message says why the upload is not gone on with."""


class _ChangedError(_AnewError):
    """The file is another since, or may be."""


def _refusal(keeper: Keeper, record: Record, error: _AnewError) -> UploaderError:
    """What to raise where an upload was to be gone on with and no other."""
    said = str(error)
    if not isinstance(error, _ChangedError):
        return StateError(said, upload_id=record.upload_id)
    keeper.attempt(lambda it: it.mark(record.row, State.CHANGED, said))
    advice = f"to send it as it is now: uploader upload {record.target.path}"
    return SourceChangedError(f"{said}; {advice}", upload_id=record.upload_id)


def _record(journal: Journal, target: Target, upload_id: str | None) -> Record | None:
    last = journal.last(target.key)
    if upload_id is None:
        return last
    found = next((it for it in journal.find(upload_id) if it.target == target), None)
    if found and last and found.state is State.GONE:
        raise StateError(f"upload {upload_id} was started over: go on with {last.upload_id}")
    return found


def _go_on(
    listener: Listener,
    record: Record,
    parts: Mapping[int, str | None],
    source: Source,
    digest: str,
    options: TransferOptions,
    limits: Limits,
) -> Resumed:
    """What is there of an upload, if the file is still the same."""
    if record.upload_id is None:
        raise _AnewError(_ORPHAN)
    if options.part_size not in (None, record.plan.part_size):
        raise _AnewError(f"the interrupted upload has parts of {record.plan.part_size:,} bytes")
    # A device has another number after a restart, on NFS or LVM; with all else alike it is the same one.
    before = replace(record.identity, device=source.identity.device)
    how = before.change(source.identity)
    if record.identity.size != source.size or record.digest != digest:
        raise _changed(source, how or "was rewritten")
    # Of what the store acknowledged it can be proved that it is of the file as it is now. Of a part that was
    # sent and not acknowledged it cannot, and some proxy may still hold it, and pass it on after the same
    # part of the file as it is now.
    if how and len(parts) < record.plan.count and not before.is_renumbered(source.identity):
        raise _changed(source, how, ", and a part that was under way then may still reach the store")
    if how or options.verify_source == "full":
        _prove(listener, source, record, parts, how, limits)
    return Resumed(record.upload_id, frozenset(parts))


def _prove(
    listener: Listener,
    source: Source,
    record: Record,
    parts: Mapping[int, str | None],
    how: str,
    limits: Limits,
) -> None:
    """Read all that was sent once more: then what is stored is of the file as it is now, whatever it was."""
    if None in parts.values():
        lack = "there are no checksums of what was sent to compare it with (verify='none')"
        if not how:
            raise _AnewError(f"{source.path.name} cannot be verified in full: {lack}")
        raise _changed(source, how, f", and {lack}")
    total = record.plan.size_of(len(parts), with_last=record.plan.count in parts)
    check = partial(limits.check, "what was sent was checked")
    checked = 0
    for number in sorted(parts):
        part = record.plan.part(number)
        if source.md5(part.offset, part.length, check) != parts[number]:
            raise _changed(source, how or "was rewritten", f": part {number} is another now")
        checked += part.length
        listener(SourceChecked(checked, total))


def _changed(source: Source, how: str, more: str = "") -> _ChangedError:
    return _ChangedError(f"{source.path.name} {how} since its upload was interrupted{more}")
