"""The objects in a bucket: looked at, read and removed. Needs the extra `s3`."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from uploader.local.s3client import code_of, told
from uploader.local.store import StoppedError, StoreDownError

_HEAD = 256 * 1024  # bytes: what a look into an object asks for at once
_RANGE = 16 * 1024 * 1024  # bytes: what reading all of it does
_TRIES = 3  # of a range whose bytes did not all come

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

    def sha256(self, names: Names, size: int, stopped: Callable[[], bool]) -> str:
        """The hex SHA-256 of an object of `size` bytes. Raises StoppedError once `stopped()` is true."""
        digest = hashlib.sha256()
        for start in range(0, size, _RANGE):
            if stopped():
                raise StoppedError
            digest.update(self._fetch(names, start, min(_RANGE, size - start)))
        return digest.hexdigest()

    def remove(self, names: Names) -> None:
        """Remove an object. Does nothing if there is none."""
        with told("remove the object"):
            self._client.delete_object(**names)

    def _fetch(self, names: Names, start: int, count: int) -> bytes:
        with told("read the object"):
            data = self._read(names, f"bytes={start}-{start + count - 1}", _TRIES)
        if len(data) != count:
            raise StoreDownError(f"the object store answered {len(data)} bytes, asked for {count}")
        return data

    def _read(self, names: Names, wanted: str, tries: int) -> bytes:
        answer = self._client.get_object(**names, Range=wanted)
        try:
            with closing(answer["Body"]) as body:
                return cast(bytes, body.read())
        except (BotoCoreError, HTTPError):  # boto3 repeats only what fails before the first byte
            if tries == 1:
                raise
        return self._read(names, wanted, tries - 1)


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
        return b"".join(iter(partial(self.read, _RANGE), b""))
