"""One contender's transfer, measured in a process of its own: `throughput.py` starts it.

    python benchmarks/contenders.py NAME JSON

prints one line of JSON with what the transfer, and nothing before it, cost.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import queue
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import peers
from jobs import Job, Send
from usage import Cpu, peak, resident

BLOCK = 256 * 1024

# The floor: what Python's own HTTP client costs when it does nothing but the transfer.


def floor(job: Job, *, md5: bool) -> int:
    """Send every part over `concurrency` kept connections; return the bytes that were acknowledged."""
    offsets: queue.SimpleQueue[int] = queue.SimpleQueue()
    for offset in range(0, job.size, job.part_size):
        offsets.put(offset)
    context = ssl.create_default_context()
    with ThreadPoolExecutor(int(job.concurrency)) as pool:
        workers = [pool.submit(_send_parts, job, offsets, context, md5) for _ in range(int(job.concurrency))]
    return sum(worker.result() for worker in workers)


def _send_parts(job: Job, offsets: queue.SimpleQueue[int], context: ssl.SSLContext, md5: bool) -> int:
    """One thread's share: parts from the queue until it is empty, over one connection."""
    connection, sent = _connect(job, context), 0
    with suppress(queue.Empty):
        while True:
            sent += _send_part(connection, job, offsets.get_nowait(), md5)
    connection.close()
    return sent


def _connect(job: Job, context: ssl.SSLContext) -> http.client.HTTPConnection:
    url = urlsplit(job.base_url)
    host, port = url.hostname or "", url.port
    if url.scheme == "http":
        return http.client.HTTPConnection(host, port)
    return http.client.HTTPSConnection(host, port, context=context)


def _send_part(connection: http.client.HTTPConnection, job: Job, offset: int, md5: bool) -> int:
    length = min(job.part_size, job.size - offset)
    connection.putrequest("PUT", f"/parts/{offset // job.part_size + 1}", skip_accept_encoding=True)
    connection.putheader("Content-Length", str(length))
    connection.endheaders()
    _send_blocks(connection, job.path, offset, length, md5)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200 or not answer.getheader("ETag"):
        raise RuntimeError(f"the sink answered {answer.status}")
    return length


def _send_blocks(
    connection: http.client.HTTPConnection, path: str, offset: int, length: int, md5: bool
) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with io.FileIO(path) as file:
        file.seek(offset)
        while length:
            block = file.read(min(BLOCK, length))
            if not block:
                raise EOFError(f"{path} ended early")
            if md5:
                digest.update(block)
            connection.send(block)
            length -= len(block)


# This library.


def _library() -> Callable[..., Send]:
    """Import it, and only then: what a contender imports is part of its memory."""
    from uploader import Uploader

    def make(verify: str) -> Send:
        def send(job: Job) -> int:
            events: list[Any] = []
            how: dict[str, Any] = {"verify": verify}
            if not job.defaults:
                how |= {"concurrency": job.concurrency, "part_size": job.part_size}
            with Uploader(jwt="benchmark", base_url=job.base_url) as client:
                result = client.upload(job.path, kind="model", progress=events.append, **how)
            _tell_trouble(events)
            return (result.file_size or 0) if result.status == "validated" else 0

        return send

    return make


def _tell_trouble(events: list[Any]) -> None:
    """Say why anything was sent again: that run's figures are worth less, and nothing here calls for it."""
    for event in events:
        if type(event).__name__ in ("PartRetrying", "CallRetrying", "Recreating"):
            print(f"warning: not a clean run: {event}", file=sys.stderr)


CONTENDERS: dict[str, Callable[[], Send]] = {
    "floor": lambda: lambda job: floor(job, md5=False),
    "floor+md5": lambda: lambda job: floor(job, md5=True),
    "uploader": lambda: _library()("none"),
    "uploader+md5": lambda: _library()("md5"),
    "hf_transfer": peers.hf_transfer,
    "obstore": peers.obstore,
    "boto3": peers.boto3,
    "s5cmd": peers.s5cmd,
    "curl": peers.curl,
    "guide": peers.guide,
}


# Measuring.


def measure(name: str, job: Job) -> dict[str, float]:
    """Run a contender and say what its transfer cost; times in seconds, memory in bytes."""
    send = CONTENDERS[name]()
    imported, before = resident(), Cpu.now()
    started = time.perf_counter()
    sent = send(job)
    wall = time.perf_counter() - started
    after = Cpu.now()
    return {
        "bytes": sent,
        "wall": wall,
        "user": after.user - before.user,
        "system": after.system - before.system,
        "imported": imported,
        "peak": peak(),
    }


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], Job(**json.loads(sys.argv[2])))))
