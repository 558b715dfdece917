"""Many small files: one `uploader upload` for all of them beside a process for each.

    python benchmarks/small_files.py            # 200 files of 1 MiB, 1 round: two to three minutes
    python benchmarks/small_files.py --quick    # 4 files: does it work at all (for CI)

The embedded service is a process of its own (`uploader serve`), and gets every file twice: once from a single
command, once from as many as there are files. What is measured and why: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from rig import (
    MB,
    Row,
    WrongRunError,
    add_outputs,
    ended,
    environment,
    make_random_file,
    parse_size,
    show,
    write_json,
)
from usage import Cpu

# No command takes this long (seconds) unless it hangs.
HANG = 600


@dataclass(frozen=True, slots=True)
class Sample:
    """What it took to have all files validated: seconds; CPU is the clients', not the service's."""

    wall: float
    cpu: float


Samples = dict[str, list[Sample]]
Way = Callable[[list[Path], dict[str, str]], None]


@contextmanager
def running_service(directory: Path) -> Iterator[dict[str, str]]:
    """Start the embedded service; the environment that leads the command there."""
    command = [sys.executable, "-m", "uploader", "serve", "--port", "0", "--dir", str(directory / "service")]
    own = environment("", directory / "state")
    with subprocess.Popen(command, env=own, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield own | _settings(process)
        finally:
            process.terminate()


def _settings(process: subprocess.Popen[str]) -> dict[str, str]:
    """What the service prints first: lines for a shell, one for each variable."""
    assert process.stdout
    settings: dict[str, str] = {}
    for line in process.stdout:
        _, _, assignment = line.partition("export ")
        name, _, value = assignment.strip().partition("=")
        settings |= {name: "".join(shlex.split(value))} if name else {}
        if "SCENARIO_SDK_API_SECRET" in settings and "SCENARIO_BASE_URL" in settings:
            return settings
    raise WrongRunError("the service ended; its message is above")


def make_files(directory: Path, count: int, size: int) -> list[Path]:
    """So many different files; their extension is one that nobody looks into."""
    paths = [directory / f"file-{number:03}.bin" for number in range(1, count + 1)]
    for path in paths:
        make_random_file(path, size)
    return paths


def one_call(files: list[Path], surroundings: dict[str, str]) -> None:
    """One command for all files."""
    upload(files, surroundings)


def one_process_each(files: list[Path], surroundings: dict[str, str]) -> None:
    """A command for each, one after the other, as a shell's loop has it."""
    for path in files:
        upload([path], surroundings)


WAYS: dict[str, Way] = {"one process per file": one_process_each, "one uploader call": one_call}


def upload(files: list[Path], surroundings: dict[str, str]) -> None:
    """Let the command send files, and make sure that it says they are validated."""
    command = [sys.executable, "-m", "uploader", "upload", "--kind", "model", "--json", "--quiet"]
    child = subprocess.run(
        [*command, *map(str, files)],
        env=surroundings,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=HANG,
    )
    if child.returncode:
        raise WrongRunError(f"uploader failed with exit code {child.returncode}; its message is above")
    told = json.loads(child.stdout)
    uploads = told.get("uploads", [told])
    done = [it for it in uploads if it["status"] in ("validated", "imported", "complete")]
    if len(done) != len(files):
        raise WrongRunError(f"{len(done)} of {len(files)} files were validated")


def measure(way: Way, files: list[Path], surroundings: dict[str, str]) -> Sample:
    """Let all files be uploaded in one of the ways."""
    before, started = Cpu.now(), time.perf_counter()
    way(files, surroundings)
    wall, after = time.perf_counter() - started, Cpu.now()
    return Sample(wall, after.user + after.system - before.user - before.system)


def run(args: argparse.Namespace, directory: Path) -> Samples:
    """All rounds: each way has its turn."""
    files = make_files(directory, args.files, args.size)
    samples: Samples = {name: [] for name in WAYS}
    with running_service(directory) as surroundings:
        upload(files[:1], surroundings)  # what the service does but once is nobody's
        for number in range(1, args.rounds + 1):
            for name, taken in samples.items():
                taken.append(measure(WAYS[name], files, surroundings))
                print(f"round {number}/{args.rounds} {name}: {taken[-1].wall:.1f} s", file=sys.stderr)
    return samples


def summarize(name: str, samples: Samples, args: argparse.Namespace) -> Row:
    """One row of the table; the least of all rounds."""
    least = {which: min(sample.wall for sample in taken) for which, taken in samples.items()}
    return {
        "way": name,
        "wall": least[name],
        "per_file": least[name] / args.files * 1000,
        "cpu_per_file": min(sample.cpu for sample in samples[name]) / args.files * 1000,
        "mb_per_s": args.files * args.size / least[name] / MB,
        "speed": least["one process per file"] / least[name],
    }


COLUMNS = {
    "way": ("way", "<20"),
    "wall": ("wall s", ">7.2f"),
    "per_file": ("ms per file", ">11.0f"),
    "cpu_per_file": ("CPU ms", ">7.0f"),
    "mb_per_s": ("MB/s", ">6.1f"),
    "speed": ("x speed", ">7.2f"),
}


def draw(path: Path, title: str, samples: Samples, rows: list[Row], files: int) -> None:
    """The time of each way; a dot for each round."""
    from plots import Panel, bars

    def dots(value: Callable[[Sample], float]) -> dict[str, list[float]]:
        return {name: [value(it) / files * 1000 for it in taken] for name, taken in samples.items()}

    wall = {row["way"]: row["per_file"] for row in rows}
    cpu = {row["way"]: row["cpu_per_file"] for row in rows}
    panels = [
        Panel("ms per file, until the service has validated it", wall, dots(lambda it: it.wall), ",.0f"),
        Panel("client CPU, ms per file", cpu, dots(lambda it: it.cpu), ",.0f"),
    ]
    bars(path, title, panels)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many small files in one call, beside a process for each.")
    parser.add_argument("--files", type=int, default=200, help="how many (default 200)")
    parser.add_argument("--size", type=parse_size, default="1MiB", help="of each (default 1MiB)")
    parser.add_argument("--rounds", type=int, default=1, help="turns of each way (default 1)")
    parser.add_argument("--quick", action="store_true", help="4 files, 1 round: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    if args.rounds < 1 or args.files < 1:
        parser.error("--rounds and --files are numbers from 1")
    if args.quick:
        args.files, args.rounds = 4, 1
    return args


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        samples = run(args, Path(directory))
    rows = [summarize(name, samples, args) for name in samples]
    title = f"{args.files} files of {args.size:,} bytes to the embedded service, {args.rounds} round(s)"
    show(title, COLUMNS, rows)
    write_json(args, rows, {name: [asdict(it) for it in taken] for name, taken in samples.items()})
    if args.plot:
        draw(args.plot, title, samples, rows, args.files)


if __name__ == "__main__":
    sys.exit(ended(main))
