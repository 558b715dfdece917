"""A directory is one service's at a time.

lock                        locked for as long as a service uses the directory
holder                      which process that is, in words
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

_PATIENCE = 0.5  # seconds: a service that was killed just now may still be on its way out


@contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Have the directory `root`, made if need be, to oneself as long as the block lasts.

    The lock is the system's: it ends with the process, however that ends.

    Raises:
        OSError: another service uses the directory, in this process or another, or it cannot be used.
    """
    # A file that is there says nothing, unlike a lock: it would outlast a service that is killed.
    lock = filelock.FileLock(root / "lock", mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=_PATIENCE)
    except filelock.Timeout:
        said = f"{root} is in use by {_holder(root)}: one service at a time may use a directory"
        raise OSError(errno.EBUSY, said) from None
    except OSError as error:
        raise OSError(error.errno, f"{root} cannot be used: {error.strerror}") from error
    try:
        _introduce(root)
        yield
    finally:
        lock.release()


def _introduce(root: Path) -> None:
    # Not in the locked file: on Windows, others cannot read that.
    with suppress(OSError):
        words = f"process {os.getpid()} on {socket.gethostname()}"
        (root / "holder").write_text(words, encoding="utf-8")


def _holder(root: Path) -> str:
    """Who has the directory, as far as that is known."""
    with suppress(OSError, ValueError):
        return (root / "holder").read_text(encoding="utf-8") or "another service"
    return "another service"
