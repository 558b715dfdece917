"""HTTP connections whose blocked calls another thread can end at once.

Each `Connection` is an httpx client limited to one connection and used by one thread at a time, so "the
socket this call blocks on" is a plain fact: shutting it down ends exactly that call, within a millisecond,
and no other.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpx

from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.core.scrub import scrub
from uploader.errors import InputError

# Longer than any pause between two parts or two polls. A connection the server closed meanwhile is noticed
# before it is reused.
KEEP_ALIVE = 60.0

# No proxy leads to this machine itself, whatever NO_PROXY says.
_LOOPBACK = ("all://localhost", "all://127.0.0.1", "all://[::1]")

# What an error document may take; more is not read.
ERROR_BODY = 64 * 1024


class AbortedError(Exception):
    """The scope of a call was cancelled."""


class Scope:
    """Calls that are ended together.

    Attributes:
        cancelled: set once, for good.
    """

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Connection] = set()

    def cancel(self) -> None:
        """End every call of this scope, now and in future, from any thread."""
        with self._lock:
            self.cancelled.set()
            for connection in self._open:
                connection.shut()

    def check(self) -> None:
        """Raise AbortedError if cancelled."""
        if self.cancelled.is_set():
            raise AbortedError

    @contextmanager
    def using(self, connection: Connection) -> Iterator[None]:
        """Let `cancel` end what happens on `connection` meanwhile."""
        with self._lock:
            self.check()
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)


# Exact `bytes` of this size cost the least CPU: smaller ones mean more calls, larger ones page faults, and
# h11 copies memoryviews. Measured in benchmarks/README.md.
BLOCK = 512 * 1024


class Pace:
    """How large the blocks are that a connection is given, by how fast it takes them.

    Over TLS the write timeout spans a whole block (CPython's SSLSocket.send sets one deadline for all of it),
    so on a slow link a block must be small, or it is taken for a stall. A connection starts with small
    blocks, until more was sent than the kernel takes ahead of the link; only then does the time a block takes
    tell the link's speed.

    Attributes:
        block: bytes of the next block.
    """

    LEAST = 32 * 1024
    RAMP = 512 * 1024

    def __init__(self) -> None:
        self.block = self.LEAST
        self._sent = 0

    def took(self, size: int, seconds: float, stall: float) -> None:
        """A block of `size` bytes took `seconds` to send, where `stall` seconds would have been too long."""
        self._sent += size
        if self._sent < self.RAMP:
            return
        if seconds < stall / 100:
            self.block = min(self.block * 2, BLOCK)
        elif seconds > stall / 10:
            self.block = max(self.block // 2, self.LEAST)


class Connection:
    """One HTTP/1.1 connection, opened when first used, and again after it broke. For one thread at a time.

    Attributes:
        pace: what is known of its speed.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        # httpx takes proxies from HTTPS_PROXY and the like. It follows no redirect and reads no netrc unless
        # told to.
        self._client = _make_client(context)
        self.pace = Pace()
        self._scope: Scope | None = None
        self._socket: socket.socket | None = None
        self._handshake: socket.socket | None = None

    def ask(self, request: httpx.Request, scope: Scope, *, body_limit: int = ERROR_BODY) -> Answer:
        """Send `request` and read the answer's body, or say how it broke.

        At most `body_limit` bytes are read, and of an error's body at most 64 KiB.

        Only what is in `request` is sent: no cookie, credential or default header of a client's. Exceptions
        of the request's own body stream pass through.
        """
        request.extensions["trace"] = self._trace
        self._scope = scope
        try:
            with scope.using(self):
                return self._ask(request, body_limit)
        except AbortedError:
            return Broken(Break.RESET, "stopped")
        except httpx.TransportError as error:
            return classify(error)
        except (httpx.InvalidURL, UnicodeError):
            return Broken(Break.UNUSABLE)  # without its message, which may show the URL

    def _ask(self, request: httpx.Request, body_limit: int) -> Response:
        response = self._client.send(request, stream=True)
        try:
            body = _read(response, body_limit if response.is_success else ERROR_BODY)
        finally:
            response.close()  # with part of the body unread this also closes the connection
            self._client.cookies.clear()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Response(response.status_code, headers, body)

    def _trace(self, name: str, info: dict[str, Any]) -> None:
        if name.endswith("connect_tcp.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
        elif name.endswith("start_tls.started") and type(self._socket) is socket.socket:
            # TLS takes a plain socket's descriptor over; during the handshake a copy of it can still be shut.
            with suppress(OSError):  # out of descriptors: then a stop waits for the handshake
                self._socket = self._handshake = self._socket.dup()
        elif name.endswith(("start_tls.complete", "start_tls.failed")):
            self._end_handshake()
            done = name.endswith("complete")
            self._socket = info["return_value"].get_extra_info("socket") if done else None
        else:
            return
        if self._scope is not None and self._scope.cancelled.is_set():
            self.shut()

    def _end_handshake(self) -> None:
        """Close the copy: a connection ends for its peer only when its last descriptor is closed."""
        if self._handshake is not None:
            self._handshake.close()
            self._handshake = None

    def shut(self) -> None:
        """End the call under way, from any thread."""
        if self._socket is None:
            return
        # Not SSLSocket.shutdown: that drops the TLS layer first, and a send at that moment would go out in
        # the clear. An OSError says that it is not connected any more, which is what was wanted.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def _make_client(context: ssl.SSLContext) -> httpx.Client:
    limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=KEEP_ALIVE)
    try:
        return httpx.Client(verify=context, limits=limits, mounts=dict.fromkeys(_LOOPBACK))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        said = "the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY, or NO_PROXY, cannot be used"
        raise InputError(f"{said}: {scrub(str(error))}") from None


def _read(response: httpx.Response, limit: int) -> bytes:
    """At most `limit` bytes of a body as they came: no encoding was asked for, so none is undone."""
    chunks: list[bytes] = []
    size = 0
    try:
        for chunk in response.iter_raw():
            chunks.append(chunk[: limit - size])
            size += len(chunk)
            if size >= limit:
                break
    except httpx.TransportError:
        if response.is_success:
            raise
        # The status and what there is of an error document say enough.
    return b"".join(chunks)


def classify(error: httpx.TransportError) -> Broken:
    """How a request broke."""
    detail = scrub(str(error))
    if _is_certificate_error(error):
        return Broken(Break.TLS, detail)
    if isinstance(error, httpx.ProxyError):
        refused = detail[:3] in ("401", "403", "407")
        return Broken(Break.PROXY if refused else Break.CONNECT, detail)
    kinds: list[tuple[type[Exception], Break]] = [
        (httpx.WriteTimeout, Break.STALL),
        (httpx.ReadTimeout, Break.SILENCE),
        (httpx.ConnectTimeout, Break.CONNECT),
        (httpx.ConnectError, Break.CONNECT),
    ]
    return Broken(next((kind for cls, kind in kinds if isinstance(error, cls)), Break.RESET), detail)


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


class Connections:
    """Idle connections, kept for whoever needs one next: as many as were ever needed at once."""

    def __init__(self, context: Callable[[], ssl.SSLContext]) -> None:
        self._context = context
        self._idle: deque[Connection] = deque()
        self._closed = False
        self._process = os.getpid()

    @contextmanager
    def lend(self) -> Iterator[Connection]:
        """Lend a connection for one call."""
        if self._process != os.getpid():
            # A forked child: the parent goes on using these, and two must not read each other's answers.
            self._idle, self._process = deque(), os.getpid()
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = Connection(self._context())
        try:
            yield connection
        finally:
            self._idle.append(connection)
            if self._closed:
                self.close()

    def close(self) -> None:
        """Close them all; one that is lent out is closed when it comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
