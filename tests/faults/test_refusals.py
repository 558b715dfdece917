"""What a store refuses, and how early."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import reply, response, xml
from tests.faults.rig import MiB, make_file

EXPIRED = response(403, xml("AccessDenied", "Request has expired", Expires="2026-01-01T00:00:00Z"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_file(tmp_path / "scene.glb")


@case(4, EXACT)
def test_an_early_403_and_a_reset_is_outlasted(tls: bool, path: Path, rig: Open) -> None:
    with rig({2: [reply(EXPIRED, read=1 * MiB, then="reset")]}, tls=tls) as it:
        it.upload(path)
        assert it.peer.seen[2] == 2
        assert it.result is not None
        assert it.result.retries == 1
