"""JuiceFS and its S3 gateway, which is MinIO's: metadata in SQLite, blocks in a directory.

What a service on it has to know, of 1.4.2:

- Complete takes a part of any size wherever it is: who wants 5 MiB has to look for itself.
- Complete answers NoSuchUpload when it has been carried out, and also when it names a part that is not there,
  with the upload as it was. What became of it, only a look at the object and at the parts tells.
- Objects have no ETag, unless the gateway is started with `--keep-etag`.
- A part of a length that is not told beforehand is refused, 411.
- It is a directory tree: a key cannot be `a` where another is `a/b`; complete answers 500.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stores.processes import Server, executable, free_ports
from tests.stores.store import ACCESS_KEY, BUCKET, SECRET_KEY, Manners, Store, running

_MANNERS = Manners(
    smallest_part=0,
    most_listed=10_000,
    completes_again=False,
    missing_part=(404, "NoSuchUpload"),
    tags_objects=False,
)
_CREDENTIALS = {"MINIO_ROOT_USER": ACCESS_KEY, "MINIO_ROOT_PASSWORD": SECRET_KEY}


@contextmanager
def juicefs(directory: Path) -> Iterator[Store]:
    """A volume over `directory` behind a gateway, whose one bucket has the name of the volume."""
    program, metadata = executable("juicefs"), f"sqlite3://{directory / 'metadata.db'}"
    _format(program, metadata, directory)
    port, metrics = free_ports(2)
    gateway = (program, "gateway", metadata, f"127.0.0.1:{port}", *_options(directory, metrics))
    store = Store(
        name="juicefs",
        endpoint=f"http://127.0.0.1:{port}",
        servers=(Server(*gateway, directory=directory, environment=_CREDENTIALS),),
        manners=_MANNERS,
    )
    with running(store):
        yield store


def _format(program: str, metadata: str, directory: Path) -> None:
    where = ("--storage", "file", "--bucket", f"{directory / 'blocks'}/", "--trash-days", "0")
    subprocess.run((program, "format", *where, metadata, BUCKET), check=True, capture_output=True)


def _options(directory: Path, metrics: int) -> Iterator[str]:
    yield from ("--metrics", f"127.0.0.1:{metrics}", "--no-usage-report", "--no-agent", "--no-banner")
    yield from ("--cache-dir", f"{directory / 'cache'}", "--log", f"{directory / 'gateway.log'}")
