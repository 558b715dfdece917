"""`uploader bench`: asks, measures, and tells what came of it, on stdout; all else goes to stderr."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from uploader.bench.figure import check_figure, save_figure
from uploader.bench.grid import Grid, make_grid, size_text
from uploader.bench.measuring import Bench, account, embedded
from uploader.bench.results import Cell, fields, gather
from uploader.bench.screen import Lines, Live
from uploader.bench.table import ASCII, BLOCKS, advice, bars, table
from uploader.client import Uploader
from uploader.errors import InputError, UploaderError
from uploader.observe.report import (
    DONE,
    FAILED,
    INTERRUPTED,
    TERMINATED,
    USAGE,
    error_fields,
    exit_code,
    print_json,
    say,
)
from uploader.observe.stops import STOPS, Terminated
from uploader.observe.text import human_size
from uploader.options import Concurrency
from uploader.printable import printable
from uploader.sample import make_sample

_NAME = "uploader-bench.safetensors"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; sizes are bytes."""

    size: int
    concurrency: Sequence[Concurrency]
    part_size: Sequence[int]
    repeat: int | None
    local: bool
    project_id: str | None
    yes: bool
    plot: Path | None
    as_json: bool

    def grid(self) -> Grid:
        """What that makes. An embedded service costs nobody anything, so there chance is measured too.

        Raises:
            InputError: it makes none.
        """
        repeat = (3 if self.local else 1) if self.repeat is None else self.repeat
        return make_grid(self.size, self.concurrency, self.part_size, repeat)


class Ending:
    """How it ended: an exit code, and the error if it was one."""

    def __init__(self) -> None:
        self.code = DONE
        self.error: dict[str, Any] = {}

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Errors and stops end here, and become messages."""
        try:
            with STOPS.armed():
                yield
        except UploaderError as error:
            self._end(USAGE if exit_code(error) == USAGE else FAILED, error, str(error))
        except OSError as error:  # no upload raises one: the temporary directory is full, or read-only
            self._end(FAILED, error, f"{error.strerror or error}: {error.filename or tempfile.gettempdir()}")
        except KeyboardInterrupt as error:
            self._end(TERMINATED if isinstance(error, Terminated) else INTERRUPTED, error, "stopped")

    def _end(self, code: int, error: BaseException, message: str) -> None:
        self.code = code
        upload_id = error.upload_id if isinstance(error, UploaderError) else None
        self.error = error_fields(type(error).__name__, message, upload_id, resumable=False)
        say(message)


def run(wanted: Wanted) -> int:
    """Do what is wanted; the exit code."""
    ending = Ending()
    bench: Bench | None = None
    with ending.caught():
        bench = Bench(wanted.grid())
        _prepare(wanted, bench.grid)
        _measure(wanted, bench)
    with STOPS.deferred():
        return _tell(wanted, bench, ending)


def _prepare(wanted: Wanted, grid: Grid) -> None:
    """Say what is about to be done, and make sure that it is meant.

    Raises:
        InputError: it is not, or cannot be done.
    """
    if wanted.plot:
        check_figure(wanted.plot)
    for setting in grid.left_out:
        say(f"left out, {size_text(grid.size)} has too few parts: {setting}")
    amount = (
        f"{_count(grid.uploads)} of {human_size(grid.size)}, {human_size(grid.uploads * grid.size)} in all"
    )
    if wanted.local:
        say(f"{amount}, to an embedded service")
        return
    with Uploader(project_id=wanted.project_id) as uploader:
        say(f"{amount}, of random bytes, to {_place(uploader)}")
    say(f"each remains there, as a model named {_NAME}")
    if not (wanted.yes or _agreed()):
        raise InputError("not agreed to: nothing was sent")


def _place(uploader: Uploader) -> str:
    return f"{uploader.base_url}, project {uploader.project_id}" if uploader.project_id else uploader.base_url


def _agreed() -> bool:
    """Ask. Not by `click.confirm`, which would make a Ctrl-C an Abort.

    Raises:
        InputError: nobody is there to answer.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nobody is there to agree to that: say --yes; nothing was sent")
    click.echo("Go on? [y/N] ", nl=False, err=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _measure(wanted: Wanted, bench: Bench) -> None:
    with tempfile.TemporaryDirectory(prefix="uploader-bench-", ignore_cleanup_errors=True) as folder:
        state = Path(folder) / "state"
        opener = embedded(state) if wanted.local else account(state, wanted.project_id)
        file = make_sample(Path(folder) / _NAME, bench.grid.size)
        terminal = sys.stderr is not None and sys.stderr.isatty()
        watcher = Live(bench.grid) if terminal else Lines(bench.grid)
        try:
            bench.run(file, opener, watcher)
        finally:
            with STOPS.deferred():
                watcher.close()


def _tell(wanted: Wanted, bench: Bench | None, ending: Ending) -> int:
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
        click.echo(line)


def _can_say(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _remaining(bench: Bench) -> None:
    """What the account is left with."""
    done = len(bench.measured)
    said = f"{_count(done)} remain{'s' * (done == 1)} in the account, as models named {_NAME}"
    more = bench.created - done
    say(f"{said}; {more} more begun, and not completed" if more else said)


def _count(uploads: int) -> str:
    return f"{uploads} upload{'s' * (uploads != 1)}"


def _draw(path: Path, grid: Grid, cells: Sequence[Cell], place: str) -> int:
    """Make the picture; the exit code."""
    try:
        save_figure(path, grid, cells, place)
    except OSError as error:
        say(f"the plot cannot be written: {error.strerror or error}: {path}")
        return FAILED
    say(printable(f"the plot is in {path}"))
    return DONE
