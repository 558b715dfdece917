"""What `--concurrency auto` makes of a link: beside fixed counts, and when the rate changes on the way.

    python benchmarks/links.py                        # every link, 30 s a transfer: an hour and more
    python benchmarks/links.py --link 100/50 --counts 2,8 --plot figure.png
    python benchmarks/links.py --quick                # loopback, 64 MiB: only whether it works (CI)

Loopback is tried anywhere; the shaped links need Linux, root and /dev/net/tun. What is measured and why:
benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import shaping
from jobs import Job
from rig import (
    HERE,
    MIB,
    Row,
    Sink,
    WrongRunError,
    about,
    add_outputs,
    ended,
    make_sparse_file,
    running_sink,
    table,
    write_json,
)
from throughput import transfer

Count = int | Literal["auto"]

PART = 16 * MIB
COUNTS = (1, 2, 4, 8, 16, 32, 64)
STORE = f"links-{os.getpid()}-store"


@dataclass(frozen=True, slots=True)
class Link:
    """Mbit/s, and milliseconds one way; `then` is the rate from `after` seconds on.

    `mtu`: the most bytes of a packet, if it is not to be chosen by the rate.
    """

    rate: float
    delay: float
    then: float | None = None
    after: float = 0.0
    mtu: int | None = None

    def size(self, seconds: float) -> int:
        """Bytes of a file that takes about as long, in whole parts."""
        bits = self.rate * seconds
        if self.then is not None:
            bits = self.rate * self.after + self.then * (seconds - self.after)
        return max(2, round(bits * 1e6 / 8 / PART)) * PART

    @property
    def options(self) -> list[str]:
        """For `shaping.py`. Small packets cost it too much CPU at high rates."""
        changes = [] if self.then is None else ["--then", str(self.then), "--after", str(self.after)]
        mtu = self.mtu or (1500 if max(self.rate, self.then or 0) <= 100 else 9000)
        return ["--rate", str(self.rate), "--delay", str(self.delay), "--mtu", str(mtu), *changes]


# None: no link between the two, but the machine's own.
LINKS: dict[str, Link | None] = {
    "10/20": Link(10, 20),
    "100/50": Link(100, 50),
    "200/150": Link(200, 150),
    "1000/2": Link(1000, 2),
    "loopback": None,
}
CHANGES = {
    "100/50 halves": Link(100, 50, 50, 30),
    "100/50 doubles": Link(100, 50, 200, 30),
    "200/150 halves": Link(200, 150, 100, 30),
    "200/150 doubles": Link(200, 150, 400, 30),
}

# A changed link is to be full again within this many seconds, and is watched for ten more.
RECOVERY = 15
WATCHED = 10


@dataclass(slots=True)
class Shaped:
    """Links that are up; `delivered`, of the first, when they are down again: bytes in each second."""

    delivered: list[int]
    drops: int = 0


def site(number: int = 0) -> str:
    """The namespace at the near end of a link; the store is at the far end of all."""
    return f"links-{os.getpid()}-{number}"


@contextmanager
def shaped(link: Link, sites: int = 1) -> Iterator[Shaped]:
    """Set it up, for each site one of its own, and take it down."""
    near = [site(number) for number in range(sites)]
    command = [sys.executable, str(HERE / "shaping.py"), *near, STORE, *link.options]
    told = Shaped([])
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        if process.stdout.readline() != "ready\n":
            raise WrongRunError("the link could not be made; see above")
        try:
            yield told
        finally:
            process.stdin.close()
            last = json.loads(process.stdout.readline() or "{}")
    told.delivered, told.drops = last["delivered"][0], last["drops"]


def inside(name: str) -> tuple[str, ...]:
    """The command that runs another one in a namespace."""
    return ("ip", "netns", "exec", name)


def send(size: int, count: Count, sink: Sink, directory: Path, within: tuple[str, ...] = ()) -> float:
    """One transfer's goodput: bytes per second from the first call to the last answer."""
    path = directory / "file.safetensors"
    make_sparse_file(path, size)  # no disk is measured
    job = Job(
        path=str(path),
        base_url=sink.base_url,
        ca_file=sink.ca_file,
        size=size,
        part_size=PART,
        concurrency=count,
        defaults=False,
    )
    sample = transfer("uploader", job, sink, inside=within)
    return sample.bytes / sample.wall


def measure(link: Link | None, size: int, count: Count, directory: Path) -> tuple[float, Shaped]:
    """One transfer over a link of its own: goodput, and what the link saw."""
    if link is None:
        with running_sink(directory) as sink:
            return send(size, count, sink, directory), Shaped([])
    with (
        shaped(link) as seen,
        running_sink(directory, "--address", shaping.TO, inside=inside(STORE)) as sink,
    ):
        goodput = send(size, count, sink, directory, inside(site()))
    return goodput, seen


def compare(name: str, args: argparse.Namespace, directory: Path) -> Row:
    """One row: every fixed count, and auto, in turn; the goodput as a share of the best fixed one's."""
    link = LINKS[name]
    size = args.size or (link.size(args.seconds) if link else 8192 * MIB)
    goodputs: dict[Count, list[float]] = {count: [] for count in (*args.counts, "auto")}
    for _ in range(args.rounds):
        for count, measured in goodputs.items():
            measured.append(measure(link, size, count, directory)[0])
            print(f"{name}: {count} in flight: {measured[-1] / 1e6:.2f} MB/s", file=sys.stderr)
    medians = {count: statistics.median(measured) for count, measured in goodputs.items()}
    best = max(args.counts, key=lambda count: medians[count])
    shares = {str(count): goodput / medians[best] for count, goodput in medians.items()}
    return {"link": name, "size": size, "best": best, "best_mbs": medians[best] / 1e6, **shares}


def change(name: str, args: argparse.Namespace, directory: Path) -> Row:
    """How full a link is whose rate changed, beside what the counts make of it that are not told."""
    link = CHANGES[name]
    assert link.then is not None
    from_, until = int(link.after + RECOVERY), int(link.after + RECOVERY + WATCHED)
    row: Row = {"link": name}
    for count in ("auto", *args.counts):
        _, seen = measure(link, link.size(until + 5), count, directory)
        row[str(count)] = sum(seen.delivered[from_:until]) / WATCHED / (link.then * 1e6 / 8)
        row[f"{count}_by_second"] = seen.delivered
        print(f"{name}: {count} in flight: {row[str(count)]:.3f} of the new rate", file=sys.stderr)
    return row


def show(rows: list[Row], args: argparse.Namespace) -> str:
    counts = {str(count): (str(count), ">6.3f") for count in (*args.counts, "auto")}
    columns = {"link": ("link", "<16"), **counts}
    if "best" in rows[0]:
        columns |= {"best": ("best", ">5"), "best_mbs": ("MB/s", ">7.2f")}
    return table(columns, rows)


def draw(path: Path, rows: list[Row], counts: list[str]) -> None:
    """Each link: what each count makes of it."""
    from plots import Panel, bars

    def title(row: Row) -> str:
        return f"{row['link']}: of {'the best' if 'best' in row else 'the new rate'}"

    panels = [Panel(title(row), {count: row[count] for count in counts}, {}) for row in rows]
    bars(path, "Goodput by parts in flight", panels)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="`--concurrency auto` beside fixed counts, on many links.")
    known = [*LINKS, *CHANGES]
    parser.add_argument("--link", action="append", choices=known, help="only this one; may be repeated")
    parser.add_argument("--counts", type=_counts, default=COUNTS, help="the fixed ones, as 1,2,4")
    parser.add_argument("--seconds", type=float, default=30.0, help="a transfer (default 30)")
    parser.add_argument("--rounds", type=int, default=1, help="turns of every setting (default 1)")
    parser.add_argument("--quick", action="store_true", help="loopback, 64 MiB: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    args.size = None
    if args.quick:
        args.link, args.counts, args.size = ["loopback"], (4,), 64 * MIB
    args.link = args.link or known
    return args


def _counts(text: str) -> tuple[int, ...]:
    return tuple(int(count) for count in text.split(","))


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        steady = [compare(name, args, Path(directory)) for name in LINKS if name in args.link]
        changed = [change(name, args, Path(directory)) for name in CHANGES if name in args.link]
    print(*(show(rows, args) for rows in (steady, changed) if rows), sep="\n\n")
    print(f"\n{about()}")
    write_json(
        args, steady + changed, {name: link and asdict(link) for name, link in (LINKS | CHANGES).items()}
    )
    if args.plot:
        draw(args.plot, steady + changed, [*map(str, args.counts), "auto"])


if __name__ == "__main__":
    sys.exit(ended(main))
