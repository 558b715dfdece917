"""This machine runs out of descriptors or of threads: real processes, under real limits.

Each lowers its own limit, so that nothing else is short of anything.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import EXACT, case
from tests.transfer.conftest import MiB
from tests.transfer.servers import answering
from uploader.local import Service, serve

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits are set and counted as Linux does")

PARTS = 24

LIMITS = """
import asyncio, json, os, resource, sys, threading
from uploader import AsyncUploader, RetryPolicy, Uploader, UploaderError
from uploader.core.events import Failed, PartRetrying

def allow_descriptors(count):
    limit = max(map(int, os.listdir("/proc/self/fd"))) + 1 + count
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

def allow_threads(count):
    '''Each takes a stack of 4 GiB out of the address space, which has room for so many.'''
    threading.stack_size(4 * 2**30)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    limit = now + count * (4 * 2**30) + 2 * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
"""

# Uploads a file in `PARTS` parts, many at once, and prints [status, upload id, why parts were sent again] or
# [the error's type, its message, whether it can be gone on with, whether nothing was sent, how it was told].
UPLOADS = (
    LIMITS
    + """
limit, count, policy, path = json.loads(sys.argv[1])
events = []
with Uploader(retry=RetryPolicy(**policy)) as uploader:
    globals()[limit](count)
    try:
        done = uploader.upload(
            path, part_size=5 * 2**20, concurrency=16, wait_for="imported", progress=events.append
        )
    except UploaderError as error:
        told = [event.error is error for event in events if isinstance(event, Failed)]
        print(json.dumps([type(error).__name__, str(error), error.resumable, error.nothing_sent, told]))
    else:
        why = [f"{it.cause}: {it.detail}" for it in events if isinstance(it, PartRetrying)]
        print(json.dumps([done.status, done.upload_id, why]))
"""
)


# The command, given files of one part each.
COMMANDS = (
    LIMITS
    + """
from uploader.cli import main
count, *paths = json.loads(sys.argv[1])
allow_threads(count)
sys.exit(main(["upload", "--json", "--wait-for=imported", *paths]))
"""
)

# Awaits an upload that no thread can make. Prints [the error's type, its message, whether nothing was sent].
AWAITS = (
    LIMITS
    + """
async def upload(path):
    async with AsyncUploader() as uploader:
        allow_threads(0)
        try:
            await uploader.upload(path)
        except UploaderError as error:
            print(json.dumps([type(error).__name__, str(error), error.nothing_sent]))

asyncio.run(upload(*json.loads(sys.argv[1])))
"""
)

# Asks an API over TLS, for which there is no descriptor. Prints [the error's type, its message].
ASKS = (
    LIMITS
    + """
with Uploader(base_url="https://127.0.0.1:1/v1", retry=RetryPolicy(attempts=2, base=0.01, cap=0.01)) as up:
    allow_descriptors(0)
    try:
        up.wait("upload_1")
    except UploaderError as error:
        print(json.dumps([type(error).__name__, str(error)]))
"""
)

# Makes an attempt; one over the same connection, while there is no descriptor for the file; one, when there
# is none for a connection; and one when there are again. Prints [how, what the system said] of each.
ATTEMPTS = """
import json, os, resource, sys
from contextlib import suppress
from pathlib import Path
from uploader.core.plan import Part
from uploader.io.connections import Connections, Scope, make_tls_context
from uploader.io.source import Source
from uploader.io.storage import Meter, PartTask, put
from uploader.io.transport import anywhere
from uploader.models import PresignedUrl

def attempt(connections):
    answer = put(task, connections, Scope(), Meter()).answer
    told.append([str(getattr(answer, "kind", "")), getattr(answer, "detail", answer.__class__.__name__)])

(url, path), told, taken = json.loads(sys.argv[1]), [], []
task = PartTask(Source.find(path), Part(1, 0, 10), PresignedUrl(url), "image/png", True)
context = make_tls_context()
connections = Connections(lambda: context, anywhere)
attempt(connections)
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
with suppress(OSError):
    while True:
        taken.append(os.open(os.devnull, os.O_RDONLY))
attempt(connections)
taken.append(os.open(os.devnull, os.O_RDONLY))  # that of the connection, which was given back
attempt(connections)
for descriptor in taken:
    os.close(descriptor)
attempt(connections)
print(json.dumps(told))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """By its name nobody judges its content."""
    path = tmp_path / "weights.ckpt"
    with path.open("wb") as file:
        for number in range(PARTS):
            file.write(number.to_bytes(4, "big") * (5 * MiB // 4))
    return path


def ran(code: str, *orders: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, when it has ended."""
    return subprocess.run(
        [sys.executable, "-c", code, json.dumps(orders)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run(code: str, *orders: object, **environment: str) -> list[Any]:
    """What a program printed."""
    done = ran(code, *orders, **environment)
    assert done.returncode == 0, done.stderr
    answer: list[Any] = json.loads(done.stdout)
    return answer


def upload(service: Service, path: Path, limit: str, count: int, **policy: float) -> list[Any]:
    return run(UPLOADS, limit, count, {"poll_first": 0.02} | policy, str(path), **service.environment)


@case(54, EXACT)
@pytest.mark.parametrize(
    ("limit", "count", "said"),
    [
        # The journal and its lock take some; half of the rest are sockets, and half the file.
        ("allow_descriptors", 16, os.strerror(errno.EMFILE)),
        # One makes the calls.
        ("allow_threads", 2, "no further thread can be started"),
        ("allow_threads", 5, "no further thread can be started"),
    ],
)
def test_it_goes_on_with_as_many_parts_at_once_as_there_can_be(
    limit: str, count: int, said: str, path: Path
) -> None:
    with serve(stage_delay=0.02) as service:
        status, upload_id, why = upload(service, path, limit, count)
        assert status == "imported"
        assert service.sha256(upload_id) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert set(why) == {f"shortage: the machine is short of descriptors, memory or threads: {said}"}


@case(54, "PartError")
def test_without_a_thread_for_parts_it_ends_in_what_to_do(path: Path) -> None:
    with serve() as service:
        kind, said, resumable, nothing_sent, told = upload(
            service, path, "allow_threads", 1, attempts=3, base=0.01, cap=0.01
        )
        assert not [record for record in service.requests if record.target == "complete"]
    assert kind == "PartError"
    assert re.search(r"no further thread can be started; gave up after \d+ attempts: raise its limits", said)
    assert (resumable, nothing_sent, told) == (True, False, [True])


@case(54, "UnreachableError")
def test_without_a_thread_for_calls_nothing_is_begun(path: Path) -> None:
    with serve() as service:
        kind, said, resumable, nothing_sent, told = upload(service, path, "allow_threads", 0)
        assert not service.requests
    assert kind == "UnreachableError"
    assert said.startswith("could not create the upload: the machine is short of")
    assert "raise its limits" in said
    assert (resumable, nothing_sent, told) == (False, True, [True])


@case(54, EXACT, "UnreachableError")
@pytest.mark.parametrize("count", [1, 3, 40])
def test_of_several_small_files_each_is_told_however_few_threads_there_are(
    count: int, tmp_path: Path
) -> None:
    """Each takes a thread, and two more for its calls and its part."""
    paths = [tmp_path / f"{number}.ckpt" for number in range(12)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with serve(stage_delay=0.02) as service:
        done = ran(COMMANDS, count, *map(str, paths), **service.environment)
        outcomes = json.loads(done.stdout)["uploads"]
        assert [it["file_name"] for it in outcomes] == [path.name for path in paths]
        for path, outcome in zip(paths, outcomes, strict=True):
            if "error" not in outcome:
                told = service.sha256(outcome["upload_id"])
                assert told == hashlib.sha256(path.read_bytes()).hexdigest()
    kinds = {it.get("error", {}).get("type") for it in outcomes}
    assert kinds == ({None} if count == 40 else {"UnreachableError"} if count == 1 else kinds)
    assert kinds <= {None, "UnreachableError", "PartError"}
    assert "Traceback" not in done.stderr


@case(54, "UnreachableError")
def test_a_certificate_that_there_is_no_descriptor_for_is_not_called_unusable() -> None:
    kind, said = run(ASKS, SCENARIO_SDK_API_KEY="k", SCENARIO_SDK_API_SECRET="s")
    assert kind == "UnreachableError"
    assert said.startswith("could not look at the upload: the machine is short of")
    assert "raise its limits" in said


@case(54, "UploaderError")
def test_without_a_thread_to_await_nothing_is_begun(path: Path) -> None:
    with serve() as service:
        kind, said, nothing_sent = run(AWAITS, str(path), **service.environment)
        assert not service.requests
    assert kind == "UploaderError"
    assert said.startswith("nothing was begun: the machine is short of")
    assert "raise its limits" in said
    assert nothing_sent


def test_it_is_the_same_whether_it_strikes_the_file_or_the_connection(tmp_path: Path) -> None:
    """And connections that nobody uses are given up: each holds a descriptor."""
    path = tmp_path / "f.bin"
    path.write_bytes(b"0123456789")
    stored = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\n\r\n'
    with answering(stored, keep=True) as origin:
        first, no_file, no_socket, last = run(ATTEMPTS, f"{origin}/p?s=1", str(path))
    lack = ["the machine is short of descriptors, memory or threads", os.strerror(errno.EMFILE)]
    assert no_file == no_socket == lack
    assert first == last == ["", "Response"]
