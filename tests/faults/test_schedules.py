"""Any schedule of faults, kills, restarts and changes ends in the exact bytes or in a typed error.

What a schedule is, and what can be in it, is in `schedules` and `mischief`; `ordeal` runs one and holds the
promise. Here are 200, always the same; as many others as are wanted with

    UPLOADER_SCHEDULES=5000 UPLOADER_SCHEDULES_SEED=1000 pytest tests/faults/test_schedules.py

Each has a number, from UPLOADER_SCHEDULES_SEED on, so that one that failed can be had alone. They run in
processes of their own, one at a time in each: then what is left after one is known to be of that one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COUNT = int(os.environ.get("UPLOADER_SCHEDULES") or 200)
FIRST = int(os.environ.get("UPLOADER_SCHEDULES_SEED") or 1)
# More than there are processors: half of the time they wait for a silence to be long enough.
WORKERS = min(COUNT, 2 * (os.cpu_count() or 2))
PATIENCE = 300 + 20 * COUNT / WORKERS  # seconds, on a machine that has other things to do

# Where there is one, a file system in memory: what is proved here has nothing to do with disks.
MEMORY = next((path for path in (Path("/dev/shm"),) if path.is_dir()), None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the runs that are killed are forked off a process")
def test_any_schedule_ends_in_the_exact_bytes_or_in_a_typed_error(
    record_property: Callable[[str, object], None],
) -> None:
    with ExitStack() as stack:
        workers = [Worker(number, stack) for number in range(WORKERS)]
        failed = [said for said in [worker.end() for worker in workers] if said]
        told = [worker.told() for worker in workers if not failed]
    if failed:
        pytest.fail("\n\n".join(failed), pytrace=False)
    ended = sum((Counter(it["ended"]) for it in told), Counter[str]())
    record_property("told", line(sum(it["count"] for it in told), ended, max(it["seconds"] for it in told)))
    assert sum(it["count"] for it in told) == COUNT


def line(count: int, ended: Counter[str], seconds: float) -> str:
    """What is printed at the end of all tests."""
    outcomes = ", ".join(f"{number} {name}" for name, number in ended.most_common())
    return (
        f"{count} schedules from number {FIRST} on, {ended.total()} runs in {seconds:.0f} s: {outcomes};"
        " and then, without faults, each ended in the exact bytes"
    )


class Worker:
    """A process that runs its share of the schedules."""

    def __init__(self, number: int, stack: ExitStack) -> None:
        self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=MEMORY)))
        share = ("--first", FIRST + number, "--count", len(range(number, COUNT, WORKERS)), "--step", WORKERS)
        command = [sys.executable, "-m", "tests.faults.ordeal", "--folder", self._folder, *share]
        # Which lines are run is known from the other tests, and it would take twice as long.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
        with (self._folder / "out").open("w") as out, (self._folder / "said").open("w") as said:
            self._process = subprocess.Popen(
                list(map(str, command)), cwd=ROOT, env=environment, stdout=out, stderr=said
            )
        stack.callback(self._process.wait)
        stack.callback(self._process.kill)

    def end(self) -> str:
        """Wait until it is done; what it says of a failure, "" where there was none."""
        try:
            code = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = -1
        said = (self._folder / "said").read_text()
        *_, running = ["", *(text for text in said.splitlines() if text.startswith("running "))]
        hung = "" if "in Schedule(" in said else f", {running}"
        return f"exit {code}{hung}\n{said[-8000:]}" if code else ""

    def told(self) -> dict[str, Any]:
        return json.loads((self._folder / "out").read_text().splitlines()[-1])  # type: ignore[no-any-return]
