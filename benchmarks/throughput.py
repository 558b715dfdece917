"""What an upload costs: this library beside the least that Python can do, in the same run.

    python benchmarks/throughput.py            # 1 GiB, 5 rounds, TLS: about two minutes
    python benchmarks/throughput.py --quick    # 64 MiB, 1 round: does it work at all (for CI)

Every contender runs in a fresh process, so that CPU time and memory are its own, and the contenders take
turns, so that whatever else the machine does strikes them all alike. What is measured and why:
benchmarks/README.md.
This process imports little on purpose: a child's peak memory starts at its parent's.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
GB = 1e9
MB = 1e6

# Each contender, and the floor that does the same work.
CONTENDERS = {
    "floor": "floor",
    "floor+md5": "floor+md5",
    "uploader": "floor",
    "uploader+md5": "floor+md5",
}

# No transfer of a benchmark takes this long (seconds) unless it hangs.
HANG = 900


class WrongRunError(Exception):
    """A contender failed, or moved other bytes than it should have."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One transfer: seconds and bytes. `sink_cpu` is what it cost the other side."""

    bytes: int
    wall: float
    user: float
    system: float
    imported: int
    peak: int
    growth: int
    sink_cpu: float

    @property
    def cpu_per_gb(self) -> float:
        """Client CPU seconds per 10^9 bytes."""
        return (self.user + self.system) / self.bytes * GB


Samples = dict[str, list[Sample]]


class Sink:
    """The sink's process, as seen from here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        hello = self._line()
        self.base_url: str = hello["base_url"]
        self.ca_file: str = hello["ca_file"]

    def report(self) -> dict[str, Any]:
        """What it received and spent since it started."""
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise WrongRunError("the sink ended; its message is above")
        return dict(json.loads(line))


@contextmanager
def running_sink(directory: Path, *options: str, inside: tuple[str, ...] = ()) -> Iterator[Sink]:
    """Start the sink, by the command `inside` if any; it ends when its input is closed."""
    command = [*inside, sys.executable, str(HERE / "sink.py"), str(directory), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Sink(process)


def make_file(path: Path, size: int) -> None:
    """Random bytes, written out to the disk, and still in the page cache when they are read."""
    with path.open("wb") as file:
        for offset in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - offset)))
        file.flush()
        os.fsync(file.fileno())


def environment(ca_file: str) -> dict[str, str]:
    """A contender's environment: it trusts the sink and knows no proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return kept | ({"SSL_CERT_FILE": ca_file} if ca_file else {})


def transfer(name: str, job: dict[str, Any], sink: Sink, *, inside: tuple[str, ...] = ()) -> Sample:
    """Let one contender send the file, and make sure that the sink received it, once."""
    before = sink.report()
    command = [*inside, sys.executable, str(HERE / "contenders.py"), name, json.dumps(job)]
    child = subprocess.run(
        command, env=environment(sink.ca_file), stdout=subprocess.PIPE, text=True, check=False, timeout=HANG
    )
    if child.returncode:
        raise WrongRunError(f"{name} failed with exit code {child.returncode}; its message is above")
    after, told = sink.report(), json.loads(child.stdout)
    received = after["bytes"] - before["bytes"]
    parts = after["parts"] - before["parts"]
    expected = -(-job["size"] // job["part_size"])
    if not received == told["bytes"] == job["size"] or parts != expected:
        raise WrongRunError(
            f"{name} was to send {job['size']:,} bytes in {expected} parts, says {told['bytes']:,}, "
            f"and the sink received {received:,} in {parts}"
        )
    return Sample(**told, sink_cpu=after["cpu"] - before["cpu"])


def run(args: argparse.Namespace, directory: Path) -> Samples:
    """All rounds: each lets every contender have its turn."""
    path = directory / "file.safetensors"
    make_file(path, args.size)
    samples: Samples = {name: [] for name in CONTENDERS}
    with running_sink(directory, *(["--plain"] if args.plain else [])) as sink:
        job = {
            "path": str(path),
            "base_url": sink.base_url,
            "size": args.size,
            "part_size": args.part_size,
            "concurrency": args.concurrency,
        }
        for number in range(1, args.rounds + 1):
            for name, taken in samples.items():
                taken.append(transfer(name, job, sink))
                told = f"round {number}/{args.rounds} {name}: {taken[-1].cpu_per_gb:.3f} CPU s/GB"
                print(f"{told}, {taken[-1].wall:.2f} s", file=sys.stderr)
    return samples


def summarize(name: str, samples: Samples) -> dict[str, Any]:
    """One row of the table; memory is the worst seen."""
    taken = samples[name]
    costs = [sample.cpu_per_gb for sample in taken]
    wall = min(sample.wall for sample in taken)
    return {
        "contender": name,
        "cpu_least": min(costs),
        "cpu_median": statistics.median(costs),
        "to_floor": _ratio(samples, name, "floor"),
        "to_floor_median": _median_ratio(samples, name, "floor"),
        "to_own_floor": _ratio(samples, name, CONTENDERS[name]),
        "wall": wall,
        "gb_per_s": taken[0].bytes / wall / GB,
        "imported_mb": max(sample.imported for sample in taken) / MB,
        "peak_mb": max(sample.peak for sample in taken) / MB,
        "growth_mb": max(sample.growth for sample in taken) / MB,
        "sink_cpu_least": min(sample.sink_cpu / sample.bytes * GB for sample in taken),
    }


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
    "cpu_least": ("CPU s/GB", ">9.3f"),
    "cpu_median": ("median", ">7.3f"),
    "to_floor": ("x floor", ">8.2f"),
    "to_floor_median": ("median", ">7.2f"),
    "to_own_floor": ("x own", ">6.2f"),
    "wall": ("wall s", ">7.2f"),
    "gb_per_s": ("GB/s", ">6.2f"),
    "imported_mb": ("import MB", ">10.0f"),
    "peak_mb": ("peak MB", ">8.0f"),
    "growth_mb": ("growth", ">7.0f"),
    "sink_cpu_least": ("sink s/GB", ">10.2f"),
}


def table(columns: dict[str, tuple[str, str]], rows: list[dict[str, Any]]) -> str:
    """The rows under their headings, as Markdown; a column is its heading and format."""
    widths = {key: form.split(".")[0].removesuffix("f") for key, (_, form) in columns.items()}
    head = [format(title, widths[key]) for key, (title, _) in columns.items()]
    rule = [
        "-" * (len(cell) - 1) + (":" if ">" in widths[key] else "-")
        for key, cell in zip(columns, head, strict=True)
    ]
    body = [[format(row[key], form) for key, (_, form) in columns.items()] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": os.cpu_count(),
        "cpu": cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "date": datetime.now(UTC).date().isoformat(),
    }


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.*)$", known, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def parse_size(text: str) -> int:
    """Bytes of a size such as 16MiB or 1GiB."""
    found = re.fullmatch(r"(\d+)\s*([KMG]i?B)?", text.strip(), re.IGNORECASE)
    if not found or not int(found.group(1)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 16MiB")
    unit = (found.group(2) or "").lower()
    base = 1024 if "i" in unit else 1000
    power = " kmg".index(unit[0]) if unit else 0
    return int(int(found.group(1)) * base**power)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU, time and memory of an upload, beside the floor.")
    parser.add_argument("--size", type=parse_size, default="1GiB", help="of the file (default 1GiB)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contender (default 5)")
    parser.add_argument("--concurrency", type=int, default=8, help="parts in flight (default 8)")
    parser.add_argument("--part-size", type=parse_size, default="16MiB", help="default 16MiB")
    parser.add_argument("--plain", action="store_true", help="http instead of TLS")
    parser.add_argument("--quick", action="store_true", help="64 MiB, 1 round: only whether it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds is a number from 1")
    if args.quick:
        args.size, args.rounds = 64 * MIB, 1
    return args


def describe(args: argparse.Namespace) -> str:
    """One line: what was sent, and how."""
    how = "plain http" if args.plain else "TLS"
    return (
        f"{args.size:,} bytes over {how} on loopback, parts of {args.part_size:,}, "
        f"{args.concurrency} in flight, {args.rounds} round(s)"
    )


def main() -> int:
    args = parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
            samples = run(args, Path(directory))
    except (WrongRunError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [summarize(name, samples) for name in samples]
    about = machine()
    print(
        f"{describe(args)}\n\n{table(COLUMNS, rows)}\n\n" + " · ".join(f"{k} {v}" for k, v in about.items())
    )
    if args.json:
        raw = {name: [asdict(sample) for sample in taken] for name, taken in samples.items()}
        options = {key: value for key, value in vars(args).items() if key != "json"}
        args.json.write_text(json.dumps({"machine": about, "options": options, "rows": rows, "samples": raw}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
