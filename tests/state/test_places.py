"""Where the state is kept: refused where that is not safe, done without where there can be none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.state.conftest import (
    PART,
    Ear,
    at_part,
    interrupt,
    make_uploader,
    record,
    refusal_of,
    send,
    sha256,
)
from uploader import SourceChangedError, StateError
from uploader.core.events import JournalKept
from uploader.io.journal import FILE
from uploader.local import Service

NOBODY = 12345

Prepare = Callable[[Path], object]

needs_root = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root may give a file away"
)


def link_away(path: Path) -> None:
    """What is at `path` is moved, and a symbolic link to it put there."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def dangle(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("elsewhere"))


def give_away(path: Path) -> None:
    os.chown(path, NOBODY, -1, follow_symlinks=False)


def own_link_of_another(path: Path) -> None:
    link_away(path)
    give_away(path)


UNSAFE: dict[str, Prepare] = {
    "the directory is a link": link_away,
    "the directory is a link to nothing": dangle,
    "the journal is a link": lambda state: link_away(state / FILE),
    "the journal is a link to nothing": lambda state: dangle(state / FILE),
    "the locks are behind a link": lambda state: link_away(state / "locks"),
}
FOREIGN: dict[str, Prepare] = {
    "the directory is another user's": give_away,
    "the journal is another user's": lambda state: give_away(state / FILE),
    "the locks are another user's": lambda state: give_away(state / "locks"),
    "the directory is another user's link": own_link_of_another,
}
REFUSED = [*UNSAFE, *(pytest.param(name, marks=needs_root) for name in FOREIGN)]


@pytest.fixture
def known(state_dir: Path) -> Path:
    """A state directory with an upload in it."""
    record(state_dir)
    (state_dir / "locks").mkdir(mode=0o700, exist_ok=True)
    return state_dir


def everything_in(directory: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(directory.rglob("*"))}


@pytest.mark.parametrize("how", REFUSED)
def test_what_is_not_safe_is_not_read_either(how: str, known: Path, service: Service) -> None:
    (UNSAFE | FOREIGN)[how](known)
    content = everything_in(known.parent)
    uploader = make_uploader(service)
    with pytest.raises(StateError):
        uploader.forget("upload_1")
    with pytest.raises(StateError):
        uploader.prepare_resume("upload_1")
    if refusal_of(uploader.uploads) is None:
        assert "to nothing" in how or "locks" in how, "there is nothing, or what there is is safe"
    assert everything_in(known.parent) == content


def test_a_link_on_the_way_to_the_directory_is_none_of_its_business(
    tmp_path: Path, picture: Path, service: Service
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "real")
    there = tmp_path / "home" / "state"
    assert not interrupt(make_uploader(service, there), picture).troubles
    assert send(make_uploader(service, there), picture).bytes_resumed == PART


def a_file(path: Path) -> None:
    path.write_text("a file")


def a_directory(path: Path) -> None:
    path.mkdir(parents=True)


def a_pipe(path: Path) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    os.mkfifo(path)


def locks_a_file(state: Path) -> None:
    state.mkdir()
    a_file(state / "locks")


UNUSABLE: dict[str, Prepare] = {
    "the directory is a file": a_file,
    "a parent of it is a file": lambda state: a_file(state.parent / "parent"),
    "the directory is a pipe": a_pipe,
    "the journal is a directory": lambda state: a_directory(state / FILE),
    "the journal is a pipe": lambda state: a_pipe(state / FILE),
    "the locks are a file": locks_a_file,
    "its name is too long": lambda state: None,
}


@pytest.mark.parametrize("how", UNUSABLE)
def test_where_there_can_be_no_journal_the_upload_goes_on_and_says_so_once(
    how: str, tmp_path: Path, icon: Path, service: Service
) -> None:
    state = tmp_path / "state"
    UNUSABLE[how](state)
    if "parent" in how:
        state = state.parent / "parent" / "deeper" / "state"
    if "too long" in how:
        state = tmp_path / ("x" * 300)
    ear = Ear()
    result = send(make_uploader(service, state), icon, ear)
    assert service.sha256(result.upload_id) == sha256(icon)
    assert len(ear.troubles) == 1, ear.troubles
    assert str(state) in ear.troubles[0]
    assert "UPLOADER_STATE_DIR" in ear.troubles[0]
    assert not ear.heard(JournalKept)
    uploader = make_uploader(service, state)
    if (refusal := refusal_of(uploader.uploads)) is None:
        assert uploader.uploads() == []
    else:
        assert str(state) in str(refusal)
    with pytest.raises(StateError):
        uploader.forget(result.upload_id)
    with pytest.raises(StateError):
        uploader.resume(result.upload_id)


def test_missing_parents_are_made(tmp_path: Path, picture: Path, service: Service) -> None:
    there = tmp_path / "a" / "b" / "c"
    ear = interrupt(make_uploader(service, there), picture)
    assert not ear.troubles
    assert len(ear.heard(JournalKept)) == 1
    assert [upload.parts_stored for upload in make_uploader(service, there).uploads()] == [1]


def test_the_variable_names_it_and_the_argument_wins(
    tmp_path: Path, state_dir: Path, picture: Path, service: Service
) -> None:
    interrupt(make_uploader(service), picture)
    assert (state_dir / FILE).exists()
    assert len(make_uploader(service, state_dir).uploads()) == 1
    assert make_uploader(service, tmp_path / "other").uploads() == []


def test_a_relative_one_is_where_it_was_when_the_uploader_was_made(
    tmp_path: Path, picture: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("UPLOADER_STATE_DIR", "deeper/state")
    monkeypatch.chdir(tmp_path / "here")
    by_variable, by_argument = make_uploader(service), make_uploader(service, Path("given"))
    monkeypatch.chdir(tmp_path / "there")
    interrupt(by_variable, picture)
    interrupt(by_argument, picture)
    assert (tmp_path / "here" / "deeper" / "state" / FILE).exists()
    assert (tmp_path / "here" / "given" / FILE).exists()
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_variable_is_none(
    value: str, tmp_path: Path, picture: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UPLOADER_STATE_DIR", value)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    interrupt(make_uploader(service), picture)
    assert len(list(tmp_path.rglob(FILE))) == 1
    assert len(make_uploader(service).uploads()) == 1


def test_a_home_directory_is_written_with_a_tilde(
    tmp_path: Path, picture: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UPLOADER_STATE_DIR", "~/state")
    interrupt(make_uploader(service), picture)
    assert (tmp_path / "state" / FILE).exists()


def test_the_home_of_a_user_who_is_not_there_is_an_input_error_or_a_plain_name(
    tmp_path: Path, picture: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UPLOADER_STATE_DIR", "~nobody-of-that-name/state")
    if (refusal := refusal_of(lambda: make_uploader(service))) is None:
        interrupt(make_uploader(service), picture)
    else:
        assert "UPLOADER_STATE_DIR" in str(refusal)


def test_a_name_no_system_takes_is_an_input_error_or_trouble(picture: Path, service: Service) -> None:
    ear = Ear()
    refusal = refusal_of(lambda: send(make_uploader(service, Path("a\0b")), picture, ear))
    assert len(ear.troubles) == (refusal is None)


def test_a_file_of_any_name_that_changed_is_known_as_changed(tmp_path: Path, service: Service) -> None:
    """Seen through a link of a decent name: the service would not take the file's own."""
    real, link = tmp_path / os.fsdecode(b"\xff\xfe"), tmp_path / "picture.png"
    real.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(2 * PART))
    link.symlink_to(real)

    def rewrite() -> None:
        with real.open("r+b") as file:
            file.seek(100)
            file.write(b"something else")

    ear = Ear(at_part(1, rewrite))
    with pytest.raises(SourceChangedError):
        send(make_uploader(service), link, ear)
    assert not ear.troubles
    assert [upload.state for upload in make_uploader(service).uploads()] == ["changed"]


def test_looking_makes_nothing(state_dir: Path, service: Service) -> None:
    uploader = make_uploader(service)
    assert uploader.uploads() == []
    with pytest.raises(StateError, match="nothing is known"):
        uploader.resume("upload_1")
    with pytest.raises(StateError, match="nothing is known"):
        uploader.forget("upload_1")
    assert not state_dir.exists()


# Root may look anywhere, and where this Python is installed, perhaps only root: what is imported on the way
# is imported before.
LOOK = """
import contextlib, io, os, sys
from uploader.cli import main
if os.geteuid() == 0:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["resume", "upload_0"])
    os.setuid(int(sys.argv[1]))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such modes")
@pytest.mark.parametrize("command", [["list"], ["resume"], ["forget", "--all"], ["forget", "upload_1"]])
@pytest.mark.parametrize("there", [True, False], ids=["with an upload", "never used"])
def test_what_may_not_be_looked_into_is_not_said_to_be_empty(
    command: list[str], there: bool, tmp_path: Path, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(closed / "state"))
    if there:
        record(closed / "state")
    closed.chmod(0)
    try:
        said = subprocess.run(
            [sys.executable, "-c", LOOK, str(NOBODY), *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    finally:
        closed.chmod(0o700)
    assert (said.returncode, said.stdout) == (2, "")
    assert f"{closed / 'state'} cannot be used: Permission denied" in said.stderr
