"""Measures: uploads the same file with one setting after the other, each by an uploader of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from uploader.bench.grid import Grid, Setting
from uploader.bench.results import Measured
from uploader.client import Uploader
from uploader.core.events import Event, Listener, PartRetrying, PartStored, Phase, PhaseChanged, UploadCreated

# Opens an uploader, for one upload: what went before is neither a help nor a hindrance.
Opener = Callable[[], AbstractContextManager[Uploader]]

# What is uploaded is called, so that it can be told from anything else in an account.
NAME = "uploader-bench.safetensors"


class Watcher(Protocol):
    """Is told how it goes."""

    def begun(self, number: int, setting: Setting) -> Listener:
        """Upload `number`, from 1, begins: what to tell its events to."""

    def ended(self, measured: Measured) -> None:
        """It ended."""


class Stopwatch:
    """Times one upload from the first PUT to the last acknowledgement, in seconds.

    Args:
        clock: fine enough for a part that takes a millisecond, which `time.monotonic` is not on Windows.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began: float | None = None
        self._ended = 0.0
        self.retries = 0

    def __call__(self, event: Event) -> None:
        """Note an event."""
        match event:
            case PhaseChanged(phase=Phase.SENDING) if self._began is None:
                self._began = self._clock()  # an upload that is started over has not begun anew
            case PartStored():
                self._ended = self._clock()
            case PartRetrying():
                self.retries += 1

    @property
    def seconds(self) -> float:
        """The time it took."""
        return self._ended - (self._began or 0.0)


class Bench:
    """A grid being measured.

    Attributes:
        measured: what is known so far.
        created: uploads that the service knows of, completed or not.
    """

    def __init__(self, grid: Grid) -> None:
        self.grid = grid
        self.measured: list[Measured] = []
        self.created = 0

    def run(self, file: Path, opener: Opener, watcher: Watcher) -> None:
        """Upload `file` with every setting of the grid.

        Raises:
            UploaderError: an upload failed, and the rest was left.
        """
        for number, setting in enumerate(self.grid.order(), 1):
            measured = self._measure(file, setting, opener, watcher.begun(number, setting))
            self.measured.append(measured)
            watcher.ended(measured)

    def _measure(self, file: Path, setting: Setting, opener: Opener, shown: Listener) -> Measured:
        watch = Stopwatch()

        def listener(event: Event) -> None:
            watch(event)
            self.created += isinstance(event, UploadCreated)
            shown(event)

        with opener() as uploader:
            uploader.upload(
                file,
                concurrency=setting.concurrency,
                part_size=setting.part_size,
                resume=False,
                wait_for=None,
                progress=listener,
            )
        return Measured(setting, self.grid.size, watch.seconds, watch.retries)


def account(state: Path, project_id: str | None) -> Opener:
    """To the account that the environment names."""
    return lambda: Uploader(project_id=project_id, state_dir=state)


def embedded(state: Path) -> Opener:
    """To the embedded service: a new one each time, so that what it stored is gone before the next."""
    return lambda: _embedded(state)


@contextmanager
def _embedded(state: Path) -> Iterator[Uploader]:
    from uploader import local

    # In this process: in one of its own it measured the same.
    with (
        local.serve() as service,
        Uploader(
            base_url=service.base_url,
            api_key=service.api_key,
            api_secret=service.api_secret,
            state_dir=state,
            storage_hosts=["127.0.0.1"],
        ) as uploader,
    ):
        yield uploader
