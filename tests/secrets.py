"""Secrets, the forms they could be hidden in, and the search for them."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import parse_qsl, quote, quote_plus, urlsplit

from uploader.local import Service

# Shorter values of a query are dates of a day, part numbers and the like, and would be found anywhere.
SHORTEST = 8


def forms(secret: str) -> Iterator[bytes]:
    """A secret as it is, and in the encodings it could be hidden in."""
    plain = secret.encode()
    yield plain
    for coded in (quote(secret), quote(secret, safe=""), quote_plus(secret)):
        yield coded.encode()
        yield re.sub("%..", lambda escape: escape[0].lower(), coded).encode()
    yield quote(quote(secret, safe=""), safe="").encode()
    yield from (json.dumps(secret)[1:-1].encode(), repr(secret)[1:-1].encode(), html.escape(secret).encode())
    yield from (plain.hex().encode(), plain.hex().upper().encode())
    for shift in range(3):  # inside something longer it is encoded in one of three ways
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            digits = encode(b"\0" * shift + plain)
            yield digits[-(-shift * 8 // 6) : (shift + len(plain)) * 8 // 6]


def values_of(url: str) -> set[str]:
    """What lets somebody in who knows the path of a presigned URL: the values of its query.

    The upload's id is in it too, and is told to everybody.
    """
    fields = parse_qsl(urlsplit(url).query)
    return {value for name, value in fields if len(value) >= SHORTEST and name != "uploadId"}


def secrets_of(service: Service) -> set[str]:
    """What must not be found: the credentials, and what makes a part's URL more than a path."""
    found = {service.api_key, service.api_secret, f"{service.api_key}:{service.api_secret}"}
    for request in service.requests:
        if request.target == "part":
            found |= {
                value for name, value in request.query.items() if len(value) > 12 and name != "uploadId"
            }
            found |= {name for name in request.query if name.startswith("X-Amz")}
            found.add(request.path)
    assert len(found) > 8
    return found


def leaks(told: Mapping[str, bytes], secrets: Iterable[str]) -> list[str]:
    """Each secret that is in `told`, with the place where it is and the form it has there."""
    return [
        f"{where}: {secret} as {form.decode()}"
        for secret in sorted(secrets)
        for form in dict.fromkeys(forms(secret))
        for where, text in told.items()
        if form in text
    ]
