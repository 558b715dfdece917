"""Presigned part URLs in the form of S3's AWS4-HMAC-SHA256, with one key of the service's own. Pure.

The signature covers the method, the path, every query parameter but itself, and the Host header.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from uploader.local.store import Link

ALGORITHM = "AWS4-HMAC-SHA256"
LONGEST = 7 * 24 * 3600
"""Seconds the longest-lived link may be valid: S3's limit."""
DATE = "%Y%m%dT%H%M%SZ"
"""An `X-Amz-Date`, for strftime and strptime."""

_SCOPE = "us-east-1/s3/aws4_request"

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What of a request the signature can cover: `path` decoded, `query` in order, `headers` lower-case."""

    method: str
    path: str
    query: Pairs
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs the part links of one service.

    `origin` is scheme://host:port, `host` the Host header its clients send, `key` the secret.
    """

    key: bytes
    origin: str
    host: str

    def presign(self, path: str, fields: Pairs, *, session: str, issued_at: float, ttl: float) -> Link:
        """A link to PUT on `path` (decoded) with `fields` in its query.

        It lives from `issued_at` (epoch seconds) for `ttl` seconds, and up to two seconds longer as dates on
        the wire have whole seconds. `session` stands for the signer's temporary credentials
        (`X-Amz-Security-Token`): a new one makes a new link even within the same second.
        """
        date, lifetime = math.ceil(issued_at), max(1, math.ceil(ttl))
        query = [*fields, *_parameters(date, lifetime, session)]
        request = SignedRequest("PUT", path, query, {"host": self.host})
        query.append(("X-Amz-Signature", signature(self.key, request, stamp(date), "host")))
        url = f"{self.origin}{quote(path)}?{urlencode(query, quote_via=quote)}"
        return Link(url, float(date + lifetime))


def stamp(epoch: float) -> str:
    """An `X-Amz-Date`: 20260131T235959Z."""
    return time.strftime(DATE, time.gmtime(epoch))


def signature(key: bytes, request: SignedRequest, date: str, signed_headers: str) -> str:
    """The hex HMAC-SHA256 of the request, without its own `X-Amz-Signature`."""
    return hmac.new(key, string_to_sign(request, date, signed_headers).encode(), hashlib.sha256).hexdigest()


def string_to_sign(request: SignedRequest, date: str, signed_headers: str) -> str:
    """AWS' string to sign: algorithm, date, scope, and the hash of the canonical request."""
    hashed = hashlib.sha256(canonical(request, signed_headers).encode()).hexdigest()
    return "\n".join((ALGORITHM, date, f"{date[:8]}/{_SCOPE}", hashed))


def canonical(request: SignedRequest, signed_headers: str) -> str:
    """AWS' canonical request; the body is not covered (UNSIGNED-PAYLOAD)."""
    query = sorted(
        (_quote(name), _quote(value)) for name, value in request.query if name != "X-Amz-Signature"
    )
    headers = [f"{name}:{request.headers.get(name, '').strip()}" for name in signed_headers.split(";")]
    return "\n".join(
        (
            request.method,
            _quote(request.path, safe="/"),
            "&".join(f"{name}={value}" for name, value in query),
            *headers,
            "",
            signed_headers,
            "UNSIGNED-PAYLOAD",
        )
    )


def _quote(text: str, safe: str = "") -> str:
    return quote(text, safe=safe)


def _parameters(date: int, lifetime: int, session: str) -> list[tuple[str, str]]:
    return [
        ("X-Amz-Algorithm", ALGORITHM),
        ("X-Amz-Credential", f"ASIALOCALUPLOADER/{stamp(date)[:8]}/{_SCOPE}"),
        ("X-Amz-Date", stamp(date)),
        ("X-Amz-Expires", str(lifetime)),
        ("X-Amz-Security-Token", session),
        ("X-Amz-SignedHeaders", "host"),
    ]
