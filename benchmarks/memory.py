"""The most memory an upload takes: of a large file, of a very large one, of 10,000 parts.

    python benchmarks/memory.py            # 16 in flight, 3 rounds: a minute and a half
    python benchmarks/memory.py --quick    # less of each, 1 round: does it work at all (for CI)

The files are sparse; what is sent of them is read, hashed and sent like any other, and the sink reads it.
Of the larger ones only the beginning is sent, or the end. What is measured and why: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from journals import PART_SIZE, make_journal
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
    make_sparse_file,
    running_sink,
    show,
    write_json,
)
from sink import UPLOAD_ID

GIB = 1 << 30
PARTS = 10_000

# No run takes this long (seconds) unless it hangs.
HANG = 120

# What is promised, in MB: a peak, and what 10,000 parts may cost more.
TARGET, MORE = 64, 40

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """An upload to watch; sizes in bytes.

    Attributes:
        part_size: None leaves it to the library.
        stop_at: how much is sent before it is ended; None goes on to its end.
        stored: parts that an earlier run has sent.
    """

    name: str
    size: int
    part_size: int | None = PART_SIZE
    stop_at: int | None = None
    stored: int = 0

    @property
    def parts(self) -> int:
        """How many there are."""
        return -(-self.size // (self.part_size or self.default_part_size))

    @property
    def default_part_size(self) -> int:
        """What the library chooses: at most 1,000 parts, in whole MiB, of at least 16."""
        return max(PART_SIZE, -(-self.size // (1000 * MIB)) * MIB)


def cases(quick: bool) -> list[Case]:
    """The first is what the others are compared with."""
    sent, more = (64 * MIB, 128 * MIB) if quick else (GIB, 8 * GIB)
    many = PARTS * PART_SIZE
    return [
        Case(f"{sent // MIB:,} MiB", sent),
        Case("200 GB, its beginning", 200 * 10**9, part_size=None, stop_at=more),
        Case("10,000 parts, the first", many, stop_at=sent),
        Case("10,000 parts, the last", many, stored=PARTS - sent // PART_SIZE),
    ]


def watch(case: Case, sink: Sink, concurrency: int, directory: Path) -> Sample:
    """Let a fresh process send the file, and hear what it took."""
    with tempfile.TemporaryDirectory(dir=directory) as place:
        path, state = Path(place, "checkpoint.safetensors"), Path(place, "state")
        make_sparse_file(path, case.size)
        if case.stored:
            make_journal(state, path, sink.base_url, f"{UPLOAD_ID}{case.parts}", case.stored)
        job = {"path": str(path), "base_url": sink.base_url, "concurrency": concurrency}
        told = _run(job | {"part_size": case.part_size, "stop_at": case.stop_at}, sink, state)
    expected = case.stop_at or case.size - case.stored * PART_SIZE
    if told["sent"] < expected:
        raise WrongRunError(f"{case.name}: {told['sent']:,} bytes were sent, not {expected:,}")
    return told


def _run(job: dict[str, Any], sink: Sink, state: Path) -> Sample:
    command = [sys.executable, str(HERE / "memory_client.py"), json.dumps(job)]
    surroundings = environment(sink.ca_file, state)
    child = subprocess.run(
        command, env=surroundings, stdout=subprocess.PIPE, text=True, check=False, timeout=HANG
    )
    if child.returncode:
        raise WrongRunError(f"the client failed with exit code {child.returncode}; its message is above")
    return dict(json.loads(child.stdout))


def run(args: argparse.Namespace, directory: Path) -> dict[Case, list[Sample]]:
    """All rounds: in each, every case has its turn."""
    samples: dict[Case, list[Sample]] = {case: [] for case in cases(args.quick)}
    with running_sink(directory, *["--plain"] * args.plain) as sink:
        for number in range(1, args.rounds + 1):
            for case, taken in samples.items():
                taken.append(watch(case, sink, args.concurrency, directory))
                told = f"round {number}/{args.rounds} {case.name}: {taken[-1]['peak'] / MB:.1f} MB"
                print(told, file=sys.stderr)
    return samples


def summarize(case: Case, taken: list[Sample], base: float) -> Row:
    """One row of the table: the worst of all rounds, beside the first case's."""
    peak = worst(taken)
    return {
        "case": case.name,
        "parts": case.parts,
        "part_mib": (case.part_size or case.default_part_size) / MIB,
        "sent_gb": max(it["sent"] for it in taken) / GB,
        "imported_mb": max(it["imported"] for it in taken) / MB,
        "least_mb": min(it["peak"] for it in taken) / MB,
        "peak_mb": peak,
        "more_mb": peak - base,
    }


def worst(taken: list[Sample]) -> float:
    """The highest peak, in MB."""
    return float(max(sample["peak"] for sample in taken) / MB)


COLUMNS = {
    "case": ("upload", "<24"),
    "parts": ("parts", ">6,.0f"),
    "part_mib": ("of MiB", ">6.0f"),
    "sent_gb": ("GB sent", ">7.2f"),
    "imported_mb": ("import MB", ">9.0f"),
    "least_mb": ("least peak", ">10.1f"),
    "peak_mb": ("peak MB", ">8.1f"),
    "more_mb": ("more", ">6.1f"),
}


def draw(path: Path, title: str, samples: dict[Case, list[Sample]]) -> None:
    """The memory held as bytes are sent, of each case's last round."""
    from plots import Line, lines

    courses = [
        Line(case.name, [(sent / GB, held / MB) for sent, held in taken[-1]["course"] if sent])
        for case, taken in samples.items()
    ]
    limits = {f"{TARGET} MB": TARGET, f"and {MORE} MB for 10,000 parts": TARGET + MORE}
    lines(path, title, "GB sent", "resident memory, MB", courses, limits)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The most memory an upload takes.")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--concurrency", type=int, default=16, help="parts in flight (default 16)")
    parser.add_argument("--plain", action="store_true", help="http instead of TLS")
    parser.add_argument("--quick", action="store_true", help="less of each, 1 round: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    if args.rounds < 1:
        parser.error("--rounds is a number from 1")
    if args.quick:
        args.rounds = 1
    return args


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        samples = run(args, Path(directory))
    base = worst(next(iter(samples.values())))
    rows = [summarize(case, taken, base) for case, taken in samples.items()]
    how = "plain http" if args.plain else "TLS"
    title = f"{args.concurrency} parts in flight over {how} on loopback, with MD5, {args.rounds} round(s)"
    show(f"{title}; targets: {TARGET} MB, and {MORE} MB more for 10,000 parts", COLUMNS, rows)
    write_json(args, rows, [{"case": asdict(case), "samples": taken} for case, taken in samples.items()])
    if args.plot:
        draw(args.plot, f"Memory: {title}", samples)


if __name__ == "__main__":
    sys.exit(ended(main))
