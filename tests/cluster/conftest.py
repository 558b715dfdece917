"""A Dask cluster of real processes, each started as its users start it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from distributed import Client

from tests.sending import MiB, uploading_over
from uploader import RetryPolicy, Uploader
from uploader.local import Service

QUICK = RetryPolicy(base=0.01, cap=0.05, poll_first=0.02, poll_cap=0.1)


@dataclass
class Cluster:
    """A scheduler and its workers.

    Attributes:
        address: the scheduler's.
        logs: a folder with what each said, at DEBUG.
        pages: where the scheduler's dashboard is.
    """

    address: str
    pages: str
    scheduler: subprocess.Popen[bytes]
    logs: Path
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, threads: int = 1, **environment: str) -> subprocess.Popen[bytes]:
        """Starts one, and waits until the scheduler knows it."""
        name = f"w{len(self.workers)}"
        arguments = (self.address, "--no-nanny", "--nthreads", str(threads), "--name", name)
        flags = ("--host", "127.0.0.1", "--dashboard-address", "127.0.0.1:0")
        spot = ("--local-directory", str(self.logs / name))
        log = self.logs / f"{name}.log"
        self.workers.append(_start("worker", log, *arguments, *flags, *spot, **environment))
        said(log, r"Registered to:", self.workers[-1])
        return self.workers[-1]

    def kill(self) -> None:
        """End all that is left."""
        for process in [*self.workers, self.scheduler]:
            process.kill()
            process.wait()


def _start(what: str, log: Path, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {"DASK_LOGGING__DISTRIBUTED": "debug", "PYTHONUNBUFFERED": "1"} | environment
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"distributed.cli.dask_{what}", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )


def said(log: Path, pattern: str, process: subprocess.Popen[bytes]) -> str:
    """The first group of what a process says once it says it."""
    deadline = time.monotonic() + 30
    while not (found := re.search(pattern, log.read_text(errors="replace"))):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return found.group(found.lastindex or 0)


@contextmanager
def running(folder: Path, **environment: str) -> Iterator[Cluster]:
    """A cluster without workers, for a block."""
    log = folder / "scheduler.log"
    flags = ("--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0")
    scheduler = _start("scheduler", log, *flags, **environment)
    try:
        address = said(log, r"Scheduler at: +(tcp://\S+)", scheduler)
        pages = said(log, r"dashboard at: +(http://\S+?)/status", scheduler)
    except BaseException:
        scheduler.kill()
        scheduler.wait()
        raise
    cluster = Cluster(address, pages, scheduler, folder)
    try:
        yield cluster
    finally:
        cluster.kill()


@contextmanager
def with_workers(folder: Path) -> Iterator[Cluster]:
    """A cluster of two workers, for a block."""
    with running(folder) as it:
        it.add_worker()
        it.add_worker()
        yield it


Connect = Callable[[Cluster], Client]


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One of two workers with one thread each, for all tests here that leave it as it was."""
    with with_workers(tmp_path_factory.mktemp("cluster")) as it:
        yield it


@pytest.fixture
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The same for one test, to kill."""
    with with_workers(tmp_path_factory.mktemp("cluster")) as it:
        yield it


@pytest.fixture
def connect() -> Iterator[Connect]:
    """Connects to a cluster, as a user of Dask would."""
    with ExitStack() as stack:
        yield lambda it: stack.enter_context(Client(it.address, timeout=60, set_as_default=False))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of eight parts of 5 MiB, the last one short."""
    path = tmp_path / "weights.bin"
    path.write_bytes(os.urandom(36 * MiB))
    return path


def until(condition: Callable[[], object]) -> None:
    """Wait for something that is bound to happen."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


def parts_seen(service: Service) -> list[int | None]:
    """The part numbers of all PUTs that came in, those under way included."""
    return [it.part for it in (*service.requests, *service.under_way) if it.target == "part"]


def uploading(service: Service, client: Client) -> AbstractContextManager[Uploader]:
    """An uploader to that service whose parts go over a client's cluster."""
    return uploading_over(service, client.get_executor(), QUICK)
