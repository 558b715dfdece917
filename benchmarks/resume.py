"""How long until an interrupted upload of 10,000 parts goes on: from the start to the first new byte.

    python benchmarks/resume.py            # 10,000 parts of 16 MiB, 7 rounds: under a minute
    python benchmarks/resume.py --quick    # 500 parts, 1 round: does it work at all (for CI)

The file is sparse, and nothing but a few blocks of it is ever read. The journal is made with the library's
own; the service is a process of its own (resume_server.py), and so is each client (resume_client.py), which
is killed as soon as its first new byte has come. What is measured and why: benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from journals import PART_SIZE, make_journal
from rig import (
    HERE,
    MB,
    add_outputs,
    ended,
    environment,
    make_sparse_file,
    read_line,
    show,
    write_json,
)

UPLOAD_ID = "upload_benchmark"

# No run takes this long (seconds) unless it hangs.
HANG = 60

Sample = dict[str, float]


class Server:
    """The server's process, as seen from here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        hello = self.line()
        self.base_url: str = hello["base_url"]
        self.ca_file: str = hello["ca_file"]
        self.answer_bytes: int = hello["answer_bytes"]

    def expect(self, pid: int) -> None:
        """Tell it whose byte comes next."""
        assert self._process.stdin
        print(pid, file=self._process.stdin, flush=True)

    def line(self) -> dict[str, Any]:
        """What it says next."""
        return read_line(self._process, "the server")


@contextmanager
def running_server(directory: Path, parts: int, plain: bool) -> Iterator[Server]:
    """Start the server; it ends when its input is closed."""
    script = str(HERE / "resume_server.py")
    command = [sys.executable, script, str(directory), UPLOAD_ID, str(parts), *(["--plain"] if plain else [])]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Server(process)


def resume(server: Server, path: Path, state: Path) -> Sample:
    """Let a fresh process go on with the upload, until its first new byte has come."""
    job = json.dumps({"path": str(path), "base_url": server.base_url})
    surroundings = environment(server.ca_file, state)
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, str(HERE / "resume_client.py"), job],
        env=surroundings,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        hang = threading.Timer(HANG, process.kill)
        hang.start()
        try:
            server.expect(process.pid)
            told = read_line(process, "the client")
            seen = server.line()
        finally:
            hang.cancel()
            process.kill()
    return phases(started, told, seen)


def phases(started: float, told: dict[str, Any], seen: dict[str, Any]) -> Sample:
    """What the moments come to (seconds, bytes)."""
    at, took = told["moments"], told["took"]
    return {
        "wall": seen["first_byte"] - started,
        "call_wall": seen["first_byte"] - at["called"],
        "cpu": seen["cpu"] or 0.0,
        "call_cpu": (seen["cpu"] or 0.0) - told["cpu"]["called"],
        "python": at["main"] - started,
        "import": at["imported"] - at["main"],
        "identity": at["prepared"] - at["called"],
        "digest": took["digest"],
        "journal": at["resuming"] - at["prepared"] - took["digest"],
        "journal_open": took["open"],
        "journal_parts": took["parts"],
        "connect": seen["asked"] - at["resuming"],
        "transfer": seen["answered"] - seen["asked"],
        "parse": took["_upload"],
        "check": at["sending"] - seen["answered"] - took["_upload"],
        "put": seen["first_byte"] - at["sending"],
        "peak": seen["peak"] or 0,
    }


def run(args: argparse.Namespace, directory: Path) -> tuple[dict[str, list[Sample]], int]:
    """All rounds: in each, every row has its turn."""
    path = directory / "checkpoint.safetensors"
    make_sparse_file(path, args.parts * PART_SIZE)
    samples: dict[str, list[Sample]] = {}
    with running_server(directory, args.parts, args.plain) as server:
        states = {}
        for stored in (args.parts - 10, 10):
            name = f"{stored:,} of {args.parts:,}"
            states[name] = directory / f"state-{stored}"
            make_journal(states[name], path, server.base_url, UPLOAD_ID, stored)
        for number in range(1, args.rounds + 1):
            for name, state in states.items():
                fresh = directory / "state"
                shutil.copytree(state, fresh)
                sample = resume(server, path, fresh)
                shutil.rmtree(fresh)
                samples.setdefault(name, []).append(sample)
                told = f"{sample['wall']:.3f} s, {sample['cpu']:.3f} s CPU"
                print(f"round {number}/{args.rounds} {name}: {told}", file=sys.stderr)
        return samples, server.answer_bytes


def summarize(name: str, which: str, taken: list[Sample]) -> dict[str, Any]:
    """One row of the table: the least or the median of each figure."""
    pick = min if which == "least" else statistics.median
    figures = {key: pick(sample[key] for sample in taken) for key in taken[0]}
    return {"stored": f"{name}, {which}"} | figures | {"peak_mb": max(it["peak"] for it in taken) / MB}


COLUMNS = {
    "stored": ("parts stored", "<24"),
    "wall": ("wall s", ">7.3f"),
    "cpu": ("CPU s", ">6.3f"),
    "call_wall": ("call s", ">7.3f"),
    "call_cpu": ("its CPU", ">8.3f"),
    "python": ("python", ">7.3f"),
    "import": ("import", ">7.3f"),
    "identity": ("identity", ">9.3f"),
    "digest": ("digest", ">7.3f"),
    "journal": ("journal", ">8.3f"),
    "connect": ("connect", ">8.3f"),
    "transfer": ("answer", ">7.3f"),
    "parse": ("parse", ">6.3f"),
    "check": ("check", ">6.3f"),
    "put": ("PUT", ">6.3f"),
    "peak_mb": ("peak MB", ">8.0f"),
}


PHASES = ("python", "import", "identity", "digest", "journal", "connect", "transfer", "parse", "check", "put")


def draw(path: Path, rows: list[dict[str, Any]]) -> None:
    """The phases, one after the other."""
    from plots import stacked

    titles = {key: COLUMNS[key][0] for key in PHASES}
    stacked(path, "From the start of a process to the first new byte", "seconds", "stored", titles, rows)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="From the start to the first new byte of a resumed upload.")
    parser.add_argument("--parts", type=int, default=10_000, help="of 16 MiB each (default 10000)")
    parser.add_argument("--rounds", type=int, default=7, help="default 7")
    parser.add_argument("--plain", action="store_true", help="http instead of TLS")
    parser.add_argument("--quick", action="store_true", help="500 parts, 1 round: only whether it works")
    add_outputs(parser)
    args = parser.parse_args()
    if args.quick:
        args.parts, args.rounds = 500, 1
    if not 20 < args.parts <= 10_000 or args.rounds < 1:
        parser.error("--parts is a number from 21 to 10000, --rounds one from 1")
    return args


def main() -> None:
    args = parse_args()
    with tempfile.TemporaryDirectory(prefix="uploader-benchmark-") as directory:
        samples, answer_bytes = run(args, Path(directory))
    rows = [summarize(name, which, taken) for name, taken in samples.items() for which in ("least", "median")]
    how = "plain http" if args.plain else "TLS"
    title = (
        f"{args.parts:,} parts of {PART_SIZE:,} bytes, {how} on loopback, {answer_bytes:,} bytes of answer"
    )
    show(f"{title}, {args.rounds} round(s); seconds", COLUMNS, rows)
    write_json(args, rows, samples)
    if args.plot:
        draw(args.plot, rows)


if __name__ == "__main__":
    sys.exit(ended(main))
