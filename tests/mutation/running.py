"""Runs the tests against a copy of the package, in a process of their own, until one of them notices."""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import resource
import shutil
import signal
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import hypothesis
import pytest

from tests.mutation.mutants import Mutant

QUICK = ("tests/unit", "tests/session")
SLOW = ("tests/transfer", "tests/faults")
HERE = Path(__file__).parents[2]
# A counterexample need not be a small one here.
_NO_SHRINKING = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
MEMORY = 4 * 1024**3
PROFILE = "mutation"


@dataclass
class Run:
    """What came of one run of tests."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    hung: str = ""

    @property
    def caught(self) -> str:
        """Which test noticed, "" if none did."""
        return f"hung: {self.hung}" if self.hung else next(iter(self.failed), "")


class _Witness:
    """Writes down how each test ended, and ends the process when one takes far longer than it used to."""

    def __init__(self, path: Path, usual: dict[str, float]) -> None:
        self.out = path.open("w", encoding="utf-8", buffering=1)
        self.usual = usual
        self.nodeid = ""
        signal.signal(signal.SIGALRM, self._hung)

    def _hung(self, *_: object) -> None:
        print("hung", 0.0, self.nodeid, file=self.out, sep="\t")
        os._exit(1)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.nodeid = nodeid
        signal.alarm(int(15 + 8 * self.usual.get(nodeid, 0.0)) if self.usual else 0)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        print(report.outcome, report.duration, report.nodeid, file=self.out, sep="\t")

    def pytest_runtest_logfinish(self) -> None:
        signal.alarm(0)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            print("failed", 0.0, f"{report.nodeid} (import)", file=self.out, sep="\t")


@dataclass(frozen=True)
class Bench:
    """A copy of the project to break, and how its tests behave unbroken."""

    root: Path
    usual: Run

    def fate(self, mutant: Mutant) -> str:
        """Which test catches `mutant`, "" if none does."""
        target = self.root / mutant.path
        kept = target.with_suffix(".kept")
        shutil.copy2(target, kept)
        target.write_text(mutant.source, encoding="utf-8")
        try:
            return next(filter(None, (self._try(files) for files in self._stages(mutant) if files)), "")
        finally:
            kept.replace(target)

    def _try(self, files: list[str], unsteady: tuple[str, ...] = ()) -> str:
        usually = sum(s for nodeid, s in self.usual.seconds.items() if nodeid.split("::")[0] in files)
        limit = 60 + 8 * usually
        run = run_tests(self.root, ["-x", *files, *_deselect(unsteady)], self.usual, limit)
        if not (run.failed and run.failed[0].startswith(SLOW)):
            return run.caught
        # Real sockets on a busy machine: what fails must fail twice.
        again = run_tests(self.root, run.failed, self.usual, limit)
        return again.caught or self._try(files, (*unsteady, *run.failed))

    def _stages(self, mutant: Mutant) -> Iterator[list[str]]:
        """The test files that name the module, those whose helpers do, the others: the quick ones first."""
        module = mutant.path.removesuffix(".py").replace("/", ".")
        took: dict[str, float] = {}
        for nodeid, seconds in self.usual.seconds.items():
            file = nodeid.split("::")[0]
            took[file] = took.get(file, 0.0) + seconds
        files = sorted(took, key=lambda file: (file.startswith(SLOW), took[file]))
        quick = [file for file in files if file.startswith(QUICK)]
        naming = [file for file in quick if module in self._read(file, deep=False)]
        helped = [file for file in quick if module in self._read(file, deep=True) and file not in naming]
        yield naming
        yield helped
        yield [file for file in quick if file not in (*naming, *helped)]
        yield [file for file in files if file not in quick]

    def _read(self, file: str, *, deep: bool) -> str:
        """A test file's text, and that of the helpers it imports."""
        text = (self.root / file).read_text(encoding="utf-8")
        helpers = set(re.findall(r"from (tests\.[\w.]+) import", text)) if deep else ()
        return text + "".join(self._read(helper.replace(".", "/") + ".py", deep=True) for helper in helpers)


def make_bench(root: Path, *, slow: bool) -> Bench:
    """See how the tests do while nothing is broken. Those that fail then are left out of all that follows."""
    profile = hypothesis.settings(derandomize=True, database=None, deadline=None, phases=_NO_SHRINKING)
    hypothesis.settings.register_profile(PROFILE, profile)
    usual = run_tests(root, [*QUICK, *(SLOW if slow else ())], Run(), 3600.0)
    if not usual.seconds:
        raise SystemExit(f"the tests did not run:\n{(root / 'output').read_text(encoding='utf-8')}")
    # What every run needs is imported once: each run is a fork of this process.
    with warnings.catch_warnings(action="ignore"):
        for name in (root / "imported").read_text(encoding="utf-8").split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    if "uploader" in sys.modules:
        raise SystemExit("the package was imported before it is broken: nothing broken would be noticed")
    return Bench(root, usual)


def run_tests(root: Path, arguments: list[str], usual: Run, limit: float) -> Run:
    """Run pytest at `root` in a fork of this process, for `limit` seconds at most."""
    notes = root / "notes"
    child = os.fork()
    if not child:
        _pytest(root, [*arguments, *_deselect(usual.failed)], _Witness(notes, usual.seconds))
    try:
        ended = _await(child, limit)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # and what a test left behind
        shutil.rmtree(root / "temporary", ignore_errors=True)  # sparse files too: never to be copied
    run = Run(hung="" if ended else "all of it")
    told = [line.split("\t") for line in notes.read_text(encoding="utf-8").splitlines()]
    for outcome, seconds, nodeid in told:
        if outcome == "failed":
            run.failed.append(nodeid)
        elif outcome == "hung":
            run.hung = nodeid
        elif outcome != "ended":
            run.seconds[nodeid] = run.seconds.get(nodeid, 0.0) + float(seconds)
    if not run.caught and ["ended", "0", "0"] not in told:
        run.failed.append(f"the tests could not be run: {told[-1:]}")
    return run


def _pytest(root: Path, arguments: list[str], witness: _Witness) -> NoReturn:
    """Become a process that runs the tests at `root`, and ends."""
    os.setsid()
    os.chdir(root)
    with open("output", "wb") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ["PYTHONPATH"] = str(root)
    sys.path[:] = [str(root), *(path for path in sys.path if path and Path(path) != HERE)]
    for name in [name for name in sys.modules if name.split(".")[0] == "tests"]:
        del sys.modules[name]
    fixed = ("-q", "-p", "no:cacheprovider", "--basetemp=temporary", "-W", "ignore::pytest.PytestWarning")
    profile = f"--hypothesis-profile={PROFILE}"
    code = pytest.main([*fixed, profile, *arguments], plugins=[witness])
    print("ended", 0, int(code), file=witness.out, sep="\t")
    own = ("uploader", "tests", "benchmarks", "conftest", "__")
    imported = [name for name in list(sys.modules) if not name.startswith(own)]
    Path("imported").write_text("\n".join(imported), encoding="utf-8")
    os._exit(0)


def _await(child: int, limit: float) -> bool:
    """Whether a child ends within `limit` seconds."""
    end = time.monotonic() + limit
    while not os.waitpid(child, os.WNOHANG)[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.01)
    return True


def _deselect(nodeids: Iterable[str]) -> list[str]:
    return [f"--deselect={nodeid}" for nodeid in nodeids]
