"""A peer on raw sockets between an uploader and a service, which misbehaves as it is told.

It speaks HTTP to both: requests are read head first, and passed on, or answered, or broken off as the script
says. To the service they are what the uploader sent; to the uploader, the service's URLs are the peer's.
"""

from __future__ import annotations

import re
import socket
import ssl
import struct
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

BLOCK = 64 * 1024

_TARGETS = (
    ("POST", r"/v1/uploads", "create"),
    ("GET", r"/v1/uploads/[^/]+", "get"),
    ("POST", r"/v1/uploads/[^/]+/action", "complete"),
)


class LeftError(Exception):
    """The uploader closed the connection."""


@dataclass
class Exchange:
    """One request, its head read and its body not yet.

    Attributes:
        peer: the connection, over TLS where that is spoken.
        head: the request line and headers, as they came.
        target: "create", "get", "complete", or "put".
        part: the part number of a put.
        length: bytes of the body.
        body: what was read of it so far.
        stopping: set when the peer is to end.
    """

    peer: socket.socket
    head: bytes
    target: str
    part: int | None
    length: int
    service: tuple[str, int]
    origin: str
    stopping: threading.Event
    body: bytearray = field(default_factory=bytearray)

    def read(self, upto: int | None = None) -> bytes:
        """Read the body, up to byte `upto` of it (all by default)."""
        upto = self.length if upto is None else min(upto, self.length)
        while len(self.body) < upto:
            block = self.peer.recv(min(BLOCK, upto - len(self.body)))
            if not block:
                raise LeftError
            self.body += block
        return bytes(self.body)

    def send(self, raw: bytes) -> None:
        """Send raw bytes."""
        self.peer.sendall(raw)

    def ask_service(self) -> bytes:
        """Read the whole request, have the service carry it out, and return its raw answer."""
        self.read()
        with socket.create_connection(self.service) as upstream:
            address = f"{self.service[0]}:{self.service[1]}"
            head = re.sub(rb"(?i)\r\nhost:[^\r]*", b"\r\nHost: " + address.encode(), self.head)
            head = re.sub(rb"(?i)\r\nconnection:[^\r]*", b"", head)
            upstream.sendall(head[:-2] + b"Connection: close\r\n\r\n" + self.body)
            raw = b"".join(iter(lambda: upstream.recv(BLOCK), b""))
        return self._translated(raw, address)

    def _translated(self, raw: bytes, address: str) -> bytes:
        head, _, body = raw.partition(b"\r\n\r\n")
        body = body.replace(f"http://{address}".encode(), self.origin.encode())
        head = re.sub(rb"(?i)\r\n(content-length|connection):[^\r]*", b"", head)
        return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body

    def reset(self) -> None:
        """End the connection with a RST, even where TLS is spoken."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raise LeftError

    def hold(self) -> None:
        """Neither read nor write any more, and leave the connection open, until the test is over."""
        self.stopping.wait()
        raise LeftError


# What to do with a request. Returning means: the connection may carry the next one.
Behaviour = Callable[[Exchange], None]


def pass_on(exchange: Exchange) -> None:
    """What is done with a request nothing is told of."""
    exchange.send(exchange.ask_service())


def response(status: int, body: bytes | str = b"", *headers: str, length: int | None = None) -> bytes:
    """A raw HTTP answer; `length` lies about its body."""
    body = body.encode() if isinstance(body, str) else body
    said = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} Told So", f"Content-Length: {said}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def xml(code: str, message: str = "", **fields: str) -> str:
    """A store's error document."""
    more = "".join(f"<{name}>{text}</{name}>" for name, text in fields.items())
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        f"{more}<RequestId>4442587FB7D0A2F9</RequestId></Error>"
    )


def reply(raw: bytes, *, read: int | None = None, then: str = "keep") -> Behaviour:
    """Answer `raw` when `read` bytes of the body were read (all by default).

    `then`: "keep" the connection, "close" it, "reset" it, "half" close it and read on, or "hold" it.
    """

    def behave(exchange: Exchange) -> None:
        exchange.read(read)
        exchange.send(raw)
        _end(exchange, then)

    return behave


def _end(exchange: Exchange, then: str) -> None:
    match then:
        case "keep":
            exchange.read()
        case "close":
            raise LeftError
        case "reset":
            exchange.reset()
        case "half":
            exchange.peer.shutdown(socket.SHUT_WR)
            exchange.read()
            raise LeftError
        case "hold":
            exchange.hold()


def carried_out(then: str) -> Behaviour:
    """The service carries it out and the answer is lost; `then` as in `reply`, but for "keep"."""

    def behave(exchange: Exchange) -> None:
        exchange.ask_service()
        _end(exchange, then)

    return behave


def broken(at: int | None, then: str = "reset") -> Behaviour:
    """No answer at all: the connection ends, as in `reply`, when `at` bytes of the body were read."""

    def behave(exchange: Exchange) -> None:
        exchange.read(at)
        _end(exchange, then)

    return behave


def until_renewed(behaviour: Behaviour) -> list[Behaviour]:
    """Do so to every attempt with the link a part had first; those with a fresh one are passed on."""
    first: list[bytes] = []

    def behave(exchange: Exchange) -> None:
        link = exchange.head.partition(b"\r\n")[0]
        first.append(link)
        (behaviour if link == first[0] else pass_on)(exchange)

    return [behave] * 20


class Peer:
    """What a test holds of the peer.

    Attributes:
        origin: scheme, host and port.
        heads: the head of every request, in order.
        connections: how many were accepted.
        trouble: exceptions the peer did not expect; a test ends with none.
    """

    def __init__(
        self,
        listener: socket.socket,
        service: tuple[str, int],
        script: Mapping[int | str, Sequence[Behaviour]],
        context: ssl.SSLContext | None,
        otherwise: Behaviour = pass_on,
    ) -> None:
        self._otherwise = otherwise
        self.origin = f"{'https' if context else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        self.heads: list[bytes] = []
        self.seen: Counter[int | str] = Counter()
        self.connections = 0
        self.trouble: list[BaseException] = []
        self._listener, self._service, self._context = listener, service, context
        self._script = defaultdict(list, {key: list(value) for key, value in script.items()})
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def tell(self, script: Mapping[int | str, Sequence[Behaviour]]) -> None:
        """Do this from now on, and nothing more of what was told before."""
        with self._lock:
            self._script = defaultdict(list, {key: list(value) for key, value in script.items()})

    def accept(self) -> None:
        """Take connections until the listener is shut."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            # As servers do: an answer is on its way before the reset that may follow it.
            with suppress(OSError):  # it is gone already
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), name="peer")
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """End every connection."""
        self._stopping.set()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):
                    # Not SSLSocket.shutdown, which waits for the other side.
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _serve(self, connection: socket.socket) -> None:
        try:
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_side=True)
            with self._lock:
                self._open.add(connection)
            while not self._stopping.is_set():
                self._one(connection)
        except (LeftError, OSError):
            pass  # an uploader may leave when it has heard enough
        except BaseException as error:  # noqa: BLE001 - the test shall see it
            self.trouble.append(error)
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()

    def _one(self, connection: socket.socket) -> None:
        head = self._head(connection)
        method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
        found = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        path = urlsplit(target).path
        kind = next(
            (name for verb, form, name in _TARGETS if verb == method and re.fullmatch(form, path)), "put"
        )
        number = parse_qs(urlsplit(target).query).get("partNumber") if kind == "put" else None
        exchange = Exchange(
            connection,
            head,
            kind,
            int(number[0]) if number else None,
            int(found[1]) if found else 0,
            self._service,
            self.origin,
            self._stopping,
        )
        self._next(exchange)(exchange)

    def _head(self, connection: socket.socket) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)  # and not a byte of the body
            if not byte:
                raise LeftError
            head += byte
        return head

    def _next(self, exchange: Exchange) -> Behaviour:
        with self._lock:
            self.heads.append(exchange.head)
            self.seen[exchange.target if exchange.part is None else exchange.part] += 1
            for key in (exchange.part, exchange.target):
                if key is not None and self._script[key]:
                    return self._script[key].pop(0)
        return self._otherwise


@contextmanager
def peer(
    service_url: str,
    script: Mapping[int | str, Sequence[Behaviour]],
    *,
    certificate: tuple[Path, Path] | None = None,
    narrow: bool = False,
    host: str = "127.0.0.1",
    otherwise: Behaviour = pass_on,
) -> Iterator[Peer]:
    """A peer in front of the service at `service_url`; `script` as for the fixture `rig`.

    `otherwise`: what is done with requests nothing is told of.
    `host`: the address it listens at, of which every one is "0.0.0.0".
    `narrow`: what the peer does not read, the uploader cannot send: buffers hold little, as on a real link.
    """
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
    parts = urlsplit(service_url)
    with socket.create_server((host, 0)) as listener:
        if narrow:
            # The segments of a real link: with loopback's, of 64 KiB, kernel buffers would hold megabytes.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024)
        front = Peer(listener, (parts.hostname or "", parts.port or 0), script, context, otherwise)
        thread = threading.Thread(target=front.accept, name="peer-accept")
        thread.start()
        try:
            yield front
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            front.stop()
    assert front.trouble == []
