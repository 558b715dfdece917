"""Where the bytes of uploads are: what the service needs of a store, whichever it is.

`disk.DiskStore` is the service's own, `s3.S3Store` any of S3's kind. The records of the uploads are no matter
of a store: see `depot`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol, TypeVar

from uploader.local.records import Upload

T = TypeVar("T")

BLOCK = 1024 * 1024
"""Bytes read or written at a time."""


@dataclass(frozen=True, slots=True)
class StoredPart:
    """One part in the store: its size in bytes, the hex MD5 of its content."""

    size: int
    md5: str


@dataclass(frozen=True, slots=True)
class Link:
    """Where a part is sent to; `expires` is when that ends, in epoch seconds of the store's clock."""

    url: str
    expires: float


class StoppedError(Exception):
    """The service is stopping, so the assembly was given up; the next service starts it again."""


class GoneError(Exception):
    """The store does not know the upload any more: it dropped what it had of it."""


class StoreDownError(OSError):
    """The store cannot be used now, which may pass; the message tells why, without any secret."""


class AssemblyError(Exception):
    """The parts did not become the object, and never will; the message tells why, for a person."""


def check_size(upload: Upload, size: int) -> None:
    """Raise AssemblyError unless the `size` in bytes of an upload's object is what it should be."""
    if size != upload.file_size:
        raise AssemblyError(f"the object has {size} bytes, fileSize is {upload.file_size}")


class Store(Protocol):
    """The parts and objects of uploads.

    Its calls may block, and raise StoreDownError. Any thread may make them; the event loop asks `run` to.
    """

    async def run(self, call: Callable[[], T]) -> T:
        """Make one of the calls below for the event loop."""

    def begin(self, upload: Upload) -> Upload:
        """Make ready for the parts of a new upload; the record, with what the store calls it by."""

    def links(self, upload: Upload, *, fresh: bool) -> list[Link]:
        """Where its parts are sent to, in order: newly signed, or else the same ones each time."""

    def parts(self, upload: Upload) -> Mapping[int, StoredPart]:
        """The parts stored so far, by number; none once the object is assembled.

        Raises:
            GoneError: the upload is pending, but not for the store.
        """

    def assemble(self, upload: Upload, stopped: Callable[[], bool]) -> str | None:
        """Join the parts into the object; its SHA-256 in hex, if its bytes passed through here.

        Raises:
            StoppedError: `stopped()` has become true.
            AssemblyError: the parts cannot be joined.
            OSError: the object cannot be stored.
        """

    def open(self, upload: Upload) -> BinaryIO:
        """The assembled object, to read and to seek in. Raises OSError if there is none."""

    def drop_parts(self, upload: Upload) -> None:
        """Remove what is left of its parts. Does nothing if nothing is."""

    def discard(self, upload: Upload) -> None:
        """Remove its parts and its object."""
