"""Runs uploads in processes that kill themselves, for whoever sends orders to its standard input.

It has one thread, so that a process for each upload can be forked off it: that takes 10 ms, where a new
Python takes half a second. An order is a line of JSON. The answer is a line with what the run came to, if it
came to anything, and then a line with the exit code of its process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from typing import Any

from uploader import RetryPolicy, Timeouts, Uploader, UploaderError
from uploader.core.events import Event, Progress


def main() -> None:
    for line in sys.stdin:
        process = os.fork()
        if not process:
            run(json.loads(line))
            os._exit(0)
        _, status = os.waitpid(process, 0)
        say({"code": os.waitstatus_to_exitcode(status)})


def say(what: dict[str, Any]) -> None:
    """At once, and whole: nothing of it waits in a buffer when the end comes."""
    os.write(1, json.dumps(what).encode() + b"\n")


def run(order: dict[str, Any]) -> None:
    """One upload, killed as ordered unless it ends before."""
    faulthandler.dump_traceback_later(order["watchdog"], exit=True)
    count = 0

    def listener(event: Event) -> None:
        nonlocal count
        if isinstance(event, Progress):
            return
        if count == order["at"]:
            if order["delay"]:
                timer = threading.Timer(order["delay"], die)
                timer.daemon = True
                timer.start()
            else:
                die()
        count += 1

    settings = order["uploader"]
    retry, timeouts = RetryPolicy(**settings.pop("retry")), Timeouts(**settings.pop("timeouts"))
    with Uploader(**settings, retry=retry, timeouts=timeouts) as uploader:
        try:
            result = uploader.upload(order["path"], progress=listener, **order["options"])
        except UploaderError as error:
            say({"error": type(error).__name__, "said": str(error)})
        else:
            say({"upload_id": result.upload_id, "status": result.status})


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
