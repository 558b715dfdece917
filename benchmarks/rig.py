"""What the benchmarks share: the sink's process, files to send, a description of the machine, tables."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from uploader import UploaderError

HERE = Path(__file__).resolve().parent
MIB = 1 << 20
GB = 1e9
MB = 1e6

# Where programs look for the certificates they trust.
TRUST = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "CURL_CA_BUNDLE")

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}

# A column's heading and format.
Columns = dict[str, tuple[str, str]]
Row = dict[str, Any]


class WrongRunError(Exception):
    """A contender failed, or moved other bytes than it should have."""


def ended(main: Callable[[], None]) -> int:
    """Run a benchmark; its exit code. What went wrong is told in a line."""
    try:
        main()
    except (WrongRunError, UploaderError, subprocess.TimeoutExpired) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def read_line(process: subprocess.Popen[str], name: str) -> dict[str, Any]:
    """The next line of JSON that a process prints."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        raise WrongRunError(f"{name} ended; its message is above")
    return dict(json.loads(line))


class Sink:
    """The sink's process, as seen from here."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        hello = read_line(process, "the sink")
        self.base_url: str = hello["base_url"]
        self.ca_file: str = hello["ca_file"]

    def report(self) -> dict[str, Any]:
        """What it received and spent since it started."""
        assert self._process.stdin
        print(file=self._process.stdin, flush=True)
        return read_line(self._process, "the sink")


@contextmanager
def running_sink(directory: Path, *options: str, inside: tuple[str, ...] = ()) -> Iterator[Sink]:
    """Start the sink, by the command `inside` if any; it ends when its input is closed."""
    command = [*inside, sys.executable, str(HERE / "sink.py"), str(directory), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Sink(process)


def make_random_file(path: Path, size: int) -> None:
    """Random bytes, written out to the disk, and still in the page cache when they are read."""
    with path.open("wb") as file:
        for offset in range(0, size, MIB):
            file.write(os.urandom(min(MIB, size - offset)))
        file.flush()
        os.fsync(file.fileno())


def make_sparse_file(path: Path, size: int) -> None:
    """A file that takes no room; it reads as zeros."""
    path.touch()
    os.truncate(path, size)
    time.sleep(0.05)  # the library waits until a file's times have settled: not part of what is measured


def environment(ca_file: str, state: Path) -> dict[str, str]:
    """A contender's environment: it trusts the sink, knows no proxy, and keeps its records in `state`.

    What asks for credentials gets some that nobody checks.
    """
    ours = ("_proxy", "aws_", "uploader_", "scenario_")
    kept = {name: value for name, value in os.environ.items() if not any(it in name.lower() for it in ours)}
    trusted = dict.fromkeys(TRUST, ca_file) if ca_file else {}
    return kept | trusted | CREDENTIALS | {"UPLOADER_STATE_DIR": str(state)}


def table(columns: Columns, rows: list[Row]) -> str:
    """The rows under their headings, as Markdown; a column is its heading and format."""
    widths = {key: form.split(".")[0].rstrip("f,") for key, (_, form) in columns.items()}
    head = [format(title, widths[key]) for key, (title, _) in columns.items()]
    rule = [
        "-" * (len(cell) - 1) + (":" if ">" in widths[key] else "-")
        for key, cell in zip(columns, head, strict=True)
    ]
    body = [[format(row[key], form) for key, (_, form) in columns.items()] for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *body))


def machine() -> dict[str, Any]:
    """What it ran on."""
    return {
        "cores": os.cpu_count(),
        "cpu": cpu_model(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "date": datetime.now(UTC).date().isoformat(),
    }


def about() -> str:
    """The same in a line."""
    return " · ".join(f"{key} {value}" for key, value in machine().items())


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*: (.*)$", known, re.MULTILINE)
    return found.group(1) if found else platform.machine()


def parse_size(text: str) -> int:
    """Bytes of a size such as 16MiB or 1GiB."""
    found = re.fullmatch(r"(\d+)\s*([KMG]i?B)?", text.strip(), re.IGNORECASE)
    if not found or not int(found.group(1)):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 16MiB")
    unit = (found.group(2) or "").lower()
    base = 1024 if "i" in unit else 1000
    power = " kmg".index(unit[0]) if unit else 0
    return int(int(found.group(1)) * base**power)


def show(title: str, columns: Columns, rows: list[Row]) -> None:
    """Print what was measured, where, as a table."""
    print(f"{title}\n\n{table(columns, rows)}\n\n{about()}")


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark has for what becomes of its figures."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    parser.add_argument("--plot", type=_plot_file, metavar="FILE", help="draw it there, as PNG")


def _plot_file(text: str) -> Path:
    """Where to draw; said at once, and not after minutes, where nothing can be drawn."""
    if not find_spec("matplotlib"):
        raise argparse.ArgumentTypeError("needs matplotlib: pip install '.[plot]'")
    return Path(text)


def write_json(args: argparse.Namespace, rows: list[Row], samples: Any) -> None:
    """Everything measured, and how, to the file that `--json` names, if it does."""
    if not args.json:
        return
    options = {key: value for key, value in vars(args).items() if key not in ("json", "plot")}
    args.json.parent.mkdir(parents=True, exist_ok=True)
    told = {"machine": machine(), "options": options, "rows": rows, "samples": samples}
    args.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
