"""One file by the workers of a Dask cluster, beside the threads of one process, in turns.

    python benchmarks/cluster.py                    # 1 GiB on loopback, 5 rounds: two minutes
    python benchmarks/cluster.py --setting parts    # 1,000 small parts: what one costs
    python benchmarks/cluster.py --setting links    # each worker over a link of its own (Linux, root)
    python benchmarks/cluster.py --quick            # 64 MiB, 1 round: does it work at all (for CI)

Scheduler, workers and coordinator are processes of their own, and new ones for each upload. Their CPU time is
read from the clocks that the system keeps for each process: Linux only. What is measured and why:
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import shaping
from dask_cluster import Cluster, Place, running_cluster
from jobs import Job
from links import STORE, Link, inside, shaped, site
from rig import (
    GB,
    HERE,
    MB,
    MIB,
    Row,
    Sink,
    WrongRunError,
    add_outputs,
    ended,
    environment,
    make_random_file,
    make_sparse_file,
    running_sink,
    show,
    write_json,
)

# No upload takes this long (seconds) unless it hangs.
HANG = 300


@dataclass(frozen=True, slots=True)
class Setting:
    """What is sent, and over what.

    Attributes:
        size: of the file, in bytes.
        link: each worker's, and that of the process with the threads; None: all share loopback.
        sparse: the file takes no room.
        rounds: turns, unless told otherwise.
    """

    size: int
    part_size: int
    rounds: int
    link: Link | None = None
    sparse: bool = True


SETTINGS = {
    "loopback": Setting(1024 * MIB, 16 * MIB, rounds=5, sparse=False),
    "parts": Setting(5000 * MIB, 5 * MIB, rounds=2),
    "links": Setting(400 * MIB, 5 * MIB, rounds=1, link=Link(100, 20, mtu=9000)),
}
QUICK = Setting(64 * MIB, 8 * MIB, rounds=1)

# Contenders by their workers; 0 is none: threads of the coordinator.
WORKERS = (0, 1, 2, 4)

# Parts in flight, in all: of n workers each has an nth of as many threads.
CONCURRENCY = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """One upload: seconds and bytes; CPU seconds and the most memory held, by who.

    Attributes:
        wall: of the whole call.
        sending: from the first part's start to the last one's acknowledgement.
        idle: CPU seconds of all in a second in which nothing was sent.
        worker_peak: of the worker that held most.
    """

    bytes: int
    parts: int
    wall: float
    sending: float
    idle: float
    coordinator: float
    scheduler: float
    workers: float
    coordinator_peak: int
    worker_peak: int

    @property
    def cpu(self) -> float:
        """CPU seconds of all."""
        return self.coordinator + self.scheduler + self.workers

    @property
    def mb_per_s(self) -> float:
        """10^6 bytes per second while parts were sent."""
        return self.bytes / self.sending / MB

    def per_gb(self, seconds: float) -> float:
        """Seconds per 10^9 bytes."""
        return seconds / self.bytes * GB


Samples = dict[int, list[Sample]]


def name(workers: int) -> str:
    """What a contender is called."""
    return f"{workers} worker{'s' * (workers > 1)}" if workers else f"{CONCURRENCY} threads"


@contextmanager
def ground(link: Link | None, sites: int) -> Iterator[tuple[Place, list[Place]]]:
    """Where the store and the scheduler are, and the sites, each over a link of its own if there is one."""
    if link is None:
        yield Place(), [Place()] * sites
        return
    with shaped(link, sites):
        near = [Place(inside(site(number)), shaping.ends(number)[0]) for number in range(sites)]
        yield Place(inside(STORE), shaping.TO), near


@dataclass(frozen=True, slots=True)
class Work:
    """What every contender is to do: send the file at `path`, checked so or not."""

    setting: Setting
    verify: str
    path: Path

    @property
    def warm_up(self) -> Path:
        """The file that is sent first: one part for each in flight."""
        return self.path.with_name("warm-up.safetensors")

    def make_files(self) -> None:
        """Both files, in the page cache: or whoever is first would pay for bringing them there."""
        size, part_size = self.setting.size, self.setting.part_size
        (make_sparse_file if self.setting.sparse else make_random_file)(self.path, size)
        make_sparse_file(self.warm_up, CONCURRENCY * part_size)
        with self.path.open("rb", buffering=0) as file:
            while file.read(MIB):
                pass

    def surroundings(self, sink: Sink) -> dict[str, str]:
        """The environment of all who take part."""
        return environment(sink.ca_file, self.path.parent / "state")

    def job(self, sink: Sink) -> Job:
        """The coordinator's."""
        return Job(
            path=str(self.path),
            base_url=sink.base_url,
            ca_file=sink.ca_file,
            size=self.setting.size,
            part_size=self.setting.part_size,
            concurrency=CONCURRENCY,
            defaults=False,
        )


def upload(workers: int, work: Work) -> Sample:
    """One upload, by processes that are all new, over links that are."""
    directory = work.path.parent
    with (
        ground(work.setting.link, max(workers, 1)) as (hub, sites),
        running_sink(directory, "--address", hub.address, inside=hub.inside) as sink,
    ):
        if not workers:
            return transfer(work, sink, Cluster(), sites[0])
        threads = CONCURRENCY // workers
        with running_cluster(directory, hub, sites, threads, work.surroundings(sink)) as cluster:
            return transfer(work, sink, cluster, hub)


def transfer(work: Work, sink: Sink, cluster: Cluster, coordinator: Place) -> Sample:
    """Let the coordinator send the file, and make sure that the sink received it, once."""
    job = work.job(sink)
    told = {
        "job": asdict(job),
        "cluster": asdict(cluster),
        "verify": work.verify,
        "warm_up": str(work.warm_up),
    }
    child = subprocess.run(
        [*coordinator.inside, sys.executable, str(HERE / "cluster_client.py"), json.dumps(told)],
        env=work.surroundings(sink),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=HANG,
    )
    if child.returncode:
        raise WrongRunError(f"the upload failed with exit code {child.returncode}; its message is above")
    parts = len(job.urls())
    _check(sink, job.size + work.warm_up.stat().st_size, parts + CONCURRENCY)
    return Sample(job.size, parts, **json.loads(child.stdout))


def _check(sink: Sink, size: int, parts: int) -> None:
    received = sink.report()
    if received["bytes"] != size or received["parts"] != parts:
        raise WrongRunError(
            f"{size:,} bytes were to come in {parts} parts, "
            f"and the sink received {received['bytes']:,} in {received['parts']}"
        )


def run(args: argparse.Namespace, setting: Setting, directory: Path) -> Samples:
    """All rounds: in each, every contender has its turn."""
    work = Work(setting, args.verify, directory / "file.safetensors")
    work.make_files()
    samples: Samples = {workers: [] for workers in args.workers}
    for number in range(1, args.rounds + 1):
        for workers, taken in samples.items():
            taken.append(it := upload(workers, work))
            told = f"{it.per_gb(it.cpu):.3f} CPU s/GB, {it.mb_per_s:.1f} MB/s"
            print(f"round {number}/{args.rounds} {name(workers)}: {told}", file=sys.stderr)
    return samples


def summarize(workers: int, samples: Samples) -> Row:
    """One row of the table; who used the CPU is of the upload that used least, memory the worst seen."""
    taken, base = samples[workers], samples[0]
    least, least_base = (min(some, key=lambda it: it.cpu) for some in (taken, base))
    pairs = list(zip(taken, base, strict=True))
    return {
        "contender": name(workers),
        "cpu_least": least.per_gb(least.cpu),
        "cpu_median": statistics.median(it.per_gb(it.cpu) for it in taken),
        "to_threads": least.cpu / least_base.cpu,
        "to_threads_median": statistics.median(it.cpu / beside.cpu for it, beside in pairs),
        "coordinator": least.per_gb(least.coordinator),
        "scheduler": least.per_gb(least.scheduler),
        "workers": least.per_gb(least.workers),
        "ms_per_part": statistics.median((it.cpu - beside.cpu) / it.parts for it, beside in pairs) * 1e3,
        "idle_percent": statistics.median(it.idle for it in taken) * 100,
        "mb_per_s": statistics.median(it.mb_per_s for it in taken),
        "speed": statistics.median(it.mb_per_s / beside.mb_per_s for it, beside in pairs),
        "wall": min(it.wall for it in taken),
        "coordinator_mb": max(it.coordinator_peak for it in taken) / MB,
        "worker_mb": max(it.worker_peak for it in taken) / MB,
    }


COLUMNS = {
    "contender": ("by", "<10"),
    "cpu_least": ("CPU s/GB", ">9.3f"),
    "cpu_median": ("median", ">7.3f"),
    "to_threads": ("x threads", ">9.2f"),
    "to_threads_median": ("median", ">7.2f"),
    "coordinator": ("coordinator", ">11.3f"),
    "scheduler": ("scheduler", ">9.3f"),
    "workers": ("workers", ">8.3f"),
    "ms_per_part": ("more ms/part", ">12.2f"),
    "idle_percent": ("idle %", ">6.1f"),
    "mb_per_s": ("MB/s", ">7.1f"),
    "speed": ("x speed", ">7.2f"),
    "wall": ("wall s", ">7.2f"),
    "coordinator_mb": ("coord. MB", ">9.0f"),
    "worker_mb": ("worker MB", ">9.0f"),
}


def draw(path: Path, title: str, samples: Samples, rows: list[Row]) -> None:
    """CPU, speed and memory of all contenders; a dot for each upload."""
    from plots import bars, panels_of

    columns: list[tuple[str, str, str, Callable[[Sample], float]]] = [
        ("CPU of all, seconds per GB", "cpu_least", ".2f", lambda it: it.per_gb(it.cpu)),
        ("coordinator's CPU, seconds per GB", "coordinator", ".2f", lambda it: it.per_gb(it.coordinator)),
        ("MB/s while parts are sent", "mb_per_s", ",.0f", lambda it: it.mb_per_s),
        ("coordinator's peak memory, MB", "coordinator_mb", ",.0f", lambda it: it.coordinator_peak / MB),
        ("a worker's peak memory, MB", "worker_mb", ",.0f", lambda it: it.worker_peak / MB),
    ]
    named = {name(workers): taken for workers, taken in samples.items()}
    bars(path, title, panels_of(rows, named, columns))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One file by a cluster's workers, beside threads.")
    parser.add_argument("--setting", choices=SETTINGS, default="loopback", help="default loopback")
    parser.add_argument(
        "--rounds", type=int, help="turns of every contender (default: as the setting has it)"
    )
    parser.add_argument("--verify", choices=("none", "md5"), default="none", help="default none")
    parser.add_argument("--quick", action="store_true", help="64 MiB, 1 round: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    if sys.platform != "linux":
        parser.error("other processes' CPU time can be read on Linux only")
    if not find_spec("distributed"):
        parser.error("needs Dask: pip install '.[dask]'")
    args.workers = WORKERS[:3] if args.quick else WORKERS
    if args.rounds is None or args.quick:
        args.rounds = (QUICK if args.quick else SETTINGS[args.setting]).rounds
    if args.rounds < 1:
        parser.error("--rounds is a number from 1")
    return args


def describe(setting: Setting, args: argparse.Namespace) -> str:
    """One line: what was sent, and how."""
    over = "loopback"
    if setting.link:
        over = f"links of {setting.link.rate:g} Mbit/s, {setting.link.delay:g} ms"
    size, part, md5 = setting.size / MIB, setting.part_size / MIB, " with MD5" * (args.verify == "md5")
    return (
        f"{size:,.0f} MiB in parts of {part:g} MiB{md5}, {CONCURRENCY} in flight in all, "
        f"over TLS on {over}, {args.rounds} round(s)"
    )


def main() -> None:
    args = parse_args()
    setting = QUICK if args.quick else SETTINGS[args.setting]
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        samples = run(args, setting, Path(directory))
    rows = [summarize(workers, samples) for workers in samples]
    show(describe(setting, args), COLUMNS, rows)
    write_json(
        args, rows, {name(workers): [asdict(it) for it in taken] for workers, taken in samples.items()}
    )
    if args.plot:
        draw(args.plot, describe(setting, args), samples, rows)


if __name__ == "__main__":
    sys.exit(ended(main))
