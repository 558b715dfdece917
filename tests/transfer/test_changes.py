"""The file changes while it is sent, or between two runs: what is stored is always of one state of it."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.transfer.conftest import MiB, Open
from uploader import SourceChangedError, SourceError, UploadCancelledError, Uploader, UploadResult
from uploader.core.events import (
    Event,
    PartStored,
    Phase,
    PhaseChanged,
    Recreating,
    SourceChecked,
    UploadCreated,
    UploadResumed,
)
from uploader.io.journal import Journal
from uploader.local import Service

PART, PARTS = 5 * MiB, 4

# Where a change is not seen by sampling: between two of the blocks that the sampled digest reads.
IN_PART_1, IN_PART_4 = 1 * MiB, 15 * MiB + 512 * 1024

Change = Callable[[Path], None]
T = TypeVar("T")


def write_at(path: Path, offset: int, data: bytes = b"other") -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 6 * MiB)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    path.write_bytes(random.Random(2).randbytes(path.stat().st_size))


def rewrite_a_little(path: Path) -> None:
    write_at(path, IN_PART_1)


def rewrite_in_secret(path: Path) -> None:
    """Another content of the same size, with the modification time put back."""
    before = path.stat()
    rewrite_a_little(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    rewrite_in_secret(other)
    other.replace(path)


def delete(path: Path) -> None:
    path.unlink()


REWRITES = [truncate, grow, rewrite, rewrite_a_little, rewrite_in_secret, replace]

every_rewrite = pytest.mark.parametrize("change", REWRITES, ids=lambda change: change.__name__)


def chmod(path: Path) -> None:
    path.chmod(0o640)


def set_the_time_back(path: Path) -> None:
    os.utime(path, ns=(10**18, 10**18 + 1))  # no whole second: of such a file system times are taken coarsely


def copy_away_and_back(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def write_the_same(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def link(path: Path) -> None:
    os.link(path, path.with_name("link"))


TOUCHES = [chmod, set_the_time_back, copy_away_and_back, write_the_same, link]

every_touch = pytest.mark.parametrize("touch", TOUCHES, ids=lambda touch: touch.__name__)


@pytest.fixture
def path(glb: Path, tmp_path: Path) -> Path:
    """A file of four parts; by its name nobody judges its content."""
    return Path(shutil.copy(glb, tmp_path / "weights.ckpt"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def send(uploader: Uploader, path: Path, heard: list[Event], **options: Any) -> UploadResult:
    options = {"part_size": PART, "concurrency": 1} | options
    return uploader.upload(path, progress=heard.append, **options)


def interrupt(uploader: Uploader, path: Path, parts: int = 2, **options: Any) -> str:
    """A run that is cancelled when it has stored so many parts; the upload's id."""
    cancelled = threading.Event()
    stored: list[int] = []

    def listener(event: Event) -> None:
        if isinstance(event, PartStored):
            stored.append(event.part.number)
            if len(stored) == parts:
                cancelled.set()

    job = uploader.prepare(path, **{"part_size": PART, "concurrency": 1} | options)
    with pytest.raises(UploadCancelledError) as caught:
        uploader.run(job, progress=listener, cancelled=cancelled)
    assert caught.value.resumable
    assert len(stored) == parts
    return str(caught.value.upload_id)


def interrupt_before_complete(uploader: Uploader, path: Path, **options: Any) -> str:
    """A run that ends when every part is stored; the upload's id."""

    def listener(event: Event) -> None:
        if event == PhaseChanged(Phase.COMPLETING):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        uploader.upload(path, progress=listener, **{"part_size": PART} | options)
    (left,) = uploader.uploads()
    assert left.parts_stored == PARTS
    return left.upload_id


def told(kind: type[T], heard: list[Event]) -> list[T]:
    """The events of one kind."""
    return [event for event in heard if isinstance(event, kind)]


def asked(service: Service, *targets: str) -> int:
    """How many requests there were for any of these."""
    return sum(request.target in targets for request in service.requests)


def check_anew(service: Service, result: UploadResult, path: Path, old: str, heard: list[Event]) -> None:
    """The upload was started over, for a reason that was told, and is of the file as it is now."""
    (recreating,) = told(Recreating, heard)
    assert recreating.old_upload_id == old
    assert path.name in recreating.reason
    assert result.upload_id != old
    assert [event.upload_id for event in told(UploadCreated, heard)] == [result.upload_id]
    assert (result.bytes_resumed, result.bytes_sent) == (0, path.stat().st_size)
    assert service.sha256(result.upload_id) == sha256(path)
    assert service.upload(old)["status"] == "pending"
    assert asked(service, "complete") == 1


def check_resumed(
    service: Service, result: UploadResult, path: Path, old: str, heard: list[Event], there: int = 2 * PART
) -> None:
    """The upload was gone on with, of which so much was there, and is of the file as it is now."""
    assert not told(Recreating, heard)
    assert not told(UploadCreated, heard)
    (resumed,) = told(UploadResumed, heard)
    assert result.upload_id == old == resumed.upload_id
    assert result.bytes_resumed == resumed.bytes_stored == there
    assert result.bytes_sent == path.stat().st_size - there
    assert service.sha256(old) == sha256(path)


# While it is sent


@every_rewrite
def test_a_file_that_changed_while_it_was_sent_is_sent_anew(change: Change, path: Path, opened: Open) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, PartStored) and not done:
            done.append(event)
            change(path)

    done: list[Event] = []
    heard: list[Event] = []
    with opened() as (service, uploader):
        with pytest.raises(SourceChangedError) as caught:
            uploader.upload(path, part_size=PART, concurrency=1, progress=listener)
        result = send(uploader, path, heard)
        check_anew(service, result, path, str(caught.value.upload_id), heard)
        assert uploader.uploads() == []


@pytest.mark.parametrize("parts", [2, PARTS])
def test_a_file_touched_while_it_was_sent_is_gone_on_with_if_all_of_it_was_sent(
    parts: int, path: Path, opened: Open
) -> None:
    def listener(event: Event) -> None:
        stored.append(isinstance(event, PartStored))
        if sum(stored) == parts and stored[-1]:
            chmod(path)

    stored: list[bool] = []
    heard: list[Event] = []
    with opened() as (service, uploader):
        with pytest.raises(SourceChangedError) as caught:
            uploader.upload(path, part_size=PART, concurrency=1, progress=listener)
        assert caught.value.touched == caught.value.resumable == (parts == PARTS)
        result = send(uploader, path, heard)
        old = str(caught.value.upload_id)
        if parts == PARTS:
            check_resumed(service, result, path, old, heard, there=path.stat().st_size)
        else:
            check_anew(service, result, path, old, heard)


# Between two runs


@every_rewrite
@pytest.mark.parametrize("verify_source", ["sampled", "full"])
@pytest.mark.parametrize("until", [interrupt, interrupt_before_complete])
def test_a_file_that_changed_between_two_runs_is_sent_anew(
    change: Change, verify_source: str, until: Callable[..., str], path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = until(uploader, path)
        change(path)
        result = send(uploader, path, heard, verify_source=verify_source)
        check_anew(service, result, path, old, heard)
        assert uploader.uploads() == []


def test_a_file_that_is_gone_between_two_runs_is_an_input_error(path: Path, opened: Open) -> None:
    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path)
        content = path.read_bytes()
        delete(path)
        before = asked(service, "create", "get", "complete")
        with pytest.raises(SourceError, match="No such file"):
            uploader.upload(path, part_size=PART, progress=False)
        with pytest.raises(SourceError, match="No such file"):
            uploader.resume(old, progress=False)
        assert asked(service, "create", "get", "complete") == before
        path.write_bytes(content)  # it is back: nothing was forgotten
        heard: list[Event] = []
        result = send(uploader, path, heard)
        check_resumed(service, result, path, old, heard, there=path.stat().st_size)


@every_touch
def test_a_file_that_was_only_touched_after_all_of_it_was_sent_is_gone_on_with(
    touch: Change, path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path)
        touch(path)
        result = send(uploader, path, heard)
        size = path.stat().st_size
        check_resumed(service, result, path, old, heard, there=size)
        assert told(SourceChecked, heard) == [
            SourceChecked(checked, size) for checked in (PART, 2 * PART, 3 * PART, size)
        ]


@every_touch
def test_a_file_that_was_touched_before_all_of_it_was_sent_is_sent_anew(
    touch: Change, path: Path, opened: Open
) -> None:
    """It may be another, and a part of it as it was may still arrive."""
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt(uploader, path)
        touch(path)
        check_anew(service, send(uploader, path, heard), path, old, heard)
        assert "may still reach the store" in told(Recreating, heard)[0].reason


def test_a_file_under_another_number_alone_is_gone_on_with(path: Path, opened: Open, state_dir: Path) -> None:
    """Some file systems number their files anew whenever they are mounted."""
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt(uploader, path)
        with Journal.open(state_dir, heard.append) as journal:
            (record,) = journal.all()
            journal.go_on(record.row, dataclasses.replace(record.identity, inode=1, device=1))
        check_resumed(service, send(uploader, path, heard), path, old, heard)
        assert told(SourceChecked, heard)[-1] == SourceChecked(2 * PART, 2 * PART)


def test_a_file_that_was_proved_the_same_need_not_be_proved_again(path: Path, opened: Open) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path)
        chmod(path)
        assert interrupt_before_complete(uploader, path) == old
        result = send(uploader, path, heard)
        check_resumed(service, result, path, old, heard, there=path.stat().st_size)
        assert not told(SourceChecked, heard)


def test_a_file_that_nobody_touched_is_read_again_only_if_that_is_asked_for(path: Path, opened: Open) -> None:
    with opened() as (service, uploader):
        for verify_source, checks in (("sampled", 0), ("full", 2)):
            heard: list[Event] = []
            old = interrupt(uploader, path)
            result = send(uploader, path, heard, verify_source=verify_source)
            check_resumed(service, result, path, old, heard)
            assert len(told(SourceChecked, heard)) == checks


@pytest.mark.parametrize("options", [{}, {"verify_source": "full"}], ids=["touched", "full"])
def test_what_was_sent_without_checksums_cannot_be_proved_and_is_sent_anew(
    options: dict[str, str], path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path, verify="none")
        if not options:
            chmod(path)
        result = send(uploader, path, heard, **options)
        check_anew(service, result, path, old, heard)
        assert "verify='none'" in told(Recreating, heard)[0].reason


def test_what_was_sent_without_checksums_is_gone_on_with_if_nobody_touched_the_file(
    path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt(uploader, path, verify="none")
        check_resumed(service, send(uploader, path, heard, verify="none"), path, old, heard)


@pytest.mark.parametrize("where", [IN_PART_4, -5], ids=["unsampled", "sampled"])
@pytest.mark.parametrize("in_secret", [False, True])
def test_a_change_in_what_was_not_sent_yet_ends_in_the_new_bytes(
    in_secret: bool, where: int, path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt(uploader, path)
        before = path.stat()
        write_at(path, where % before.st_size)
        if in_secret:
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        check_anew(service, send(uploader, path, heard), path, old, heard)


def test_a_file_that_is_put_back_as_it_was_is_gone_on_with(path: Path, opened: Open) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path)
        content = path.read_bytes()
        rewrite(path)
        with pytest.raises(SourceChangedError):
            uploader.resume(old, progress=False)
        path.write_bytes(content)
        result = send(uploader, path, heard)
        check_resumed(service, result, path, old, heard, there=path.stat().st_size)


def test_a_file_that_changes_while_it_is_checked_is_never_completed(path: Path, opened: Open) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, SourceChecked):
            write_at(path, IN_PART_1)

    with opened() as (service, uploader):
        interrupt_before_complete(uploader, path)
        chmod(path)
        with pytest.raises(SourceChangedError):
            uploader.upload(path, part_size=PART, progress=listener)
        assert asked(service, "complete") == 0
        heard: list[Event] = []
        result = send(uploader, path, heard)
        assert service.sha256(result.upload_id) == sha256(path)


def test_a_file_that_is_touched_while_it_is_checked_is_checked_by_the_next_run(
    path: Path, opened: Open
) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, SourceChecked):
            chmod(path)

    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path)
        path.chmod(0o600)
        with pytest.raises(SourceChangedError, match="touched") as caught:
            uploader.upload(path, part_size=PART, progress=listener)
        assert caught.value.resumable
        heard: list[Event] = []
        result = send(uploader, path, heard)
        check_resumed(service, result, path, old, heard, there=path.stat().st_size)


# Going on with a given upload


@every_rewrite
def test_resuming_an_upload_of_a_file_that_changed_sends_nothing(
    change: Change, path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt(uploader, path)
        change(path)
        while service.under_way:
            time.sleep(0.01)
        before = len(service.requests)
        with pytest.raises(SourceChangedError, match=path.name) as caught:
            uploader.resume(old, progress=heard.append)
        assert (caught.value.upload_id, caught.value.resumable) == (old, False)
        assert len(service.requests) == before
        assert not told(Recreating, heard)
        assert [(left.upload_id, left.state) for left in uploader.uploads()] == [(old, "changed")]


@every_touch
def test_resuming_an_upload_of_a_file_that_was_only_touched_goes_on(
    touch: Change, path: Path, opened: Open
) -> None:
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt_before_complete(uploader, path)
        touch(path)
        result = uploader.resume(old, concurrency=1, progress=heard.append)
        check_resumed(service, result, path, old, heard, there=path.stat().st_size)
        assert len(told(SourceChecked, heard)) == PARTS


@every_touch
def test_resuming_an_upload_of_a_file_that_was_touched_before_all_of_it_was_sent_is_refused(
    touch: Change, path: Path, opened: Open
) -> None:
    with opened() as (service, uploader):
        old = interrupt(uploader, path)
        touch(path)
        with pytest.raises(SourceChangedError, match="may still reach the store; to send it as it is now: "):
            uploader.resume(old, progress=False)
        assert asked(service, "complete") == 0


def test_content_that_changed_under_the_very_same_identity_is_seen_by_its_samples(
    path: Path, opened: Open, state_dir: Path
) -> None:
    """Where the system keeps no ctime, the times of a rewritten file can be put back."""
    heard: list[Event] = []
    with opened() as (service, uploader):
        old = interrupt(uploader, path)
        with Journal.open(state_dir, heard.append) as journal:
            (record,) = journal.all()
            parts = journal.parts(record.row)
            row = journal.begin(record.target, record.plan, record.identity, "of other samples")
            journal.name(row, old)
            journal.store(row, [(number, None, md5) for number, md5 in parts.items()])
        result = uploader.upload(path, part_size=PART, progress=heard.append)
        (anew,) = told(Recreating, heard)
        assert "was rewritten since its upload was interrupted" in anew.reason
        assert (result.upload_id != old, result.bytes_resumed) == (True, 0)
        assert service.sha256(result.upload_id) == hashlib.sha256(path.read_bytes()).hexdigest()
