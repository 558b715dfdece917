"""Uploads under random faults for a long time: in the end the process holds what it held after a while.

Here for a few seconds, so that it is known to work. For as long as it takes to be sure:

    UPLOADER_SOAK_MINUTES=30 pytest -s tests/faults/test_soak.py
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.faults.mischief import MISCHIEF, Fault, Witness, behaviour
from tests.faults.peer import Behaviour, Exchange, LeftError, pass_on, peer
from tests.faults.soaking import CONCURRENCY, TASKS, THREADS
from uploader.local import Service, serve

ROOT = Path(__file__).parents[2]
MiB = 1024 * 1024

MINUTES = float(os.environ.get("UPLOADER_SOAK_MINUTES") or 0)
SEED = int(os.environ.get("UPLOADER_SOAK_SEED") or random.SystemRandom().randrange(1, 2**32))
ROUNDS = max(12, int(MINUTES)) if MINUTES else 3
SECONDS = MINUTES * 60 / ROUNDS if MINUTES else 1.0

# Which part of the requests meets a fault.
OFTEN = 0.08
# Seconds after which nobody asks for what is stored any more.
STALE = 120.0

# The bounds. One thread: the main one. Descriptors: those open at the start, and one for each part that may
# be in flight and each control call, for connections are kept for whoever needs one next.
MOST_CONNECTIONS = (len(THREADS) + len(TASKS)) * (CONCURRENCY + 1)
# The journal keeps its pages for what comes next: a few for each file, of 4 KiB.
MOST_STATE = 256 * 1024
# Memory grows at first, with every connection that was never needed before, and while the allocator learns
# how many blocks of which size are in use at once; so the last third is held against the second one. Anything
# kept of every upload, or a buffer lost now and then, would be more than this after some thousand uploads.
MOST_GROWTH = 4 * MiB if MINUTES else 64 * MiB


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="what a process holds is read from /proc")
def test_what_is_held_does_not_grow_however_long_it_goes_on(
    tmp_path: Path,
    authority: Any,
    certificate: tuple[Path, Path],
    record_property: Callable[[str, object], None],
) -> None:
    say(f"\nUPLOADER_SOAK_SEED={SEED}")
    with (
        serve(tmp_path / "service", stage_delay=0.02) as service,
        soaking(service, certificate, tmp_path) as lines,
    ):
        samples, ended = watched(lines, service, tmp_path / "service")
    for line in table(samples):
        record_property("told", line)
    record_property("told", ", ".join(f"{count} {name}" for name, count in ended.items()))
    first, *rest = samples
    assert len(rest) == ROUNDS
    assert ended["exact bytes"] > 0
    assert {it["threads"] for it in samples} == {1}
    assert max(it["descriptors"] for it in rest) <= first["descriptors"] + MOST_CONNECTIONS
    assert max(it["state"] for it in rest) <= MOST_STATE
    third = len(rest) // 3
    before, after = (
        median(it["memory"] for it in some) for some in (rest[third : 2 * third], rest[2 * third :])
    )
    assert after - before <= MOST_GROWTH


@contextmanager
def soaking(
    service: Service, certificate: tuple[Path, Path], folder: Path
) -> Iterator[Iterator[dict[str, Any]]]:
    """The process that uploads, by one peer in the clear and another over TLS; what it says."""
    numbers = random.Random(SEED)
    with ExitStack() as stack:
        http, https = (
            stack.enter_context(peer(service.base_url, {}, certificate=it, otherwise=chance(numbers)))
            for it in (None, certificate)
        )
        order = {
            "http": f"{http.origin}/v1",
            "https": f"{https.origin}/v1",
            "api_key": service.api_key,
            "api_secret": service.api_secret,
            "state": str(folder / "state"),
            "files": str(folder),
            "rounds": ROUNDS,
            "seconds": SECONDS,
            "seed": SEED,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.soaking", json.dumps(order)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout is not None
        yield (json.loads(line) for line in stack.enter_context(process.stdout))
        assert process.wait() == 0


def chance(numbers: random.Random) -> Behaviour:
    """Something wrong with some of the requests."""
    witness = Witness(lacks_parts=lambda _: False)

    def behave(exchange: Exchange) -> None:
        if numbers.random() > OFTEN:
            pass_on(exchange)
            return
        fault = Fault(
            exchange.target,
            numbers.choice(MISCHIEF[exchange.target]),
            at=numbers.choice((None, 0.0, 0.3, 0.9)) if exchange.target == "put" else None,
            then=numbers.choice(("keep", "close", "reset", "half", "hold")),
        )
        if fault.then == "hold":  # but not until all is over: there are too many of them
            exchange.read(exchange.length // 3)
            exchange.stopping.wait(1.5)
            raise LeftError
        behaviour(fault, exchange, witness)(exchange)

    return behave


def watched(
    lines: Iterator[dict[str, Any]], service: Service, directory: Path
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Hold the promise for every upload, and gather the samples."""
    samples: list[dict[str, Any]] = []
    for line in lines:
        if "sha256" in line:
            assert service.sha256(line["upload_id"]) == line["sha256"]
            (directory / "objects" / line["upload_id"]).unlink()
        elif "memory" in line:
            samples.append(line)
            say(row(line))
            tidy(directory)
        else:
            return samples, line["ended"]
    raise AssertionError("the process that uploads broke off")


def tidy(directory: Path) -> None:
    """Remove what nobody will ask for any more: this disk is not endless."""
    for path in (*directory.glob("objects/*"), *directory.glob("parts/*")):
        with suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - STALE:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def table(samples: list[dict[str, Any]]) -> Iterator[str]:
    """Twenty lines of it at the most."""
    yield " ".join(f"{name:>11}" for name in samples[0])
    step = -(-len(samples) // 20)
    yield from (row(it) for it in [*samples[:-1:step], samples[-1]])


def row(sample: dict[str, Any]) -> str:
    shown = sample | {
        "memory": f"{sample['memory'] / MiB:.1f} MiB",
        "state": f"{sample['state'] / 1024:.0f} KiB",
    }
    return " ".join(f"{value!s:>11}" for value in shown.values())


def say(line: str) -> None:
    """For whoever runs pytest with -s."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
