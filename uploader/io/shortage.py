"""What this machine may be short of for a while: descriptors, memory, threads.

That is no word about the file, the network or the store, whatever call it strikes.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Iterator

# EMFILE is this process' limit, ENFILE the machine's. Windows numbers those of sockets by themselves.
_NAMES = ("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "ENOBUFS", "WSAEMFILE", "WSAENOBUFS")
_CODES = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))


def shortage(error: BaseException) -> str:
    """What this machine is short of, in the system's words, if that is what an error came from; else ""."""
    return next(filter(None, map(_shortage, origins(error))), "")


def origins(error: BaseException) -> Iterator[BaseException]:
    """An error, and those that it came from."""
    it: BaseException | None = error
    while it is not None:
        yield it
        it = it.__cause__ or (None if it.__suppress_context__ else it.__context__)


def _shortage(error: BaseException) -> str:
    match error:
        case MemoryError():
            return "out of memory"
        case socket.gaierror():  # numbered in its own way, and so is the next
            return str(error.strerror) if error.errno == socket.EAI_MEMORY else ""
        case ssl.SSLError():
            return ""
        case OSError() if error.errno in _CODES:
            return error.strerror or str(error)
    return ""


def start(thread: threading.Thread) -> None:
    """Start a thread.

    Raises:
        OSError: EAGAIN: there can be no further one; of that CPython makes a bare RuntimeError.
    """
    try:
        thread.start()
    except RuntimeError:
        raise OSError(errno.EAGAIN, "no further thread can be started") from None
