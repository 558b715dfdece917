"""What is seen while it is measured: on a terminal the table so far and a line below it, elsewhere lines."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import click

from uploader.bench.grid import Grid, Setting
from uploader.bench.results import Measured, gather
from uploader.bench.table import speed, table
from uploader.core.events import Event, Listener, Progress
from uploader.observe.text import human_age
from uploader.observe.trouble import trouble
from uploader.saying import say


class Terminal:
    """Lines at the bottom of a terminal that are drawn over, and one below them.

    Args:
        write: how; by default to stderr.
        size: its columns and lines, now; by default stderr's.
    """

    def __init__(
        self,
        write: Callable[[str], None] | None = None,
        size: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._write = write or _write
        self._size = size or _size
        self._drawn = 0

    def draw(self, lines: Sequence[str]) -> None:
        """Show `lines` instead of those before; where there is no room for all, the last of them."""
        width, height = self._size()
        shown = [line[: width - 1] for line in lines][-(height - 2) :]
        self._write(f"{self._back()}\x1b[J" + "".join(f"{line}\n" for line in shown))
        self._drawn = len(shown)

    def status(self, text: str) -> None:
        """Show `text` below."""
        width, _ = self._size()
        self._write(f"\r\x1b[K{text[: width - 1]}")

    def clear(self) -> None:
        """Leave no trace."""
        self.draw([])

    def _back(self) -> str:
        return f"\r\x1b[{self._drawn}A" if self._drawn else "\r"


def _write(text: str) -> None:
    # click makes the codes work in a Windows console too.
    with suppress(OSError):  # nobody reads it; that changes nothing about the measurement
        click.echo(text, nl=False, err=True)


def _size() -> tuple[int, int]:
    """Columns and lines. Not by `shutil`, which asks about stdout."""
    try:
        size = os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return 80, 24
    return max(20, size.columns), max(5, size.lines)


class Live:
    """Shows a bench on a terminal."""

    def __init__(
        self, grid: Grid, terminal: Terminal | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._grid = grid
        self._terminal = terminal or Terminal()
        self._clock = clock
        self._began = clock()
        self._measured: list[Measured] = []

    def begun(self, number: int, setting: Setting) -> Listener:
        """Upload `number` begins."""
        doing = f"{number} of {self._grid.uploads}, {setting}"
        self._terminal.status(f"{doing}: 0%{self._left()}")

        def listener(event: Event) -> None:
            if isinstance(event, Progress):
                self._terminal.status(f"{doing}: {event.sent / self._grid.size:.0%}{self._left()}")
            elif said := trouble(event):
                self._terminal.status(said)

        return listener

    def ended(self, measured: Measured) -> None:
        """It ended."""
        self._measured.append(measured)
        self._terminal.draw(list(table(gather(self._grid, self._measured))))

    def close(self) -> None:
        """What is to be said now takes its place."""
        self._terminal.clear()

    def _left(self) -> str:
        done = len(self._measured)
        if not done:
            return ""
        seconds = (self._clock() - self._began) / done * (self._grid.uploads - done)
        return f", about {human_age(seconds)} left"


class Lines:
    """Says what each upload came to."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._doing = ""

    def begun(self, number: int, setting: Setting) -> Listener:
        """Upload `number` begins."""
        self._doing = f"{number} of {self._grid.uploads}, {setting}"
        return self._listen

    def _listen(self, event: Event) -> None:
        if said := trouble(event):
            say(said)

    def ended(self, measured: Measured) -> None:
        """It ended."""
        say(f"{self._doing}: {speed(measured.goodput)}")

    def close(self) -> None:
        """Nothing is left open."""
