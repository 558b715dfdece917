"""What came of it: goodput by setting, and the best one. Pure; sizes are bytes, times seconds.

Goodput is the file's bytes by the time from the first PUT to the last acknowledgement. Connections are made
anew for each upload, and count; the calls before and after do not, nor does the service's validation: they
are not the link's.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from uploader.bench.grid import Grid, Setting

# Goodputs this close to the best one are as good: the same setting differs by as much from run to run.
AS_GOOD = 0.95


@dataclass(frozen=True, slots=True)
class Measured:
    """One upload: `size` bytes in `seconds`, `retries` attempts at parts having failed."""

    setting: Setting
    size: int
    seconds: float
    retries: int

    @property
    def goodput(self) -> float:
        """Bytes per second."""
        return self.size / self.seconds


@dataclass(frozen=True, slots=True)
class Cell:
    """All uploads with one setting, one at least."""

    setting: Setting
    runs: tuple[Measured, ...]

    @property
    def median(self) -> float:
        """Bytes per second."""
        return statistics.median(run.goodput for run in self.runs)

    @property
    def least(self) -> float:
        """Bytes per second."""
        return min(run.goodput for run in self.runs)

    @property
    def most(self) -> float:
        """Bytes per second."""
        return max(run.goodput for run in self.runs)

    @property
    def spread(self) -> float:
        """From the least to the most, as a share of the median."""
        return (self.most - self.least) / self.median

    @property
    def retries(self) -> int:
        """Failed attempts at parts, of all its uploads."""
        return sum(run.retries for run in self.runs)


def gather(grid: Grid, measured: Sequence[Measured]) -> list[Cell]:
    """The cells that were measured so far, in the grid's order."""
    runs = {setting: tuple(it for it in measured if it.setting == setting) for setting in grid.settings}
    return [Cell(setting, found) for setting, found in runs.items() if found]


def best(cells: Iterable[Cell]) -> Cell | None:
    """The smallest concurrency within 5% of the best median, and of these the smallest parts.

    Less in flight is less to send again after an interruption. `auto` comes before any number: it is one
    setting less, and sees to it when the link changes.
    """
    cells = list(cells)
    bar = AS_GOOD * max((cell.median for cell in cells), default=0.0)
    good = [cell for cell in cells if cell.median >= bar]
    return min(good, key=lambda cell: (cell.setting.in_flight, cell.setting.part_size), default=None)


def fields(grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    """All of it, as `--json` shows it."""
    found = best(cells)
    return {
        "size": grid.size,
        "repeat": grid.repeat,
        "settings": [_cell_fields(cell) for cell in cells],
        "best": found and _setting_fields(found.setting),
    }


def _setting_fields(setting: Setting) -> dict[str, Any]:
    return {"concurrency": setting.concurrency, "part_size": setting.part_size}


def _cell_fields(cell: Cell) -> dict[str, Any]:
    runs = [
        {"goodput": round(run.goodput), "seconds": round(run.seconds, 6), "retries": run.retries}
        for run in cell.runs
    ]
    return _setting_fields(cell.setting) | {"median_goodput": round(cell.median), "runs": runs}
