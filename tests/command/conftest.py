"""The command, in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import pytest

from uploader import Uploader, UploadOptions
from uploader.cli import main
from uploader.core.events import Event, PartStored
from uploader.local import Service, serve

MiB = 1024 * 1024


@dataclass(frozen=True)
class Said:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        value = json.loads(self.out)
        assert isinstance(value, dict)
        assert self.out.count("\n") == 1, "exactly one line"
        return value


Run = Callable[..., Said]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process."""

    def run(*arguments: str | Path) -> Said:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Said(code, out, err)

    return run


_STARTED: list[subprocess.Popen[str]] = []


def spawn(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Starts the command as a process of its own."""
    return start_python("-m", "uploader", *arguments, **environment)


def start_python(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """Starts Python as a process of its own."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    """What a failed test leaves running ends with it."""
    yield
    while _STARTED:
        process = _STARTED.pop()
        if process.poll() is None:
            process.kill()
        process.communicate()


def use(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points the environment at a service, as its user would."""
    for name, value in service.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SCENARIO_SDK_JWT", raising=False)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service without faults, which the environment points at."""
    with serve(stage_delay=0.05) as running:
        use(running, monkeypatch)
        yield running


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file that passes for a PNG."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(11 * MiB))
    return path


def interrupt(
    path: Path,
    at: Callable[[Event], bool] = lambda event: isinstance(event, PartStored),
    *,
    project_id: str | None = None,
    **options: Unpack[UploadOptions],
) -> str:
    """Uploads a file in parts of 5 MiB, one at a time, and ends as Ctrl-C does at the first event that is
    meant: by default when one part is stored. The upload's id."""
    started = {"part_size": 5 * MiB, "concurrency": 1} | options

    def listener(event: Event) -> None:
        if at(event):
            raise KeyboardInterrupt

    with Uploader(project_id=project_id) as uploader:
        with pytest.raises(KeyboardInterrupt):
            uploader.upload(path, progress=listener, **started)  # type: ignore[arg-type]
        left = [upload for upload in uploader.uploads() if upload.path == str(path.resolve())]
    return left[-1].upload_id
