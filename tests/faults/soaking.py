"""Uploads for as long as it is told, by threads and by tasks, in a process that does nothing else.

    python -m tests.faults.soaking ORDER

ORDER is JSON. It works in rounds: in each, every thread and task uploads its own file over and over, cancels
now and then, changes the file now and then; and when all have come to rest it says, as a line of JSON, what
the process holds. What was uploaded is a line too: the upload's id and the digest of the file.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

from uploader import AsyncUploader, RetryPolicy, Timeouts, Uploader, UploaderError
from uploader.core.events import Event

PART = 5 * 1024 * 1024
THREADS = (70_000, PART + 1, 2 * PART + 3)  # the sizes of their files
TASKS = (70_000, PART + 1)
CONCURRENCY = 4

RETRY = RetryPolicy(
    attempts=6,
    first_attempts=4,
    base=0.01,
    cap=0.1,
    retry_after_cap=0.2,
    budget_rate=50.0,
    poll_first=0.02,
    poll_cap=0.2,
    wait_limit=10.0,
)
TIMEOUTS = Timeouts(connect=5.0, stall=0.5, answer=1.0, api=1.0)


class File:
    """A file and its digest."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.digest = ""
        self._data = bytearray(random.randbytes(size))
        self.change()

    def change(self) -> None:
        """Other bytes of the same number."""
        at = random.randrange(len(self._data))
        self._data[at] ^= 1
        self.path.write_bytes(self._data)
        self.digest = sha256(self._data).hexdigest()


class Soak:
    """What all threads and tasks share."""

    def __init__(self, order: dict[str, Any]) -> None:
        settings = {"api_key": order["api_key"], "api_secret": order["api_secret"], "retry": RETRY}
        settings |= {"timeouts": TIMEOUTS, "state_dir": order["state"]}
        self.ended: Counter[str] = Counter()
        self.uploader = Uploader(base_url=order["http"], **settings)
        self.awaited = AsyncUploader(base_url=order["https"], **settings)
        self._state = Path(order["state"])
        self._files = [
            File(Path(order["files"]) / f"{n}.ckpt", size) for n, size in enumerate(THREADS + TASKS)
        ]
        self._began = time.monotonic()

    def round(self, seconds: float) -> None:
        """Upload for so long, and come to rest."""
        until = time.monotonic() + seconds
        threads, tasks = self._files[: len(THREADS)], self._files[len(THREADS) :]
        with ThreadPoolExecutor(len(threads) + 1) as pool:
            done = [pool.submit(self._in_thread, file, until) for file in threads]
            done.append(pool.submit(asyncio.run, self._in_loop(tasks, until)))
            for future in done:
                future.result()

    def _in_thread(self, file: File, until: float) -> None:
        while time.monotonic() < until:
            digest, cancelled = file.digest, threading.Event()
            timer = threading.Timer(random.uniform(0, 0.5), cancelled.set)
            if random.random() < 0.1:
                timer.start()
            try:
                job = self.uploader.prepare(file.path, kind="model", part_size=PART, concurrency=CONCURRENCY)
                result = self.uploader.run(job, progress=changing(file), cancelled=cancelled)
            except UploaderError as error:
                self._failed(error)
            else:
                self._done(result.upload_id, digest)
            finally:
                timer.cancel()
                if timer.ident is not None:
                    timer.join()

    async def _in_loop(self, files: list[File], until: float) -> None:
        await asyncio.gather(*[self._in_task(file, until) for file in files])

    async def _in_task(self, file: File, until: float) -> None:
        while time.monotonic() < until:
            digest = file.digest
            patience = random.uniform(0, 0.5) if random.random() < 0.1 else None
            upload = self.awaited.upload(
                file.path, kind="model", part_size=PART, concurrency=CONCURRENCY, progress=changing(file)
            )
            try:
                result = await asyncio.wait_for(upload, patience)
            except TimeoutError:
                self.ended["cancelled task"] += 1
            except UploaderError as error:
                self._failed(error)
            else:
                self._done(result.upload_id, digest)

    def _failed(self, error: UploaderError) -> None:
        assert len(str(error)) > 10
        self.ended[type(error).__name__] += 1

    def _done(self, upload_id: str, digest: str) -> None:
        say({"upload_id": upload_id, "sha256": digest})
        self.ended["exact bytes"] += 1

    def sample(self) -> None:
        """Say what this process holds while it is at rest."""
        gc.collect()
        status = Path("/proc/self/status").read_text()
        pages = next(line for line in status.splitlines() if line.startswith("VmRSS"))
        say(
            {
                "minutes": round((time.monotonic() - self._began) / 60, 2),
                "uploads": self.ended["exact bytes"],
                "others": self.ended.total() - self.ended["exact bytes"],
                "memory": int(pages.split()[1]) * 1024,
                "objects": len(gc.get_objects()),
                "threads": len(list(Path("/proc/self/task").iterdir())),
                "descriptors": len(list(Path("/proc/self/fd").iterdir())),
                "state": sum(path.stat().st_size for path in self._state.rglob("*") if path.is_file()),
            }
        )


def changing(file: File) -> Callable[[Event], None]:
    """A listener; once in a while it is the moment when somebody writes to the file."""
    moment = random.randrange(200)

    def listener(_: Event) -> None:
        nonlocal moment
        moment -= 1
        if moment == 0:
            file.change()

    return listener


def say(what: dict[str, Any]) -> None:
    """A line; any thread may."""
    os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    order = json.loads(sys.argv[1])
    random.seed(order["seed"])
    soak = Soak(order)
    soak.sample()
    for _ in range(order["rounds"]):
        soak.round(order["seconds"])
        soak.sample()
    soak.uploader.close()
    asyncio.run(soak.awaited.aclose())
    say({"ended": soak.ended})


if __name__ == "__main__":
    main()
