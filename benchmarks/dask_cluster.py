"""A Dask cluster of real processes on this machine, each where it is told to be."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs.

    Attributes:
        inside: the command that runs another one there, if it takes one.
        address: of what listens there.
    """

    inside: tuple[str, ...] = ()
    address: str = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a client must know of one; no workers: there is none.

    Attributes:
        file: where the scheduler says how it is reached.
        scheduler: its process id.
        workers: theirs.
    """

    file: str = ""
    scheduler: int = 0
    workers: tuple[int, ...] = ()


@contextmanager
def running_cluster(
    directory: Path, hub: Place, sites: Sequence[Place], threads: int, surroundings: dict[str, str]
) -> Iterator[Cluster]:
    """Start a scheduler, and a worker of so many threads at each site; they need not have met yet."""
    file = directory / "scheduler.json"
    spot = ("--local-directory", str(directory / "dask"))
    with ExitStack() as stack:

        def start(what: str, place: Place, *options: str) -> int:
            command = [*place.inside, sys.executable, "-m", f"distributed.cli.dask_{what}"]
            process = _ended([*command, *_common(file, place), *options], surroundings)
            return stack.enter_context(process).pid

        scheduler = start("scheduler", hub, "--port", "0")
        workers = [start("worker", it, "--no-nanny", "--nthreads", str(threads), *spot) for it in sites]
        yield Cluster(str(file), scheduler, tuple(workers))
    file.unlink(missing_ok=True)


def _common(file: Path, place: Place) -> list[str]:
    pages = ("--dashboard-address", "127.0.0.1:0")
    return ["--scheduler-file", str(file), "--host", place.address, *pages]


@contextmanager
def _ended(command: list[str], surroundings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed in the end; it says but what is wrong."""
    own = surroundings | {"DASK_LOGGING__DISTRIBUTED": "warning"}
    with subprocess.Popen(command, env=own, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()
