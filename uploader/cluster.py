"""Parts on a Dask cluster, for the command: an executor by the address of a scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from uploader.errors import InputError
from uploader.saying import say

# Seconds that a scheduler may take to answer.
PATIENCE = 5


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """What runs tasks on the workers of a scheduler, "tcp://host:8786" or "tls://host:8786", for a block.

    Raises:
        InputError: Dask is not installed, or no scheduler answers there.
    """
    try:
        from distributed import Client
        from distributed.comm import get_address_host_port
    except ModuleNotFoundError as error:
        said = f"Dask is not installed ({error.name}): pip install 'scenario-uploader[dask]'"
        raise InputError(said) from None
    try:
        get_address_host_port(address)
    except ValueError as error:
        said = f"{address} is no address of a Dask scheduler, such as tcp://host:8786: {error}"
        raise InputError(said) from None
    try:
        client = Client(address, timeout=PATIENCE, set_as_default=False, name="uploader")
    except OSError as error:
        raise InputError(f"no Dask scheduler answers at {address}: {error}") from None
    with client:  # which drops what is under way; the executor's own end would wait for it
        if not client.scheduler_info()["workers"]:
            say(f"the Dask scheduler at {address} has no workers: nothing is sent before one comes")
        yield client.get_executor(pure=False)
