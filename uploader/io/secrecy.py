"""What keeps secrets in: no answer gives back what its request carried."""

from __future__ import annotations

import base64
import binascii
import re
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import httpx

# Shorter values than this are no secrets, and masking them would only spoil messages.
_SHORTEST = 8


def secrets_of(request: httpx.Request) -> set[bytes]:
    """What a request carries that lets others in, in the forms in which an answer may show it."""
    query = request.extensions.get("target", b"").partition(b"?")[2].decode()
    found = {field.partition("=")[2] for field in query.split("&")}
    found |= {unquote(value) for value in found} | {unquote_plus(value) for value in found}
    for name in ("authorization", "proxy-authorization"):
        token = request.headers.get(name, "").partition(" ")[2]
        found.add(token)
        try:
            plain = base64.b64decode(token, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
        found |= {plain, *plain.split(":", 1)}
    forms = set[str]()
    for secret in found:
        if len(secret) >= _SHORTEST:
            quoted = {quote(secret, safe=""), quote(secret), quote_plus(secret)}
            quoted |= {re.sub("%..", lambda it: it[0].lower(), form) for form in quoted}
            forms |= {secret, base64.b64encode(secret.encode()).decode()} | quoted
    return {form.encode() for form in forms}
