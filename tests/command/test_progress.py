"""Progress: a bar on a real terminal, lines elsewhere, nothing when told so."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from tqdm.utils import disp_len

from tests.command.conftest import MiB
from uploader import Uploader
from uploader.core.calls import Call
from uploader.core.events import CallRetrying, Phase, PhaseChanged, Progress, Recreating, StatusSeen
from uploader.local import serve
from uploader.observe import listening
from uploader.observe.meter import Meter, shortened
from uploader.observe.progress import Lines
from uploader.observe.trouble import trouble

pty = pytest.importorskip("pty")


def on_a_terminal(arguments: list[str], environment: dict[str, str], columns: int = 120) -> tuple[int, str]:
    """Runs the command with a terminal for stderr; its exit code and what the terminal got."""
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
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


@pytest.mark.parametrize("name", [f"{'hero_' * 14}v2.png", f"{'映画' * 28}.png", "model-final.png"])
@pytest.mark.parametrize(("columns", "least"), [(80, 19), (40, 9)])
def test_progress_is_seen_however_long_the_name_and_narrow_the_terminal(
    columns: int, least: int, name: str, picture: Path
) -> None:
    """Percent, rate and time left while it sends; of the name as much as tells it from others."""
    picture = picture.rename(picture.with_name(name))
    with serve(stage_delay=0.05) as service:
        code, shown = on_a_terminal(
            ["upload", str(picture), "--part-size", "5MiB"],
            service.environment | {"PYTHONIOENCODING": "utf-8"},
            columns,
        )
    assert code == 0
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", shown) if "%" in line]
    assert all(disp_len(line) < columns for line in lines)
    assert any("validating:" in line or "imported:" in line for line in lines)
    sending = [
        line for line in lines if not re.search("creating|completing|validating|validated|imported", line)
    ]
    assert sending
    for line in sending:
        found = re.fullmatch(r"(.+?)(: sending)?: +\d+%.*[\[<](\d\d:\d\d|\?), +\S+iB/s\]", line)
        assert found, line
        start, _, end = found[1].partition("…")
        assert name.startswith(start)
        assert name.endswith(end)
        assert disp_len(found[1]) >= min(least, len(name))


def test_a_bar_over_many_files_says_how_many_failed(picture: Path) -> None:
    files = [picture.with_name(f"p{number}.png") for number in range(3)]
    for number, file in enumerate(files):
        file.write_bytes(picture.read_bytes()[:MiB] if number else b"nothing like it")
    with serve(stage_delay=0.05) as service:
        code, shown = on_a_terminal(["upload", *map(str, files)], service.environment, 80)
    assert code == 1
    assert "2 of 3 files: 1 failed: 100%|" in shown
    assert shown.splitlines()[-1] == "uploader: 2 of 3 uploaded; not: p0.png"


def test_a_bar_follows_the_width_of_its_terminal() -> None:
    """The bar goes before the numbers, and the name is shortened before either."""
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    name = f"{'hero_' * 14}v2.png"
    with os.fdopen(ours, "rb"), os.fdopen(theirs, "w", encoding="utf-8") as terminal:
        meter = Meter(
            name,
            total=2**40,
            initial=2**39,
            unit="iB",
            unit_scale=True,
            unit_divisor=1024,
            file=terminal,
            dynamic_ncols=True,
        )
        meter.doing = Phase.SENDING
        shown = []
        for columns in (200, 120, 70, 40, 20, 0):
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
            shown.append(str(meter))
            assert disp_len(shown[-1]) < (columns or 80)
    widest, wide, usual, narrow, narrowest, _ = shown
    assert f"{name}: sending:  50%|██" in widest
    assert ".png: sending:  50%|██" in wide
    assert ".png: sending:  50% 512G/1.00T [" in usual
    assert narrow.endswith(".png: sending:  50% [?, ?iB/s]")
    assert "g:  50%" in narrowest


@pytest.mark.parametrize(
    ("text", "width", "left"),
    [
        ("model.png", 9, "model.png"),
        ("model.png", 8, "mode…png"),
        ("model.png", 1, "…"),
        ("model.png", 0, "…"),
        ("映画映画.png", 12, "映画映画.png"),
        ("映画映画.png", 11, "映画….png"),
        ("映画映画", 5, "映…画"),
        ("映画映画", 4, "映…"),
    ],
)
def test_a_name_loses_its_middle(text: str, width: int, left: str) -> None:
    assert shortened(text, width) == left


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
