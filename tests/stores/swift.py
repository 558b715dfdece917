"""OpenStack Swift behind its s3api middleware: a proxy and one server each for accounts, containers, objects.

It is as small as Swift gets: one device, one replica, four processes that fork no workers, and no memcached,
which only Swift's own tokens need. The directory's file system must have extended attributes.

What a client or a service on it has to know, of 2.38.3:

- A part may be sent after complete, and is answered with 200. If its bytes are others than before, the object
  is broken: reading it is answered with 409, BrokenMPU, until the former bytes are sent again. So a PUT that
  is late must be one of the same bytes, and a URL must not outlive complete by long.
- An upload has 1,000 parts at most, unless s3api and slo are told otherwise, as here.
- A request whose query has lost its signature is none of S3: the answer is HTML, 400.
- A signature by a key that nobody has is SignatureDoesNotMatch, as if the key were right.
"""

from __future__ import annotations

import getpass
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stores.processes import Server, executable, free_ports
from tests.stores.store import SECRET_KEY, Manners, Store, running

_KINDS = ("account", "container", "object")

# What `swift-ring-builder` does, for all three rings at the cost of one interpreter.
_RINGS = """
import sys
from swift.common.ring import RingBuilder
for kind, port in zip(sys.argv[1::2], sys.argv[2::2]):
    builder = RingBuilder(part_power=2, replicas=1, min_part_hours=0)
    device = {"ip": "127.0.0.1", "port": int(port), "device": "device"}
    builder.add_dev({"region": 1, "zone": 1, "weight": 1, **device})
    builder.rebalance()
    builder.get_ring().save(f"{kind}.ring.gz")
"""

_HASHES = """
[swift-hash]
swift_hash_path_suffix = tests
"""

_DEFAULTS = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {directory}
devices = {directory}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
workers = 0
"""

_BACKEND = """
[pipeline:main]
pipeline = {kind}-server

[app:{kind}-server]
use = egg:swift#{kind}
"""

# The waits are those of a machine that is busy with tests; the defaults give up after three seconds. Servers
# that are not there yet when all are started are not left alone for a minute.
_PROXY = """
[pipeline:main]
pipeline = s3api tempauth bulk slo proxy-server

[filter:s3api]
use = egg:swift#s3api
max_upload_part_num = 10000

[filter:tempauth]
use = egg:swift#tempauth
user_tests_uploader = {secret_key} .admin

[filter:bulk]
use = egg:swift#bulk

[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
conn_timeout = 10
node_timeout = 30
error_suppression_limit = 1000000
"""


@contextmanager
def swift(directory: Path) -> Iterator[Store]:
    """Swift over `directory`, with a user who may do everything in an account of its own."""
    ports = dict(zip(("proxy", *_KINDS), free_ports(1 + len(_KINDS)), strict=True))
    _lay_out(directory, ports)
    store = Store(
        name="swift",
        endpoint=f"http://127.0.0.1:{ports['proxy']}",
        servers=tuple(_server(kind, directory) for kind in (*_KINDS, "proxy")),
        access_key="tests:uploader",
        manners=Manners(takes_late_parts=True),
    )
    with running(store):
        yield store


def _server(kind: str, directory: Path) -> Server:
    return Server(executable(f"swift-{kind}-server"), f"{kind}.conf", "--verbose", directory=directory)


def _lay_out(directory: Path, ports: dict[str, int]) -> None:
    """Writes the rings and what the servers read, and makes the device."""
    executable("swift-proxy-server")  # says what to install, where an import would not
    (directory / "device").mkdir()
    (directory / "swift.conf").write_text(_HASHES)
    for kind, port in ports.items():
        text = _DEFAULTS + (_PROXY if kind == "proxy" else _BACKEND)
        values = {"kind": kind, "port": port, "directory": directory, "secret_key": SECRET_KEY}
        (directory / f"{kind}.conf").write_text(text.format(user=getpass.getuser(), **values))
    rings = [word for kind in _KINDS for word in (kind, str(ports[kind]))]
    subprocess.run((sys.executable, "-c", _RINGS, *rings), cwd=directory, check=True, capture_output=True)
