"""Foreign text made fit for a message: servers echo the URLs, signatures and tokens they refuse."""

from __future__ import annotations

import re
from collections.abc import Iterable

# More of a server's text than this helps nobody, and would only take time.
_LONGEST = 500

_WORDS = re.compile(r"([\s<>\"'()\[\]{},;]+)")
_TOKEN = re.compile(r"[A-Za-z0-9+/=_%~-]{24,}")
_CODE = re.compile(r"[A-Za-z][A-Za-z_.-]{0,63}[0-9]{0,3}")


def scrub(text: str, known: str | None = None) -> str:
    """`text` cut to 500 characters, without URL queries and without what may be a signature or token.

    Its time is linear in what it keeps, whatever the text.

    Args:
        text: from a server.
        known: the id of the upload it is about, which messages name anyway: no secret, as long as it may be.
    """
    return "".join(_scrub_word(word, known) for word in _WORDS.split(text[:_LONGEST]))


def _scrub_word(word: str, known: str | None) -> str:
    if "=" in word and ("?" in word or "&" in word):
        return "[URL removed]"
    # Only where it stands alone: a token that holds it is removed whole.
    return _TOKEN.sub(lambda token: token[0] if token[0] == known else "[removed]", word)


def mask(data: bytes, secrets: Iterable[bytes]) -> bytes:
    """`data` without any of `secrets`."""
    for secret in sorted(secrets, key=len, reverse=True):
        data = data.replace(secret, b"[removed]")
    return data


def scrub_code(text: str) -> str:
    """An error code as it is, if it is a word such as `PartsCountExceeded`; anything else scrubbed."""
    return text if _CODE.fullmatch(text) else scrub(text)
