"""`uploader bench`: asks, measures, and has it told."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import click

from uploader.bench.ending import Ending
from uploader.bench.figure import check_figure
from uploader.bench.grid import Grid, size_text
from uploader.bench.measuring import NAME, Bench, account, embedded
from uploader.bench.screen import Lines, Live
from uploader.bench.table import count
from uploader.bench.telling import conclude
from uploader.bench.wanted import Wanted
from uploader.client import Uploader
from uploader.errors import InputError
from uploader.observe.stops import STOPS
from uploader.observe.text import human_size
from uploader.sample import make_sample
from uploader.saying import say


def run(wanted: Wanted) -> int:
    """Do what is wanted; the exit code."""
    ending = Ending()
    bench: Bench | None = None
    with ending.caught(), STOPS.armed():
        bench = Bench(wanted.grid())
        _prepare(wanted, bench.grid)
        _measure(wanted, bench)
    with STOPS.deferred():
        return conclude(wanted, bench, ending)


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
        f"{count(grid.uploads)} of {human_size(grid.size)}, {human_size(grid.uploads * grid.size)} in all"
    )
    if wanted.local:
        say(f"{amount}, to an embedded service")
        return
    with Uploader(project_id=wanted.project_id) as uploader:
        say(f"{amount}, of random bytes, to {_place(uploader)}")
    say(f"each remains there, as a model named {NAME}")
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
        file = make_sample(Path(folder) / NAME, bench.grid.size)
        terminal = sys.stderr is not None and sys.stderr.isatty()
        watcher = Live(bench.grid) if terminal else Lines(bench.grid)
        try:
            bench.run(file, opener, watcher)
        finally:
            with STOPS.deferred():
                watcher.close()
