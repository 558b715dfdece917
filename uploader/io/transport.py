"""httpx's way out: one connection at a time, through our own network layer, by a proxy where one is set."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any
from urllib.request import getproxies

import httpcore
import httpx

from uploader.errors import InputError
from uploader.hosts import is_loopback
from uploader.io.network import Network, Permit

# Longer than any pause between two parts or two polls. A connection the server closed meanwhile is noticed
# before it is reused.
KEEP_ALIVE = 60.0


_UNUSABLE = (
    "the proxy in HTTPS_PROXY, HTTP_PROXY or ALL_PROXY cannot be used: it is http://host:port or "
    "https://host:port, with user:password@ percent-encoded before the host"
)


class Transport(httpx.BaseTransport):
    """Carries one request at a time. It follows no redirect, keeps no cookie and reads no netrc.

    Its exceptions are httpcore's, and the network layer's.

    Args:
        context: for TLS.
        permit: at which of its addresses a host may be connected to; not asked where a proxy connects.
        network: makes the connections.
    """

    def __init__(self, context: ssl.SSLContext, permit: Permit, network: Network) -> None:
        self._context = context
        self._permit = permit
        self._network = network
        self._pools: dict[str | None, httpcore.ConnectionPool] = {}
        self._proxies: dict[tuple[str, str, int | None], str | None] = {}

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request.

        Raises:
            InputError: the environment's proxy cannot be used.
        """
        url = request.url
        origin = (url.scheme, url.raw_host.decode("ascii"), url.port)
        if origin not in self._proxies:
            self._proxies[origin] = proxy_for(*origin)
        proxy = self._proxies[origin]
        self._network.permit = self._permit if proxy is None else anywhere
        answer = self._pool(proxy).handle_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=url.raw_scheme,
                    host=url.raw_host,
                    port=url.port,
                    target=request.extensions.get("target", url.raw_path),
                ),
                headers=request.headers.raw,
                content=request.stream,
                # And not the target, which a proxy would be asked for in the clear.
                extensions={"timeout": request.extensions.get("timeout", {})},
            )
        )
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=answer.extensions
        )

    def _pool(self, proxy: str | None) -> httpcore.ConnectionPool:
        if proxy not in self._pools:
            self._pools[proxy] = _make_pool(proxy, self._context, self._network)
        return self._pools[proxy]

    def close(self) -> None:
        """Close the connection."""
        for pool in self._pools.values():
            pool.close()


class _Body(httpx.SyncByteStream):
    """An answer's body."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        return self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


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


def _make_pool(proxy: str | None, context: ssl.SSLContext, network: Network) -> httpcore.ConnectionPool:
    one: dict[str, Any] = {
        "ssl_context": context,
        "max_connections": 1,
        "max_keepalive_connections": 1,
        "keepalive_expiry": KEEP_ALIVE,
        "network_backend": network,
    }
    if proxy is None:
        return httpcore.ConnectionPool(**one)
    if not proxy.startswith(("http://", "https://")):
        raise InputError(_UNUSABLE)
    try:
        told = httpx.Proxy(proxy)
        return httpcore.HTTPProxy(
            str(told.url),
            proxy_auth=told.raw_auth,
            proxy_headers=told.headers.raw,
            proxy_ssl_context=context if told.url.scheme == "https" else None,
            **one,
        )
    except (RuntimeError, ValueError, httpx.InvalidURL):  # the message may quote the password
        raise InputError(_UNUSABLE) from None
