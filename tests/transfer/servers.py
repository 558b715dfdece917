"""Servers on raw sockets, for what no well-behaved one would do."""

from __future__ import annotations

import json
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def answering(
    *answers: bytes | Callable[[str], bytes],
    tls: ssl.SSLContext | None = None,
    pace: float | None = None,
    heard: list[bytes] | None = None,
    bodies: bool = True,
    keep: bool = False,
) -> Iterator[str]:
    """A server that gives each request the next answer, and the last one for ever. Yields its origin.

    Args:
        answers: what to say; a function is given the origin.
        tls: speak TLS with this.
        pace: bytes per second at which bodies are read.
        heard: gets the head of every request.
        bodies: whether to read request bodies before answering.
        keep: whether to keep a connection until the client leaves; else it is for one request.
    """
    queue = list(answers)

    def answer(peer: socket.socket) -> None:
        head = _read_request(peer, pace, bodies=bodies)
        if heard is not None:
            heard.append(head)
        said = queue.pop(0) if len(queue) > 1 else queue[0]
        peer.sendall(said if isinstance(said, bytes) else said(origin))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with (
                suppress(OSError),
                _secured(peer, tls) as peer,
            ):  # a client may leave when it has heard enough
                peer.settimeout(5)
                answer(peer)
                while keep:
                    answer(peer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        if pace:
            # The segments of a real link: with loopback's, of 64 KiB, kernel buffers would hold megabytes.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        origin = f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield origin
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def _secured(peer: socket.socket, tls: ssl.SSLContext | None) -> socket.socket:
    return tls.wrap_socket(peer, server_side=True) if tls else peer


def _read_request(peer: socket.socket, pace: float | None, *, bodies: bool) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        more = peer.recv(65536)
        if not more:
            raise ConnectionError("the client left")
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [
        line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
    ]
    left = int(lengths[0]) - len(body) if lengths and bodies else 0
    while left > 0:
        got = len(peer.recv(16 * 1024))
        if not got:
            raise ConnectionError("the client left")
        left -= got
        if pace:
            time.sleep(got / pace)  # this is the link's speed, not a wait for something
    return head


@contextmanager
def deaf(address: str, port: int = 0) -> Iterator[int]:
    """An address that answers no attempt to connect, because its queue is full. Yields its port."""
    with socket.create_server((address, port), backlog=0) as listener, socket.socket() as first:
        port = listener.getsockname()[1]
        first.connect((address, port))
        waiting = []
        while True:
            another = socket.socket()
            another.setblocking(False)
            another.connect_ex((address, port))
            waiting.append(another)
            if not select.select([], [another], [], 0.2)[1]:
                break
        try:
            yield port
        finally:
            for it in waiting:
                it.close()


def http(body: bytes | str, status: str = "200 OK", headers: str = "") -> bytes:
    body = body.encode() if isinstance(body, str) else body
    return (
        f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
        + body
    )


def created(origin: str) -> bytes:
    part = {"number": 1, "url": f"{origin}/p?X-Sig=secret"}
    return http(json.dumps({"upload": {"id": "up1", "status": "pending", "parts": [part]}}))
