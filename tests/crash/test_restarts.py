"""The service is stopped and started again, on the same directory and port, in the midst of an upload.

Once under the same keys, so that the links of before are still good, and once under others, so that they are
not and the service has to be asked for fresh ones.
"""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.command.conftest import spawn
from tests.crash.witness import (
    PATIENCE,
    Committed,
    MiB,
    completed_in,
    puts,
    random_file,
    read_journal,
    stored_in,
    upload_of,
    wait_until,
)
from uploader.local import Recorded, Service, serve

SIZE, PART, RATE, CONCURRENCY = 48 * MiB, 5 * MiB, 32 * MiB, 2
PARTS = -(-SIZE // PART)

Begin = Callable[[Service, Path], subprocess.Popen[str]]

either_way = pytest.mark.parametrize("keys", ["the same keys", "other keys"])


class Place:
    """Where a service keeps its state and listens, whichever service it is at the time.

    `parts` are the PUTs of all services so far, those of the running one after it has stopped.
    """

    def __init__(self, directory: Path) -> None:
        self.parts: list[Recorded] = []
        self._directory = directory
        self._port = 0

    @contextmanager
    def serving(self, stage_delay: float = 0.05) -> Iterator[Service]:
        """A service there, as long as the block lasts."""
        with serve(self._directory, port=self._port, rate=RATE, stage_delay=stage_delay) as service:
            self._port = urlsplit(service.base_url).port or 0
            yield service
        self.parts += puts(service.requests)

    def change(self, keys: str) -> None:
        """What becomes of the keys that links are signed with, while no service is running."""
        if keys == "other keys":
            (self._directory / "signing.key").unlink()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "service")


@pytest.fixture
def weights(tmp_path: Path) -> tuple[Path, str]:
    """A file, and its SHA-256."""
    path = tmp_path / "weights.ckpt"
    return path, random_file(path, SIZE, seed=7)


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Starts the command on a file; none of these outlives its test."""
    with ExitStack() as stack:

        def start(service: Service, path: Path) -> subprocess.Popen[str]:
            options = ("--json", "--part-size", str(PART), "--concurrency", str(CONCURRENCY))
            process = stack.enter_context(spawn("upload", path, *options, **service.environment))
            stack.callback(process.kill)
            return process

        yield start


def end(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What the command printed, once it is done."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    result = json.loads(out)
    assert isinstance(result, dict)
    return result


def wait_for_parts(service: Service, process: subprocess.Popen[str], count: int) -> None:
    """Wait until this service acknowledged so many parts."""

    def enough() -> bool:
        assert process.poll() is None, process.communicate()
        return len(stored_in(service.requests)) >= count

    wait_until(f"{count} parts are stored", enough)


def committed_parts(committed: Committed) -> set[int]:
    """The numbers of the parts of the one upload there is."""
    (parts,) = committed.values()
    return set(parts)


def sent(parts: list[Recorded]) -> set[int | None]:
    return {put.part for put in parts}


@either_way
def test_an_upload_outlasts_restarts_of_the_service(
    keys: str, begin: Begin, place: Place, weights: tuple[Path, str], state_dir: Path
) -> None:
    path, digest = weights
    known: list[tuple[int, set[int]]] = []  # how many PUTs there had been, and what was committed then
    process = None
    for _ in range(2):
        with place.serving() as service:
            process = process or begin(service, path)
            wait_for_parts(service, process, CONCURRENCY + 1)  # so at least one answer was heard
        known.append((len(place.parts), committed_parts(read_journal(state_dir))))
        place.change(keys)
    with place.serving() as service:
        assert process is not None
        result = end(process)
        assert service.sha256(result["upload_id"]) == digest
        assert completed_in(service).keys() == {result["upload_id"]}
    assert known[1][1] > known[0][1] > set()
    for count, parts in known:
        assert not parts & sent(place.parts[count:]), "what was committed is not sent again"
    assert {upload_of(put) for put in place.parts} == {result["upload_id"]}
    assert sum(put.body_bytes for put in place.parts) <= SIZE + len(known) * CONCURRENCY * PART
    assert not result["recreated"]
    assert result["bytes_resumed"] == 0, "it was one run"
    if keys == "other keys":
        assert result["url_refreshes"] >= len(known)


@either_way
def test_a_run_goes_on_with_what_another_service_took(
    keys: str, begin: Begin, place: Place, weights: tuple[Path, str], state_dir: Path
) -> None:
    path, digest = weights
    with place.serving() as service:
        process = begin(service, path)
        wait_for_parts(service, process, 4)
        process.kill()
        process.communicate(timeout=PATIENCE)
        assert process.returncode == -signal.SIGKILL
        journal = read_journal(state_dir)
        wait_until("all that was sent was read", lambda: not service.under_way)
    (upload_id,) = journal
    place.change(keys)
    before = len(place.parts)
    with place.serving() as service:
        result = end(begin(service, path))
        assert service.sha256(upload_id) == digest
        assert completed_in(service).keys() == {upload_id}
    parts = committed_parts(journal)
    assert result["upload_id"] == upload_id
    assert sent(place.parts[before:]) == set(range(1, PARTS + 1)) - parts
    assert result["bytes_resumed"] == len(parts) * PART > 0
    assert result["bytes_sent"] == SIZE - len(parts) * PART
    assert (result["retries"], result["url_refreshes"]) == (0, 0), "every run asks for links of its own"


def test_a_run_outlasts_a_restart_of_the_service_while_it_waits_for_the_verdict(
    begin: Begin, place: Place, weights: tuple[Path, str]
) -> None:
    path, digest = weights
    with place.serving(stage_delay=3600) as service:
        process = begin(service, path)
        wait_until("the upload is completed", lambda: completed_in(service))
    with place.serving() as service:
        result = end(process)
        assert service.sha256(result["upload_id"]) == digest
        assert not puts(service.requests)
    assert result["status"] in ("validated", "imported")
