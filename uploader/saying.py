"""What the command says: lines on stderr, one JSON object on stdout, an exit code."""

from __future__ import annotations

import json
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


def error_fields(kind: str, message: str, upload_id: str | None, *, resumable: bool) -> dict[str, Any]:
    """An error as `--json` shows it."""
    fields = {"type": kind, "message": message, "upload_id": upload_id, "resumable": resumable}
    return {"error": fields}


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, on a line of stdout: ASCII, so that no terminal or encoding can trip over it."""
    print(json.dumps(value), flush=True)  # noqa: T201
