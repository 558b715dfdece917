"""A directory is one service's at a time: a second one touches nothing of it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from uploader.local import serve


def contents(directory: Path) -> dict[Path, tuple[int, bytes]]:
    """What is there: the time it was written, and the bytes, but of the locked file."""
    files = [path for path in directory.rglob("*") if path.is_file() and path.name != "lock"]
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@pytest.mark.any_store
def test_a_second_service_is_refused_and_touches_nothing(start: Any, session: Any, tmp_path: Path) -> None:
    api = start(tmp_path / "kept", stage_delay=0)
    upload = api.create()
    (tmp_path / "kept" / "uploads" / "x.tmp").touch()  # which a service takes for a leftover when it starts
    before = contents(tmp_path)
    said = rf"kept is in use by process {os.getpid()} on .*: one service at a time"
    with pytest.raises(OSError, match=said), session(tmp_path / "kept"):
        pass
    assert contents(tmp_path) == before
    assert api.put(upload, 1, b"abc").status_code == 200
    assert api.complete(upload).status_code == 200
    assert api.settle(upload, "imported", "failed")["status"] == "imported"


def test_a_part_under_way_is_stored_though_a_second_service_tries_to_start(
    start: Any, raw: Any, eventually: Any, tmp_path: Path
) -> None:
    api = start(tmp_path)
    upload = api.create()
    sending = raw(upload["parts"][0]["url"], "Content-Length: 3")
    sending.socket.sendall(b"a")
    eventually(lambda: list(tmp_path.rglob("*.tmp")))
    with pytest.raises(OSError, match="is in use by"), serve(tmp_path):
        pass
    sending.socket.sendall(b"bc")
    assert sending.answer().startswith(b"HTTP/1.1 200 ")


@pytest.mark.any_store
def test_a_service_that_did_not_start_leaves_the_directory_to_the_next(session: Any, tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "x.json").write_text("{}")
    with pytest.raises(ValueError, match="not an upload record"), session(tmp_path):
        pass
    (tmp_path / "uploads" / "x.json").unlink()
    with session(tmp_path) as api:
        assert api.try_create().status_code == 200


def test_one_that_has_no_name_is_refused_all_the_same(start: Any, tmp_path: Path) -> None:
    start(tmp_path)
    (tmp_path / "holder").unlink()
    with pytest.raises(OSError, match="is in use by another service"), serve(tmp_path):
        pass


def test_a_directory_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file cannot be used: "), serve(tmp_path / "file"):
        pass


@pytest.mark.skipif(sys.platform == "win32", reason="names are links there for the privileged only")
def test_another_name_of_the_directory_is_no_way_around(start: Any, tmp_path: Path) -> None:
    start(tmp_path / "kept")
    (tmp_path / "alias").symlink_to(tmp_path / "kept")
    with pytest.raises(OSError, match="alias is in use by process"), serve(tmp_path / "alias"):
        pass
