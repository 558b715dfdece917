"""What an upload costs: this library beside the least that Python can do and its peers, in the same run.

    python benchmarks/throughput.py               # 1 GiB, 5 rounds, TLS, 8 parts of 16 MiB in flight: minutes
    python benchmarks/throughput.py --defaults    # each contender as it comes
    python benchmarks/throughput.py --quick       # 64 MiB, 1 round: does it work at all (for CI)

Every contender runs in a fresh process, so that CPU time and memory are its own, and the contenders take
turns, so that whatever else the machine does strikes them all alike. A peer that is not installed is left
out (`pip install '.[bench]'` installs them). What is measured and why: benchmarks/README.md.
This process imports little on purpose: a child's peak memory starts at its parent's.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import peers
from jobs import Job
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
    parse_size,
    running_sink,
    show,
    write_json,
)

# No transfer of a benchmark takes this long (seconds) unless it hangs.
HANG = 900


@dataclass(frozen=True, slots=True)
class Contender:
    """How a contender is compared.

    Attributes:
        floor: the floor that does the same work.
        part_size: its own default in bytes; 0 is the whole file.
        concurrency: its own default.
        fixed: it can do nothing else, whatever it is told.
    """

    floor: str = "floor"
    part_size: int = 16 * MIB
    concurrency: int | Literal["auto"] = 8
    fixed: bool = False


CONTENDERS = {
    "floor": Contender(),
    "floor+md5": Contender("floor+md5"),
    "uploader": Contender(concurrency="auto"),
    "uploader+md5": Contender("floor+md5", concurrency="auto"),
    "hf_transfer": Contender(concurrency=128),
    "obstore": Contender(part_size=5 * MIB, concurrency=12),
    "boto3": Contender(part_size=8 * MIB, concurrency=10),
    "s5cmd": Contender(part_size=50 * MIB, concurrency=5),
    "curl": Contender(part_size=0, concurrency=1, fixed=True),
    "guide": Contender(part_size=0, concurrency=1),
}

# What tells whether a peer is installed.
PEERS: dict[str, Callable[[], object]] = {
    "hf_transfer": lambda: find_spec("hf_transfer"),
    "obstore": lambda: find_spec("obstore"),
    "boto3": lambda: find_spec("boto3"),
    "s5cmd": peers.s5cmd_program,
    "curl": lambda: shutil.which("curl"),
    "guide": lambda: find_spec("requests"),
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One transfer: seconds and bytes. `sink_cpu` is what it cost the other side."""

    bytes: int
    wall: float
    user: float
    system: float
    imported: int
    peak: int
    sink_cpu: float

    @property
    def cpu_per_gb(self) -> float:
        """Client CPU seconds per 10^9 bytes."""
        return (self.user + self.system) / self.bytes * GB

    @property
    def gb_per_s(self) -> float:
        """10^9 bytes per second, from the first to the last."""
        return self.bytes / self.wall / GB


Samples = dict[str, list[Sample]]


def chosen(only: list[str] | None) -> list[str]:
    """Those to run: all, or those named with the floors they are compared with, if they are installed."""
    wanted = set(only or CONTENDERS)
    wanted |= {"floor", *(CONTENDERS[name].floor for name in wanted)}
    names = [name for name in CONTENDERS if name in wanted]
    missing = [name for name in names if name in PEERS and not PEERS[name]()]
    if missing:
        print(f"left out, not installed: {', '.join(missing)}", file=sys.stderr)
    return [name for name in names if name not in missing]


def make_job(name: str, args: argparse.Namespace, path: Path, sink: Sink) -> Job:
    """What a contender is to send, and how."""
    own, its = CONTENDERS[name], args.defaults or CONTENDERS[name].fixed
    return Job(
        path=str(path),
        base_url=sink.base_url,
        ca_file=sink.ca_file,
        size=args.size,
        part_size=(own.part_size or args.size) if its else args.part_size,
        concurrency=own.concurrency if its else 1 if name == "guide" else args.concurrency,
        defaults=args.defaults,
    )


def transfer(name: str, job: Job, sink: Sink, *, inside: tuple[str, ...] = ()) -> Sample:
    """Let one contender send the file, and make sure that the sink received it, once."""
    before = sink.report()
    child = subprocess.run(
        [*inside, sys.executable, str(HERE / "contenders.py"), name, json.dumps(asdict(job))],
        env=environment(sink.ca_file, Path(job.path).parent / "state"),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=HANG,
    )
    if child.returncode:
        raise WrongRunError(f"{name} failed with exit code {child.returncode}; its message is above")
    after, told = sink.report(), json.loads(child.stdout)
    _check(name, job, told["bytes"], {key: after[key] - before[key] for key in ("bytes", "parts")})
    return Sample(**told, sink_cpu=after["cpu"] - before["cpu"])


def _check(name: str, job: Job, told: int, received: dict[str, int]) -> None:
    expected = len(job.urls())
    if not received["bytes"] == told == job.size or received["parts"] != expected:
        raise WrongRunError(
            f"{name} was to send {job.size:,} bytes in {expected} parts, says {told:,}, "
            f"and the sink received {received['bytes']:,} in {received['parts']}"
        )


def run(args: argparse.Namespace, directory: Path) -> tuple[Samples, dict[str, Job]]:
    """All rounds: each lets every contender have its turn."""
    path = directory / "file.safetensors"
    make_random_file(path, args.size)
    with running_sink(directory, *["--plain"] * args.plain) as sink:
        jobs = {name: make_job(name, args, path, sink) for name in chosen(args.only)}
        samples: Samples = {name: [] for name in jobs}
        for number in range(1, args.rounds + 1):
            for name, taken in samples.items():
                taken.append(transfer(name, jobs[name], sink))
                told = f"round {number}/{args.rounds} {name}: {taken[-1].cpu_per_gb:.3f} CPU s/GB"
                print(f"{told}, {taken[-1].wall:.2f} s", file=sys.stderr)
    return samples, jobs


def summarize(name: str, samples: Samples, job: Job) -> Row:
    """One row of the table; memory is the worst seen."""
    taken = samples[name]
    costs = [sample.cpu_per_gb for sample in taken]
    return {
        "contender": name,
        "how": _how(job),
        "cpu_least": min(costs),
        "cpu_median": statistics.median(costs),
        "to_floor": _ratio(samples, name, "floor"),
        "to_floor_median": _median_ratio(samples, name, "floor"),
        "to_own_floor": _ratio(samples, name, CONTENDERS[name].floor),
        "wall": min(sample.wall for sample in taken),
        "gb_per_s": max(sample.gb_per_s for sample in taken),
        "imported_mb": max(sample.imported for sample in taken) / MB,
        "peak_mb": max(sample.peak for sample in taken) / MB,
        "sink_cpu_least": min(sample.sink_cpu / sample.bytes * GB for sample in taken),
    }


def _how(job: Job) -> str:
    """Parts in flight, and their size."""
    size = "whole" if job.part_size == job.size else f"{job.part_size / MIB:.0f} MiB"
    return f"{job.concurrency} x {size}"


def _ratio(samples: Samples, name: str, floor: str) -> float:
    """Least to least."""
    least = [min(sample.cpu_per_gb for sample in samples[which]) for which in (name, floor)]
    return least[0] / least[1]


def _median_ratio(samples: Samples, name: str, floor: str) -> float:
    """The median of the ratios within each round."""
    pairs = zip(samples[name], samples[floor], strict=True)
    return statistics.median(sample.cpu_per_gb / base.cpu_per_gb for sample, base in pairs)


COLUMNS = {
    "contender": ("contender", "<13"),
    "how": ("in flight", "<12"),
    "cpu_least": ("CPU s/GB", ">9.3f"),
    "cpu_median": ("median", ">7.3f"),
    "to_floor": ("x floor", ">8.2f"),
    "to_floor_median": ("median", ">7.2f"),
    "to_own_floor": ("x own", ">6.2f"),
    "wall": ("wall s", ">7.2f"),
    "gb_per_s": ("GB/s", ">6.2f"),
    "imported_mb": ("import MB", ">10.0f"),
    "peak_mb": ("peak MB", ">8.0f"),
    "sink_cpu_least": ("sink s/GB", ">10.2f"),
}


def draw(path: Path, title: str, samples: Samples, rows: list[Row]) -> None:
    """CPU, speed and memory of all contenders; a dot for each transfer."""
    from plots import bars, panels_of

    columns: list[tuple[str, str, str, Callable[[Sample], float]]] = [
        ("client CPU, seconds per GB (less is better)", "cpu_least", ".2f", lambda it: it.cpu_per_gb),
        ("GB/s, client and sink on one machine", "gb_per_s", ".2f", lambda it: it.gb_per_s),
        ("peak memory, MB (less is better)", "peak_mb", ",.0f", lambda it: it.peak / MB),
    ]
    bars(path, title, panels_of(rows, samples, columns))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU, time and memory of an upload, beside the floor.")
    parser.add_argument("--size", type=parse_size, default="1GiB", help="of the file (default 1GiB)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contender (default 5)")
    parser.add_argument("--concurrency", type=int, default=8, help="parts in flight (default 8)")
    parser.add_argument("--part-size", type=parse_size, default="16MiB", help="default 16MiB")
    parser.add_argument("--plain", action="store_true", help="http instead of TLS")
    parser.add_argument("--defaults", action="store_true", help="each contender as it comes")
    parser.add_argument("--quick", action="store_true", help="64 MiB, 1 round: only whether it works")
    parser.add_argument(
        "--only", nargs="+", choices=CONTENDERS, metavar="NAME", help="just these, and their floors"
    )
    add_outputs(parser)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds is a number from 1")
    if args.quick:
        args.size, args.rounds = 64 * MIB, 1
    return args


def describe(args: argparse.Namespace) -> str:
    """One line: what was sent, and how."""
    how = "plain http" if args.plain else "TLS"
    settings = "each as it comes"
    if not args.defaults:
        settings = f"{args.concurrency} parts of {args.part_size / MIB:.0f} MiB in flight"
    return f"{args.size / MIB:,.0f} MiB over {how} on loopback, {settings}, {args.rounds} round(s)"


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        samples, jobs = run(args, Path(directory))
    rows = [summarize(name, samples, job) for name, job in jobs.items()]
    show(describe(args), COLUMNS, rows)
    write_json(args, rows, {name: [asdict(sample) for sample in taken] for name, taken in samples.items()})
    if args.plot:
        draw(args.plot, describe(args), samples, rows)


if __name__ == "__main__":
    sys.exit(ended(main))
