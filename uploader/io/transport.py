"""httpx's way out: one connection at a time, through our own network layer, by a proxy where one is set."""

from __future__ import annotations

import base64
import ipaddress
import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.request import getproxies

import httpx

from uploader.errors import InputError
from uploader.hosts import is_host, is_loopback
from uploader.io.http11 import Http11, StepTimeouts, timeouts_of
from uploader.io.network import Network, Permit, Stream

_PORTS = {"http": 80, "https": 443}

# Seconds that an error's body may keep us: its status is known.
ERROR_BODY_WAIT = 5.0

_UNUSABLE = (
    "the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used: it is http://host:port or "
    "https://host:port, with user:password@ percent-encoded before the host"
)


class TunnelError(httpx.ProxyError):
    """The proxy leads nowhere. The message quotes nothing that it said, which may hold its password.

    Attributes:
        status: what it answered; 0 where it did not.
    """

    def __init__(self, said: str, status: int = 0) -> None:
        super().__init__(said)
        self.status = status


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
            httpx.UnsupportedProtocol: it is neither http nor https, or its port is 0.
        """
        if url.scheme not in _PORTS or url.port == 0:
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
        timeouts = timeouts_of(request)
        if not 200 <= answer.status_code < 300:
            timeouts = timeouts | {"read": min(timeouts.get("read") or ERROR_BODY_WAIT, ERROR_BODY_WAIT)}
        body = _Body(http, timeouts)
        return httpx.Response(answer.status_code, headers=list(answer.headers), stream=body)

    @property
    def is_open(self) -> bool:
        """Whether there is a connection that can be used again."""
        return self._http is not None and self._http.is_usable

    def _connection(self, request: httpx.Request) -> Http11:
        origin = Origin.of(request.url)
        if self._http is None or origin != self._origin or not self.is_open:
            self.close()
            self._http, self._origin = self._connect(origin, request), origin
        return self._http

    def _connect(self, origin: Origin, request: httpx.Request) -> Http11:
        timeout = timeouts_of(request).get("connect")
        proxy = proxy_for(origin.scheme, origin.host, origin.port)
        if proxy is None:
            self._network.permit = self._permit
            stream = self._network.connect_tcp(origin.host, origin.port, timeout)
        else:
            self._network.permit = anywhere
            stream = self._through(proxy, origin, request)
        if origin.scheme == "https":
            stream.start_tls(self._context, origin.host.removesuffix("."), timeout)  # no certificate has it
        return Http11(stream)

    def _through(self, address: str, origin: Origin, request: httpx.Request) -> Stream:
        """A tunnel through a proxy, which learns host and port, and nothing else of the request.

        Plain http needs one too: it leads to this machine only, where no proxy is asked.
        """
        proxy = _parse(address)
        where = Origin.of(proxy.url)
        try:
            stream = self._reach(where, request)
            status = _ask_tunnel(stream, proxy, origin, request)
        except httpx.ProtocolError:
            raise TunnelError(f"the proxy {where.host} does not answer as one") from None
        except (httpx.TransportError, UnicodeError) as error:
            raise TunnelError(f"the proxy {where.host}: {error}") from error
        if not 200 <= status < 300:
            stream.close()
            raise TunnelError(f"the proxy {where.host} answered {status}", status)
        return stream

    def _reach(self, proxy: Origin, request: httpx.Request) -> Stream:
        timeout = timeouts_of(request).get("connect")
        stream = self._network.connect_tcp(proxy.host, proxy.port, timeout)
        if proxy.scheme == "https":
            stream.start_tls(self._context, proxy.host, timeout)
        return stream

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None


class _Body(httpx.SyncByteStream):
    """An answer's body."""

    def __init__(self, http: Http11, timeouts: StepTimeouts) -> None:
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
    """Whether NO_PROXY names a host.

    Not `urllib.request.proxy_bypass`, which on some systems looks names up, for as long as that takes.
    """
    return any(_names(entry, host.removesuffix("."), port) for entry in re.split(r"[,\s]+", exempt.lower()))


# A name, domain, address or network, and perhaps a port; an address of IPv6 needs brackets for that.
_ENTRY = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<name>[^:]*))(?::(?P<port>[0-9]+))?|(?P<bare>.*)")


def _names(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY names a host: `*`, a name, a domain it is in, an address, a network."""
    found = _ENTRY.fullmatch(entry)
    assert found  # noqa: S101 - it matches anything
    if found["port"] and int(found["port"]) != port:
        return False
    name = found["v6"] or found["name"] or found["bare"] or ""
    if name == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False)
    except ValueError:
        domain = name.removeprefix("*").strip(".")
        return bool(domain) and f".{host}".endswith(f".{domain}")


def anywhere(_host: str, addresses: list[str]) -> list[str]:
    """Permits all, as for a proxy, which is where the user says it is."""
    return addresses


def _parse(proxy: str) -> httpx.Proxy:
    try:
        parsed = httpx.Proxy(proxy.strip())
        port = parsed.url.port
    except (ValueError, httpx.InvalidURL):  # the message may quote the password
        raise InputError(_UNUSABLE) from None
    if (
        parsed.url.scheme not in _PORTS
        or not is_host(parsed.url.host)
        or not (port is None or 0 < port < 65536)
    ):
        raise InputError(_UNUSABLE)
    return parsed


def _ask_tunnel(stream: Stream, proxy: httpx.Proxy, origin: Origin, request: httpx.Request) -> int:
    """The proxy's answer."""
    http = Http11(stream)
    try:
        return http.ask(b"CONNECT", origin.authority, _request_tunnel(proxy, origin, request)).status_code
    except BaseException:
        http.close()
        raise


def _request_tunnel(proxy: httpx.Proxy, origin: Origin, request: httpx.Request) -> httpx.Request:
    headers = {"Host": origin.authority.decode("ascii")}
    if proxy.raw_auth is not None:
        token = base64.b64encode(b":".join(proxy.raw_auth)).decode("ascii")
        headers["Proxy-Authorization"] = f"Basic {token}"
    timeouts = {"timeout": timeouts_of(request)}
    return httpx.Request("CONNECT", proxy.url, headers=headers, extensions=timeouts)
