"""What the tests of the fault matrix need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.faults.peer import Behaviour, peer
from tests.faults.rig import PATIENT, QUICK, Rig
from uploader import RetryPolicy, Timeouts, Uploader
from uploader.local import serve


@pytest.fixture
def outcomes(request: pytest.FixtureRequest) -> tuple[str, ...]:
    """What the test may end in, as its mark says."""
    mark = request.node.get_closest_marker("case")
    assert mark is not None
    return mark.args[1]  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A certificate and key, also for hosts behind a proxy, trusted by this process as users are told to."""
    folder = tmp_path / "tls"
    folder.mkdir()
    leaf = authority.issue_cert("127.0.0.1", "localhost", "*.scenario.example")
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    return folder / "cert.pem", folder / "key.pem"


Open = Callable[..., AbstractContextManager[Rig]]


@pytest.fixture
def rig(request: pytest.FixtureRequest, outcomes: tuple[str, ...]) -> Open:
    """Opens a service, a peer in front of it that does as told, and an uploader that knows only the peer.

    `rig({2: [reply(response(503))]}, tls=True)` tells the peer what to do to the first, second, … attempt at
    part 2. "create", "get" and "complete" are told alike, "put" is any part; untold, it passes on.
    """

    @contextmanager
    def open_rig(
        script: dict[int | str, list[Behaviour]] | None = None,
        *,
        tls: bool = False,
        narrow: bool = False,
        faults: tuple[str, ...] = (),
        retry: RetryPolicy = QUICK,
        timeouts: Timeouts = PATIENT,
        **settings: Any,
    ) -> Iterator[Rig]:
        pair = request.getfixturevalue("certificate") if tls else None
        with ExitStack() as stack:
            service = stack.enter_context(serve(faults=faults, **({"stage_delay": 0.02} | settings)))
            front = stack.enter_context(peer(service.base_url, script or {}, certificate=pair, narrow=narrow))
            uploader = Uploader(
                base_url=f"{front.origin}/v1",
                api_key=service.api_key,
                api_secret=service.api_secret,
                retry=retry,
                timeouts=timeouts,
            )
            yield Rig(service, front, stack.enter_context(uploader), outcomes)

    return open_rig


@pytest.fixture(params=[False, True], ids=["http", "https"])
def tls(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)
