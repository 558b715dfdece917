"""A service, uploaders that keep their state where a test says, and small file systems to keep it in."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.command.conftest import spawn, use
from uploader import InputError, RetryPolicy, Uploader, UploadResult
from uploader.core.events import Event, JournalTrouble, PartStored
from uploader.core.plan import Plan
from uploader.io.journal import Journal, Target
from uploader.io.source import Identity
from uploader.local import Service, serve

MiB = 1024 * 1024
PART = 5 * MiB

# Everything else as users have it; only the waits are shorter.
QUICK = RetryPolicy(attempts=6, base=0.01, cap=0.05, poll_first=0.02, poll_cap=0.1, wait_limit=20)


class StoppedError(Exception):
    """Ends a run in the middle, as a crash would: nothing is said to anybody."""


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Returns once `condition` holds; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


@dataclass
class Ear:
    """A listener that keeps every event, and does something at some."""

    then: Callable[[Event], None] = lambda event: None
    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.then(event)

    def heard(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def troubles(self) -> list[str]:
        """What was told of trouble with the journal."""
        return [event.detail for event in self.heard(JournalTrouble)]


def at_part(count: int, act: Callable[[], None]) -> Callable[[Event], None]:
    """Acts when the `count`th part is stored."""
    seen: list[Event] = []

    def listener(event: Event) -> None:
        if isinstance(event, PartStored):
            seen.append(event)
            if len(seen) == count:
                act()

    return listener


def stop() -> None:
    raise StoppedError


def make_uploader(service: Service, state_dir: Path | None = None, project_id: str | None = None) -> Uploader:
    """An uploader to that service; its state is where the environment says unless told otherwise."""
    return Uploader(
        base_url=service.base_url,
        api_key=service.api_key,
        api_secret=service.api_secret,
        project_id=project_id,
        retry=QUICK,
        state_dir=state_dir,
    )


def send(uploader: Uploader, path: Path, ear: Ear | None = None, **options: Any) -> UploadResult:
    """Uploads in parts of 5 MiB, one at a time."""
    with uploader:
        return uploader.upload(
            path, **{"part_size": PART, "concurrency": 1, "progress": ear or False} | options
        )


def interrupt(uploader: Uploader, path: Path, ear: Ear | None = None, **options: Any) -> Ear:
    """An upload that ends like a crash: when one part is stored, or when `ear` stops it. What it told."""
    ear = ear or Ear(at_part(1, stop))
    with pytest.raises(StoppedError):
        send(uploader, path, ear, **options)
    return ear


def refusal_of(act: Callable[[], object]) -> InputError | None:
    """The error it ends in, None where it ends well. Any other error is the caller's to explain."""
    try:
        act()
    except InputError as error:
        return error
    return None


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def puts(service: Service) -> list[int | None]:
    """The part numbers that were asked to be stored, in order."""
    return [request.part for request in service.requests if request.target == "part"]


def count_of(service: Service, target: str) -> int:
    return sum(request.target == target for request in service.requests)


@contextmanager
def journal_in(directory: Path) -> Iterator[Journal]:
    """The journal there, opened without trouble."""
    troubles: list[str] = []
    with Journal.open(directory, troubles.append) as journal:
        yield journal
    assert not troubles


@contextmanager
def stuck_at_part_two(path: Path, service: Service) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own, with one part stored; the service must let the next one stall."""
    arguments = ("upload", path, "--part-size", str(PART), "--concurrency", "1")
    with spawn(*arguments, **service.environment) as process:
        try:
            until(lambda: puts(service) == [1, 2])
            yield process
        finally:
            process.kill()


@contextmanager
def holding(uploader: Uploader, path: Path, **options: Any) -> Iterator[threading.Event]:
    """An upload in another thread that has stored one part, and goes on when the event is set."""
    there, go_on = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def wait() -> None:
        there.set()
        assert go_on.wait(60)

    def run() -> None:
        try:
            send(uploader, path, Ear(at_part(1, wait)), **options)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must know
            errors.append(error)
            there.set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert there.wait(60)
        yield go_on
    finally:
        go_on.set()
        thread.join()
    assert not errors, errors


def png(path: Path, parts: int) -> Path:
    """A file that passes for a PNG, of so many parts, the last one short."""
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + random.Random(parts).randbytes((parts - 1) * PART + 1000))
    return path


@pytest.fixture(scope="session")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of two parts."""
    return png(tmp_path_factory.mktemp("files") / "picture.png", 2)


@pytest.fixture(scope="session")
def icon(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of one small part."""
    return png(tmp_path_factory.mktemp("files") / "icon.png", 1)


@pytest.fixture(scope="session")
def poster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of four parts."""
    return png(tmp_path_factory.mktemp("files") / "poster.png", 4)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service without faults, which the environment points at."""
    with serve(stage_delay=0.01) as running:
        use(running, monkeypatch)
        yield running


@dataclass(frozen=True)
class SmallDisk:
    """A file system of its own, in memory."""

    path: Path

    @property
    def ballast(self) -> Path:
        return self.path / "ballast"

    def fill(self) -> None:
        """Leaves no room for another byte."""
        with self.ballast.open("ab", buffering=0) as file:
            for size in (4096, 1):
                try:
                    while file.write(b"\0" * size) == size:
                        pass
                except OSError:
                    continue

    def clear(self) -> None:
        self.ballast.unlink()

    def make_read_only(self) -> None:
        subprocess.run(["mount", "-o", "remount,ro", self.path], check=True)


MakeDisk = Callable[..., SmallDisk]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Mounts small file systems; skips the test where that may not be done."""
    mounted: list[Path] = []

    def make(size: str = "256k") -> SmallDisk:
        if sys.platform != "linux" or os.geteuid() != 0:
            pytest.skip("only root on Linux may mount a file system")
        path = tmp_path / f"disk-{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
        mounted.append(path)
        return SmallDisk(path)

    yield make
    busy = [path for path in mounted if subprocess.run(["umount", path], check=False).returncode]
    for path in busy:
        subprocess.run(["umount", "--lazy", path], check=True)
    assert not busy, "something was left open there"


TARGET = Target(
    base_url="https://api.example/v1",
    project_id="proj_1",
    path="/data/scene.glb",
    file_name="scene.glb",
    kind="3d",
    content_type="model/gltf-binary",
    asset_options="",
)


def record(directory: Path, target: Target = TARGET) -> None:
    """Leaves an upload there of which one part is stored, without any service."""
    with journal_in(directory) as journal:
        row = journal.begin(target, Plan(12 * MiB, PART), Identity(12 * MiB, 1, 2, 3, 4), "digest")
        journal.name(row, "upload_1")
        journal.store(row, [(1, "etag", "md5")])
