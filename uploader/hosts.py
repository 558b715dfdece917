"""URLs' hosts: which are this machine's, which are private, which are none at all."""

from __future__ import annotations

import ipaddress
import re
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
    if isinstance(address, ipaddress.IPv4Address):
        return _is_private_v4(address)
    if address in _NAT64:
        return _is_private_v4(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.sixtofour is not None and _is_private_v4(address.sixtofour):
        return True
    return address not in _PUBLIC_V6 or not address.is_global


# NAT64's well-known prefix (RFC 6052): the last 32 bits are the IPv4 address that is meant.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# All of IPv6 that was ever given out (RFC 4291), so no form of an older or a local address is missed.
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
# A public number that means the machine's own host, in Azure.
_HOST_OF_AZURE = ipaddress.IPv4Address("168.63.129.16")


def _is_private_v4(address: ipaddress.IPv4Address) -> bool:
    return not address.is_global or address.is_multicast or address == _HOST_OF_AZURE


@lru_cache(64)
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
