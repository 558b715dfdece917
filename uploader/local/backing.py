"""Which store is behind the service, its own or an S3 store, and what is left to do there after it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from starlette.routing import Route

from uploader.local.depot import OWN, Depot
from uploader.local.disk import DiskStore, load_key
from uploader.local.faults import Fault, FaultPlan
from uploader.local.links import Links
from uploader.local.signing import Signer
from uploader.local.storage import Storage
from uploader.local.store import Store
from uploader.local.threads import Threads

_LOGGER = logging.getLogger("uploader.local")

_LAST_SECONDS = 10.0


def disk_store(
    root: Path, depot: Depot, plan: FaultPlan, clock: Callable[[], float], ttl: float, origin: str
) -> tuple[Store, list[Route]]:
    """The service's own store, and the routes by which parts get there; `origin` is the service's.

    Raises ValueError if the uploads of `depot` are in another store.
    """
    depot.belong(OWN)
    key = load_key(root)
    signer = Signer(key, origin, urlsplit(origin).netloc)
    store = DiskStore(root, Links(signer, clock, ttl))
    return store, Storage(depot, store, key, plan, clock).routes()


@contextmanager
def bucket_store(
    endpoint: str, bucket: str, root: Path, depot: Depot, ttl: float, threads: Threads
) -> Iterator[Store]:
    """A bucket of an S3 store, as long as the block lasts.

    Raises:
        ModuleNotFoundError: boto3 is not installed.
        ValueError: `endpoint` is no URL, or `bucket` no name, or the uploads of `depot` are in another store.
        StoreDownError: the bucket cannot be used.
    """
    try:
        from uploader.local.s3 import s3_store
    except ModuleNotFoundError as error:
        what = f"an S3 store needs {error.name}: pip install 'scenario-uploader[s3]'"
        raise ModuleNotFoundError(what, name=error.name) from None
    with s3_store(endpoint, bucket, root, ttl, threads) as store:
        depot.belong(f"bucket {bucket} at {endpoint.rstrip('/')}")
        yield store


def check_s3(
    endpoint: str | None, bucket: str | None, faults: Iterable[Fault], rate: float | None, offset: float
) -> None:
    """Raise ValueError for what an S3 store cannot do; `offset` is that of the service's clock."""
    if not endpoint or not bucket:
        raise ValueError("an S3 store needs both an endpoint and a bucket")
    for fault in faults:
        if fault.target == "part":
            raise ValueError(f"fault {fault.spec!r}: parts go to the S3 store, which makes no faults")
    if rate is not None:
        raise ValueError("rate: parts go to the S3 store, which takes in as much as it can")
    if offset:
        raise ValueError("clock_offset: the S3 store has a clock of its own")


def finish(depot: Depot, store: Store, threads: Threads, *, forgotten: bool) -> None:
    """After the service: wait for the calls it has made, a create perhaps, but not for a store that hangs.

    If the records will be `forgotten`, what the store has of uploads that are not done is dropped: nobody
    would know of it. All that takes ten seconds at most; what could not be dropped is logged.
    """
    deadline = time.monotonic() + _LAST_SECONDS
    threads.wait(deadline)
    if not forgotten:
        return
    left = [upload for upload in (*depot.uploads(), *depot.withdrawn()) if not upload.parts_dropped]
    dropping = {upload.id: threads.start(partial(store.drop_parts, upload)) for upload in left}
    threads.wait(deadline)
    reasons = {upload_id: reason for upload_id, call in dropping.items() if (reason := _reason(call))}
    if reasons:
        said = ", ".join(reasons), next(iter(reasons.values()))
        _LOGGER.warning("what was sent of %s stays in the store: %s", *said)


def _reason(call: Future[None]) -> str:
    """Why a call came to nothing, or nothing."""
    if not call.done():
        return "it does not answer"
    error = call.exception()
    return str(error) or type(error).__name__ if error else ""
