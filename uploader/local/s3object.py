"""An object in a bucket as an open file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from functools import partial
from typing import Any

_STEP = 16 * 1024 * 1024


class ObjectReader(io.RawIOBase):
    """Reads `size` bytes by ranges: `fetch(start, count)` returns so many of them, or raises OSError.

    No more is asked for at once than is read at once: for io.BufferedReader, that is its buffer.
    """

    def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
        self._fetch, self._size, self._at = fetch, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go elsewhere, without asking for anything."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Read what fits into `buffer`."""
        count = min(len(buffer), self._size - self._at)
        if count <= 0:
            return 0
        buffer[:count] = self._fetch(self._at, count)
        self._at += count
        return count

    def readall(self) -> bytes:
        """Read to the end, in larger steps than the 8 KiB of any other raw file."""
        return b"".join(iter(partial(self.read, _STEP), b""))
