"""The file changes, is replaced or goes away while it is sent or between two runs; or it is none."""

from __future__ import annotations

import os
import random
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import Behaviour, Exchange, pass_on
from tests.faults.rig import MiB, Rig, make_file
from tests.transfer.test_changes import (
    Change,
    copy_away_and_back,
    delete,
    grow,
    interrupt,
    interrupt_before_complete,
    replace,
    rewrite,
    rewrite_a_little,
    rewrite_in_secret,
    sha256,
    truncate,
)
from uploader import RetryPolicy, SourceChangedError
from uploader.core.events import Event, PartStored, Recreating, SourceChecked

PART, SIZE = 5 * MiB, 16 * MiB
PARTS = 4

# What failed is not tried again before the test is over.
LATER = RetryPolicy(base=600, cap=600, poll_first=0.02)


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("files") / "original", SIZE)


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A file of four parts; by its name nobody judges its content."""
    return Path(shutil.copy(original, tmp_path / "weights.ckpt"))


# While it is sent


def meanwhile(act: Callable[[], object], at: int = 0) -> Behaviour:
    """The service carries it out, but when `at` bytes of the body were read something else happens."""

    def behave(exchange: Exchange) -> None:
        exchange.read(at)
        act()
        exchange.send(exchange.ask_service())

    return behave


at_any_moment = pytest.mark.parametrize("moment", ["in mid-part", "between two parts", "after the last part"])


@contextmanager
def uploading(rig: Open, path: Path, moment: str, act: Callable[[], object]) -> Iterator[Rig]:
    """An upload meanwhile which `act` was called once: its rig."""
    script: dict[str, dict[int | str, list[Behaviour]]] = {
        "before the first part": {"create": [meanwhile(act)]},
        "in mid-part": {1: [meanwhile(act, at=1 * MiB)]},
    }
    number = {"between two parts": 1, "after the last part": PARTS}.get(moment)

    def listener(event: Event) -> None:
        it.events.append(event)
        if isinstance(event, PartStored) and event.part.number == number:
            act()

    # Of a part of 16 MiB the kernel cannot hold all: when one is read, the uploader has not sent the last.
    part_size = SIZE if moment == "in mid-part" else PART
    with rig(script.get(moment)) as it:
        it.upload(path, part_size=part_size, concurrency=1, progress=listener)
        yield it


def check_never_completed(it: Rig, *, touched: bool = False) -> None:
    """Nothing was put together, and the upload is left as what it is."""
    assert isinstance(it.error, SourceChangedError)
    assert it.asked("complete") == 0
    assert (it.error.touched, it.error.resumable) == (touched, touched)
    (left,) = it.uploader.uploads()
    assert (left.upload_id, left.state) == (it.error.upload_id, "stopped" if touched else "changed")


@case(18, "SourceChangedError")
@at_any_moment
@pytest.mark.parametrize("change", [truncate, grow, rewrite, rewrite_in_secret], ids=lambda it: it.__name__)
def test_a_file_that_changes_while_it_is_sent_is_never_completed(
    change: Change, moment: str, path: Path, rig: Open
) -> None:
    with uploading(rig, path, moment, lambda: change(path)) as it:
        # Of a file that is all there the next run finds out whether it was no more than touched.
        check_never_completed(it, touched=change is rewrite_in_secret and moment == "after the last part")


@case(20, "SourceChangedError")
@at_any_moment
def test_a_file_that_another_takes_the_place_of_is_never_completed(
    moment: str, path: Path, rig: Open
) -> None:
    with uploading(rig, path, moment, lambda: replace(path)) as it:
        check_never_completed(it)


@case(20, EXACT)
def test_a_link_that_is_led_elsewhere_meanwhile_changes_nothing(
    path: Path, tmp_path: Path, rig: Open
) -> None:
    """What counts is the file that it led to."""
    link, other = tmp_path / "latest.ckpt", make_file(tmp_path / "other.ckpt", SIZE, seed=2)
    link.symlink_to(path)

    def lead_elsewhere() -> None:
        (tmp_path / "new").symlink_to(other)
        (tmp_path / "new").replace(link)

    with rig({1: [meanwhile(lead_elsewhere, at=1 * MiB)]}) as it:
        result = it.uploader.upload(link, part_size=PART, progress=False)
        assert it.service.sha256(result.upload_id) == sha256(path) != sha256(link)


# Between two runs


@case(19, EXACT)
def test_a_file_rewritten_with_its_time_put_back_is_sent_anew(path: Path, rig: Open) -> None:
    """It is no larger, and what was rewritten is in no block that is sampled."""
    with rig() as it:
        old = interrupt(it.uploader, path)
        before = path.stat()
        rewrite_in_secret(path)
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
        it.upload(path)
        assert it.result is not None
        assert (it.result.upload_id != old, it.result.bytes_resumed) == (True, 0)
        assert it.heard(Recreating) == 1
        assert it.service.upload(old)["status"] == "pending"
        assert it.asked("complete") == 1


@case(19, "SourceChangedError")
def test_to_go_on_with_a_file_rewritten_with_its_time_put_back_is_refused(path: Path, rig: Open) -> None:
    with rig() as it:
        old = interrupt(it.uploader, path)
        rewrite_in_secret(path)
        with pytest.raises(SourceChangedError, match=f"uploader upload {path}") as caught:
            it.uploader.resume(old, progress=False)
        assert (caught.value.upload_id, caught.value.resumable) == (old, False)
        assert it.asked("get") == it.asked("complete") == 0
        assert [left.state for left in it.uploader.uploads()] == ["changed"]


@case(18, "SourceChangedError")
def test_a_file_that_changes_while_what_was_sent_is_proved_is_never_completed(path: Path, rig: Open) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, SourceChecked):
            rewrite(path)

    with rig() as it:
        interrupt_before_complete(it.uploader, path)
        it.upload(path, verify_source="full", progress=listener)
        check_never_completed(it)


@case(20, EXACT)
def test_a_file_replaced_by_its_own_copy_between_two_runs_is_gone_on_with(path: Path, rig: Open) -> None:
    with rig() as it:
        old = interrupt_before_complete(it.uploader, path)
        copy_away_and_back(path)
        it.upload(path)
        assert it.result is not None
        assert (it.result.upload_id, it.result.bytes_resumed) == (old, SIZE)
        assert it.heard(SourceChecked) == PARTS


@case(19, EXACT)
@pytest.mark.parametrize("change", [rewrite_a_little, rewrite_in_secret], ids=lambda it: it.__name__)
def test_a_part_of_the_file_as_it_was_that_arrives_late_is_never_mixed_in(
    change: Change, path: Path, rig: Open
) -> None:
    """A proxy took all of it, broke the connection, and passes it on when the file as it is now is stored."""

    def take_all_and_leave(exchange: Exchange) -> None:
        exchange.read()
        held.append(exchange)
        taken.set()
        exchange.reset()

    def pass_on_what_is_held(exchange: Exchange) -> None:
        for it in held:
            it.ask_service()
        pass_on(exchange)

    def listener(event: Event) -> None:
        if isinstance(event, PartStored):
            assert taken.wait(60)
            raise KeyboardInterrupt

    held: list[Exchange] = []
    taken = threading.Event()
    with rig({1: [take_all_and_leave], "complete": [pass_on_what_is_held]}, retry=LATER) as it:
        with pytest.raises(KeyboardInterrupt):
            it.uploader.upload(path, part_size=PART, progress=listener)
        change(path)
        it.upload(path)
        assert len(held) == 1


# Odd sizes, and files that are none


def check_refused(it: Rig, said: str) -> None:
    assert it.error is not None
    assert re.search(said, str(it.error))
    assert it.error.nothing_sent
    assert it.service.requests == []


@case(35, EXACT)
@pytest.mark.parametrize(
    ("size", "lengths"),
    [
        (1, [1]),
        (PART - 1, [PART - 1]),
        (PART, [PART]),
        (PART + 1, [PART, 1]),
        (2 * PART, [PART, PART]),
        (2 * PART + 1, [PART, PART, 1]),
    ],
)
def test_a_file_of_any_size_arrives(size: int, lengths: list[int], tmp_path: Path, rig: Open) -> None:
    path = tmp_path / "weights.ckpt"
    path.write_bytes(random.Random(size).randbytes(size))
    with rig() as it:
        it.upload(path)
        sent = {put.part: put.body_bytes for put in it.service.requests if put.target == "part"}
        assert sent == dict(enumerate(lengths, 1))


@case(35, "InputError")
def test_more_than_ten_thousand_parts_are_refused_and_by_itself_there_are_fewer(
    tmp_path: Path, rig: Open
) -> None:
    path = tmp_path / "weights.ckpt"
    with path.open("wb") as file:
        file.truncate(10_001 * PART)
    with rig() as it:
        it.upload(path, part_size=PART)
        check_refused(it, "use at least 6 MiB")
        assert it.uploader.prepare(path).plan.count <= 1001


def absent(path: Path) -> None:
    pass


def empty(path: Path) -> None:
    path.touch()


def directory(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to(os.devnull)


def unix_socket(path: Path) -> None:
    with closing(socket.socket(socket.AF_UNIX)) as it:
        it.bind(str(path))


def loop(path: Path) -> None:
    path.symlink_to(path)


NO_FILES = {
    absent: "^cannot read .*weights.ckpt: No such file",
    empty: "weights.ckpt is empty: there is nothing to upload$",
    directory: "^[^:]* is a directory: only a regular file can be uploaded$",
    pipe: "is a pipe: only",
    device: "is a device: only",
    unix_socket: "is a socket: only",
    loop: "loop",
}


@case(35, "SourceError")
def test_what_is_no_file_to_upload_is_refused_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rig: Open
) -> None:
    with rig() as it:
        for make, said in NO_FILES.items():
            folder = tmp_path / make.__name__
            folder.mkdir()
            monkeypatch.chdir(folder)  # the whole path may be too long for the name of a socket
            make(Path("weights.ckpt"))
            it.upload(folder / "weights.ckpt")
            check_refused(it, said)
        it.upload(Path("nul\0.ckpt"))
        check_refused(it, "null")


@contextmanager
def without_privileges() -> Iterator[Path]:
    """A directory of a user who may not read everything; this process is that user meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, NOBODY, -1)
        os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


NOBODY = 65534


@case(35, "SourceError")
@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs permissions as POSIX has them")
def test_a_file_that_may_not_be_read_is_refused_and_nothing_is_sent(rig: Open) -> None:
    with rig() as it, without_privileges() as folder:
        path = make_file(folder / "weights.ckpt", 1 * MiB)
        path.chmod(0)
        it.upload(path)
        check_refused(it, f"^cannot read {path}: Permission denied")


@case(35, "SourceChangedError")
@pytest.mark.parametrize("moment", ["before the first part", "in mid-part", "between two parts"])
def test_a_file_that_vanishes_while_it_is_sent_is_never_completed(moment: str, path: Path, rig: Open) -> None:
    with uploading(rig, path, moment, lambda: delete(path)) as it:
        check_never_completed(it)
        assert "is gone" in str(it.error)


@case(35, "SourceChangedError")
@pytest.mark.parametrize("moment", ["before the first part", "between two parts"])
def test_a_pipe_that_takes_the_place_of_the_file_blocks_nothing(moment: str, path: Path, rig: Open) -> None:
    """Whoever opens a pipe for reading waits until somebody opens it for writing."""

    def put_a_pipe() -> None:
        pipe(path.with_name("pipe"))
        path.with_name("pipe").replace(path)

    def let_go() -> None:
        waited.set()
        os.close(os.open(path, os.O_RDWR | os.O_NONBLOCK))

    waited = threading.Event()
    watchdog = threading.Timer(10, let_go)
    watchdog.start()
    try:
        with uploading(rig, path, moment, put_a_pipe) as it:
            check_never_completed(it)
    finally:
        watchdog.cancel()
        watchdog.join()
    assert not waited.is_set()
