"""Text that does nothing to a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with control, bidi and invisible characters escaped: names and messages may be hostile."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
