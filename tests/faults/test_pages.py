"""Who answers in the API's place, or is mistaken for a moment, costs nothing that was sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import pass_on, reply, response, until_renewed, xml
from tests.faults.rig import MiB, make_file
from uploader import RetryPolicy
from uploader.core.events import CallRetrying

PARTS, SIZE = 4, 16 * MiB
FEW = RetryPolicy(attempts=3, first_attempts=2, base=0.01, cap=0.02, poll_first=0.02, poll_cap=0.05)
EXPIRED = reply(response(403, xml("AccessDenied", "Request has expired")))
SLIP = response(404, '{"message": "Not Found"}', "Content-Type: application/json")


def page(status: int) -> bytes:
    headers = ("Content-Type: text/html", "Location: https://login.example/")
    return response(status, "<html><h1>Who are you?</h1></html>", *headers)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", SIZE)


@case(45, EXACT)
@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404])
def test_a_page_in_the_apis_place_is_outlasted(status: int, tls: bool, path: Path, rig: Open) -> None:
    pages = [reply(page(status))] * 2
    script = {2: until_renewed(EXPIRED), "create": pages, "get": pages, "complete": pages}
    with rig(script, tls=tls) as it:
        it.upload(path)
        assert it.result is not None
        assert (it.result.retries, it.result.url_refreshes, it.result.recreated) == (1, 1, False)
        assert it.heard(CallRetrying) >= 4
        assert it.asked("create") == it.asked("complete") == 1


@case(45, EXACT)
def test_one_404_is_a_slip(tls: bool, path: Path, rig: Open) -> None:
    """To the call for fresh links, to complete, and to a look at the status."""
    slip = reply(SLIP)
    script = {2: until_renewed(EXPIRED), "get": [slip, pass_on, pass_on, slip], "complete": [slip]}
    with rig(script, tls=tls) as it:
        it.upload(path)
        assert it.result is not None
        assert (it.result.retries, it.result.url_refreshes, it.result.recreated) == (1, 1, False)
        assert it.peer.seen["get"] >= 5
        assert it.asked("create") == 1


@case(45, "UnreachableError", EXACT)
@pytest.mark.parametrize("target", ["get", "complete"])
@pytest.mark.parametrize("status", [200, 403, 404])
def test_after_a_page_that_stays_the_next_run_goes_on(
    status: int, target: str, path: Path, rig: Open
) -> None:
    stays = [reply(page(status))] * 20
    script = {4: until_renewed(EXPIRED), target: stays} | ({"get": stays} if target == "complete" else {})
    with rig(script | ({4: []} if target == "complete" else {}), retry=FEW) as it:
        for _ in range(2):  # a run that cannot even look at it loses nothing either
            assert it.upload(path, concurrency=1) == "UnreachableError"
            assert it.error is not None
            assert it.error.resumable
            assert "a firewall or a login page" in str(it.error)
        it.peer.tell({})
        assert it.upload(path) == EXACT
        assert it.result is not None
        assert it.result.bytes_resumed == (SIZE if target == "complete" else SIZE - 1 * MiB)
        assert it.asked("create") == 1
