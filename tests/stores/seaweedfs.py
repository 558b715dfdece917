"""SeaweedFS, `weed mini`: master, volume server, filer and S3 gateway in one process.

What a service on it has to know, of 4.48:

- A part is a file with its number and something random in its name. One that is sent again is listed twice,
  in no order, and times are whole seconds: the list does not tell which is the newer. Complete makes the
  object of the one whose ETag it is given, and of the newest if it is given several ETags for a number. So
  it is right to pass on all that was listed, in the order of the numbers.
- Parts are listed by these names: 10000 comes before 1000. Complete wants them by number.
- A page that ends between two that have a number in common hides the rest of them. Without MaxParts a page
  has room for 10,000, so ask without.
- Complete, again, is answered like the first time, whatever parts it names.
- It is a directory tree: a key cannot be `a` where another is `a/b`; complete answers 500.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stores.processes import Server, executable, free_ports
from tests.stores.store import ACCESS_KEY, SECRET_KEY, Manners, Store, Tls, running

# All that listens for HTTP, each with its gRPC on a port that is higher by so much. There are flags for these
# too, but what cleans up inside of it looks for the administration there whatever they say.
_PORTS = ("s3", "master", "volume", "filer", "admin")
_TO_GRPC = 10_000

# What it would start besides, or tell its makers; and what a master remembers of its election: with that, one
# start in ten takes no object for five seconds or fifteen.
_WITHOUT = (
    *("-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-s3.autoCreateBucket=false"),
    *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.resumeState=false"),
)


@contextmanager
def seaweedfs(directory: Path, tls: Tls | None = None) -> Iterator[Store]:
    """SeaweedFS over `directory`, with TLS on its S3 port if it is given a certificate."""
    ports = free_ports(len(_PORTS), twin=_TO_GRPC)
    try:
        with running(_described(directory, ports, tls)) as store:
            yield store
    finally:
        _tidy(ports)


def _described(directory: Path, ports: list[int], tls: Tls | None) -> Store:
    return Store(
        name="seaweedfs",
        endpoint=f"{'https' if tls else 'http'}://127.0.0.1:{ports[0]}",
        servers=(Server(*_command(directory, ports, tls), directory=directory),),
        authority=tls.authority if tls else None,
        manners=Manners(keeps_resent=True, lists_in_order=False, most_listed=10_000, aborts_again=True),
    )


def _command(directory: Path, ports: list[int], tls: Tls | None) -> Iterator[str]:
    yield from (executable("weed"), "mini", f"-dir={_data(directory)}")
    yield f"-s3.config={_identities(directory)}"
    yield from ("-ip=127.0.0.1", "-ip.bind=127.0.0.1", *_WITHOUT)
    yield from (f"-{name}.port={port}" for name, port in zip(_PORTS, ports, strict=True))
    if tls:
        yield from (f"-s3.cert.file={tls.certificate}", f"-s3.key.file={tls.key}")


def _data(directory: Path) -> Path:
    data = directory / "data"
    data.mkdir(exist_ok=True)
    return data


def _identities(directory: Path) -> Path:
    """Who may do what, in a file."""
    path = directory / "s3.json"
    credentials = {"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}
    identity = {"name": "tests", "credentials": [credentials], "actions": ["Admin"]}
    path.write_text(json.dumps({"identities": [identity]}))
    return path


def _tidy(ports: list[int]) -> None:
    """Removes the Unix sockets it makes beside its ports, in /tmp, and leaves there when it is killed."""
    for port in (*ports, *(port + _TO_GRPC for port in ports)):
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left.unlink(missing_ok=True)
