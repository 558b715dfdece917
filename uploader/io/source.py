"""A local file: what it is, whether it is still the same, and its bytes."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from uploader.errors import SourceChangedError, SourceError

# Two writes within one tick of the system's clock leave the same times. Linux counts in steps of up to 10 ms,
# Windows in 15.6 ms; where a file system keeps whole seconds (FAT: every second one) the tick is theirs.
TICK_NS = 20_000_000
SECONDS_TICK_NS = 2_000_000_000

# The sampled digest: blocks of this many bytes, this many of them and one more per GiB, up to the most.
SAMPLE = 64 * 1024
SAMPLES, MOST_SAMPLES = 8, 64

# What is read at once when a file is only hashed (bytes).
BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells one state of a file from another.

    Attributes:
        size: bytes.
        mtime_ns: when its content was last written; any program can set it.
        ctime_ns: when anything about it last changed, which only the system sets; 0 on Windows, which keeps
            no such time.
        inode, device: which file it is; device 0 where the volume has no file ids.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    device: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """The identity in a stat result."""
        # Some Windows volumes have no stable file ids and say 0; then size and time must do.
        device = status.st_dev if status.st_ino else 0
        changed = 0 if os.name == "nt" else status.st_ctime_ns  # there it is the time of creation
        return cls(status.st_size, status.st_mtime_ns, changed, status.st_ino, device)

    def is_touched(self, now: Identity) -> bool:
        """Whether `now` differs by ctime alone: permissions, links, or a rewrite with the mtime put back."""
        return self != now and (self.size, self.mtime_ns, self.inode, self.device) == (
            now.size,
            now.mtime_ns,
            now.inode,
            now.device,
        )

    def is_renumbered(self, now: Identity) -> bool:
        """Whether all but inode and device is alike: so is a file that is mounted again, or elsewhere.

        Whatever writes to a file or puts another in its place changes its ctime, where the system keeps one.
        (Where it makes one of the mtime, that must do.)
        """
        return bool(self.ctime_ns) and replace(self, inode=now.inode, device=now.device) == now

    def change(self, now: Identity) -> str:
        """How a file of this identity became `now`, in words; "" where it is the same."""
        if now == self:
            return ""
        if (now.inode, now.device) != (self.inode, self.device):
            return "was replaced by another file"
        if now.size != self.size:
            return f"went from {self.size:,} to {now.size:,} bytes"
        return "was touched or written to" if self.is_touched(now) else "was written to"

    def unsettled_ns(self, now: int) -> int:
        """How long another write could still leave the same times, at `now` (epoch; both nanoseconds)."""
        return max(_unsettled_ns(when, now) for when in (self.mtime_ns, self.ctime_ns))


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
            if regular:
                io.FileIO(real, opener=_opener).close()
            identity = _at_rest(real) if regular else Identity.of(status)
        except (OSError, RuntimeError, ValueError) as error:
            raise SourceError(f"cannot read {given}: {reason(error)}") from None
        if not regular:
            raise SourceError(f"{given} is {_what(status.st_mode)}: only a regular file can be uploaded")
        if identity.size == 0:
            raise SourceError(f"{given} is empty: there is nothing to upload")
        return cls(real, identity)

    @property
    def size(self) -> int:
        """Bytes."""
        return self.identity.size

    def seen_here(self) -> Source:
        """The same file as this machine numbers it: of shared storage each has device numbers of its own.

        Raises:
            SourceError: there is no such file here, or the system does not say.
        """
        with self._unreadable():
            now = Identity.of(self.path.stat())
        if self.identity.is_renumbered(now):
            return Source(self.path, now)
        return Source(self.path, replace(self.identity, device=now.device))

    def check(self) -> None:
        """Make sure the path still names the file that was looked at.

        Raises:
            SourceChangedError: it changed, was replaced or is gone.
            SourceError: the system does not say.
        """
        with self._unreadable():
            self._check()

    @contextmanager
    def reading(self) -> Iterator[io.FileIO]:
        """It, open for unbuffered reading; before and after, both what was opened and the path are checked.

        Raises:
            SourceChangedError: as `check`.
            SourceError: it cannot be read; it came from the OSError that says why, also of what is done with
                the file meanwhile.
        """
        with self._unreadable(), self._open() as file:
            yield file
            self._recheck(file)

    def _open(self) -> io.FileIO:
        try:
            file = io.FileIO(self.path, opener=_opener)
        except OSError:
            self._check()  # it may be gone, or another by now
            raise
        try:
            self._recheck(file)
        except BaseException:
            file.close()
            raise
        return file

    def _recheck(self, file: io.FileIO) -> None:
        """Make sure an open file and the path are still what was looked at."""
        self._check()  # first: of a file that another took the place of, all that changed is the ctime
        self._compare(os.fstat(file.fileno()))

    def _check(self) -> None:
        try:
            now = self.path.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SourceChangedError(f"{self.path.name} is gone ({reason(error)})") from None
        self._compare(now)

    def digest(self) -> str:
        """A hex digest of sampled blocks: the first, the last, and some between, more in a larger file.

        Two checkpoints of one architecture have the same size and the same header, so the ends alone tell
        too little.

        Raises:
            SourceChangedError: as `check`.
            SourceError: it cannot be read.
        """
        digest = hashlib.blake2b(digest_size=16)
        with self.reading() as file:
            for offset in _sampled(self.size):
                for block in _blocks(file, offset, min(SAMPLE, self.size - offset)):
                    digest.update(block)
        return digest.hexdigest()

    def md5(self, offset: int, length: int, check: Callable[[], None]) -> str:
        """The hex MD5 of `length` bytes from `offset`; `check` is called between blocks, and may raise.

        Raises:
            SourceChangedError: as `check`.
            SourceError: it cannot be read.
        """
        digest = hashlib.md5(usedforsecurity=False)
        with self.reading() as file:
            for block in _blocks(file, offset, length):
                check()
                digest.update(block)
        return digest.hexdigest()

    @contextmanager
    def _unreadable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise SourceError(f"cannot read {self.path}: {reason(error)}") from error

    def _compare(self, status: os.stat_result) -> None:
        now = Identity.of(status)
        how = self.identity.change(now)
        if how:
            error = SourceChangedError(f"{self.path.name} {how} during the upload")
            error.touched = self.identity.is_touched(now)
            raise error


def _at_rest(path: Path) -> Identity:
    """The identity of a file whose next write will show in its times, which may be a tick away."""
    identity = Identity.of(path.stat())
    wait = identity.unsettled_ns(time.time_ns())
    if wait:
        time.sleep(wait / 1e9)
    # If it was written to meanwhile, the identity from before says so at the first part.
    return identity


def _unsettled_ns(when: int, now: int) -> int:
    tick = TICK_NS if when % 1_000_000_000 else SECONDS_TICK_NS
    age = now - when
    return min(tick, tick - age) if age < tick else 0  # a time to come is of a clock ahead of ours


def _sampled(size: int) -> Iterator[int]:
    """Where the sampled blocks of a file of `size` bytes begin."""
    count = min(MOST_SAMPLES, SAMPLES + size // 1024**3)
    if size <= count * SAMPLE:
        return iter(range(0, size, SAMPLE))
    return (index * (size - SAMPLE) // (count - 1) for index in range(count))


def _opener(path: str, flags: int) -> int:
    """Opens at once, even if a pipe with nobody at its other end has taken the file's place."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _blocks(file: io.FileIO, offset: int, length: int) -> Iterator[bytes]:
    file.seek(offset)
    while length and (block := file.read(min(BLOCK, length))):
        yield block
        length -= len(block)


def _what(mode: int) -> str:
    kinds = ((stat.S_ISDIR, "a directory"), (stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"))
    return next((name for test, name in kinds if test(mode)), "a device")


def reason(error: BaseException) -> str:
    """In words, without the path that the system repeats."""
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
