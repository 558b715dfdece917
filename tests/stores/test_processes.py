"""A store's processes end when they are told to, and with the tests whatever ends those."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stores.processes import Server, executable, free_ports, wait_until

# Leaves the group of who has started it, if it can, as daemons do.
DAEMON = """
import contextlib, os, time
with contextlib.suppress(OSError):
    os.setsid()
with open("alive", "w"):
    time.sleep(60)
"""

TESTS_THAT_HANG = f"""
import sys
from pathlib import Path
from tests.stores.processes import Server
Server(sys.executable, "-c", {DAEMON!r}, directory=Path(sys.argv[1])).start()
sys.stdin.read()
"""


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_server_is_killed_by_its_own_pid(tmp_path: Path) -> None:
    server = Server("sleep", "60", directory=tmp_path)
    server.start()
    pid = server.pid
    assert server.running
    server.kill()
    assert is_gone(pid)
    server.kill()  # again: nothing


def test_a_server_ends_with_tests_that_are_killed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "alive")  # has an end when who writes to it has
    command = [sys.executable, "-c", TESTS_THAT_HANG, str(tmp_path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as tests,
        (tmp_path / "alive").open("rb") as alive,
    ):
        assert not select.select([alive], [], [], 0)[0]
        os.killpg(tests.pid, signal.SIGKILL)
        assert select.select([alive], [], [], 60)[0], "it lives on"
        assert alive.read() == b""


def test_what_a_server_says_is_kept(tmp_path: Path) -> None:
    server = Server("sh", "-c", "echo said; exit 3", directory=tmp_path)
    server.start()
    wait_until(lambda: not server.running, 60, "it ends")
    assert server.log == "said\n"
    server.kill()


def test_ports_are_free_and_none_is_given_twice() -> None:
    assert len(set(free_ports(40))) == 40


def test_a_program_that_is_missing_is_an_error() -> None:
    with pytest.raises(FileNotFoundError, match="pip install"):
        executable("no-such-store")
