"""What every test has: a state directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["tests.faults.plugin", "tests.stores.plugin"]


@pytest.fixture(autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's unfinished uploads are recorded."""
    path = tmp_path_factory.mktemp("state") / "scenario-uploader"
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(path))
    return path
