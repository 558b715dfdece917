"""HTTP connections whose blocked calls another thread can end at once.

Each `Connection` is an httpx transport of one connection, used by one thread at a time, so "the
socket this call blocks on" is a plain fact: shutting it down ends exactly that call, within a millisecond,
and no other.
"""

from __future__ import annotations

import os
import re
import ssl
import threading
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

import httpx

from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.core.scrub import mask, scrub
from uploader.errors import InputError
from uploader.io.network import AbortedError, AddressRefusedError, Network, Permit, Resolve, resolve
from uploader.io.secrecy import secrets_of
from uploader.io.shortage import origins, shortage
from uploader.io.transport import Transport, TunnelError

# What an error document may take; more is not read.
ERROR_BODY = 64 * 1024


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


# Blocks of this size cost the least CPU: smaller ones mean more calls, larger ones leave the cache before
# they are sent. Measured in benchmarks/README.md.
BLOCK = 256 * 1024


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

    def __init__(self, context: ssl.SSLContext, permit: Permit, resolve: Resolve = resolve) -> None:
        self.pace = Pace()
        self._network = Network(resolve)
        # Without httpx's client, which would log what a server says and follow where it points.
        self._transport = Transport(context, permit, self._network)

    def ask(self, request: httpx.Request, scope: Scope, *, body_limit: int = ERROR_BODY) -> Answer:
        """Send `request` and read the answer's body, or say how it broke.

        At most `body_limit` bytes are read, and of an error's body at most 64 KiB. What the answer echoes of
        the request's secrets is masked.

        Only what is in `request` is sent: no cookie, credential or default header of a client's. Exceptions
        of the request's own body stream pass through.
        """
        self._network.check = scope.check
        try:
            with scope.using(self):
                return self._ask(request, body_limit)
        except AbortedError:
            return Broken(Break.RESET, "stopped")
        except AddressRefusedError as error:
            return Broken(Break.REFUSED, str(error))
        except BROKEN as error:
            return classify(error, secrets_of(request))
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError):
            return Broken(Break.UNUSABLE)  # without its message, which may show the URL
        except (OSError, MemoryError) as error:
            return classify(error)

    def _ask(self, request: httpx.Request, body_limit: int) -> Response:
        self._network.limit = 0  # of the head there is a bound in any case
        response = self._transport.handle_request(request)
        try:
            self._network.limit = body_limit if response.is_success else ERROR_BODY
            body = _read(response, self._network.limit)
        finally:
            response.close()  # with part of the body unread this also closes the connection
        secrets = secrets_of(request)
        headers = {
            name.lower(): mask(value.encode(), secrets).decode() for name, value in response.headers.items()
        }
        if body_limit == ERROR_BODY or not response.is_success:  # else it is the service's, with fresh URLs
            body = mask(body, secrets)
        return Response(response.status_code, headers, body)

    @cached_property
    def buffer(self) -> memoryview:
        """Made when first needed: kept, it is mapped by the system once and not with each block."""
        return memoryview(bytearray(BLOCK))

    @property
    def is_open(self) -> bool:
        """Whether the next call can go out on it as it is."""
        return self._transport.is_open

    def shut(self) -> None:
        """End the call under way, from any thread."""
        self._network.shut()

    def close(self) -> None:
        """Close the connection."""
        self._transport.close()


# What the transport raises when a request breaks.
BROKEN = (httpx.TimeoutException, httpx.NetworkError, httpx.ProtocolError, httpx.ProxyError)


def _read(response: httpx.Response, limit: int) -> bytes:
    """At most `limit` bytes of a body, decoded if it came compressed, though that was not asked for."""
    chunks: list[bytes] = []
    size = 0
    decode = _decoder(response.headers.get("content-encoding", ""))
    try:
        for chunk in response.iter_raw():
            chunks.append(decode(chunk, limit - size))
            size += len(chunks[-1])
            if size >= limit:
                break
    except BROKEN:
        if response.is_success:
            raise
        # The status and what there is of an error document say enough.
    return b"".join(chunks)


def _decoder(encoding: str) -> Callable[[bytes, int], bytes]:
    """Takes a chunk, and how many bytes of what it holds are wanted."""
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return lambda chunk, most: chunk[:most]
    inflate = zlib.decompressobj(zlib.MAX_WBITS | 32)  # either format, as its head says

    def decode(chunk: bytes, most: int) -> bytes:
        try:
            return inflate.decompress(chunk, most)
        except zlib.error:
            return b""  # the status says enough

    return decode


# OpenSSL's name for a failure, which its words repeat: long as it is, it would be taken for a token.
_OPENSSL = re.compile(r"\[SSL: \w+\] ")


def classify(error: Exception, secrets: Iterable[bytes] = ()) -> Broken:
    """How a request broke, by the transport's exception, which may quote what was received, or the system's.

    A shortage is one whatever it struck, the making of a connection included.
    """
    said = _OPENSSL.sub("", str(error))
    detail = scrub(mask(said.encode(), secrets).decode())
    if lack := shortage(error):
        return Broken(Break.SHORTAGE, lack)
    if _is_certificate_error(error):
        return Broken(Break.TLS, detail)
    if isinstance(error, TunnelError):
        return Broken(Break.PROXY if error.status in (401, 403, 407) else Break.CONNECT, detail)
    kinds: list[tuple[type[Exception], Break]] = [
        (httpx.WriteTimeout, Break.STALL),
        (httpx.ReadTimeout, Break.SILENCE),
        (httpx.ConnectTimeout, Break.CONNECT),
        (httpx.ConnectError, Break.CONNECT),
    ]
    return Broken(next((kind for cls, kind in kinds if isinstance(error, cls)), Break.RESET), detail)


def _is_certificate_error(error: BaseException) -> bool:
    return any(isinstance(it, ssl.SSLCertVerificationError) for it in origins(error))


# Where a private certificate authority is named.
TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def make_tls_context() -> ssl.SSLContext:
    """What trusts SSL_CERT_FILE or SSL_CERT_DIR, else certifi. It takes 25 ms.

    Raises:
        InputError: these cannot be used.
    """
    try:
        return httpx.create_ssl_context()
    except OSError as error:  # ssl.SSLError is one
        raise InputError(
            f"{' or '.join(TRUST_VARIABLES)} cannot be used: {error.strerror or error}"
        ) from error


class Connections:
    """Idle connections, kept for whoever needs one next: the one that was used last.

    Args:
        context: makes what TLS needs, when it is first needed.
        permit: at which of its addresses a host may be connected to.
        resolve: looks names up.
    """

    def __init__(
        self, context: Callable[[], ssl.SSLContext], permit: Permit, resolve: Resolve = resolve
    ) -> None:
        self._context = context
        self._permit, self._resolve = permit, resolve
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
            connection = Connection(self._context(), self._permit, self._resolve)
        try:
            yield connection
        finally:
            self._drop_cold()
            self._idle.append(connection)
            if self._closed:
                self.close_idle()

    def _drop_cold(self) -> None:
        """Drop those that nobody needed for so long that they, or their servers, closed."""
        with suppress(IndexError):  # others lend and return meanwhile
            while not (coldest := self._idle.popleft()).is_open:
                coldest.close()
            self._idle.appendleft(coldest)

    def close(self) -> None:
        """Close them all; one that is lent out is closed when it comes back."""
        self._closed = True
        self.close_idle()

    def close_idle(self) -> None:
        """Close those that nobody needs now."""
        with suppress(IndexError):  # others lend and return meanwhile
            while True:
                self._idle.pop().close()
