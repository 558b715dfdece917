"""What a terminal shows while `uploader bench` measures."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from uploader.bench.grid import make_grid
from uploader.bench.results import Measured
from uploader.bench.screen import Live, Terminal
from uploader.core.events import PartRetrying, Progress
from uploader.core.outcomes import Cause
from uploader.core.plan import Part

MiB = 1024 * 1024


class Screen:
    """A terminal that knows the few codes that are used, and scrolls."""

    def __init__(self, width: int = 80, height: int = 24) -> None:
        self.size = width, height
        self.terminal = Terminal(self.write, lambda: self.size)
        self._lines = [""]
        self._row = 0
        self.scrolled = 0

    def write(self, text: str) -> None:
        for token in re.findall(r"\x1b\[\d*[A-Z]|\n|\r|[^\x1b\n\r]+", text):
            self._take(token)

    def _take(self, token: str) -> None:
        if token == "\n":
            self._down()
        elif token.endswith("A") and token.startswith("\x1b"):
            self._row -= int(token[2:-1])
            assert self._row >= 0, "it was scrolled away and cannot be drawn over"
        elif token == "\x1b[J":
            self._lines[self._row :] = [""]
        elif token == "\x1b[K":
            self._lines[self._row] = ""
        elif token != "\r":
            assert len(token) < self.size[0], "it would wrap"
            self._lines[self._row] = token

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append("")
        if self._row == self.size[1]:
            del self._lines[0]
            self._row -= 1
            self.scrolled += 1

    @property
    def shown(self) -> list[str]:
        return self._lines


@given(
    st.lists(st.lists(st.text("ab ", min_size=1, max_size=40), max_size=30), min_size=1, max_size=5),
    st.integers(20, 60),
    st.integers(5, 20),
)
def test_the_last_drawing_is_all_that_is_seen(drawings: list[list[str]], width: int, height: int) -> None:
    screen = Screen(width, height)
    for lines in drawings:
        screen.terminal.draw(lines)
        screen.terminal.status("doing" * 20)
    expected = [line[: width - 1] for line in drawings[-1]][-(height - 2) :]
    assert screen.shown == [*expected, ("doing" * 20)[: width - 1]]
    assert not screen.scrolled
    screen.terminal.clear()
    assert screen.shown == [""]


def test_the_table_grows_above_a_line_of_what_is_being_done() -> None:
    now = [0.0]
    screen, grid = Screen(), make_grid(64 * MiB, [1, 2], [8 * MiB], 2)
    live = Live(grid, screen.terminal, lambda: now[0])
    first, second = grid.settings
    live.begun(1, first)(Progress(16 * MiB))
    assert screen.shown == ["1 of 4, concurrency 1, parts of 8MiB: 25%"]
    now[0] = 120.0
    live.ended(Measured(first, 64 * MiB, 1.0, 0))
    listener = live.begun(2, second)
    assert screen.shown[1].startswith("8MiB")
    assert screen.shown[2] == "2 of 4, concurrency 2, parts of 8MiB: 0%, about 6 min left"
    listener(PartRetrying(Part(3, 0, 8 * MiB), Cause.SERVER, "the store answered 503", 2.0))
    assert screen.shown[2] == "part 3: the store answered 503; trying again in 2.0 s"
    live.close()
    assert screen.shown == [""]
