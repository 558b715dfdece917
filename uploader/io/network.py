"""Sockets that another thread can shut, and that lead where they may.

The names are looked up here, each address is judged before it is connected to, and the next one is tried
while an earlier one is still silent (RFC 8305), so a dead address costs a quarter of a second.
"""

from __future__ import annotations

import errno
import ipaddress
import math
import os
import queue
import select
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import httpx

from uploader.io.shortage import start

# How long an address may be silent before the next one is tried as well (RFC 8305, section 8).
NEXT_ADDRESS = 0.25

# How often a wait looks whether it was cancelled: a name's lookup and a connection being made cannot be shut.
GLANCE = 0.05

# An answer may dawdle for as long as its timeout, and from then on must have come this fast (bytes per
# second): slower than any link, faster than one who only wants to keep us.
SLOWEST_ANSWER = 1024

# What an answer's head may take besides the body that is wanted: h11 takes 100 KiB of one, and any number of
# 1xx before it.
LONGEST_HEAD = 256 * 1024

# What a connection that is being made says: done already, or wait (Windows has a number of its own for that).
_IN_THE_MAKING = frozenset({0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)})

T = TypeVar("T")
Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, tuple[Any, ...]]
Resolve = Callable[[str, int], list[Address]]
# Told a host and its addresses: those it may be connected to at.
Permit = Callable[[str, list[str]], list[str]]


class AbortedError(Exception):
    """The scope of a call was cancelled."""


class AddressRefusedError(Exception):
    """A name leads to where nothing may be sent; no socket was opened."""


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host, the system's favourite first.

    Raises:
        OSError: it has none, or nobody can tell.
    """
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)  # type: ignore[return-value]


class Network:
    """Makes the connections of one `Connection`, one at a time.

    Args:
        resolve: looks names up.

    Attributes:
        permit: at which of its addresses a host may be connected to.
        check: raises AbortedError once what is under way is to end.
        limit: bytes that are wanted of an answer, besides its head.
    """

    permit: Permit
    check: Callable[[], None]

    def __init__(self, resolve: Resolve = resolve) -> None:
        self.limit = 0
        self._resolve = resolve
        self._stream: Stream | None = None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None,
    ) -> Stream:
        """A connection to the first of the host's addresses that answers.

        Raises:
            AddressRefusedError: it may be connected to at none of them.
            AbortedError: cancelled.
        """
        deadline = time.monotonic() + (timeout or 3600.0)
        with _named({TimeoutError: httpx.ConnectTimeout, OSError: httpx.ConnectError}):
            addresses = self._look_up(host, port, deadline)
            permitted = self.permit(host, [str(address[4][0]) for address in addresses])
            if addresses and not permitted:
                raise AddressRefusedError(host)
            connected = self._connect([it for it in addresses if it[4][0] in permitted], deadline)
            self._stream = Stream(self, connected)
            try:
                self.check()  # `shut` may have come too early to see it
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BaseException:
                connected.close()
                raise
        return self._stream

    def shut(self) -> None:
        """End what is blocked on the connection, from any thread."""
        if self._stream is not None:
            self._stream.shut()

    def _look_up(self, host: str, port: int, deadline: float) -> list[Address]:
        """In a thread of its own, because a lookup cannot be ended; one nobody waits for ends by itself."""
        if _is_address(host):
            return self._resolve(host, port)
        answer: queue.SimpleQueue[list[Address] | Exception] = queue.SimpleQueue()

        def ask() -> None:
            try:
                answer.put(self._resolve(host, port))
            except (OSError, UnicodeError) as error:
                answer.put(error)

        start(threading.Thread(target=ask, name="uploader-lookup", daemon=True))
        while True:
            self.check()
            with suppress(queue.Empty):
                found = answer.get(timeout=GLANCE)
                if isinstance(found, Exception):
                    raise found
                return found
            if time.monotonic() > deadline:
                raise TimeoutError("looking up its name took too long")

    def _connect(self, addresses: list[Address], deadline: float) -> socket.socket:
        """The first connection that is made, every address tried in its turn.

        Raises:
            OSError: the last one's error.
        """
        waiting, next_at = deque(addresses), 0.0
        error: OSError = OSError("no address")
        with selectors.DefaultSelector() as selector, _closing(selector):
            while True:
                self.check()
                under_way = bool(selector.get_map())
                if waiting and (not under_way or time.monotonic() >= next_at):
                    try:
                        selector.register(_begin(waiting.popleft()), selectors.EVENT_WRITE)
                        next_at = time.monotonic() + NEXT_ADDRESS
                    except OSError as refused:
                        error = refused
                elif not under_way:
                    raise error
                for key, _ in selector.select(GLANCE if selector.get_map() else 0):
                    selector.unregister(key.fileobj)
                    try:
                        return _made(key.fileobj)  # type: ignore[arg-type]
                    except OSError as refused:
                        error, next_at = refused, 0.0
                if time.monotonic() > deadline:
                    raise TimeoutError("timed out")


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _begin(address: Address) -> socket.socket:
    """A connection in the making.

    Raises:
        OSError: it is refused at once.
    """
    family, kind, protocol, _, target = address
    begun = socket.socket(family, kind, protocol)
    begun.setblocking(False)
    code = begun.connect_ex(target)
    if code not in _IN_THE_MAKING:
        begun.close()
        raise OSError(code, _reason(code))
    return begun


def _made(begun: socket.socket) -> socket.socket:
    """The connection, once the system has something to say of it.

    Raises:
        OSError: it was not made.
    """
    code = begun.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        begun.close()
        raise OSError(code, _reason(code))
    begun.setblocking(True)
    return begun


def _reason(code: int) -> str:
    """In words; Windows has its own for sockets."""
    return getattr(socket, "errorTab", {}).get(code) or os.strerror(code)


@contextmanager
def _closing(selector: selectors.BaseSelector) -> Iterator[None]:
    """Close what is still registered at the end."""
    try:
        yield
    finally:
        for key in list(selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]


@contextmanager
def _named(kinds: dict[type[OSError], type[httpx.TransportError]]) -> Iterator[None]:
    """Raise httpx's exceptions for the system's."""
    try:
        yield
    except OSError as error:
        raise next(name for kind, name in kinds.items() if isinstance(error, kind))(str(error)) from error


class Stream:
    """One connection, in the clear or over TLS.

    What it reads in a row is an answer, and is bounded: in time, so that nobody is kept by a byte now and
    then, and in size.
    """

    def __init__(self, network: Network, connected: socket.socket) -> None:
        self._network = network
        self._socket = connected
        self._layer: _Layer | None = None
        self._asked_at: float | None = None
        self._received = 0

    def read(self, max_bytes: int, timeout: float | None) -> bytes:
        """Up to `max_bytes`, b"" at the end."""
        now = time.monotonic()
        self._asked_at = now if self._asked_at is None else self._asked_at
        if self._received > self._network.limit + LONGEST_HEAD:
            raise httpx.ReadError("the answer is too long")
        with _named({TimeoutError: httpx.ReadTimeout, OSError: httpx.ReadError}):
            if timeout is not None:
                timeout = min(timeout, self._asked_at + timeout + self._received / SLOWEST_ANSWER - now)
                if timeout <= 0:
                    raise TimeoutError("the answer dribbles")
            self._socket.settimeout(timeout)
            data = (self._layer or self._socket).recv(max_bytes)
        self._received += len(data)
        return data

    def restart(self) -> None:
        """What is read from here on is timed anew."""
        self._asked_at = None

    def write(self, buffer: bytes | memoryview, timeout: float | None) -> None:
        """Send all of it; `timeout` is for each call of the system's."""
        self._asked_at, self._received = None, 0
        out = self._layer or self._socket
        try:
            if timeout != self._socket.gettimeout():  # it takes a system call
                self._socket.settimeout(timeout)
            while buffer:
                buffer = buffer[out.send(buffer) :]
        except TimeoutError as error:
            raise httpx.WriteTimeout(str(error)) from error
        except OSError as error:
            raise httpx.WriteError(str(error)) from error

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def shut(self) -> None:
        """End what is blocked on it, from any thread."""
        # Not SSLSocket.shutdown: that drops the TLS layer first, and a send at that moment would go out in
        # the clear. An OSError says that it is not connected any more, which is what was wanted.
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def start_tls(self, context: ssl.SSLContext, hostname: str, timeout: float | None) -> None:
        """Speak TLS from here on; inside of TLS where a proxy speaks it too."""
        with _named({TimeoutError: httpx.ConnectTimeout, OSError: httpx.ConnectError}):
            try:
                self._socket.settimeout(timeout)
                if isinstance(self._socket, ssl.SSLSocket):
                    self._layer = _Layer(self._socket, context, hostname)
                    self._layer.do_handshake()
                else:
                    self._socket = secured = context.wrap_socket(
                        self._socket, server_hostname=hostname, do_handshake_on_connect=False
                    )
                    self._network.check()  # a stop may have shut the plain socket, which is none any more
                    secured.do_handshake()
            except BaseException:
                self.close()
                raise

    @property
    def is_readable(self) -> bool:
        """Whether there is something to read on an idle connection: its end, most likely."""
        layers = [it for it in (self._socket, self._layer) if isinstance(it, ssl.SSLSocket | _Layer)]
        if any(layer.pending() for layer in layers):
            return True  # decrypted already
        # Neither takes a descriptor, of which none may be left.
        try:
            if hasattr(select, "poll"):
                poll = select.poll()
                poll.register(self._socket, select.POLLIN)
                return bool(poll.poll(0))
            return bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):
            return True  # it is no connection any more


class _Layer:
    """TLS inside of TLS, which `SSLContext.wrap_socket` cannot do."""

    def __init__(self, outer: ssl.SSLSocket, context: ssl.SSLContext, hostname: str | None) -> None:
        self._outer = outer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)

    def do_handshake(self) -> None:
        self._pump(self._tls.do_handshake)

    def recv(self, max_bytes: int) -> bytes:
        try:
            return self._pump(lambda: self._tls.read(max_bytes))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):  # with a single layer neither is an error
            return b""

    def pending(self) -> int:
        """Bytes that came and were not read."""
        return self._tls.pending() or self._incoming.pending

    def send(self, data: bytes | memoryview) -> int:
        return self._pump(lambda: self._tls.write(data))

    def _pump(self, act: Callable[[], T]) -> T:
        """One deadline for all that it takes, as CPython has for a single layer."""
        timeout = self._outer.gettimeout()
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return act()
            except ssl.SSLWantReadError:
                self._flush()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("timed out") from None
                self._outer.settimeout(None if math.isinf(left) else left)
                data = self._outer.recv(16 * 1024)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            finally:
                self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._outer.sendall(self._outgoing.read())
