"""What keeps secrets in: httpcore's log says no more than what happens, and no answer gives them back."""

from __future__ import annotations

import base64
import binascii
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import httpx

# Shorter values than this are no secrets, and masking them would only spoil messages.
_SHORTEST = 8

_ours = threading.local()


class _OnlyWhat(logging.Filter):
    """Cuts httpcore's messages, while a request of ours is made, to their first word.

    The rest shows headers: a redirect's Location holds a signature, a proxy's request its password.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(_ours, "asking", False):
            record.msg, record.args = record.getMessage().partition(" ")[0], ()
        return True


_ONLY_WHAT = _OnlyWhat()
for _name in ("connection", "http11", "proxy", "socks"):
    logging.getLogger(f"httpcore.{_name}").addFilter(_ONLY_WHAT)


@contextmanager
def quiet() -> Iterator[None]:
    """In this thread, httpcore's loggers say what happens, and nothing of what is sent or received."""
    _ours.asking = True
    try:
        yield
    finally:
        _ours.asking = False


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
