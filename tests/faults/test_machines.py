"""This machine: a wrong clock, little memory, a fork."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import Behaviour, Exchange, peer, response
from tests.faults.rig import MiB, make_file
from tests.state.conftest import sha256
from uploader.core.events import UrlsRefreshed

DAY = 24 * 3600
PART = 5 * MiB


def run_python(code: str, *arguments: object, **environment: str) -> list[Any]:
    """What a program printed in a process of its own: a line of JSON for each."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


# The clock


def links_end_soon(exchange: Exchange) -> None:
    """The service answers, and says that its links end 0.2 s from now; in truth they live longer."""
    head, _, body = exchange.ask_service().partition(b"\r\n\r\n")
    dated = re.search(rb"\r\ndate: ([^\r]*)", head)
    assert dated is not None
    end = parsedate_to_datetime(dated[1].decode()) + timedelta(seconds=0.2)
    answer = json.loads(body)
    for part in answer["upload"]["parts"]:
        part["expires"] = end.isoformat()
    body = json.dumps(answer).encode()
    head = re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(body), head)
    exchange.send(head + b"\r\n\r\n" + body)


def slowly(exchange: Exchange) -> None:
    """The service carries it out, and the answer takes a quarter of a second."""
    answer = exchange.ask_service()
    exchange.stopping.wait(0.25)
    exchange.send(answer)


either_way = pytest.mark.parametrize("offset", [-DAY, DAY], ids=["behind", "ahead"])


@case(40, EXACT)
@either_way
def test_links_are_renewed_in_time_whatever_this_machines_clock_says(
    offset: int, tmp_path: Path, rig: Open
) -> None:
    """After part 1 the links have ended by the service's clock, and no other tells when."""
    path = make_file(tmp_path / "scene.glb")
    with rig({"create": [links_end_soon], 1: [slowly]}, clock_offset=-offset) as it:
        it.upload(path, concurrency=1, timeout=30)
        assert it.heard(UrlsRefreshed) == 1
        assert it.result is not None
        assert it.result.retries == 0, "no link was tried that had ended"
        assert [it.peer.seen[number] for number in (1, 2, 3, 4)] == [1, 1, 1, 1]


@case(40, EXACT)
@either_way
def test_links_that_hold_are_not_renewed_whatever_this_machines_clock_says(
    offset: int, tmp_path: Path, rig: Open
) -> None:
    with rig(clock_offset=-offset) as it:
        it.upload(make_file(tmp_path / "scene.glb"), timeout=30)
        assert it.result is not None
        assert (it.result.retries, it.result.url_refreshes) == (0, 0)


# Memory

FEW, MANY = 100, 10_000

# Uploads each file until a part is stored, then notes in the journal that all were but so many, and goes on.
# Prints what came of it, and the most memory this process had so far.
UPLOADS = """
import json, re, resource, sys
from pathlib import Path
from uploader import Uploader
from uploader.core.events import PartStored
from uploader.io.journal import Journal

class Enough(Exception):
    pass

def listener(event):
    if isinstance(event, PartStored):
        raise Enough

def peak():
    status = Path("/proc/self/status")
    if status.exists():  # ru_maxrss begins with what the parent had
        return int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)

state_dir, part_size = Path(sys.argv[1]), int(sys.argv[2])
with Uploader(state_dir=state_dir) as uploader:
    for path, count in zip(sys.argv[3::2], map(int, sys.argv[4::2])):
        try:
            uploader.upload(path, part_size=part_size, concurrency=1, progress=listener)
        except Enough:
            pass
        with Journal.open(state_dir, sys.exit) as journal:
            (record,) = journal.all()
            before = range(1, record.plan.count - count + 1)
            journal.store(record.row, [(number, f"{number:032x}", f"{number:032x}") for number in before])
        result = uploader.upload(path, progress=False)
        print(json.dumps([result.parts, result.bytes_sent, peak()]), flush=True)
"""


@dataclass
class Sink:
    """A service that keeps of each part only its MD5. A link has a kilobyte, as real ones have.

    Attributes:
        parts: how many the last upload has.
        received: the hex MD5 of what came last for each part.
    """

    parts: int = 0
    received: dict[int, str] = field(default_factory=dict)

    def create(self, exchange: Exchange) -> None:
        self.parts = json.loads(exchange.read())["parts"]
        self.get(exchange)

    def get(self, exchange: Exchange) -> None:
        form = f"{exchange.origin}/store?partNumber={{}}&X-Amz-Expires=3600&X-Amz-Security-Token={'x' * 900}"
        parts = [{"number": number, "url": form.format(number)} for number in range(1, self.parts + 1)]
        self._answer(exchange, status="pending", parts=parts)

    def put(self, exchange: Exchange) -> None:
        md5 = hashlib.md5(exchange.read(), usedforsecurity=False).hexdigest()
        assert exchange.part is not None
        self.received[exchange.part] = md5
        exchange.send(response(200, b"", f'ETag: "{md5}"'))

    def complete(self, exchange: Exchange) -> None:
        exchange.read()
        self._answer(exchange, status="validated")

    def _answer(self, exchange: Exchange, **upload: object) -> None:
        exchange.send(response(200, json.dumps({"upload": {"id": f"upload_{self.parts}"} | upload})))


def sparse(path: Path, parts: int, held: int) -> dict[int, str]:
    """Makes a file that takes no room but for the last `held` parts, each of its own; their MD5 sums."""
    sums = {}
    with path.open("wb") as file:
        file.truncate(parts * PART)
        for number in range(parts - held + 1, parts + 1):
            file.seek((number - 1) * PART)
            file.write(b"%d" % number)
            sums[number] = hashlib.md5((b"%d" % number).ljust(PART, b"\0"), usedforsecurity=False).hexdigest()
    return sums


@case(41, EXACT)
def test_memory_does_not_grow_with_what_is_sent_and_little_with_the_parts(
    tmp_path: Path, state_dir: Path
) -> None:
    """The most memory of a process that went through an upload of 100 parts, and then of one of 10,000.

    Of both it was told all links twice, began to send, was stopped, went on, and sent the last 2 parts of the
    one and the last 20 of the other, 100 MiB. The parts between are stored by the word of the journal alone:
    50 GB are not sent here. What may grow is what is kept of a part: its link of a kilobyte, in the answer
    that holds them all and once it is read.
    """
    few, many = tmp_path / "few.ckpt", tmp_path / "many.ckpt"
    held = {few: 2, many: 20}
    sums = {few: sparse(few, FEW, held[few]), many: sparse(many, MANY, held[many])}
    sink = Sink()
    script: dict[int | str, list[Behaviour]] = {
        name: [getattr(sink, name)] * 100 for name in ("create", "get", "put", "complete")
    }
    with peer("http://127.0.0.1:9", script) as front:
        place = {"SCENARIO_BASE_URL": f"{front.origin}/v1", "SCENARIO_SDK_JWT": "token"}
        told = run_python(UPLOADS, state_dir, PART, few, held[few], many, held[many], **place)
    for known in sums.values():
        assert {number: sink.received.get(number) for number in known} == known
    assert [it[:2] for it in told] == [[FEW, held[few] * PART], [MANY, held[many] * PART]]
    growth = told[1][2] - told[0][2]
    assert growth < (MANY - FEW) * 8 * 1024 < (held[many] - held[few]) * PART


# A fork

# Uploads, forks, uploads in the child and meanwhile in the parent, and again when the child is gone. Another
# child only closes what it has. Prints each result as [file name, upload id, retries].
FORKS = """
import json, os, signal, sys, traceback
from uploader import RetryPolicy, Uploader

def upload(path):
    result = uploader.upload(path, part_size=5 * 1024 * 1024, progress=False)
    line = json.dumps([result.file_name, result.upload_id, result.retries])
    os.write(1, f"{line}\\n".encode())

def child(act):
    pid = os.fork()
    if pid:
        return pid
    status = 1
    signal.alarm(60)  # whoever hangs shall not do so for ever
    try:
        act()
        uploader.close()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)

first, in_child, meanwhile, last = sys.argv[1:]
signal.alarm(60)
with Uploader(retry=RetryPolicy(poll_first=0.02)) as uploader:
    upload(first)
    children = [child(lambda: upload(in_child)), child(lambda: None)]
    upload(meanwhile)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    upload(last)
sys.exit(any(codes))
"""


@case(43, EXACT)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_parent_and_child_both_upload(tmp_path: Path, rig: Open) -> None:
    """The connections that were open at the fork stay the parent's: over TLS two cannot share one."""
    names = ["first.ckpt", "in-child.ckpt", "meanwhile.ckpt", "last.ckpt"]
    files = [make_file(tmp_path / name, PART + 1 * MiB, seed) for seed, name in enumerate(names)]
    with rig(tls=True) as it:
        place = it.service.environment | {"SCENARIO_BASE_URL": it.uploader.base_url}
        told = {name: (upload_id, retries) for name, upload_id, retries in run_python(FORKS, *files, **place)}
        assert told.keys() == set(names)
        for file in files:
            upload_id, retries = told[file.name]
            assert it.service.sha256(upload_id) == sha256(file)
            assert retries == 0
