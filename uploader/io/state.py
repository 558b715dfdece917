"""The state directory: where it is, that it is safe to use, and who uploads what right now."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from uploader.errors import StateError
from uploader.options import STATE_VARIABLE

# Somebody who only looks whether a lock is held holds it for an instant: a claim outlasts that (seconds).
PATIENCE = 0.5


class HeldError(Exception):
    """Somebody else has the lock."""


def state_directory(environment: Mapping[str, str]) -> Path:
    """UPLOADER_STATE_DIR, else where this system keeps a user's state.

    Raises:
        StateError: it begins with a ~ that is nobody's.
    """
    given = os.path.expanduser(environment.get(STATE_VARIABLE, "").strip())
    if given.startswith("~"):
        raise StateError(f"there is no home directory for {given}: check {STATE_VARIABLE}")
    import platformdirs

    try:
        return Path(given or platformdirs.user_state_dir("scenario-uploader", appauthor=False)).absolute()
    except (RuntimeError, OSError):
        # Nobody's home, as in a container under a number of its own: nothing can be kept, and that is told
        # where it is tried.
        return Path(os.devnull) / "scenario-uploader"


def make_directory(path: Path) -> None:
    """Make sure a directory is there and this user's: 0700 where it has to be made.

    Raises:
        StateError: it is a symbolic link, or another user's.
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = check_ours(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(20, "Not a directory", str(path))


def check_ours(path: Path) -> os.stat_result:
    """Make sure that what is at `path` is no link and this user's; its status.

    Raises:
        StateError: it is a symbolic link, or another user's.
        OSError: there is nothing, or it cannot be looked at.
    """
    status = path.lstat()
    advice = f"nothing was read or written there; set {STATE_VARIABLE} to a directory of your own"
    if stat.S_ISLNK(status.st_mode):
        raise StateError(f"{path} is a symbolic link: {advice}")
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise StateError(f"{path} belongs to another user: {advice}")
    return status


@contextmanager
def claim(
    directory: Path,
    name: str,
    *,
    wait: float | None = PATIENCE,
    cancelled: threading.Event | None = None,
) -> Iterator[None]:
    """Hold the lock `name` meanwhile. It is the system's, and dies with this process.

    Args:
        directory: the state directory.
        name: what is locked.
        wait: seconds to wait for it; None waits as long as it takes.
        cancelled: ends the wait.

    Raises:
        HeldError: somebody else has it.
        OSError: the lock cannot be made.
    """
    import filelock  # 20 ms, and needed only here

    locks = directory / "locks"
    make_directory(locks)
    path = locks / f"{name}.lock"
    cancelled = cancelled or threading.Event()
    lock = filelock.FileLock(path, mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(timeout=-1 if wait is None else wait, poll_interval=0.05, cancel_check=cancelled.is_set)
    except filelock.Timeout:
        raise HeldError from None
    try:
        yield
    finally:
        # While it is held: filelock sees that a file it opened is gone, and makes another.
        with suppress(OSError):
            path.unlink()
        lock.release()


def is_held(directory: Path, name: str) -> bool:
    """Whether somebody has the lock `name`."""
    if not (directory / "locks" / f"{name}.lock").exists():
        return False
    try:
        with claim(directory, name, wait=0):
            return False
    except HeldError:
        return True
    except OSError:
        return False
