"""Progress for people: a tqdm bar on a terminal, a line every few seconds elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from tqdm import tqdm

from uploader.core.events import (
    Event,
    Phase,
    PhaseChanged,
    Progress,
    SourceChecked,
    StatusSeen,
    UploadResumed,
)
from uploader.observe.meter import Meter
from uploader.observe.text import human_size
from uploader.observe.trouble import trouble
from uploader.printable import printable

_DONE = (Phase.DONE, Phase.FAILED)


def _checked(event: SourceChecked) -> str:
    return f"checking what was sent, {human_size(event.checked)} of {human_size(event.total)}"


class Bar:
    """One file's bar, or that of several, with what is being done behind the name."""

    def __init__(self, name: str, size: int | None) -> None:
        self._bar = Meter(
            printable(name),
            total=size,
            unit="iB",
            unit_scale=True,
            unit_divisor=1024,
            file=sys.stderr,
            dynamic_ncols=True,
            smoothing=0.1,
        )

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Progress():
                self._bar.update(event.sent - self._bar.n)
            case PhaseChanged() if event.phase not in _DONE:
                self._do(event.phase)
            case StatusSeen():
                self._do(printable(event.status))
            case SourceChecked():
                self._do(_checked(event))
            case _ if said := trouble(event):
                if isinstance(event, UploadResumed):  # what is there was not sent now, and is no speed
                    self._bar.initial = self._bar.n = self._bar.last_print_n = event.bytes_stored
                self.note(said)

    def rename(self, name: str, doing: str = "") -> None:
        """Show it under another name."""
        self._bar.label(printable(name), doing)

    def _do(self, doing: str) -> None:
        self._bar.label(self._bar.name, doing)

    def note(self, text: str) -> None:
        """A line above the bar."""
        self._bar.write(printable(text), file=sys.stderr)

    def aside(self) -> AbstractContextManager[None]:
        """Take the bar away meanwhile."""
        room: AbstractContextManager[None] = tqdm.external_write_mode(file=sys.stderr)
        return room

    def close(self) -> None:
        """Leave the bar as it stands."""
        self._bar.close()


class Lines:
    """A line when the phase changes, and one every few seconds between."""

    def __init__(
        self,
        name: str,
        size: int | None,
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = printable(name)
        self._size = size
        self._every = every
        self._clock = clock
        self._there = 0
        self._began = self._last = clock()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Progress():
                self._progress(event.sent)
            case PhaseChanged() if event.phase not in _DONE:
                self._say(event.phase)
            case StatusSeen():
                self._say(f"status {printable(event.status)}")
            case SourceChecked():
                if self._is_time():
                    self._say(_checked(event))
            case _ if said := trouble(event):
                if isinstance(event, UploadResumed):  # what is there was not sent now, and is no speed
                    self._there = event.bytes_stored
                    self._began = self._last = self._clock()  # the next line has some seconds to go by
                self.note(said)

    def rename(self, name: str, doing: str = "") -> None:
        """Show it under another name."""
        self._name = f"{printable(name)}: {doing}" if doing else printable(name)

    def note(self, text: str) -> None:
        """A line of its own."""
        self._say(printable(text))

    def _progress(self, sent: int) -> None:
        if not self._size or not self._is_time():
            return
        rate = max(0, sent - self._there) / (self._last - self._began)
        left = f", {(self._size - sent) / rate:,.0f} s left" if rate else ""
        share = f"{human_size(sent)} of {human_size(self._size)} ({100 * sent / self._size:.0f}%)"
        self._say(f"{share}, {human_size(rate)}/s{left}")

    def _is_time(self) -> bool:
        """Whether the last line between phases is some seconds old."""
        now = self._clock()
        if now - self._last < self._every:
            return False
        self._last = now
        return True

    def _say(self, text: str) -> None:
        print(f"{self._name}: {text}", file=sys.stderr, flush=True)  # noqa: T201

    def aside(self) -> AbstractContextManager[None]:
        """There is room."""
        return nullcontext()

    def close(self) -> None:
        """Nothing is left open."""
