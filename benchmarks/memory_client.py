"""One upload, watched for its memory, in a fresh process: `memory.py` starts it.

    python benchmarks/memory_client.py JSON

prints one line of JSON when the upload is done, or when `stop_at` bytes of it are sent; then it ends at once.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from usage import own_peak, resident


class Watch:
    """Notes how much memory is held as bytes are sent; ends the process where it was told to."""

    def __init__(self, stop_at: int | None) -> None:
        self._stop_at = stop_at
        self._imported = resident()
        self._before = 0  # what an earlier run has sent
        self._course: list[tuple[int, int]] = []

    def __call__(self, event: Any) -> None:
        """Hear what happened."""
        if type(event).__name__ == "UploadResumed":
            self._before = event.bytes_stored
        if type(event).__name__ != "Progress":
            return
        sent = event.sent - self._before
        self._course.append((sent, resident()))
        if self._stop_at is not None and sent >= self._stop_at:
            self.tell()
            os._exit(0)  # in the middle of it, with nothing put away: it has been measured

    def tell(self) -> None:
        """Print what was seen."""
        sent = self._course[-1][0]
        told = {"imported": self._imported, "peak": own_peak(), "sent": sent, "course": self._course}
        print(json.dumps(told), flush=True)


def main() -> None:
    job = json.loads(sys.argv[1])
    from uploader import Uploader

    watch = Watch(job["stop_at"])
    how = {key: job[key] for key in ("concurrency", "part_size")}
    with Uploader(jwt="benchmark", base_url=job["base_url"]) as client:
        client.upload(job["path"], kind="model", progress=watch, **how)
    watch.tell()


if __name__ == "__main__":
    main()
