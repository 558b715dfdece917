"""`uploader upload` is killed (SIGKILL) at random moments and run again, until it is done.

Here with 12 kills and 48 MiB. With 200 MiB and as many kills as are asked for, 60 in about a minute:

    UPLOADER_CRASH_KILLS=60 pytest -s tests/crash/test_kills.py

The moments come from a seed, which is printed; UPLOADER_CRASH_SEED=N gives it. The same seed makes the same
plan; where in the client a kill then strikes is up to the system.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from typing import Any

from tests.command.conftest import spawn
from tests.crash.witness import (
    PATIENCE,
    Committed,
    MiB,
    catch_up,
    completed_in,
    links_of,
    puts,
    random_file,
    read_journal,
    stored_in,
    upload_of,
    wait_until,
)
from uploader.local import Recorded, Service, serve

KILLS = int(os.environ.get("UPLOADER_CRASH_KILLS") or 0)
SEED = int(os.environ.get("UPLOADER_CRASH_SEED") or random.SystemRandom().randrange(1, 2**32))


class Stage(StrEnum):
    """What a run was seen to have come to."""

    STARTED = "starting"  # Python itself starts; nothing came to the service
    CALLED = "calling"  # create was asked for, or the upload of an earlier run looked at
    SENDING = "in mid-part"  # a part is on its way
    STORED = "between parts"  # a part has just been stored
    ALL_STORED = "before complete"  # so has the last one
    COMPLETING = "completing"  # complete was asked for
    POLLING = "polling"  # complete was accepted


@dataclass(frozen=True)
class Moment:
    """When to kill a run: `delay` seconds after a stage, and not before the service has `stored` parts."""

    stage: Stage
    delay: float
    stored: int = 0


@dataclass(frozen=True)
class Setting:
    """What is uploaded and how: bytes, bytes per second for `rate`, seconds for `stage_delay`."""

    size: int
    part_size: int
    concurrency: int
    rate: int
    stage_delay: float

    @property
    def parts(self) -> int:
        return -(-self.size // self.part_size)

    def length(self, parts: frozenset[int]) -> int:
        """The bytes of some parts."""
        return sum(min(self.part_size, self.size - (number - 1) * self.part_size) for number in parts)

    def moments(self, kills: int, numbers: random.Random) -> list[Moment]:
        """So many kills before the upload can be done, in order, and then some while it may be any moment."""

        def some(stage: Stage, count: int, longest: float) -> list[Moment]:
            return [Moment(stage, numbers.uniform(0, longest)) for _ in range(count)]

        few = max(1, kills // 15)
        first = some(Stage.STARTED, few, 0.4) + some(Stage.CALLED, few + 1, 0.02)
        last = some(Stage.ALL_STORED, 1, 0.01) + some(Stage.COMPLETING, 1, 0.02)
        # Those under way at the kill must not be the last ones.
        furthest = self.parts - 2 * self.concurrency - 1
        targets = sorted(numbers.randint(0, furthest) for _ in range(kills - len(first) - len(last)))
        midway = [self._midway(stored, numbers) for stored in targets]
        more = some(Stage.COMPLETING, 1, 0.02) + some(Stage.POLLING, few + 1, 0.3)
        return first + midway + last + more

    def _midway(self, stored: int, numbers: random.Random) -> Moment:
        part_seconds = self.concurrency * self.part_size / self.rate
        longest = {Stage.STARTED: 0.4, Stage.CALLED: 0.02, Stage.SENDING: part_seconds, Stage.STORED: 0.01}
        stage = numbers.choices(list(longest), (1, 1, 6, 4))[0]
        sends = stage in (Stage.SENDING, Stage.STORED)
        return Moment(stage, numbers.uniform(0, longest[stage]), stored if sends else 0)


SHORT = Setting(48 * MiB, 5 * MiB, concurrency=2, rate=24 * MiB, stage_delay=1.5)
LONG = Setting(200 * MiB, 8 * MiB, concurrency=4, rate=32 * MiB, stage_delay=4.0)

# These calls are over in a millisecond. The service holds the first of each before it does what is asked,
# and the second after that, until the client is killed: so that there are kills in the midst of them.
HELD = [f"stall:on={call}{how}" for call in ("create", "complete") for how in ("", ":at=answer")]


@dataclass(frozen=True)
class Run:
    """What is known of a run after its end.

    `sent` are the numbers of the parts it sent, `links` marks its PUTs among the service's requests,
    `committed` is what the journal held afterwards, `result` what it printed, None if it was killed.
    """

    stage: Stage
    sent: frozenset[int]
    links: frozenset[str]
    committed: Committed
    result: dict[str, Any] | None

    @property
    def in_flight(self) -> frozenset[int]:
        """The parts it sent that were not, or not yet, committed to the journal."""
        return self.sent.difference(*self.committed.values())


class Siege:
    """Runs the command on one file again and again, and kills it. `runs` are the runs so far."""

    def __init__(self, service: Service, path: Path, setting: Setting, state_dir: Path) -> None:
        self.runs: list[Run] = []
        self._service, self._path, self._setting, self._state_dir = service, path, setting, state_dir
        self._begun = 0  # requests that the service had seen the end of when the last run began

    def run(self, moment: Moment | None) -> Run:
        """A run, killed at `moment` unless it ends before."""
        self._begun = len(self._service.requests)
        with self._process() as process:
            if moment is not None and self._has_come(moment, process):
                process.kill()
            out, err = process.communicate(timeout=PATIENCE)
        killed = process.returncode == -signal.SIGKILL
        assert killed or process.returncode == 0, err
        committed = read_journal(self._state_dir)
        catch_up(self._service)
        sent = puts(self._mine())
        run = Run(
            self._stage(moment),
            frozenset(put.part for put in sent if put.part),
            frozenset(map(links_of, sent)),
            committed,
            None if killed else json.loads(out),
        )
        self.runs.append(run)
        return run

    @contextmanager
    def _process(self) -> Iterator[subprocess.Popen[str]]:
        size, concurrency = str(self._setting.part_size), str(self._setting.concurrency)
        options = ("--json", "--part-size", size, "--concurrency", concurrency)
        with spawn("upload", self._path, *options, **self._service.environment) as process:
            try:
                yield process
            finally:
                process.kill()

    def _has_come(self, moment: Moment, process: subprocess.Popen[str]) -> bool:
        """Wait for the moment; false where the run may be done by then."""
        wait_until(str(moment), lambda: self._is_at(moment) or process.poll() is not None)
        deadline = time.monotonic() + moment.delay
        while time.monotonic() < deadline and not self._is_nearly_over(moment):
            time.sleep(0.001)
        # Once the verdict is out, the client forgets the upload a moment before it tells of it.
        return set(completed_in(self._service).values()) <= {"validating"}

    def _is_nearly_over(self, moment: Moment) -> bool:
        """Whether so much is stored that there might be nothing left to kill: this machine was slow."""
        midway = moment.stage in (Stage.SENDING, Stage.STORED)
        return midway and len(stored_in(self._service.requests)) >= self._setting.parts - 1

    def _is_at(self, moment: Moment) -> bool:
        """Whether the run has come so far."""
        mine, requests = self._mine(), self._service.requests
        called = any(request.target in ("create", "get") for request in mine)
        statuses = [put.status for put in puts(mine)]
        stored, decided = stored_in(requests), called and bool(completed_in(self._service))
        return {
            Stage.STARTED: True,
            Stage.CALLED: called,
            Stage.SENDING: None in statuses and len(stored) >= moment.stored,
            Stage.STORED: 200 in statuses and len(stored) >= moment.stored,
            Stage.ALL_STORED: called and len(stored) == self._setting.parts,
            Stage.COMPLETING: decided or any(request.target == "complete" for request in mine),
            Stage.POLLING: decided,
        }[moment.stage]

    def _stage(self, moment: Moment | None) -> Stage:
        """Where the run that has just ended was: it may have come further than was waited for."""
        last = (Stage.POLLING, Stage.COMPLETING, Stage.ALL_STORED)
        further = [stage for stage in last if self._is_at(Moment(stage, 0))]
        return further[0] if further or moment is None else moment.stage

    def _mine(self) -> list[Recorded]:
        """The last run's requests. Parts of an earlier one may still be arriving: links tell them apart."""
        earlier = frozenset[str]().union(*(run.links for run in self.runs))
        requests = self._service.under_way + self._service.requests[self._begun :]
        return [it for it in requests if it.target != "part" or links_of(it) not in earlier]


def test_an_upload_killed_again_and_again_ends_in_the_exact_bytes(tmp_path: Path, state_dir: Path) -> None:
    kills, setting = (KILLS, LONG) if KILLS else (12, SHORT)
    path, began = tmp_path / "weights.ckpt", time.monotonic()
    say(f"\nUPLOADER_CRASH_SEED={SEED}")
    digest = random_file(path, setting.size, SEED)
    with serve(rate=setting.rate, stage_delay=setting.stage_delay, faults=HELD) as service:
        siege = Siege(service, path, setting, state_dir)
        for moment in [*setting.moments(kills, random.Random(SEED)), None]:
            run = siege.run(moment)
            check_against_store(run.committed, service)
            if run.result is not None:
                break
        wait_until("all that killed runs sent was read", lambda: not service.under_way)
        killed = siege.runs[:-1]
        say_figures(killed, service, setting, time.monotonic() - began)
        assert len(killed) >= kills
        check_requests(siege.runs, service.requests, setting)
        check_result(siege.runs, service, setting, digest)
    assert read_journal(state_dir) == {}


def check_against_store(committed: Committed, service: Service) -> None:
    """What the journal calls sent, the store has, byte for byte."""
    for upload_id, parts in committed.items():
        if service.upload(upload_id)["status"] == "pending":
            stored = service.stored_parts(upload_id)
            assert parts == {number: stored[number].md5 for number in parts}


def check_requests(runs: list[Run], requests: list[Recorded], setting: Setting) -> None:
    """Nothing that was committed was sent again, and no more than what was under way."""
    received = sum(put.body_bytes for put in puts(requests))
    in_flight = [len(run.in_flight) for run in runs[:-1]]
    assert max(in_flight) <= setting.concurrency
    assert received <= setting.size + sum(in_flight) * setting.part_size
    for earlier, later in combinations(runs, 2):
        for committed in earlier.committed.values():
            assert not later.sent & committed.keys()


def check_result(runs: list[Run], service: Service, setting: Setting, digest: str) -> None:
    """One upload was completed, with the file's bytes, and the last run tells what it did of it."""
    *killed, last = runs
    assert last.result is not None
    upload_id = last.result["upload_id"]
    assert service.sha256(upload_id) == digest
    assert completed_in(service).keys() == {upload_id}
    assert {upload_of(put) for put in puts(service.requests)} == {upload_id}
    there = setting.length(frozenset(killed[-1].committed[upload_id]))
    sent = sum(put.body_bytes for put in puts(service.requests) if links_of(put) in last.links)
    assert there > 0
    assert (last.result["bytes_resumed"], last.result["bytes_sent"]) == (there, sent)
    assert there + sent == setting.size == last.result["file_size"]
    assert (last.result["retries"], last.result["recreated"]) == (0, False)


def say(line: str) -> None:
    """For whoever runs pytest with -s, or sees the test fail."""
    sys.stdout.write(f"{line}\n")


def say_figures(killed: list[Run], service: Service, setting: Setting, seconds: float) -> None:
    """What came of it, for the record."""
    received = sum(put.body_bytes for put in puts(service.requests))
    allowed = sum(len(run.in_flight) for run in killed) * setting.part_size
    stages = Counter(run.stage for run in killed)
    unnamed = sum(not run.committed for run in killed)
    wasted = (received - setting.size) / MiB
    say(f"{len(killed)} kills: {', '.join(f'{stages[stage]} {stage}' for stage in Stage)}")
    say(f"{unnamed} of them before the journal had the upload's name")
    say(f"{received / MiB:.1f} MiB received, {wasted:.1f} wasted, {allowed / MiB:.1f} were in flight")
    say(f"{seconds:.1f} s")
