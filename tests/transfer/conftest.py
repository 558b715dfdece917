"""Files to upload, a certificate of our own, and an uploader that does not wait long."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from uploader import RetryPolicy, Timeouts, Uploader
from uploader.local import Service, serve

MiB = 1024 * 1024

# Everything else as users have it; only the waits are shorter.
QUICK = RetryPolicy(attempts=6, base=0.01, cap=0.05, poll_first=0.02, poll_cap=0.1, wait_limit=20)

Opened = tuple[Service, Uploader]
Open = Callable[..., AbstractContextManager[Opened]]


@pytest.fixture(scope="session")
def glb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A valid .glb of four parts of 5 MiB, the last one short."""
    import json
    import struct

    path = tmp_path_factory.mktemp("files") / "scene.glb"
    binary = random.Random(1).randbytes(16 * MiB)
    text = json.dumps({"asset": {"version": "2.0"}, "buffers": [{"byteLength": len(binary)}]}).encode()
    text = text.ljust(-(-len(text) // 4) * 4)
    chunks = (
        struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
    )
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
    return path


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=["http", "https"])
def scheme(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate and key for 127.0.0.1, which this process trusts the way users are told to."""
    folder = tmp_path / "tls"
    folder.mkdir()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    return folder / "cert.pem", folder / "key.pem"


@pytest.fixture
def opened() -> Open:
    """Opens a service with the given faults and settings, and an uploader for it."""

    @contextmanager
    def open_both(
        *faults: str,
        retry: RetryPolicy = QUICK,
        timeouts: Timeouts | None = None,
        project_id: str | None = None,
        **settings: Any,
    ) -> Iterator[Opened]:
        with ExitStack() as stack:
            service = stack.enter_context(serve(faults=faults, **({"stage_delay": 0.02} | settings)))
            uploader = Uploader(
                base_url=service.base_url,
                api_key=service.api_key,
                api_secret=service.api_secret,
                project_id=project_id,
                retry=retry,
                timeouts=timeouts,
            )
            yield service, stack.enter_context(uploader)

    return open_both
