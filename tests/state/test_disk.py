"""A state directory on a disk that is full, full for a while, or read-only: the upload goes on."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.state.conftest import (
    PART,
    Ear,
    MakeDisk,
    SmallDisk,
    at_part,
    count_of,
    interrupt,
    journal_in,
    make_uploader,
    puts,
    record,
    send,
    sha256,
    stop,
)
from uploader import PartError, StateError, UploadCancelledError, Uploader
from uploader.core.events import Event, JournalKept, PartStored, Phase, PhaseChanged, StatusSeen
from uploader.io.journal import BUSY, FILE
from uploader.local import Service, serve


def at_phase(phase: Phase, act: Callable[[], None]) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        if event == PhaseChanged(phase):
            act()

    return listener


def both(*listeners: Callable[[Event], None]) -> Callable[[Event], None]:
    def listener(event: Event) -> None:
        for each in listeners:
            each(event)

    return listener


def listed_or_refused(uploader: Uploader, directory: Path) -> bool:
    """Whether one sees the upload of one part that is there, or is told that it cannot be read."""
    try:
        return [upload.parts_stored for upload in uploader.uploads()] == [1]
    except StateError as error:
        return str(directory) in str(error)


@pytest.fixture
def small(disk: MakeDisk) -> SmallDisk:
    return disk()


@pytest.fixture
def there(small: SmallDisk) -> Path:
    """The state directory on it."""
    return small.path / "state"


# Full


def test_what_was_acknowledged_before_the_disk_was_full_is_not_sent_again(
    picture: Path, service: Service, small: SmallDisk, there: Path
) -> None:
    ear = Ear(both(at_part(1, small.fill), at_part(2, stop)))
    interrupt(make_uploader(service, there), picture, ear)
    assert len(ear.troubles) == 1
    small.clear()
    result = send(make_uploader(service, there), picture)
    assert result.bytes_resumed == PART
    assert service.sha256(result.upload_id) == sha256(picture)


@pytest.mark.parametrize("known", [False, True], ids=["a new directory", "one with an upload"])
def test_a_disk_that_is_full_from_the_start_is_told_of_once(
    known: bool, icon: Path, picture: Path, service: Service, small: SmallDisk, there: Path
) -> None:
    if known:
        interrupt(make_uploader(service, there), icon)
    small.fill()
    ear = Ear()
    result = send(make_uploader(service, there), picture, ear)
    assert service.sha256(result.upload_id) == sha256(picture)
    assert len(ear.troubles) == 1, ear.troubles
    assert not ear.heard(JournalKept), "no later run could go on with it"
    small.clear()
    left = make_uploader(service, there).uploads()
    assert [upload.file_name for upload in left] == [icon.name] * known
    interrupt(make_uploader(service, there), picture)
    assert send(make_uploader(service, there), picture).bytes_resumed == PART


def test_a_full_disk_lets_one_look_at_what_is_there_or_says_why_not(
    picture: Path, service: Service, small: SmallDisk, there: Path
) -> None:
    interrupt(make_uploader(service, there), picture)
    small.fill()
    assert listed_or_refused(make_uploader(service, there), there)


# Full for a while: what cannot be written is tried again with what comes next


def test_room_in_time_for_the_next_part_costs_nothing(
    poster: Path, service: Service, small: SmallDisk, there: Path
) -> None:
    ear = Ear(both(at_part(1, small.fill), at_part(2, small.clear), at_part(3, stop)))
    interrupt(make_uploader(service, there), poster, ear)
    assert len(ear.troubles) == 1
    before = len(puts(service))
    result = send(make_uploader(service, there), poster)
    assert puts(service)[before:] == [4]
    assert result.bytes_resumed == 3 * PART
    assert service.sha256(result.upload_id) == sha256(poster)


def test_room_in_time_for_the_end_of_a_stopped_run_costs_nothing(
    poster: Path, service: Service, small: SmallDisk, there: Path
) -> None:
    cancelled = threading.Event()
    ear = Ear(both(at_part(1, small.fill), at_part(3, small.clear), at_part(3, cancelled.set)))
    with make_uploader(service, there) as uploader:
        job = uploader.prepare(poster, part_size=PART, concurrency=1)
        with pytest.raises(UploadCancelledError) as caught:
            uploader.run(job, progress=ear, cancelled=cancelled)
    assert caught.value.resumable
    assert len(ear.troubles) == 1
    result = send(make_uploader(service, there), poster)
    assert result.bytes_resumed == 3 * PART
    assert service.sha256(result.upload_id) == sha256(poster)


def test_room_in_time_for_the_verdict_costs_nothing(
    poster: Path, service: Service, small: SmallDisk, there: Path
) -> None:
    """The disk was full while the last parts were stored, and the run was killed while validating."""

    def at_status(event: Event) -> None:
        if isinstance(event, StatusSeen):
            stop()

    ear = Ear(both(at_part(2, small.fill), at_phase(Phase.COMPLETING, small.clear), at_status))
    interrupt(make_uploader(service, there), poster, ear)
    assert len(ear.troubles) == 1
    result = send(make_uploader(service, there), poster)
    assert (result.bytes_sent, count_of(service, "create")) == (0, 1)
    assert service.sha256(result.upload_id) == sha256(poster)


def test_an_upload_that_could_not_be_noted_when_it_was_created_is_noted_later(
    poster: Path, picture: Path, service: Service, small: SmallDisk, there: Path
) -> None:

    def at_kept(event: Event) -> None:
        if isinstance(event, JournalKept):
            stop()

    ear = Ear(both(at_part(2, small.clear), at_kept))
    with journal_in(there) as another:  # some other run has it open: without one, a full disk cannot open it
        another.all()
        small.fill()
        interrupt(make_uploader(service, there), poster, ear)
    assert len(ear.troubles) == 1
    assert len(ear.heard(PartStored)) == 3, "told as soon as it was true, and not before"
    result = send(make_uploader(service, there), poster)
    assert result.bytes_resumed == 3 * PART
    assert service.sha256(result.upload_id) == sha256(poster)


# Read-only


@pytest.fixture
def read_only(small: SmallDisk, there: Path, picture: Path, service: Service) -> Path:
    """A state directory with an upload in it, and no way to write there."""
    interrupt(make_uploader(service, there), picture)
    small.make_read_only()
    return there


def test_a_read_only_directory_is_told_of_once_and_costs_no_upload(
    read_only: Path, icon: Path, picture: Path, service: Service
) -> None:
    for path in (icon, picture):
        ear = Ear()
        result = send(make_uploader(service, read_only), path, ear)
        assert service.sha256(result.upload_id) == sha256(path)
        assert len(ear.troubles) == 1, ear.troubles
        assert str(read_only) in ear.troubles[0]


def test_a_read_only_disk_without_a_directory_is_told_of_once(
    small: SmallDisk, there: Path, picture: Path, service: Service
) -> None:
    small.make_read_only()
    ear = Ear()
    result = send(make_uploader(service, there), picture, ear)
    assert service.sha256(result.upload_id) == sha256(picture)
    assert len(ear.troubles) == 1, ear.troubles
    assert make_uploader(service, there).uploads() == []


def test_whoever_looks_into_a_read_only_directory_gets_a_list_or_a_typed_error(
    read_only: Path, picture: Path, service: Service
) -> None:
    uploader = make_uploader(service, read_only)
    assert listed_or_refused(uploader, read_only)
    with pytest.raises(StateError, match=r"cannot be used|nothing is known"):
        uploader.forget("upload_1")
    with pytest.raises(StateError, match=r"cannot be used|nothing is known"):
        uploader.resume("upload_1")
    assert (read_only / FILE).exists()


def test_a_journal_that_another_process_never_lets_go_of_is_waited_for_once(
    picture: Path, service: Service, state_dir: Path
) -> None:
    """And not again with each part: `busy_timeout` runs on the thread that decides."""
    uploader = make_uploader(service)
    record(state_dir)
    with closing(sqlite3.connect(state_dir / FILE, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        ear = Ear()
        began = time.monotonic()
        result = send(uploader, picture, ear)
        assert time.monotonic() - began < 3 * BUSY, "five writes and more would have waited"
        assert len(ear.troubles) == 1
    assert service.sha256(result.upload_id) == sha256(picture)


def test_an_upload_refused_for_good_is_not_met_again_by_the_next_run(picture: Path) -> None:
    with serve(faults=["413:part=2"], stage_delay=0.01) as service:
        with pytest.raises(PartError) as caught:
            send(make_uploader(service), picture)
        (failed,) = make_uploader(service).uploads()
        assert (failed.upload_id, failed.state) == (caught.value.upload_id, "failed")
        result = send(make_uploader(service), picture)
        assert (result.upload_id != failed.upload_id, result.bytes_resumed) == (True, 0)
        assert make_uploader(service).uploads() == []
