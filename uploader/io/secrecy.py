"""What keeps secrets in: no answer gives back what its request carried."""

from __future__ import annotations

import base64
import binascii
import re
from functools import lru_cache
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import httpx

# Shorter values than this are no secrets, and masking them would only spoil messages.
_SHORTEST = 8


def secrets_of(request: httpx.Request) -> set[bytes]:
    """What a request carries that lets others in, in the forms in which an answer may show it."""
    query = request.extensions.get("target", b"").partition(b"?")[2].decode()
    found = set[bytes]().union(*(_sent(field.partition("=")[2]) for field in query.split("&")))
    for name in ("authorization", "proxy-authorization"):
        token = request.headers.get(name, "").partition(" ")[2]
        found |= _forms(token)
        try:
            plain = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        found = found.union(*map(_forms, (plain, *plain.split(":", 1))))
    return found


@lru_cache(64)  # most of a presigned URL is the same for all parts
def _sent(value: str) -> frozenset[bytes]:
    """What a query holds, as it is and as what it means."""
    return _forms(value) | _forms(unquote(value)) | _forms(unquote_plus(value))


def _forms(secret: str) -> frozenset[bytes]:
    if len(secret) < _SHORTEST:
        return frozenset()
    quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
    quoted |= {re.sub("%..", lambda it: it[0].lower(), form) for form in quoted}
    forms = {secret, base64.b64encode(secret.encode()).decode()} | quoted
    return frozenset(form.encode() for form in forms)
