"""Tells what came of a bench: results on stdout, all else on stderr."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from uploader.bench.ending import Ending
from uploader.bench.figure import save_figure
from uploader.bench.grid import Grid
from uploader.bench.measuring import NAME, Bench
from uploader.bench.results import Cell, fields, gather
from uploader.bench.table import ASCII, BLOCKS, advice, bars, count, table
from uploader.bench.wanted import Wanted
from uploader.printable import printable
from uploader.saying import DONE, FAILED, USAGE, print_json, say, tell


def conclude(wanted: Wanted, bench: Bench | None, ending: Ending) -> int:
    """Say what came of it; the exit code."""
    code = ending.code
    if bench is None or not bench.created:
        if wanted.as_json:
            print_json(ending.error)
        return code
    cells = gather(bench.grid, bench.measured)
    if wanted.as_json:
        print_json({"uploads": bench.created} | fields(bench.grid, cells) | ending.error)
    elif cells:
        _show(bench.grid, cells, local=wanted.local)
    if not wanted.local:
        _remaining(bench)
    if wanted.plot and cells and code == DONE:
        code = _draw(wanted.plot, bench.grid, cells, "an embedded service" if wanted.local else "the account")
    return FAILED if code == USAGE else code  # something was sent after all


def _show(grid: Grid, cells: Sequence[Cell], *, local: bool) -> None:
    marks = BLOCKS if _can_say(BLOCKS) else ASCII
    width = shutil.get_terminal_size().columns
    for line in (*table(cells), "", *bars(cells, width, marks), "", *advice(grid, cells, local=local)):
        tell(line)


def _can_say(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _remaining(bench: Bench) -> None:
    """What the account is left with."""
    done = len(bench.measured)
    said = f"{count(done)} remain{'s' * (done == 1)} in the account, as models named {NAME}"
    more = bench.created - done
    say(f"{said}; {more} more begun, and not completed" if more else said)


def _draw(path: Path, grid: Grid, cells: Sequence[Cell], place: str) -> int:
    """Make the picture; the exit code."""
    try:
        save_figure(path, grid, cells, place)
    except OSError as error:
        say(f"the plot cannot be written: {error.strerror or error}: {path}")
        return FAILED
    say(printable(f"the plot is in {path}"))
    return DONE
