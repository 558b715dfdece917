"""Results as a picture, by matplotlib, which is an extra."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

from uploader.bench.grid import Grid, size_text
from uploader.bench.results import Cell, best
from uploader.core.plan import MiB
from uploader.errors import InputError

_FORMATS = (".pdf", ".png", ".svg")


def check_figure(path: Path) -> None:
    """Make sure that a picture can be made at `path`, before an hour is spent on what it is to show.

    Raises:
        InputError: matplotlib is missing, the format is not known, or nothing can be written there.
    """
    if find_spec("matplotlib") is None:
        raise InputError("a plot in a file needs matplotlib: pip install 'scenario-uploader[plot]'")
    if path.suffix.lower() not in _FORMATS:
        raise InputError(f"{path} is no {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} file")
    if not path.absolute().parent.is_dir():
        raise InputError(f"there is no directory {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.absolute().parent, os.W_OK):
        raise InputError(f"{path} cannot be written")


def save_figure(path: Path, grid: Grid, cells: Sequence[Cell], place: str) -> None:
    """Draw goodput over concurrency, a line for each part size, bars from the least to the most.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure  # no pyplot: it would look for a display

    figure = Figure(figsize=(7.5, 4.5), layout="constrained")
    axes = figure.add_subplot(xlabel="concurrency (parts in flight)", ylabel="goodput, MiB/s")
    ordered = sorted(grid.settings, key=lambda setting: setting.column)
    names = list(dict.fromkeys(str(setting.concurrency) for setting in ordered))
    for color, (part_size, group) in enumerate(groupby(cells, lambda cell: cell.setting.part_size)):
        _line(axes, names, list(group), f"C{color}", f"parts of {size_text(part_size)}")
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(bottom=0)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
    found = best(cells)
    axes.set_title(f"{size_text(grid.size)} to {place}\nbest: {found and found.setting}", fontsize="medium")
    figure.savefig(path, dpi=150)


def _line(axes: Any, names: Sequence[str], cells: Sequence[Cell], color: str, label: str) -> None:
    """One part size. `auto` is no number, so no line leads to it."""
    numbers = [cell for cell in cells if cell.setting.in_flight]
    auto = [cell for cell in cells if not cell.setting.in_flight]
    for some, style, name in ((numbers, "o-", label), (auto, "D", None if numbers else label)):
        medians = [cell.median / MiB for cell in some]
        down = [(cell.median - cell.least) / MiB for cell in some]
        up = [(cell.most - cell.median) / MiB for cell in some]
        where = [names.index(str(cell.setting.concurrency)) for cell in some]
        if some:
            axes.errorbar(where, medians, [down, up], fmt=style, color=color, capsize=3, label=name)
