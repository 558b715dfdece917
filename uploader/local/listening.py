"""Where the service listens."""

from __future__ import annotations

import ipaddress
import os
import socket


def is_loopback(host: str) -> bool:
    """Whether `host` is "localhost" or a loopback address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_loopback(host: str) -> None:
    """Raise ValueError unless `host` is "localhost" or a loopback address."""
    if not is_loopback(host):
        raise ValueError(
            f"host {host!r} is not a loopback address: for others, put a proxy that speaks TLS before it"
        )


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises OSError, naming the address, if it is taken."""
    resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # "localhost" can mean ::1 first, which not every client tries: 127.0.0.1 is what they all do.
    family, kind, protocol, _, where = min(resolved, key=lambda entry: entry[0] != socket.AF_INET)
    # With its protocol named, and only then, asyncio sets TCP_NODELAY on what is accepted: without it an
    # answer in two writes waits some 40 ms for the client's delayed acknowledgement of the first.
    listener = socket.socket(family, kind, protocol)
    try:
        if os.name == "posix":  # elsewhere the option would let two services share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise OSError(error.errno, f"cannot listen on {host} port {port}: {error.strerror}") from error
    return listener


def netloc(host: str, port: int, *, secure: bool) -> str:
    """The Host header of a client: brackets around IPv6, no port where it is the scheme's own."""
    name = f"[{host}]" if ":" in host else host
    return name if port == (443 if secure else 80) else f"{name}:{port}"
