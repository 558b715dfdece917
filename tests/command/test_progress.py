"""Progress: a bar on a real terminal, lines elsewhere, nothing when told so."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from uploader import Uploader
from uploader.core.calls import Call
from uploader.core.events import CallRetrying, Phase, PhaseChanged, Progress, Recreating, StatusSeen
from uploader.local import serve
from uploader.observe import listening
from uploader.observe.progress import Lines
from uploader.observe.trouble import trouble

pty = pytest.importorskip("pty")


def on_a_terminal(arguments: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Runs the command with a terminal for stderr; its exit code and what the terminal got."""
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "uploader", *arguments],
        env=os.environ | environment | {"TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not data:
            break
        shown += data
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def test_a_terminal_shows_a_bar_with_phases_and_trouble(picture: Path) -> None:
    with serve(faults=["503:part=1"], stage_delay=0.3) as service:
        code, shown = on_a_terminal(["upload", str(picture), "--part-size", "5MiB"], service.environment)
    assert code == 0
    assert "100%|" in shown
    for phase in ("sending", "validating"):
        assert f"picture.png: {phase}" in shown
    assert "part 1: the store answered 503" in shown
    assert "iB/s" in shown


def test_waiting_shows_the_status_on_a_terminal(picture: Path) -> None:
    with serve(stage_delay=0.5) as service:
        with Uploader(base_url=service.base_url, api_key="local-key", api_secret="local-secret") as up:
            upload_id = up.upload(picture, wait_for=None, progress=False).upload_id
        code, shown = on_a_terminal(["wait", upload_id, "--wait-for", "imported"], service.environment)
    assert code == 0
    assert f"{upload_id}: imported" in shown


def test_quiet_shows_nothing_on_a_terminal(picture: Path) -> None:
    with serve() as service:
        assert on_a_terminal(["upload", str(picture), "--quiet"], service.environment) == (0, "")


def test_lines_come_every_few_seconds_with_rate_and_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    lines = Lines("f.glb", 100 * 1024 * 1024, clock=lambda: now[0])
    lines(PhaseChanged(Phase.SENDING))
    for now[0] in range(1, 11):
        lines(Progress(5 * 1024 * 1024 * int(now[0])))
    lines(PhaseChanged(Phase.DONE))
    assert capsys.readouterr().err.splitlines() == [
        "f.glb: sending",
        "f.glb: 25.0 MiB of 100.0 MiB (25%), 5.0 MiB/s, 15 s left",
        "f.glb: 50.0 MiB of 100.0 MiB (50%), 5.0 MiB/s, 10 s left",
    ]


def test_lines_tell_of_status_and_trouble(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines("f\x1b.glb", None)
    lines(StatusSeen("valid\u202eated"))
    lines(Progress(5))
    lines(Recreating("up1", "a link was refused"))
    assert capsys.readouterr().err.splitlines() == [
        "f\\x1b.glb: status valid\\u202eated",
        "f\\x1b.glb: starting over under a new upload id, every part is sent again: a link was refused",
    ]


def test_trouble_is_told_of_calls_too() -> None:
    assert (
        trouble(CallRetrying(Call.GET, "the API answered 503", 2.0))
        == "the API answered 503; trying again in 2.0 s"
    )
    assert trouble(Progress(1)) == ""


def test_without_a_terminal_a_library_user_sees_nothing_unasked(capsys: pytest.CaptureFixture[str]) -> None:
    with listening(None, "f.glb", 5) as listener:
        listener(PhaseChanged(Phase.SENDING))
    with listening(True, "f.glb", 5) as listener:
        listener(PhaseChanged(Phase.SENDING))
    assert capsys.readouterr().err == "f.glb: sending\n"
