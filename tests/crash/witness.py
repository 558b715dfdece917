"""What can be known of an upload from outside its process: its journal, and what the service saw."""

from __future__ import annotations

import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import TypeVar

import httpx

from uploader.local import Recorded, Service

MiB = 1024 * 1024
PATIENCE = 60.0

T = TypeVar("T")


def wait_until(what: str, condition: Callable[[], T]) -> T:
    """The first true value of `condition`; fails the test where there is none in time."""
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {PATIENCE:g} s until {what}"
        time.sleep(0.002)
    return value


def random_file(path: Path, size: int, seed: int) -> str:
    """Makes a file that nothing compresses; its SHA-256."""
    numbers, digest = random.Random(seed), sha256()
    with path.open("wb") as file:
        while size:
            block = numbers.randbytes(min(MiB, size))
            digest.update(block)
            size -= file.write(block)
    return digest.hexdigest()


# The journal

Committed = dict[str, dict[int, str | None]]


def read_journal(directory: Path) -> Committed:
    """The parts, and their MD5 sums, that are committed for each upload the service named.

    Of a copy: to open the journal itself would do the recovery that the next run has to do.
    """
    if not (directory / "journal.sqlite3").exists():
        return {}
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal"):
            path = directory / f"journal.sqlite3{suffix}"
            if path.exists():
                shutil.copy(path, folder)
        with closing(sqlite3.connect(f"{folder}/journal.sqlite3")) as connection:
            if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                return {}  # it was killed before it made the tables
            named = "SELECT id, upload_id FROM upload WHERE upload_id IS NOT NULL"
            parts = "SELECT number, md5 FROM part WHERE upload = ?"
            return {
                upload_id: dict(connection.execute(parts, (row,)).fetchall())
                for row, upload_id in connection.execute(named).fetchall()
            }


# The service


def puts(requests: Iterable[Recorded]) -> list[Recorded]:
    """Those that send a part."""
    return [request for request in requests if request.target == "part"]


def upload_of(request: Recorded) -> str:
    """The id of the upload a request is about."""
    return request.path.split("/")[2 if request.target == "part" else 3]


def links_of(request: Recorded) -> str:
    """Which answer of the service the link of a PUT came with: every one is signed for another session."""
    return request.query["X-Amz-Security-Token"]


def catch_up(service: Service) -> None:
    """Wait until the service has seen at least the head of all that was sent to it."""
    # Connections are accepted in their order, so every earlier one was read when this one is answered.
    httpx.get(f"{service.base_url}/nothing")


def stored_in(requests: Iterable[Recorded]) -> set[int]:
    """The part numbers that were acknowledged."""
    return {put.part for put in puts(requests) if put.part and put.status == 200}


def completed_in(service: Service) -> dict[str, str]:
    """The status of each upload that was completed, whether or not anybody heard of it."""
    asked = {upload_of(request) for request in service.requests if request.target == "complete"}
    statuses = {upload_id: str(service.upload(upload_id)["status"]) for upload_id in asked}
    return {upload_id: status for upload_id, status in statuses.items() if status != "pending"}
