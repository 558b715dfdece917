"""What every test has: a state directory of its own."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No test is about how fast this machine is, nor does one find today what it did not yesterday: for other
# examples each time there is `--hypothesis-profile=random`.
settings.register_profile("random", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("suite", settings.get_profile("random"), derandomize=True)
settings.load_profile("suite")

pytest_plugins = ["tests.faults.plugin", "tests.stores.plugin"]


@pytest.fixture(autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this test's unfinished uploads are recorded."""
    path = tmp_path_factory.mktemp("state") / "scenario-uploader"
    monkeypatch.setenv("UPLOADER_STATE_DIR", str(path))
    return path
