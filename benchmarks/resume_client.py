"""Goes on with an interrupted upload, in a fresh process, and tells its moments: `resume.py` starts it.

    python benchmarks/resume_client.py JSON

prints one line of JSON when it knows what is there and begins to send; then it sends, until it is killed.
Some steps of the library are wrapped to learn how long they took: a microsecond each.
"""

from __future__ import annotations

import time

MOMENTS = {"main": time.monotonic()}
CPU = {"main": time.process_time()}

import functools  # noqa: E402 - nothing is imported before the clock is read
import json  # noqa: E402
import sys  # noqa: E402
from typing import Any  # noqa: E402


def note(what: str) -> None:
    """It is so far now."""
    MOMENTS[what], CPU[what] = time.monotonic(), time.process_time()


def timed(owner: Any, name: str, took: dict[str, float]) -> None:
    """Let a function of the library add up the seconds it takes."""
    wrapped = getattr(owner, name)

    @functools.wraps(wrapped)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = time.monotonic()
        try:
            return wrapped(*args, **kwargs)
        finally:
            took[name] = took.get(name, 0.0) + time.monotonic() - began

    setattr(owner, name, wrapper)


def main() -> None:
    job = json.loads(sys.argv[1])
    from uploader import Uploader

    note("imported")
    import uploader
    import uploader.io.api
    from uploader.io.journal import Journal
    from uploader.io.source import Source

    took: dict[str, float] = {}
    timed(Source, "digest", took)
    timed(Journal, "open", took)
    timed(Journal, "parts", took)
    timed(uploader.io.api, "_upload", took)

    def listener(event: Any) -> None:
        if isinstance(event, uploader.events.PhaseChanged):
            note(str(event.phase))
            if event.phase == uploader.events.Phase.SENDING:
                print(json.dumps({"moments": MOMENTS, "cpu": CPU, "took": took}), flush=True)

    note("called")
    with Uploader(jwt="benchmark", base_url=job["base_url"]) as client:
        prepared = client.prepare(job["path"], kind="model")
        note("prepared")
        client.run(prepared, progress=listener)


if __name__ == "__main__":
    main()
