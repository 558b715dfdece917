"""Just enough of HTTP/1.1 for a server that keeps nothing: requests, and bodies read and forgotten."""

from __future__ import annotations

import socket
from dataclasses import dataclass

# One TLS record is at most 16 KiB, and a read never returns more than one; without TLS more comes at once.
BUFFER = 256 * 1024
HEAD_LIMIT = 64 * 1024


@dataclass(slots=True)
class Request:
    """A request without its body; the fields' names are lower case."""

    method: str
    path: str
    query: str
    fields: dict[str, str]

    @property
    def length(self) -> int:
        """Bytes of the body, without what frames them: AWS's chunks say how much they carry."""
        return int(self.fields.get("x-amz-decoded-content-length") or self.fields.get("content-length", "0"))

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks, whatever its length."""
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def waits(self) -> bool:
        """Whether the client wants to hear that it may send the body."""
        return "expect" in self.fields


class Peer:
    """One connection's incoming bytes."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._buffer = bytearray(BUFFER)
        self._ahead = b""

    def request(self) -> Request | None:
        """The next request's head; None when the client is gone."""
        head = self._ahead
        while b"\r\n\r\n" not in head:
            data = self._sock.recv(HEAD_LIMIT)
            if not data or len(head) > HEAD_LIMIT:
                return None
            head += data
        head, _, self._ahead = head.partition(b"\r\n\r\n")
        return _parse(head.decode("latin-1"))

    def body(self, length: int) -> bytes:
        """A small body, whole."""
        while len(self._ahead) < length:
            data = self._sock.recv(length - len(self._ahead))
            if not data:
                raise ConnectionError("the body ended early")
            self._ahead += data
        body, self._ahead = self._ahead[:length], self._ahead[length:]
        return body

    def drop(self, request: Request) -> None:
        """Read a request's body, however it comes, and forget it."""
        if request.chunked:
            self._drop_chunks()
        else:  # the framing of AWS's chunks counts here
            self.discard(int(request.fields.get("content-length", "0")))

    def discard(self, length: int) -> None:
        """Read so many bytes into the same memory, and forget them."""
        left = length - len(self._ahead)
        self._ahead = self._ahead[length:]
        receive, buffer = self._sock.recv_into, self._buffer
        while left > 0:
            count = receive(buffer, min(BUFFER, left))
            if not count:
                raise ConnectionError("the body ended early")
            left -= count

    def _drop_chunks(self) -> None:
        while length := int(self._line().partition(b";")[0], 16):
            self.discard(length)
            self._line()
        while self._line():  # trailers
            pass

    def _line(self) -> bytes:
        """The next line of a chunked body, without its end."""
        while b"\r\n" not in self._ahead:
            data = self._sock.recv(HEAD_LIMIT)
            if not data or len(self._ahead) > HEAD_LIMIT:
                raise ConnectionError("the body ended early")
            self._ahead += data
        line, _, self._ahead = self._ahead.partition(b"\r\n")
        return line

    def go_on(self) -> None:
        """Say that the body may come."""
        self._sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer(self, status: str, body: bytes = b"", **headers: str) -> None:
        """Send an answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def _parse(head: str) -> Request:
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    pairs = (line.partition(":") for line in lines)
    return Request(method, path, query, {name.lower(): value.strip() for name, _, value in pairs})
