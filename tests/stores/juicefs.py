"""JuiceFS and its S3 gateway, which is MinIO's: metadata in SQLite, blocks in a directory."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stores.processes import Server, executable, free_ports
from tests.stores.store import ACCESS_KEY, BUCKET, SECRET_KEY, Store, running

_CREDENTIALS = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}


@contextmanager
def juicefs(directory: Path) -> Iterator[Store]:
    """A volume over `directory` behind a gateway, whose one bucket has the name of the volume."""
    program, metadata = executable("juicefs"), f"sqlite3://{directory / 'metadata.db'}"
    _format(program, metadata, directory)
    port, metrics = free_ports(2)
    gateway = (program, "gateway", metadata, f"127.0.0.1:{port}", *_options(directory, metrics))
    with running(
        Store(
            name="juicefs",
            endpoint=f"http://127.0.0.1:{port}",
            servers=(Server(*gateway, directory=directory, environment=_CREDENTIALS),),
        )
    ) as store:
        yield store


def _format(program: str, metadata: str, directory: Path) -> None:
    where = ("--storage", "file", "--bucket", f"{directory / 'blocks'}/", "--trash-days", "0")
    subprocess.run((program, "format", *where, metadata, BUCKET), check=True, capture_output=True)


def _options(directory: Path, metrics: int) -> Iterator[str]:
    yield from ("--metrics", f"127.0.0.1:{metrics}", "--no-usage-report", "--no-agent", "--no-banner")
    yield from ("--cache-dir", f"{directory / 'cache'}", "--log", f"{directory / 'gateway.log'}")
