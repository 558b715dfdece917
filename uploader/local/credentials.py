"""Who may call the API. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass, field

# Everybody can read it here: it keeps a service on a loopback address from nobody but the careless.
KNOWN_SECRET = "local-secret"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Credentials:
    """A Basic key and secret, and a Bearer token if there is one."""

    key: str
    secret: str = field(repr=False)
    jwt: str | None = field(default=None, repr=False)

    def admit(self, header: str) -> bool:
        """Whether an `Authorization` header carries them."""
        scheme, _, value = header.partition(" ")
        if scheme.lower() == "basic":
            return hmac.compare_digest(_decoded(value), f"{self.key}:{self.secret}".encode())
        if scheme.lower() == "bearer" and self.jwt is not None:
            return hmac.compare_digest(value.encode(), self.jwt.encode())
        return False


def _decoded(value: str) -> bytes:
    try:
        return base64.b64decode(value.encode(), validate=True)
    except binascii.Error:
        return b""
