"""`serve`: the embedded service, for as long as a block lasts."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from uploader.local.app import application
from uploader.local.connections import Connections
from uploader.local.control import ControlApi
from uploader.local.credentials import Credentials
from uploader.local.depot import Depot
from uploader.local.disk import DiskStore, load_key
from uploader.local.faults import FaultPlan
from uploader.local.faultspec import parse
from uploader.local.lifecycle import Lifecycle
from uploader.local.links import Links
from uploader.local.listening import check_loopback, listen, netloc
from uploader.local.pacing import Pacer
from uploader.local.recording import Log
from uploader.local.running import Certificate, Server, configuration, running
from uploader.local.service import Service
from uploader.local.signing import LONGEST, Signer
from uploader.local.storage import Storage


@contextmanager
def serve(
    directory: str | os.PathLike[str] | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ttl: float = 3600.0,
    resign: bool = True,
    faults: Iterable[str] = (),
    api_key: str = "local-key",
    api_secret: str = "local-secret",  # noqa: S107 - it is no secret
    jwt: str | None = None,
    certificate: Certificate | None = None,
    stage_delay: float = 0.1,
    clock_offset: float = 0.0,
    rate: float | None = None,
) -> Iterator[Service]:
    """Run a Scenario-compatible upload service with its own object store, for as long as the block lasts.

    Inside the block it is bound and answering; afterwards its thread and its connections are gone.

    Args:
        directory: where everything is kept; served again later, it goes on where it was. One service at a
            time may use it. None: a temporary one, removed on exit.
        host: a loopback address or "localhost"; the service is for development and its secret is known.
        port: the TCP port; 0 takes a free one.
        ttl: seconds a part URL lives, more than 0, up to seven days. Dates in URLs have whole seconds, so it
            lives up to two seconds longer.
        resign: whether a GET of a pending upload carries newly signed part URLs; if not, those of the create.
        faults: what shall go wrong, in the language of `uploader.local.faults`.
        api_key: the key of HTTP Basic.
        api_secret: the secret of HTTP Basic.
        jwt: a token accepted as Bearer as well.
        certificate: paths of a certificate (chain) and its key, PEM; with them the service speaks https.
        stage_delay: seconds before each step of the status from validating on.
        clock_offset: seconds the service's clock is ahead of this machine's.
        rate: bytes per second it takes in of all parts together, more than 0; None as many as come.

    Raises:
        ValueError: a fault does not parse, the host is not a loopback address, `ttl`, `stage_delay` or `rate`
            is out of range.
        OSError: the port is taken, or the directory or certificate cannot be used.
    """
    plan = FaultPlan([parse(spec) for spec in faults])
    check_loopback(host)
    _check_numbers(ttl, stage_delay, rate)
    with ExitStack() as stack:
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="uploader-local-"))
        root = Path(directory)
        depot, key = Depot(root), load_key(root)
        listener = stack.enter_context(listen(host, port))
        address = netloc(host, listener.getsockname()[1], secure=certificate is not None)
        origin = f"{'https' if certificate else 'http'}://{address}"

        def clock() -> float:
            return time.time() + clock_offset

        connections, log, credentials = Connections(), Log(), Credentials(api_key, api_secret, jwt)
        store = DiskStore(root, Links(Signer(key, origin, address), clock, ttl))
        lifecycle = Lifecycle(depot, store, clock, stage_delay)
        control = ControlApi(depot, store, lifecycle, plan, credentials, clock, resign)
        storage = Storage(depot, store, key, plan, clock)
        pacer = None if rate is None else Pacer(rate)
        app = application([*control.routes(), *storage.routes()], log, connections, clock, pacer)
        server = Server(configuration(app, connections, certificate), lifecycle, connections)
        stack.enter_context(running(server, listener))
        yield Service(f"{origin}/v1", credentials, depot, store, log)


def _check_numbers(ttl: float, stage_delay: float, rate: float | None) -> None:
    if not 0 < ttl <= LONGEST:
        raise ValueError(f"ttl must be more than 0 and at most {LONGEST} seconds, not {ttl}")
    if not 0 <= stage_delay < float("inf"):
        raise ValueError(f"stage_delay must be 0 seconds or more, not {stage_delay}")
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate must be more than 0 bytes per second, not {rate}")
