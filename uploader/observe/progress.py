"""Progress for people: a tqdm bar on a terminal, a line every few seconds elsewhere. Both on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Never

from tqdm import tqdm

from uploader.core.events import (
    CallRetrying,
    Event,
    JournalTrouble,
    LockAwaited,
    PartRetrying,
    Phase,
    PhaseChanged,
    Progress,
    Recreating,
    SourceChecked,
    StatusSeen,
    UploadResumed,
)
from uploader.observe.text import human_size
from uploader.printable import printable

_DONE = (Phase.DONE, Phase.FAILED)


def trouble(event: Event) -> str:
    """One line for an event that a person should know of; "" for any other."""
    match event:
        case PartRetrying():
            when = f" in {event.delay:.1f} s" if event.delay >= 0.1 else ""
            return printable(f"part {event.part.number}: {event.detail}; trying again{when}")
        case CallRetrying():
            return printable(f"{event.detail}; trying again in {event.delay:.1f} s")
        case Recreating(old_upload_id=""):
            return printable(f"starting anew: {event.reason}")
        case Recreating():
            return printable(f"starting over under a new upload id, every part is sent again: {event.reason}")
        case UploadResumed():
            there = (
                f"{event.parts_stored} of {event.parts} parts ({human_size(event.bytes_stored)}) are there"
            )
            return printable(f"resuming upload {event.upload_id}: {there}")
        case JournalTrouble() | LockAwaited():
            return printable(event.detail)
        case _:
            return ""


def _checked(event: SourceChecked) -> str:
    return f"checking what was sent, {human_size(event.checked)} of {human_size(event.total)}"


class Bar:
    """One file's bar, with the phase in front of its name."""

    def __init__(self, name: str, size: int | None) -> None:
        self._name = printable(name)
        self._bar: tqdm[Never] = tqdm(
            total=size,
            unit="iB",
            unit_scale=True,
            unit_divisor=1024,
            desc=self._name,
            file=sys.stderr,
            dynamic_ncols=True,
            bar_format=None if size else "{desc} {elapsed}",
            smoothing=0.1,
        )

    def __call__(self, event: Event) -> None:
        """Show an event."""
        match event:
            case Progress():
                self._bar.update(event.sent - self._bar.n)
            case PhaseChanged() if event.phase not in _DONE:
                self._bar.set_description_str(f"{self._name}: {event.phase}")
            case StatusSeen():
                self._bar.set_description_str(f"{self._name}: {printable(event.status)}")
            case SourceChecked():
                self._bar.set_description_str(f"{self._name}: {_checked(event)}")
            case _ if said := trouble(event):
                if isinstance(event, UploadResumed):  # what is there was not sent now, and is no speed
                    self._bar.initial = self._bar.n = self._bar.last_print_n = event.bytes_stored
                self._bar.write(said, file=sys.stderr)

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
                self._say(said)

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

    def close(self) -> None:
        """Nothing is left open."""
