"""Others on the network: a host that only listens, a proxy, and what this process asks of the network."""

from __future__ import annotations

import re
import selectors
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tests.faults.peer import BLOCK, Behaviour, Exchange
from tests.faults.rig import PATIENT, QUICK, Rig
from uploader import Uploader

# Nobody's, says RFC 6761; the rig's certificate is for them too.
API, STORE = "api.scenario.example", "store.scenario.example"


@dataclass
class Listener:
    """A host that takes connections, says nothing, and keeps what it hears."""

    port: int
    connections: int = 0
    heard: bytearray = field(default_factory=bytearray)


@contextmanager
def listening(address: str = "127.0.0.1") -> Iterator[Listener]:
    """Such a host at an address of this machine."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                host.connections += 1
                connection.settimeout(10)
                while data := connection.recv(BLOCK):
                    host.heard += data

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        host = Listener(listener.getsockname()[1])
        thread = threading.Thread(target=serve, name="peer-listener")
        thread.start()
        try:
            yield host
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@dataclass
class Proxy:
    """A proxy that leads every tunnel to the same place.

    Attributes:
        url: for HTTPS_PROXY.
        heads: what it was asked, in order.
        clear: what went through its tunnels towards the servers.
    """

    port: int
    target: tuple[str, int]
    refusal: bytes = b""
    heads: list[bytes] = field(default_factory=list)
    clear: list[bytes] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, connection: socket.socket, stopping: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = connection.recv(1)
            if not byte:
                return
            head += byte
        self.heads.append(head)
        if self.refusal or not re.match(rb"CONNECT [a-z.]+:443 HTTP/1.1\r\n", head):
            connection.sendall(self.refusal or b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
            return
        with socket.create_connection(self.target) as server:
            connection.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
            self._carry(connection, server, stopping)

    def _carry(self, client: socket.socket, server: socket.socket, stopping: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (client, server, stopping):
                selector.register(one, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is stopping:
                        return
                    data = key.fileobj.recv(BLOCK)  # type: ignore[union-attr]
                    if not data:
                        return
                    if key.fileobj is client:
                        self.clear.append(data)
                    (server if key.fileobj is client else client).sendall(data)


@contextmanager
def proxy(origin: str, *, refusal: bytes = b"") -> Iterator[Proxy]:
    """A proxy; whatever host is asked for, it leads to the server at `origin`. `refusal` is all it says."""
    threads: list[threading.Thread] = []

    def run(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            it.serve(connection, stopping)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=run, args=(connection,), name="peer-proxy"))
            threads[-1].start()

    host, port = re.findall(r"//(.*):(\d+)", origin)[0]
    stopping, stop = socket.socketpair()
    with stopping, stop, socket.create_server(("127.0.0.1", 0)) as listener:
        it = Proxy(listener.getsockname()[1], (host, int(port)), refusal)
        accepting = threading.Thread(target=accept, name="peer-proxy")
        accepting.start()
        try:
            yield it
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            stop.close()
            for thread in threads:
                thread.join()


def handing_out(origin: str) -> Behaviour:
    """Pass on; the links that come back lead to `origin`."""

    def behave(exchange: Exchange) -> None:
        head, _, body = exchange.ask_service().partition(b"\r\n\r\n")
        body = body.replace(exchange.origin.encode(), origin.encode())
        head = re.sub(rb"(?i)\r\ncontent-length:[^\r]*", b"", head)
        exchange.send(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return behave


def from_afar(it: Rig, **settings: Any) -> Uploader:
    """An uploader to the rig's peer that knows it as a host on the Internet, behind a proxy."""
    known: dict[str, Any] = {"api_key": it.service.api_key, "api_secret": it.service.api_secret}
    known |= {"retry": QUICK, "timeouts": PATIENT}
    return Uploader(base_url=f"https://{API}/v1", **known | settings)


@dataclass
class Asked:
    """What this process asked of the network.

    Attributes:
        names: the hosts that were looked up.
        addresses: the addresses it connected to.
    """

    names: set[str] = field(default_factory=set)
    addresses: set[object] = field(default_factory=set)


_LISTENERS: list[Asked] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if not _LISTENERS or threading.current_thread().name.startswith("peer"):
        return
    for asked in _LISTENERS:
        if event == "socket.getaddrinfo":
            asked.names.add(str(arguments[0]))
        elif event == "socket.connect":
            asked.addresses.add(arguments[1])


_HOOKED: list[object] = []


@contextmanager
def watching() -> Iterator[Asked]:
    """Notes what this process asks of the network, whoever does; not what the peers do."""
    if not _HOOKED:
        _HOOKED.append(sys.addaudithook(_note))  # for good: there is no way to take one away
    asked = Asked()
    _LISTENERS.append(asked)
    try:
        yield asked
    finally:
        _LISTENERS.remove(asked)
