"""Names that lead to several addresses, or to where no file may go, in a network of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import EXACT, case

PUBLIC, PRIVATE, LINK_LOCAL = "8.8.8.8", "10.1.2.3", "169.254.169.254"


def can_be_elsewhere() -> bool:
    """Whether this system lets us have a network of our own."""
    if not (shutil.which("unshare") and shutil.which("ip")):
        return False
    return subprocess.run(["unshare", "-mn", "true"], check=False, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not can_be_elsewhere(), reason="needs Linux, iproute2 and root")


def elsewhere(tmp_path: Path, *hosts: tuple[str, str], **told: Any) -> dict[str, Any]:
    """What an upload comes to where names lead to these addresses."""
    authority = tmp_path / "ca.pem"
    scenario = json.dumps({"hosts": hosts} | told)
    done = subprocess.run(
        ["unshare", "-mn", sys.executable, "-m", "tests.faults.elsewhere", scenario, str(authority)],
        env=os.environ | {"SSL_CERT_FILE": str(authority)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@case(42, EXACT)
@pytest.mark.parametrize("dead", ["127.0.0.2", "127.0.0.3"], ids=["silent", "refusing"])
def test_a_dead_address_among_several_is_passed_over(dead: str, tmp_path: Path) -> None:
    names = [(address, name) for name in ("api.test", "store.test") for address in (dead, "127.0.0.1")]
    told = {"deaf": dead} if dead == "127.0.0.2" else {"deaf": "127.0.0.9"}
    assert elsewhere(tmp_path, *names, **told)["outcome"] == EXACT


@case(27, "PartError")
@pytest.mark.parametrize("address", [PRIVATE, LINK_LOCAL, "127.0.0.1"])
def test_a_name_that_leads_into_a_private_network_is_not_connected_to(address: str, tmp_path: Path) -> None:
    """The API is public: so is every store it may name, whatever its name resolves to."""
    came_to = elsewhere(tmp_path, (PUBLIC, "api.test"), (address, "store.test"))
    assert came_to["outcome"] == "PartError"
    assert "UPLOADER_STORAGE_HOSTS" in came_to["message"]
    assert (came_to["connections"], came_to["puts"]) == (1, 0), "the API's, and no other"


@case(27, EXACT)
def test_it_may_where_the_user_says_so_or_the_api_is_there_too(tmp_path: Path) -> None:
    inside = (PRIVATE, "store.test")
    named = elsewhere(tmp_path, (PUBLIC, "api.test"), inside, storage_hosts=["*.test"])
    assert named["outcome"] == EXACT
    assert elsewhere(tmp_path, (PRIVATE, "api.test"), inside)["outcome"] == EXACT


@case(27, "AnswerError")
def test_a_host_the_user_does_not_name_gets_nothing(tmp_path: Path) -> None:
    came_to = elsewhere(
        tmp_path, (PUBLIC, "api.test"), (PUBLIC, "store.test"), storage_hosts=["other.example"]
    )
    assert (came_to["outcome"], came_to["puts"]) == ("AnswerError", 0)
