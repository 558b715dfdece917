"""How uploads fare as they become many, or large: up to 10,000 of the real sessions on a virtual clock.

    python benchmarks/simulate.py                       # up to 10,000 sessions, and 10,000 parts: minutes
    python benchmarks/simulate.py --quick               # up to 100, and 1,000: seconds (CI)
    python benchmarks/simulate.py --plot figure.png     # needs matplotlib

Nothing is sent: `benchmarks/virtual` models the store, the service and the time. The sessions are those of
uploader/core, so what they decide is real, and so is the CPU time that deciding takes. What is modelled and
what is measured: benchmarks/README.md. It exits 1 if an upload is not done; never because of a time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from plots import Curves, Line, curves
from rig import Row, WrongRunError, about, add_outputs, ended, table, write_json
from virtual.fleet import Fleet, Outcome, sail
from virtual.store import Terms
from virtual.uploading import PART_SIZE

# What a store may be like: the first sets no limit but that of the bytes, the second is Amazon S3's guide
# (requests for each prefix), the third takes two thirds of the parts that its rate would allow.
STORES = {
    "bytes only": Terms(),
    "3,500 requests/s": Terms(requests=3500),
    "2,000 requests/s": Terms(requests=2000),
    "links of 20 s": Terms(lifetime=20.0),
}

# More than these in one fleet show nothing new, and take minutes: the more sessions, the smaller they are.
ALL_PARTS = 160_000

# What an upload may go through, whatever its size.
COURSES = ("calm", "throttled", "links run out")


def run(fleet: Fleet) -> Outcome:
    """What comes of a fleet; every upload has to be done, each part stored once."""
    outcome = sail(fleet)
    if outcome.failed:
        raise WrongRunError(f"{len(outcome.failed)} of {fleet.sessions} uploads failed: {outcome.failed[0]}")
    if outcome.requests["put"] != fleet.all_parts + outcome.refused:
        raise WrongRunError("a part was stored twice")
    return outcome


# Many


def fare(name: str, fleet: Fleet) -> Row:
    """How a fleet fares: one row."""
    it = run(fleet)
    took = max(it.ends) - it.began
    return {
        "store": name,
        "sessions": fleet.sessions,
        "parts": fleet.parts,
        "ideal": fleet.ideal,
        "seconds": took,
        "ratio": took / fleet.ideal,
        "median": (statistics.median(it.ends) - it.began) / fleet.ideal,
        "puts": it.requests["put"] / fleet.all_parts,
        "retries": it.retries / fleet.all_parts,
        "refreshes": it.refreshes / fleet.sessions,
        "gets": it.requests["get"] / fleet.sessions,
        "core": it.core_ns / 1e3 / fleet.all_parts,
    }


def fares(args: argparse.Namespace) -> Iterator[Row]:
    """A row for each store and number of sessions."""
    for name in args.store:
        for sessions in args.sessions:
            parts = max(1, min(args.parts, ALL_PARTS // sessions))
            yield fare(name, Fleet(sessions, parts, args.concurrency, STORES[name]))


FARES = {
    "store": ("store", "<17"),
    "sessions": ("sessions", ">8"),
    "parts": ("parts", ">5"),
    "ideal": ("ideal s", ">8.1f"),
    "seconds": ("took s", ">8.1f"),
    "ratio": ("x ideal", ">7.2f"),
    "median": ("median", ">6.2f"),
    "puts": ("PUTs/part", ">9.2f"),
    "retries": ("retries/part", ">12.2f"),
    "refreshes": ("refreshes", ">9.2f"),
    "gets": ("GETs", ">5.2f"),
    "core": ("core us/part", ">12.1f"),
}


# Large


def course(name: str, parts: int, concurrency: int) -> Fleet:
    """One upload on its own, that goes through the same whatever its size."""
    fleet = Fleet(1, parts, concurrency)
    if name == "throttled":  # about two thirds of what it would ask
        return replace(fleet, terms=Terms(requests=15.0))
    if name == "links run out":  # three times or so
        slow = parts * PART_SIZE / concurrency / 400.0
        return replace(fleet, terms=Terms(connection_rate=slow, lifetime=110.0))
    return fleet


def cost(name: str, parts: int, args: argparse.Namespace) -> Row:
    """What deciding costs an upload of so many parts: the least and the median of several runs."""
    fleet = course(name, parts, args.concurrency)
    runs = [run(fleet) for _ in range(args.rounds * (10 if parts <= 100 else 1))]
    taken = [it.core_ns / 1e3 for it in runs]
    return {
        "course": name,
        "parts": parts,
        "least": min(taken) / parts,
        "median": statistics.median(taken) / parts,
        "upload_ms": min(taken) / 1e3,
        "retries": runs[0].retries / parts,
        "refreshes": runs[0].refreshes,
        "rounds": len(runs),
    }


def costs(args: argparse.Namespace) -> Iterator[Row]:
    """A row for each course and size."""
    run(Fleet(parts=100))  # what is cached once is cached before
    for name in COURSES:
        for parts in args.sizes:
            yield cost(name, parts, args)


COSTS = {
    "course": ("course", "<14"),
    "parts": ("parts", ">7"),
    "least": ("us/part", ">8.1f"),
    "median": ("median", ">7.1f"),
    "upload_ms": ("ms/upload", ">9.2f"),
    "retries": ("retries/part", ">12.2f"),
    "refreshes": ("refreshes", ">9"),
    "rounds": ("runs", ">5"),
}


# The figure


def draw(path: Path, large: list[Row], many: list[Row]) -> None:
    """Both tables."""
    one, side_by_side = "parts of one upload", "uploads side by side"
    cpu = Curves("core: CPU microseconds per part", one, _courses(large, "course", "parts", "least"))
    ratio = Curves(
        "time, as a multiple of the ideal", side_by_side, _courses(many, "store", "sessions", "ratio")
    )
    puts = Curves("PUTs per part", side_by_side, _courses(many, "store", "sessions", "puts"))
    curves(path, "The real sessions on a virtual clock, with a modelled store", (cpu, ratio, puts))


def _courses(rows: list[Row], name: str, x: str, y: str) -> list[Line]:
    """A course of points for each name."""
    names = dict.fromkeys(row[name] for row in rows)
    return [Line(each, [(row[x], row[y]) for row in rows if row[name] == each]) for each in names]


# The command


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Many sessions, and large ones, on a virtual clock.")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    parser.add_argument("--parts", type=int, default=640, help="of each of many, at most (default 640)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 1000, 10_000], metavar="PARTS")
    parser.add_argument("--concurrency", type=int, default=8, help="parts in flight (default 8)")
    parser.add_argument("--rounds", type=int, default=5, help="of each size at least (default 5)")
    parser.add_argument("--store", nargs="+", choices=STORES, default=list(STORES), help="default: all")
    parser.add_argument("--quick", action="store_true", help="up to 100 sessions, 1,000 parts, 1 round")
    add_outputs(parser)
    args = parser.parse_args()
    if args.quick:
        args.sessions, args.parts = [1, 100], 16
        args.sizes, args.rounds = [1, 10, 100, 1000], 1
    if min(*args.sessions, *args.sizes, args.parts, args.concurrency, args.rounds) < 1:
        parser.error("all numbers are from 1")
    return args


def show(args: argparse.Namespace, large: list[Row], many: list[Row]) -> None:
    terms = Terms()
    print(
        f"one upload, parts of {PART_SIZE:,} bytes, {args.concurrency} in flight\n\n{table(COSTS, large)}\n\n"
        f"many at once; the store takes {terms.rate / 1e9:g} GB/s,"
        f" {terms.connection_rate / 1e6:g} MB/s of each connection\n\n{table(FARES, many)}\n\n{about()}"
    )


def main() -> None:
    args = parse_args()
    large, many = list(costs(args)), list(fares(args))
    show(args, large, many)
    write_json(args, large, many)
    if args.plot:
        draw(args.plot, large, many)


if __name__ == "__main__":
    sys.exit(ended(main))
