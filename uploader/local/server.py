"""`serve`: the embedded service, for as long as a block lasts."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from starlette.routing import Route

from uploader.local.app import application
from uploader.local.backing import bucket_store, check_s3, disk_store, finish
from uploader.local.claiming import claimed
from uploader.local.connections import Connections
from uploader.local.control import ControlApi
from uploader.local.credentials import KNOWN_SECRET, Credentials
from uploader.local.depot import Depot
from uploader.local.faults import FaultPlan
from uploader.local.faultspec import parse
from uploader.local.lifecycle import Lifecycle
from uploader.local.listening import check_loopback, listen, netloc
from uploader.local.pacing import Pacer
from uploader.local.recording import Log
from uploader.local.running import Certificate, Server, configuration, running
from uploader.local.service import Service
from uploader.local.signing import LONGEST
from uploader.local.sweeping import Sweeper
from uploader.local.threads import Threads

_CALLS = 32  # that block, at the same time


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
    api_secret: str = KNOWN_SECRET,
    jwt: str | None = None,
    certificate: Certificate | None = None,
    stage_delay: float = 0.1,
    clock_offset: float = 0.0,
    rate: float | None = None,
    abandon_after: float = LONGEST,
    s3_endpoint: str | None = None,
    s3_bucket: str | None = None,
) -> Iterator[Service]:
    """Run a Scenario-compatible upload service, for as long as the block lasts.

    Inside the block it is bound and answering; afterwards its thread and its connections are gone. An
    S3 store that hangs makes the end of the block take ten seconds, no longer.

    Args:
        directory: where everything is kept; served again later, with the same store, it goes on where it was.
            One service at a time uses it: a second one is refused. None: a temporary one, removed on exit.
        host: a loopback address or "localhost". Before others may call the service, through a proxy that
            speaks TLS, it needs an `api_secret` of its own, and an S3 store, where all can send parts.
        port: the TCP port; 0 takes a free one.
        ttl: seconds a part URL lives, more than 0, up to seven days. Dates in URLs have whole seconds, so it
            lives up to two seconds longer; with an S3 store, up to one.
        resign: whether a GET of a pending upload carries newly signed part URLs; if not, those of the create.
        faults: what shall go wrong, in the language of `uploader.local.faults`.
        api_key: the key of HTTP Basic.
        api_secret: the secret of HTTP Basic.
        jwt: a token accepted as Bearer as well.
        certificate: paths of a certificate (chain) and its key, PEM; with them the service speaks https.
        stage_delay: seconds before each step of the status from validating on.
        clock_offset: seconds the service's clock is ahead of this machine's.
        rate: bytes per second it takes in of all parts together, more than 0; None as many as come.
        abandon_after: seconds after which a pending upload is dropped whose links have ended, the newest that
            anybody asked for; 0 or more. Nobody knows of a part that is still on its way then: allow for it.
        s3_endpoint: the URL of an S3-compatible store that gets the parts instead of `directory`, which then
            has the records only. Credentials are found where boto3 finds them. Such a store has no faults
            and no rate, and a clock of its own.
        s3_bucket: the bucket there, which must exist.

    Raises:
        ValueError: a fault does not parse, the host is not a loopback address, a number is out of range, the
            directory belongs to another store, or something is asked for that an S3 store cannot do.
        OSError: another service uses the directory, the port is taken, or the directory, the certificate or
            the S3 store cannot be used.
        ModuleNotFoundError: an S3 store needs boto3.
    """
    parsed = [parse(spec) for spec in faults]
    check_loopback(host)
    _check_numbers(ttl, stage_delay, rate, abandon_after)
    if s3_endpoint is not None or s3_bucket is not None:
        check_s3(s3_endpoint, s3_bucket, parsed, rate, clock_offset)
    with ExitStack() as stack:
        lasting = directory is not None
        if directory is None:
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="uploader-local-"))
        root = Path(directory)
        stack.enter_context(claimed(root))  # before anything there is read, or taken for a leftover
        depot, plan, threads = Depot(root), FaultPlan(parsed), Threads(_CALLS)
        listener = stack.enter_context(listen(host, port))
        address = netloc(host, listener.getsockname()[1], secure=certificate is not None)
        origin = f"{'https' if certificate else 'http'}://{address}"

        def clock() -> float:
            return time.time() + clock_offset

        routes: list[Route] = []
        if s3_endpoint and s3_bucket:
            backing = bucket_store(s3_endpoint, s3_bucket, root, depot, ttl, threads)
            store = stack.enter_context(backing)
        else:
            store, routes = disk_store(root, depot, plan, clock, ttl, origin)
        forgotten = bool(s3_endpoint) and not lasting  # its own store goes with the directory
        stack.callback(finish, depot, store, threads, forgotten=forgotten)
        connections, log, credentials = Connections(), Log(), Credentials(api_key, api_secret, jwt)
        sweeper = Sweeper(depot, store, clock, ttl + abandon_after)
        lifecycle = Lifecycle(depot, store, sweeper, threads, clock, stage_delay)
        control = ControlApi(depot, store, lifecycle, plan, credentials, clock, resign)
        pacer = None if rate is None else Pacer(rate)
        app = application([*control.routes(), *routes], log, connections, clock, pacer)
        server = Server(configuration(app, connections, certificate), lifecycle, connections)
        stack.enter_context(running(server, listener))
        yield Service(f"{origin}/v1", credentials, depot, store, log)


def _check_numbers(ttl: float, stage_delay: float, rate: float | None, abandon_after: float) -> None:
    if not 0 < ttl <= LONGEST:
        raise ValueError(f"ttl must be more than 0 and at most {LONGEST} seconds, not {ttl}")
    if not 0 <= stage_delay < float("inf"):
        raise ValueError(f"stage_delay must be 0 seconds or more, not {stage_delay}")
    if rate is not None and not 0 < rate < float("inf"):
        raise ValueError(f"rate must be more than 0 bytes per second, not {rate}")
    if not 0 <= abandon_after < float("inf"):
        raise ValueError(f"abandon_after must be 0 seconds or more, not {abandon_after}")
