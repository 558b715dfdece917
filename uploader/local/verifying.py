"""Is a presigned request good? Checked as S3 checks it. Pure: the time is handed in.

The order is S3's: parameters, then the time window, then unsigned headers, then the signature; so an expired
link says so even when it was tampered with as well.
"""

from __future__ import annotations

import calendar
import hmac
import re
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from uploader.local.answers import StoreError
from uploader.local.signing import (
    ALGORITHM,
    DATE,
    LONGEST,
    SignedRequest,
    canonical,
    signature,
    string_to_sign,
)

EARLIEST = 15 * 60
"""Seconds a link's date may lie in the future before it is "not valid yet"."""

_REQUIRED = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")


def verify(key: bytes, request: SignedRequest, now: float) -> None:
    """Raise the StoreError S3 would answer if the request is not good at `now` (epoch seconds)."""
    if "authorization" in request.headers:
        raise StoreError(400, "InvalidArgument", "Only one auth mechanism allowed")
    fields = _amz_fields(request.query)
    _check_window(fields, now)
    _check_headers(request.headers, fields["SignedHeaders"])
    expected = signature(key, request, fields["Date"], fields["SignedHeaders"])
    if not hmac.compare_digest(expected.encode(), fields["Signature"].encode()):
        raise _mismatch(request, fields)


def _amz_fields(query: Iterable[tuple[str, str]]) -> dict[str, str]:
    pairs = [(name.removeprefix("X-Amz-"), value) for name, value in query if name.startswith("X-Amz-")]
    if not pairs:
        raise StoreError(403, "AccessDenied", "Access Denied")
    fields = dict(pairs)
    twice = [name for name, count in Counter(name for name, _ in pairs).items() if count > 1]
    missing = [name for name in _REQUIRED if not fields.get(name)]
    if twice or missing:
        raise _garbled(f"X-Amz-{(missing + twice)[0]} must be given exactly once")
    _check_format(fields)
    return fields


def _check_format(fields: Mapping[str, str]) -> None:
    if fields["Algorithm"] != ALGORITHM:
        raise _garbled(f'X-Amz-Algorithm only supports "{ALGORITHM}"')
    if not re.fullmatch(r"[0-9]{8}T[0-9]{6}Z", fields["Date"]) or _epoch(fields["Date"]) is None:
        raise _garbled("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    if not re.fullmatch(r"[0-9]{1,9}", fields["Expires"]):
        raise _garbled("X-Amz-Expires should be a number")
    if int(fields["Expires"]) > LONGEST:
        raise _garbled(f"X-Amz-Expires must be less than {LONGEST} seconds")
    if "host" not in fields["SignedHeaders"].split(";"):
        raise _garbled("X-Amz-SignedHeaders must contain host")


def _epoch(date: str) -> int | None:
    try:
        return calendar.timegm(time.strptime(date, DATE))
    except ValueError:
        return None


def _check_window(fields: Mapping[str, str], now: float) -> None:
    date = _epoch(fields["Date"]) or 0
    if date > now + EARLIEST:
        raise StoreError(403, "AccessDenied", "Request is not valid yet", {"ServerTime": _iso(now)})
    if now >= date + int(fields["Expires"]):
        raise expired(now, at=date + int(fields["Expires"]), lifetime=int(fields["Expires"]))


def expired(now: float, *, at: float, lifetime: int) -> StoreError:
    """S3's answer to a link that died `at` (epoch seconds) after `lifetime` seconds."""
    details = {"X-Amz-Expires": str(lifetime), "Expires": _iso(at), "ServerTime": _iso(now)}
    return StoreError(403, "AccessDenied", "Request has expired", details)


def _check_headers(headers: Mapping[str, str], signed_headers: str) -> None:
    unsigned = [
        name for name in headers if name.startswith("x-amz-") and name not in signed_headers.split(";")
    ]
    if unsigned:
        message = "There were headers present in the request which were not signed"
        raise StoreError(403, "AccessDenied", message, {"HeadersNotSigned": ", ".join(unsigned)})


def _mismatch(request: SignedRequest, fields: Mapping[str, str]) -> StoreError:
    # S3 echoes all of this: who logs error bodies as they are logs a credential. Clients must be tried.
    message = "The request signature we calculated does not match the signature you provided."
    details = {
        "StringToSign": string_to_sign(request, fields["Date"], fields["SignedHeaders"]),
        "SignatureProvided": fields["Signature"],
        "CanonicalRequest": canonical(request, fields["SignedHeaders"]),
    }
    return StoreError(403, "SignatureDoesNotMatch", message, details)


def _garbled(message: str) -> StoreError:
    return StoreError(400, "AuthorizationQueryParametersError", message)


def _iso(epoch: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(epoch))
