"""Servers as child processes: started, killed by their own pid, and gone when the tests are."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping
from pathlib import Path

# The server takes the place of a shell, whose child reads a pipe from the tests. If that ends without a line
# they have ended, with SIGKILL perhaps, and so does the server.
_TETHERED = 'exec 3<&0; (read -r _ <&3 || kill -KILL $$) >/dev/null 2>&1 & exec "$@" 3<&- </dev/null'

_TRIES = 1000
_DRAW = random.SystemRandom()  # a seed that a test sets must not make two runs draw the same ports


def executable(name: str) -> str:
    """Where a program is: beside this Python, whose scripts need not be on the PATH, or on the PATH.

    Raises:
        FileNotFoundError: it is not installed. A test that was asked for must not be passed over.
    """
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", os.defpath)))
    if found := shutil.which(name, path=path):
        return found
    raise FileNotFoundError(f"{name} is not installed: pip install 'scenario-uploader[test,stores]'")


def free_ports(count: int, twin: int = 0) -> list[int]:
    """So many ports of 127.0.0.1 that nobody listens on, nor on those that are higher by `twin`.

    They lie below those that systems give to outgoing connections, so that none of these takes one before
    the server does, or while it is restarted.
    """
    free: list[int] = []
    for port in _DRAW.sample(range(10_000, 20_000), _TRIES):
        if all(_is_free(wanted) for wanted in {port, port + twin}):
            free.append(port)
        if len(free) == count:
            return free
    raise OSError(f"{_TRIES} ports tried, and fewer than {count} are free")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Polls until `condition` is true.

    Raises:
        TimeoutError: it was not in so many seconds; the message is `what`.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not in {seconds:g} s")
        time.sleep(0.02)


class Server:
    """A program that serves until it is killed, and can be started again.

    Args:
        command: the program and its arguments.
        directory: where it runs; its output goes to a file there, named after the program.
        environment: what it gets beside the environment of the tests.
    """

    def __init__(self, *command: str, directory: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._directory = directory
        self._environment = {**os.environ, **(environment or {})}
        self._log = directory / f"{Path(command[0]).name}-{_DRAW.randrange(2**32):08x}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is not started"
        return self._process.pid

    @property
    def log(self) -> str:
        """The end of what it has said."""
        return self._log.read_text(errors="replace")[-4000:]

    def start(self) -> None:
        """Starts it, which does not mean that it answers yet."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ("sh", "-c", _TETHERED, "sh", *self._command),
                cwd=self._directory,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,  # what kills the tests' whole group is to leave the tether
            )

    def kill(self) -> None:
        """Ends it with SIGKILL: it has no time to put anything in order. Nothing, if it does not run."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate(b"ended\n", timeout=60)
