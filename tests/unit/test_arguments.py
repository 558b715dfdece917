"""What is no such thing as an argument should be is refused by its name, as an InputError."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from uploader import InputError, Job, Uploader


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "icon.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    return path


@pytest.fixture
def offline(tmp_path: Path) -> Iterator[Uploader]:
    """Any call it made would fail otherwise: nothing listens there."""
    with Uploader(
        base_url="http://127.0.0.1:9/v1", api_key="k", api_secret="s", state_dir=tmp_path / "state"
    ) as it:
        yield it


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"retry": 3}, "retry is a RetryPolicy, not int"),
        ({"timeouts": 3}, "timeouts is a Timeouts, not int"),
        ({"project_id": 5}, "project_id is a string, not int"),
        ({"api_key": b"k"}, "api_key is a string, not bytes"),
        ({"jwt": 5}, "jwt is a string, not int"),
        ({"base_url": 5}, "base_url is a string, not int"),
        ({"state_dir": 5}, "state_dir is a path, not int"),
        ({"storage_hosts": 5}, "storage_hosts is a list of hosts, not int"),
        ({"storage_hosts": [5]}, r"storage_hosts is a list of hosts, not \[5\]"),
        ({"executor": 5}, "executor is a concurrent.futures.Executor, not int"),
    ],
)
def test_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}$"):
        Uploader(**({"api_key": "k", "api_secret": "s"} | settings))


CALLS: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "wait for None": (lambda up, file: up.wait(None), "upload_id is a string, not NoneType"),
    "resume None": (lambda up, file: up.resume(None), "upload_id is a string, not NoneType"),
    "forget None": (lambda up, file: up.forget(None), "upload_id is a string, not NoneType"),
    "upload None": (lambda up, file: up.upload(None), "path is a path, not NoneType"),
    "run a path": (lambda up, file: up.run(file), "job is a Job, as `prepare` makes it, not "),
    "progress 3": (
        lambda up, file: up.upload(file, progress=3),
        "progress is True, False, None or a function, not int",
    ),
    "cancelled True": (
        lambda up, file: up.upload(file, cancelled=True),
        "cancelled is a threading.Event, not bool",
    ),
    "wait, cancelled True": (
        lambda up, file: up.wait("upload_1", cancelled=True),
        "cancelled is a threading.Event, not bool",
    ),
    "one collection": (
        lambda up, file: up.upload(file, asset_options={"collection_ids": "c1"}),
        r"collection_?[iI]ds \(Input should be a list\)",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str, offline: Uploader, file: Path) -> None:
    call, said = CALLS[name]
    with pytest.raises(InputError, match=said) as caught:
        call(offline, file)
    assert caught.value.nothing_sent


AFTER: dict[str, Callable[[Uploader, Path, Job], object]] = {
    "upload": lambda up, file, job: up.upload(file, progress=False),
    "run": lambda up, file, job: up.run(job, progress=False),
    "wait": lambda up, file, job: up.wait("upload_1", progress=False),
    "resume": lambda up, file, job: up.resume("upload_1", progress=False),
}


@pytest.mark.parametrize("name", AFTER)
def test_nothing_is_sent_by_what_was_closed(name: str, offline: Uploader, file: Path) -> None:
    job = offline.prepare(file)
    offline.close()
    with pytest.raises(InputError, match="this Uploader was closed"):
        AFTER[name](offline, file, job)
