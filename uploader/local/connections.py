"""The connections of the service, so that a fault can reset the one a request came by."""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

Client = tuple[str, int]

# Broken requests and reset connections are the daily bread here: say nothing unless somebody listens.
_LOGGER = logging.getLogger("uploader.local")
_LOGGER.addHandler(logging.NullHandler())
_LOGGER.setLevel(logging.WARNING)

# l_onoff and l_linger are ints everywhere but on Windows, where they are shorts.
_LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class Connections:
    """The open connections, by client address where one is known. Used on the service's event loop only."""

    def __init__(self) -> None:
        self._all: set[asyncio.Transport] = set()
        self._known: dict[Client, tuple[asyncio.Transport, asyncio.Event]] = {}
        self._ended = False

    def add(self, client: Client | None, transport: asyncio.Transport) -> None:
        """A connection has been made; `client` is None when the peer is already gone."""
        self._all.add(transport)
        if client:
            self._known[client] = (transport, asyncio.Event())
        if self._ended:
            transport.abort()

    def remove(self, client: Client | None, transport: asyncio.Transport) -> None:
        """A connection has been lost."""
        self._all.discard(transport)
        if client in self._known:
            self._known.pop(client)[1].set()

    def reset(self, client: Client | None) -> None:
        """Send a TCP reset: the peer's next read or write fails."""
        if client in self._known:
            transport = self._known[client][0]
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            transport.abort()

    def close_all(self) -> None:
        """Close every connection at once, and those that are still being made as they come."""
        self._ended = True
        for transport in list(self._all):
            transport.abort()

    async def closed(self, client: Client | None, timeout: float | None = None) -> None:
        """Wait until the connection is lost, or for so many seconds.

        A peer's leaving is not noticed while its data waits unread.
        """
        if client in self._known:
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._known[client][1].wait()


def protocol_class(connections: Connections) -> type[H11Protocol]:
    """Uvicorn's HTTP/1.1 protocol, with its connections entered into `connections`."""

    class Protocol(H11Protocol):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.logger = _LOGGER

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            connections.add(self.client, transport)

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            connections.remove(self.client, self.transport)

    return Protocol
