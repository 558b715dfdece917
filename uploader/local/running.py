"""Uvicorn in a thread of its own, that starts and stops without waiting for ticks."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from socket import socket

import uvicorn
from starlette.types import ASGIApp

from uploader.local.connections import Connections, protocol_class
from uploader.local.lifecycle import Lifecycle

Certificate = tuple[str | os.PathLike[str], str | os.PathLike[str]]

_KEEP_ALIVE = 20
_PATIENCE = 0.5


def configuration(app: ASGIApp, connections: Connections, certificate: Certificate | None) -> uvicorn.Config:
    """Uvicorn's settings, loaded: a bad certificate raises OSError here, not in the thread."""
    cert, key = certificate or (None, None)
    config = uvicorn.Config(
        app,
        http=protocol_class(connections),
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="warning",
        access_log=False,
        proxy_headers=False,  # they would hide which connection a request came by
        server_header=False,
        date_header=False,  # it would be this machine's time, not the service's
        timeout_keep_alive=_KEEP_ALIVE,
        ssl_certfile=cert,
        ssl_keyfile=key,
    )
    config.load()
    return config


class Server(uvicorn.Server):
    """Uvicorn's server, waiting for an event where the original polls, and closing where it drains."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, connections: Connections) -> None:
        super().__init__(config)
        self._lifecycle, self._live = lifecycle, connections
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.settled = threading.Event()

    async def main_loop(self) -> None:
        """Called by uvicorn once it listens; the service runs until this returns."""
        self._loop = asyncio.get_running_loop()
        self._lifecycle.resume()
        self.settled.set()
        await self._stopping.wait()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Called by uvicorn afterwards: give everything up at once."""
        await _deafen(sockets or [])
        for server in self.servers:
            server.close()
        await self._lifecycle.stop()
        self._live.close_all()
        if self.server_state.tasks:  # the requests under way notice that their connection is gone
            await asyncio.wait(self.server_state.tasks, timeout=_PATIENCE)
        await _end_handshakes()

    def stop(self) -> None:
        """Let `main_loop` return. From any thread."""
        if self._loop:
            self._loop.call_soon_threadsafe(self._stopping.set)


@contextmanager
def running(server: Server, listener: socket) -> Iterator[None]:
    """Run `server` in a thread as long as the block lasts; it answers when the block is entered."""

    def run() -> None:
        try:
            asyncio.run(server.serve(sockets=[listener]))
        finally:
            server.settled.set()

    thread = threading.Thread(target=run, name="uploader-local", daemon=True)
    thread.start()
    try:
        server.settled.wait()
        if not server.started:
            raise RuntimeError("the embedded service did not start")
        yield
    finally:
        server.stop()
        thread.join()


async def _deafen(sockets: list[socket]) -> None:
    # Asyncio loses a connection it has accepted when its server is closed before that connection has had its
    # first turn of the loop. So accept no more, and let those turns pass.
    for listener in sockets:
        with suppress(NotImplementedError):  # Windows has no readers, and accepts in another way
            asyncio.get_running_loop().remove_reader(listener)
    await _turns()


async def _end_handshakes() -> None:
    # A connection in its TLS handshake is known to a task of asyncio only, which closes it when cancelled.
    handshakes = asyncio.all_tasks() - {asyncio.current_task()}
    for task in handshakes:
        task.cancel()
    await asyncio.gather(*handshakes, return_exceptions=True)
    await _turns()


async def _turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)
