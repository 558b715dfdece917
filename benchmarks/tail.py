"""What one stalled part in 50 costs: an upload with it beside one without, in turns.

    python benchmarks/tail.py            # 50 parts at 30 MiB/s, 3 rounds: about two minutes
    python benchmarks/tail.py --quick    # 12 parts, 1 round: does it work at all (for CI)

The store is the embedded service, in this process, at a rate that all parts share as on a real link. Once per
upload it stops reading a part halfway, or never answers it, and holds the connection. What is measured and
why: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from rig import MIB, Row, WrongRunError, add_outputs, ended, make_sparse_file, show, write_json

from uploader import Uploader, events
from uploader.local import serve
from uploader.parameters import concurrency

PART_SIZE = 5 * MIB


@dataclass(frozen=True, slots=True)
class Sample:
    """One upload: seconds until `complete` was accepted, and which parts were sent again for what."""

    wall: float
    again: list[tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """What goes wrong in an upload: a part stalls, so often, and where."""

    part: int = 0
    at: str = ""
    times: int = 0

    @property
    def faults(self) -> list[str]:
        """In the fault language."""
        return [f"stall:part={self.part}:at={self.at}:times={self.times}"] if self.times else []

    @property
    def again(self) -> list[tuple[int, str]]:
        """What is to be sent again, and nothing else."""
        return [(self.part, "straggler")] * self.times


def kinds(parts: int) -> dict[str, Kind]:
    """What goes wrong in each kind of upload."""
    return {
        "none": Kind(),
        "an early part, halfway": Kind(parts // 10, "50%", 1),
        "a middle part, its answer": Kind(parts // 2, "answer", 1),
        "the last part, halfway": Kind(parts, "50%", 1),
        "the last part, its answer": Kind(parts, "answer", 1),
        "the same, twice": Kind(parts, "answer", 2),
    }


def upload(path: Path, kind: Kind, args: argparse.Namespace) -> Sample:
    """One upload to a service of its own; what became of its parts is that service's to check."""
    again: list[tuple[int, str]] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.PartRetrying):
            again.append((event.part.number, str(event.cause)))

    with serve(faults=kind.faults, rate=args.rate * MIB) as it, tempfile.TemporaryDirectory() as state:
        client = Uploader(base_url=it.base_url, api_key=it.api_key, api_secret=it.api_secret, state_dir=state)
        with client:
            began = time.monotonic()
            client.upload(
                path,
                kind="model",
                part_size=PART_SIZE,
                concurrency=args.concurrency,
                wait_for=None,
                progress=listen,
            )
            return Sample(time.monotonic() - began, again)


def run(args: argparse.Namespace, path: Path) -> dict[str, list[Sample]]:
    """All rounds: in each, every kind of upload has its turn."""
    make_sparse_file(path, args.parts * PART_SIZE)
    tried = kinds(args.parts)
    samples: dict[str, list[Sample]] = {name: [] for name in tried}
    for number in range(1, args.rounds + 1):
        for name, taken in samples.items():
            taken.append(upload(path, tried[name], args))
            said = f"{taken[-1].wall:.2f} s, sent again: {taken[-1].again or 'nothing'}"
            print(f"round {number}/{args.rounds} {name}: {said}", file=sys.stderr)
            if taken[-1].again != tried[name].again:
                raise WrongRunError(f"{name}: other parts were sent again than the one that stalled")
    return samples


def summarize(name: str, samples: dict[str, list[Sample]]) -> Row:
    """One row of the table: seconds, and the ratios to the upload of the same round without a stall."""
    walls = [sample.wall for sample in samples[name]]
    ratios = [mine / sample.wall for mine, sample in zip(walls, samples["none"], strict=True)]
    return {
        "stalled": name,
        "median": statistics.median(walls),
        "worst": max(walls),
        "ratio": statistics.median(ratios),
        "worst_ratio": max(ratios),
    }


COLUMNS = {
    "stalled": ("stalled", "<26"),
    "median": ("median s", ">9.2f"),
    "worst": ("worst s", ">8.2f"),
    "ratio": ("x none", ">7.2f"),
    "worst_ratio": ("worst", ">6.2f"),
}


def draw(path: Path, title: str, samples: dict[str, list[Sample]], rows: list[Row]) -> None:
    """The time of each kind of upload; a dot for each round."""
    from plots import Panel, bars

    median = {row["stalled"]: row["median"] for row in rows}
    dots = {name: [sample.wall for sample in taken] for name, taken in samples.items()}
    bars(path, title, [Panel("seconds until complete was accepted", median, dots)])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="An upload of which a part stalls, beside one without.")
    parser.add_argument("--parts", type=int, default=50, help="of 5 MiB each (default 50)")
    parser.add_argument("--rate", type=float, default=30.0, help="of the store, in MiB/s (default 30)")
    parser.add_argument("--concurrency", type=concurrency, default="auto", help="a number, or auto (default)")
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--quick", action="store_true", help="12 parts, 1 round: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    if args.quick:
        args.parts, args.rounds = 12, 1
    if args.parts < 10 or args.rounds < 1 or args.rate <= 0:
        parser.error("--parts is a number from 10, --rounds one from 1, --rate more than 0")
    return args


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        samples = run(args, Path(directory) / "checkpoint.safetensors")
    rows = [summarize(name, samples) for name in samples]
    title = f"{args.parts} parts of {PART_SIZE:,} bytes at {args.rate:g} MiB/s, {args.rounds} round(s)"
    show(title, COLUMNS, rows)
    write_json(args, rows, {name: [asdict(sample) for sample in taken] for name, taken in samples.items()})
    if args.plot:
        draw(args.plot, title, samples, rows)


if __name__ == "__main__":
    sys.exit(ended(main))
