"""SeaweedFS, `weed mini`: master, volume server, filer and S3 gateway in one process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stores.processes import Server, executable, free_ports
from tests.stores.store import ACCESS_KEY, SECRET_KEY, Manners, Store, Tls, running

# All that listens, each on a port for HTTP and one for gRPC, which would be the other + 10000 if it were not
# given. With all of them free, several stores run side by side.
_PORTS = ("s3", "master", "volume", "filer", "admin")

# What it would start besides, or tell its makers.
_WITHOUT = (
    *("-webdav=false", "-admin.ui=false", "-master.telemetry=false", "-s3.autoCreateBucket=false"),
    *("-s3.port.iceberg=0", "-s3.port.lance=0"),
)


@contextmanager
def seaweedfs(directory: Path, tls: Tls | None = None) -> Iterator[Store]:
    """SeaweedFS over `directory`, with TLS on its S3 port if it is given a certificate."""
    ports = free_ports(2 * len(_PORTS))
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
    yield from (
        executable("weed"),
        "mini",
        f"-dir={_data(directory)}",
        f"-s3.config={_identities(directory)}",
    )
    yield from ("-ip=127.0.0.1", "-ip.bind=127.0.0.1", *_WITHOUT)
    for number, name in enumerate(_PORTS):
        yield f"-{name}.port={ports[2 * number]}"
        yield f"-{name}.port.grpc={ports[2 * number + 1]}"
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
    path.write_text(
        json.dumps({"identities": [{"name": "tests", "credentials": [credentials], "actions": ["Admin"]}]})
    )
    return path


def _tidy(ports: list[int]) -> None:
    """Removes the Unix sockets it makes beside its ports, in /tmp, and leaves there when it is killed."""
    for port in ports:
        for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
            left.unlink(missing_ok=True)
