"""Breaks the core's decisions one at a time, and tells which test notices: `python -m tests.mutation`.

By default it tries a few dozen mutants, drawn by --seed; with --all, every one. Each is written into a copy
of the package, and the tests are run against that until one fails: the unit and session tests that name the
module, then the other ones, then, with --slow, the real transfers and faults. A mutant that makes a test hang
counts as caught, and is told apart. Those in equivalent.toml make no difference that anybody could see, and
are not tried. It forks, so not on Windows.
"""
# ruff: noqa: T201

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from tests.mutation.mutants import Mutant, mutants_of
from tests.mutation.running import HERE, Bench, make_bench

MODULES = ("uploader/core/*.py", "uploader/hosts.py")
EQUIVALENT = Path(__file__).with_name("equivalent.toml")


class _Worker:
    """A process that breaks a copy of its own."""

    bench: Bench

    @classmethod
    def begin(cls, bench: Bench) -> None:
        sys.dont_write_bytecode = True  # a mutant's would outlive it
        root = Path(tempfile.mkdtemp(dir=bench.root.parent))
        cls.bench = replace(bench, root=shutil.copytree(bench.root, root, dirs_exist_ok=True))

    @classmethod
    def fate(cls, mutant: Mutant) -> str:
        return cls.bench.fate(mutant)


def main() -> int:
    options = arguments()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutation-") as scratch:
        root = Path(scratch, "unbroken")
        for name in ("uploader", "tests", "benchmarks"):
            shutil.copytree(HERE / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(HERE / "pyproject.toml", root)
        mutants, equivalent = choose(root, options)
        if options.list:
            print(*(f"{mutant.line}: {mutant.name}" for mutant in mutants), sep="\n")
            return 0
        bench = make_bench(root, slow=options.slow)
        for nodeid in bench.usual.failed:
            print(f"fails unbroken, so left out: {nodeid}")
        fates = []
        with ProcessPoolExecutor(options.jobs, get_context("fork"), _Worker.begin, (bench,)) as pool:
            for mutant, caught in zip(mutants, pool.map(_Worker.fate, mutants), strict=True):
                change = f"{mutant.before}\n    → {mutant.after or 'nothing'}"
                fate = f"caught by {caught}" if caught else "SURVIVED"
                place = f"{mutant.path}:{mutant.line} in {mutant.where}"
                print(f"{place}\n      {change}\n    {fate}", flush=True)
                fates.append(caught)
    survived = [mutant for mutant, caught in zip(mutants, fates, strict=True) if not caught]
    print("", *(f"survived: {mutant.name}" for mutant in survived), sep="\n")
    hung = sum(caught.startswith("hung") for caught in fates)
    print(
        f"{len(mutants)} mutants: {len(mutants) - len(survived)} caught ({hung} by a test that hung), "
        f"{len(survived)} survived; {equivalent} more are known to be equivalent; "
        f"{time.monotonic() - began:,.0f} s"
    )
    return bool(survived)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m tests.mutation", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("modules", nargs="*", help="which to break (default: uploader/core and hosts.py)")
    parser.add_argument("--all", action="store_true", help="every mutant")
    parser.add_argument("--number", type=int, default=40, help="how many, without --all (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="which ones, without --all (default: 0)")
    parser.add_argument("--only", default="", help="every mutant whose name contains this")
    parser.add_argument("--slow", action="store_true", help="then run tests/transfer and tests/faults")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once (default: 2)")
    parser.add_argument("--list", action="store_true", help="only tell which would be tried")
    return parser.parse_args()


def choose(root: Path, options: argparse.Namespace) -> tuple[list[Mutant], int]:
    """The mutants to try, and how many are left out as equivalent."""
    modules = [str(path.relative_to(root)) for pattern in MODULES for path in sorted(root.glob(pattern))]
    every = [mutant for path in modules for mutant in mutants_of(root, path)]
    groups = tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["group"]
    equivalent = {name for group in groups for name in group["mutants"]}
    for name in sorted(equivalent - {mutant.name for mutant in every}):
        print(f"not to be found any more, so to be taken out of {EQUIVALENT.name}: {name}")
    chosen = [mutant for mutant in every if not options.modules or mutant.path in options.modules]
    chosen = [mutant for mutant in chosen if options.only in mutant.name]
    tried = [mutant for mutant in chosen if mutant.name not in equivalent]
    left_out = len(chosen) - len(tried)
    if options.all or options.only:
        return tried, left_out
    drawn = random.Random(options.seed).sample(range(len(tried)), min(options.number, len(tried)))
    return [tried[index] for index in sorted(drawn)], left_out


if __name__ == "__main__":
    sys.exit(main())
