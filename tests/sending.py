"""Uploads over executors, as the tests of these make them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uploader import RetryPolicy, Uploader, UploadResult
from uploader.local import Service

MiB = 1024 * 1024


@contextmanager
def uploading_over(service: Service, executor: Executor, retry: RetryPolicy) -> Iterator[Uploader]:
    """An uploader to that service whose parts go over `executor`."""
    with Uploader(
        base_url=service.base_url,
        api_key=service.api_key,
        api_secret=service.api_secret,
        retry=retry,
        executor=executor,
    ) as uploader:
        yield uploader


def send(uploader: Uploader, path: Path, progress: Any = False, **options: Any) -> UploadResult:
    """Upload a file in parts of 5 MiB, to the end."""
    return uploader.upload(path, progress=progress, part_size=5 * MiB, wait_for="imported", **options)


def sum_of(path: Path) -> str:
    """The hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
