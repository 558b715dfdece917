"""One request on its way through the service: counted, paced, recorded, dated, and if need be cut off."""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import cast
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from uploader.local.connections import Client, Connections
from uploader.local.faults import Target
from uploader.local.pacing import Pacer

REMEMBERED = 20_000
"""Requests that are remembered: the newest, so that a service may run for long."""

LONGEST_BODY = 1024 * 1024
"""Bytes of a control call's body that are kept."""

_TARGETS: tuple[tuple[str, str, Target], ...] = (
    ("POST", r"/v1/uploads", "create"),
    ("GET", r"/v1/uploads/[^/]+", "get"),
    ("POST", r"/v1/uploads/[^/]+/action", "complete"),
    ("PUT", r"/storage/[^/]+/[^/]+", "part"),
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A request as the service saw it.

    `headers` have lower-case names, `body` is that of a control call (empty for parts), `part` the part
    number asked for, `body_bytes` how much of the body had been read when the answer was given, `status` None
    when there was no answer.
    """

    target: Target
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    part: int | None
    body_bytes: int
    status: int | None


def classify(method: str, path: str) -> Target:
    """What a request is for."""
    matching = (target for verb, form, target in _TARGETS if verb == method and re.fullmatch(form, path))
    return next(matching, "other")


@dataclass(slots=True, eq=False)
class Exchange:
    """One request being answered. It enters the log before the answer's first byte can be seen.

    `pacer` slows the reading of a part's body; None does not.
    """

    scope: Scope
    receive: Receive
    connections: Connections
    log: Log
    pacer: Pacer | None
    body: bytearray = field(default_factory=bytearray)
    body_bytes: int = 0
    recorded: bool = False

    @classmethod
    def of(cls, request: Request) -> Exchange:
        """The exchange `request` belongs to."""
        return cast(Exchange, request.scope["exchange"])

    @property
    def target(self) -> Target:
        """What the request is for."""
        return classify(self.scope["method"], self.scope["path"])

    async def read(self) -> Message:
        """The ASGI receive of this request, counted and paced."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.record(None)
        data = message.get("body", b"")
        self.body_bytes += len(data)
        if self.target != "part" and len(self.body) < LONGEST_BODY:
            self.body += data
        paced = self.pacer if self.target == "part" else None
        if paced and (wait := paced.wait(len(data), time.monotonic())):
            # What is not read meanwhile fills the socket's buffers, and once they are full the client waits.
            await self.connections.closed(self._client, wait)
        return message

    async def discard(self, limit: int | None = None) -> None:
        """Read the body to its end, or until `limit` bytes have come."""
        more = limit is None or self.body_bytes < limit
        while more:
            message = await self.read()
            more = message.get("more_body", False) and (limit is None or self.body_bytes < limit)

    async def drop(self) -> None:
        """Reset the connection instead of answering."""
        self.record(None)
        self.connections.reset(self._client)
        await self.connections.closed(self._client)

    async def hold(self) -> None:
        """Neither read nor answer, until the connection is lost or the service stops."""
        self.record(None)
        await self.connections.closed(self._client)

    @property
    def _client(self) -> Client | None:
        return cast("Client | None", self.scope["client"])

    def record(self, status: int | None) -> None:
        """Enter the request into the service's list; only the first call counts."""
        if not self.recorded:
            self.recorded = True
            self.log.end(self, self.seen(status))

    def seen(self, status: int | None) -> Recorded:
        """The request as far as it got."""
        query = dict(parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True))
        number = query.get("partNumber", "")
        part = int(number) if self.target == "part" and re.fullmatch("[0-9]{1,9}", number) else None
        headers: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            key, text = name.decode("latin-1"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {text}" if key in headers else text
        method, path, body = self.scope["method"], self.scope["path"], bytes(self.body)
        return Recorded(self.target, method, path, query, headers, body, part, self.body_bytes, status)


class Log:
    """The requests: those that are over, and those under way. Any thread may read it."""

    def __init__(self) -> None:
        self._over = deque[Recorded](maxlen=REMEMBERED)
        self._under_way = set[Exchange]()

    def begin(self, exchange: Exchange) -> None:
        """A request has come in."""
        self._under_way.add(exchange)

    def end(self, exchange: Exchange, recorded: Recorded) -> None:
        """It is about to be answered, or will not be."""
        self._over.append(recorded)
        self._under_way.discard(exchange)

    @property
    def over(self) -> list[Recorded]:
        """Those that are over, in that order."""
        return list(self._over)

    @property
    def under_way(self) -> list[Recorded]:
        """Those that are not, as far as they got, in no order."""
        return [exchange.seen(None) for exchange in list(self._under_way)]


class Recorder:
    """ASGI middleware: makes the exchange, dates and records every answer by the service's own `clock`."""

    def __init__(
        self,
        app: ASGIApp,
        log: Log,
        connections: Connections,
        clock: Callable[[], float],
        pacer: Pacer | None,
    ) -> None:
        self._app, self._log, self._connections, self._clock = app, log, connections, clock
        self._pacer = pacer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        exchange = Exchange(scope, receive, self._connections, self._log, self._pacer)
        self._log.begin(exchange)

        async def dated(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.record(message["status"])
                date = formatdate(self._clock(), usegmt=True).encode()
                message = {**message, "headers": [*message["headers"], (b"date", date)]}
            await send(message)

        try:
            await self._app({**scope, "exchange": exchange}, exchange.read, dated)
        except Exception as error:
            error.add_note(f"{scope['method']} {scope['path']}")  # uvicorn logs the error alone
            raise
