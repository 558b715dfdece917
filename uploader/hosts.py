"""URLs' hosts: which are this machine's, which are private, which are none at all."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import SplitResult, urlsplit

_NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")


def split_url(text: str) -> SplitResult | None:
    """The parts of a URL, None where it cannot be read: not printable ASCII, or its host or port is none."""
    if not (text.isascii() and text.isprintable()) or " " in text:
        return None
    try:
        parts = urlsplit(text)
        _ = parts.port  # parsed when asked for
    except ValueError:
        return None
    return parts if is_host(parts.hostname or "") else None


@lru_cache(64)  # an answer holds thousands of URLs of one host
def is_host(host: str) -> bool:
    """Whether `host` is an IP address, or a name the DNS could know (RFC 1123, and old buckets)."""
    if _address(host) is not None:
        return True
    labels = host.removesuffix(".").split(".")
    # A last label that is a number makes it an IPv4 address, in one of the spellings that only some systems
    # read.
    return len(host) <= 253 and all(map(_LABEL.fullmatch, labels)) and not _NUMBER.fullmatch(labels[-1])


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    if host.lower().removesuffix(".") == "localhost":
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def is_private(host: str) -> bool:
    """Whether a host is an address that is not of the public Internet. Names are not looked up."""
    address = _address(host)
    if address is None:
        return is_loopback(host)
    return any(not it.is_global or it.is_multicast for it in (address, *_embedded(address)))


# NAT64's well-known prefix (RFC 6052): the last 32 bits are an IPv4 address.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def _embedded(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 address a gateway would take an IPv6 address to, if any."""
    if isinstance(address, ipaddress.IPv4Address):
        return
    if address.sixtofour is not None:
        yield address.sixtofour
    if address in _NAT64:
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


@lru_cache(64)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
