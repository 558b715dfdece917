"""What the command says: lines on stderr, one JSON object on stdout, an exit code."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import Any

from uploader.printable import printable

DONE, FAILED, USAGE, RESUMABLE, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


def say(text: str) -> None:
    """A line on stderr, from the command; none where stderr is closed."""
    if sys.stderr is None:
        return
    with suppress(OSError):  # nobody reads it; that changes nothing about the upload
        print(f"uploader: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201


def tell(text: str) -> None:
    """A line on stdout. That nobody can read it is said, once, and changes nothing about an upload."""
    if sys.stdout is None:
        return
    try:
        print(printable(text), flush=True)  # noqa: T201
    except OSError as error:
        give_up_stdout(error)


def give_up_stdout(error: OSError) -> None:
    """Write to it no more: what is still in its buffer would fail again, when Python ends."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
    say(f"stdout cannot be written, so not all is told there: {error.strerror or error}")


def error_fields(kind: str, message: str, upload_id: str | None, *, resumable: bool) -> dict[str, Any]:
    """An error as `--json` shows it."""
    fields = {"type": kind, "message": message, "upload_id": upload_id, "resumable": resumable}
    return {"error": fields}


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, on a line of stdout: ASCII, so that no terminal or encoding can trip over it."""
    tell(json.dumps(value))
