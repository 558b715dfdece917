"""A local file: what it is, whether it is still the same, and its bytes."""

from __future__ import annotations

import io
import os
import stat
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from uploader.errors import SourceChangedError, SourceError


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one state of a file from another: size (bytes), modification time, and which file it is."""

    size: int
    mtime_ns: int
    inode: int
    device: int

    def is_another(self, other: Identity) -> bool:
        """Whether it is surely another file, whatever is in it."""
        return (self.inode, self.device) != (other.inode, other.device)

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """The identity in a stat result."""
        # Some Windows volumes have no stable file ids and say 0; then size and time must do.
        device = status.st_dev if status.st_ino else 0
        return cls(status.st_size, status.st_mtime_ns, status.st_ino, device)


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file as it was when it was looked at. Picklable: a worker elsewhere can open it."""

    path: Path
    identity: Identity

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> Source:
        """Look at a file.

        Raises:
            SourceError: it is missing, not a regular file, empty, or may not be read.
        """
        given = Path(path)
        try:
            real = given.resolve(strict=True)
            status = real.stat()
            regular = stat.S_ISREG(status.st_mode)
            with real.open("rb") if regular else nullcontext():  # opening a pipe would block
                pass
        except (OSError, RuntimeError, ValueError) as error:
            raise SourceError(f"cannot read {given}: {_reason(error)}") from None
        if not regular:
            raise SourceError(f"{given} is {_what(status.st_mode)}: only a regular file can be uploaded")
        if status.st_size == 0:
            raise SourceError(f"{given} is empty: there is nothing to upload")
        return cls(real, Identity.of(status))

    @property
    def size(self) -> int:
        """Bytes."""
        return self.identity.size

    def check(self) -> None:
        """Make sure the path still names the file that was looked at.

        Raises:
            SourceChangedError: it changed, was replaced or is gone.
        """
        try:
            now = self.path.stat()
        except OSError as error:
            raise SourceChangedError(f"{self.path.name} is gone ({_reason(error)})") from None
        self._compare(now)

    def open(self) -> io.FileIO:
        """Open it for unbuffered reading, having checked both what was opened and what the path names now.

        Raises:
            SourceChangedError: as `check`.
        """
        try:
            file = io.FileIO(self.path)
        except FileNotFoundError as error:
            raise SourceChangedError(f"{self.path.name} is gone ({_reason(error)})") from None
        try:
            self.recheck(file)
        except BaseException:
            file.close()
            raise
        return file

    def recheck(self, file: io.FileIO) -> None:
        """Make sure an open file and the path are still what was looked at.

        Raises:
            SourceChangedError: as `check`.
        """
        self._compare(os.fstat(file.fileno()))
        self.check()

    def _compare(self, status: os.stat_result) -> None:
        now, before = Identity.of(status), self.identity
        if now == before:
            return
        if now.is_another(before):
            how = "was replaced by another file"
        elif now.size != before.size:
            how = f"went from {before.size:,} to {now.size:,} bytes"
        else:
            how = "was written to"
        raise SourceChangedError(f"{self.path.name} {how} during the upload")


def _what(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
