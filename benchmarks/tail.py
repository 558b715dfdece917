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

from rig import MIB, Row, WrongRunError, add_outputs, make_sparse_file, show, write_json

from uploader import Uploader, UploaderError, events
from uploader.local import serve

PART_SIZE = 5 * MIB


@dataclass(frozen=True, slots=True)
class Sample:
    """One upload: seconds until `complete` was accepted, and why parts were sent again."""

    wall: float
    causes: list[str]


def stalls(parts: int) -> dict[str, list[str]]:
    """What goes wrong in each kind of upload, in the fault language."""
    return {
        "none": [],
        "an early part, halfway": [f"stall:part={parts // 10}:at=50%"],
        "a middle part, its answer": [f"stall:part={parts // 2}:at=answer"],
        "the last part, halfway": [f"stall:part={parts}:at=50%"],
    }


def upload(path: Path, faults: list[str], rate: float) -> Sample:
    """One upload to a service of its own; what became of its parts is that service's to check."""
    causes: list[str] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.PartRetrying):
            causes.append(str(event.cause))

    with serve(faults=faults, rate=rate) as it, tempfile.TemporaryDirectory() as state:
        client = Uploader(base_url=it.base_url, api_key=it.api_key, api_secret=it.api_secret, state_dir=state)
        with client:
            began = time.monotonic()
            client.upload(path, kind="model", part_size=PART_SIZE, wait_for=None, progress=listen)
            return Sample(time.monotonic() - began, causes)


def run(args: argparse.Namespace, path: Path) -> dict[str, list[Sample]]:
    """All rounds: in each, every kind of upload has its turn."""
    make_sparse_file(path, args.parts * PART_SIZE)
    kinds = stalls(args.parts)
    samples: dict[str, list[Sample]] = {name: [] for name in kinds}
    for number in range(1, args.rounds + 1):
        for name, taken in samples.items():
            taken.append(upload(path, kinds[name], args.rate * MIB))
            said = f"{taken[-1].wall:.2f} s, sent again: {', '.join(taken[-1].causes) or 'nothing'}"
            print(f"round {number}/{args.rounds} {name}: {said}", file=sys.stderr)
            if len(taken[-1].causes) < len(kinds[name]):
                raise WrongRunError(f"{name}: the part that stalled was not sent again")
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
    parser.add_argument("--rounds", type=int, default=3, help="default 3")
    parser.add_argument("--quick", action="store_true", help="12 parts, 1 round: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    if args.quick:
        args.parts, args.rounds = 12, 1
    if args.parts < 10 or args.rounds < 1 or args.rate <= 0:
        parser.error("--parts is a number from 10, --rounds one from 1, --rate more than 0")
    return args


def main() -> int:
    args = parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
            samples = run(args, Path(directory) / "checkpoint.safetensors")
    except (WrongRunError, UploaderError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [summarize(name, samples) for name in samples]
    title = f"{args.parts} parts of {PART_SIZE:,} bytes at {args.rate:g} MiB/s, {args.rounds} round(s)"
    show(title, COLUMNS, rows)
    write_json(args, rows, {name: [asdict(sample) for sample in taken] for name, taken in samples.items()})
    if args.plot:
        draw(args.plot, title, samples, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
