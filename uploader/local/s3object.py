"""The objects in a bucket: looked at, read and removed. Needs the extra `s3`."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO, cast

from botocore.exceptions import ClientError

from uploader.local.s3client import code_of, told
from uploader.local.store import StoreDownError

_HEAD = 256 * 1024  # bytes: what a look into an object asks for at once

Names = Mapping[str, str]
"""The `Bucket` and `Key` of an object, as boto3 calls them."""


class Objects:
    """What `client` can do with objects. All of it raises StoreDownError."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def size(self, names: Names) -> int:
        """Bytes of an object. Raises FileNotFoundError if there is none."""
        with told("look at the object"):
            try:
                return int(self._client.head_object(**names)["ContentLength"])
            except ClientError as error:
                if code_of(error) in ("404", "NoSuchKey"):
                    raise FileNotFoundError(f"there is no object {names['Key']}") from None
                raise

    def open(self, names: Names) -> BinaryIO:
        """An object, to read and to seek in. Raises FileNotFoundError if there is none."""
        return io.BufferedReader(ObjectReader(partial(self._fetch, names), self.size(names)), _HEAD)

    def remove(self, names: Names) -> None:
        """Remove an object. Does nothing if there is none."""
        with told("remove the object"):
            self._client.delete_object(**names)

    def _fetch(self, names: Names, start: int, count: int) -> bytes:
        with told("read the object"):
            answer = self._client.get_object(**names, Range=f"bytes={start}-{start + count - 1}")
            with closing(answer["Body"]) as body:
                data = cast(bytes, body.read())
        if len(data) != count:
            raise StoreDownError(f"the object store answered {len(data)} bytes, asked for {count}")
        return data


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
        """Read to the end at once, where any other raw file takes steps of 8 KiB."""
        return self.read(max(0, self._size - self._at)) or b""
