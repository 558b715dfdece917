"""httpx's way out: one connection at a time, through our own network layer, by a proxy where one is set."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.request import getproxies

import httpx

from uploader.errors import InputError
from uploader.hosts import is_loopback
from uploader.io.http11 import Http11, Timeouts
from uploader.io.network import Network, Permit, Stream

_PORTS = {"http": 80, "https": 443}

_UNUSABLE = (
    "the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used: it is http://host:port or "
    "https://host:port, with user:password@ percent-encoded before the host"
)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a request goes."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx.URL) -> Origin:
        """The origin of a URL.

        Raises:
            httpx.UnsupportedProtocol: it is neither http nor https.
        """
        if url.scheme not in _PORTS:
            raise httpx.UnsupportedProtocol("neither http nor https")
        return cls(url.scheme, url.raw_host.decode("ascii"), url.port or _PORTS[url.scheme])

    @property
    def authority(self) -> bytes:
        """Host and port, as a proxy wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}".encode("ascii")


class Transport(httpx.BaseTransport):
    """Carries one request at a time. It follows no redirect, keeps no cookie, reads no netrc, logs nothing.

    Its exceptions are httpx's, and the network layer's.

    Args:
        context: for TLS.
        permit: at which of its addresses a host may be connected to; not asked where a proxy connects.
        network: makes the connections.
    """

    def __init__(self, context: ssl.SSLContext, permit: Permit, network: Network) -> None:
        self._context = context
        self._permit = permit
        self._network = network
        self._origin: Origin | None = None
        self._http: Http11 | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            InputError: the environment's proxy cannot be used.
        """
        http = self._connection(request)
        try:
            target = request.extensions.get("target", request.url.raw_path)
            answer = http.ask(request.method.encode("ascii"), target, request)
        except BaseException:
            http.close()
            raise
        body = _Body(http, request.extensions.get("timeout", {}))
        return httpx.Response(answer.status_code, headers=list(answer.headers), stream=body)

    def _connection(self, request: httpx.Request) -> Http11:
        origin = Origin.of(request.url)
        if self._http is None or origin != self._origin or not self._http.is_usable:
            self.close()
            self._http, self._origin = self._connect(origin, request), origin
        return self._http

    def _connect(self, origin: Origin, request: httpx.Request) -> Http11:
        timeout = request.extensions.get("timeout", {}).get("connect")
        proxy = proxy_for(origin.scheme, origin.host, origin.port)
        if proxy is None:
            self._network.permit = self._permit
            stream = self._network.connect_tcp(origin.host, origin.port, timeout)
        else:
            self._network.permit = anywhere
            stream = self._through(proxy, origin, request)
        if origin.scheme == "https":
            stream.start_tls(self._context, origin.host, timeout)
        return Http11(stream)

    def _through(self, address: str, origin: Origin, request: httpx.Request) -> Stream:
        """A tunnel through a proxy, which learns host and port, and nothing else of the request.

        Plain http needs one too: it leads to this machine only, where no proxy is asked.
        """
        proxy = _parse(address)
        timeout = request.extensions.get("timeout", {}).get("connect")
        where = Origin.of(proxy.url)
        stream = self._network.connect_tcp(where.host, where.port, timeout)
        if where.scheme == "https":
            stream.start_tls(self._context, where.host, timeout)
        http = Http11(stream)
        status = 0
        try:
            asking = _request_tunnel(proxy, origin, request)
            status = http.ask(b"CONNECT", origin.authority, asking).status_code
        finally:
            if not 200 <= status < 300:
                http.close()
        if not 200 <= status < 300:
            raise httpx.ProxyError(str(status))
        return stream

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None


class _Body(httpx.SyncByteStream):
    """An answer's body."""

    def __init__(self, http: Http11, timeouts: Timeouts) -> None:
        self._http = http
        self._timeouts = timeouts

    def __iter__(self) -> Iterator[bytes]:
        return self._http.body(self._timeouts)

    def close(self) -> None:
        self._http.end()


def proxy_for(scheme: str, host: str, port: int | None) -> str | None:
    """The proxy's address, as `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY` or the system's settings have it.

    No proxy leads to this machine itself, whatever they say.
    """
    if is_loopback(host):
        return None
    known = getproxies()
    proxy = known.get(scheme) or known.get("all")
    if not proxy or _is_exempt(host.lower(), port or 443, known.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str, port: int, exempt: str) -> bool:
    """Whether NO_PROXY names a host: by its name, with or without the port, a domain it is in, or `*`.

    Not `urllib.request.proxy_bypass`, which on some systems looks names up, for as long as that takes.
    """
    names = [name.strip().lower().lstrip(".") for name in exempt.split(",")]
    return any(
        name == "*" or name in (host, f"{host}:{port}") or host.endswith(f".{name}") for name in names if name
    )


def anywhere(_host: str, addresses: list[str]) -> list[str]:
    """Permits all, as for a proxy, which is where the user says it is."""
    return addresses


def _parse(proxy: str) -> httpx.Proxy:
    if proxy.startswith(("http://", "https://")):
        try:
            return httpx.Proxy(proxy)
        except (ValueError, httpx.InvalidURL):  # the message may quote the password
            pass
    raise InputError(_UNUSABLE)


def _request_tunnel(proxy: httpx.Proxy, origin: Origin, request: httpx.Request) -> httpx.Request:
    headers = {"Host": origin.authority.decode("ascii")}
    if proxy.raw_auth is not None:
        token = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
        headers["Proxy-Authorization"] = f"Basic {token}"
    timeouts = {"timeout": request.extensions.get("timeout", {})}
    return httpx.Request("CONNECT", proxy.url, headers=headers, extensions=timeouts)
