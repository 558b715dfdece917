"""Parts on a Dask cluster, for the command: an executor by the address of a scheduler."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager

from uploader.errors import InputError
from uploader.saying import say

# Seconds that a scheduler may take to answer.
PATIENCE = 5

_SET_TLS = "tls:// needs DASK_DISTRIBUTED__COMM__TLS__CA_FILE, …__TLS__CLIENT__CERT and …__TLS__CLIENT__KEY"


@contextmanager
def dask_executor(address: str) -> Iterator[Executor]:
    """What runs tasks on the workers of a scheduler, "tcp://host:8786" or "tls://host:8786", for a block.

    Raises:
        InputError: Dask is not installed, or no scheduler answers there.
    """
    try:
        from distributed import Client
    except ModuleNotFoundError as error:
        said = f"Dask is not installed ({error.name}): pip install 'scenario-uploader[dask]'"
        raise InputError(said) from None
    _check(address)
    with Client(address, timeout=PATIENCE, set_as_default=False, name="uploader") as client:
        if not client.scheduler_info()["workers"]:
            say(f"the Dask scheduler at {address} has no workers: nothing is sent before one comes")
        # It is not closed: it would wait for what is under way, which the client drops.
        yield client.get_executor(pure=False)


def _check(address: str) -> None:
    """Make sure that a scheduler answers.

    Dask's client waits without end for what answers in another way, and cannot be stopped then.
    """
    from distributed.comm import get_address_host_port

    try:
        get_address_host_port(address)
    except ValueError as error:
        said = f"{address} is no address of a Dask scheduler, such as tcp://host:8786: {error}"
        raise InputError(said) from None
    try:
        asyncio.run(_greet(address))
    except TypeError:  # so it says that it was given no certificates
        raise InputError(f"{address}: {_SET_TLS}") from None
    except (OSError, ValueError, RuntimeError) as error:  # TimeoutError too, and where TLS is required
        said = str(error) or f"nothing came within {PATIENCE} s"
        raise InputError(f"no Dask scheduler answers at {address}: {said}") from None


async def _greet(address: str) -> None:
    from distributed.core import rpc
    from distributed.security import Security

    arguments = Security().get_connection_args("client")
    async with (
        asyncio.timeout(PATIENCE),
        rpc(address, timeout=PATIENCE, connection_args=arguments) as scheduler,
    ):
        await scheduler.identity()
