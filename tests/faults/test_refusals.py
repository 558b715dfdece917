"""What a store refuses, and how early: the answer may come before the body ends, and be lost with it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import broken, reply, response, until_renewed, xml
from tests.faults.rig import MiB, make_file
from uploader import Timeouts
from uploader.core.events import PartRetrying, UrlsRefreshed
from uploader.core.outcomes import Cause

EXPIRED = response(403, xml("AccessDenied", "Request has expired", Expires="2026-01-01T00:00:00Z"))
SLOW_DOWN = response(503, xml("SlowDown", "Please reduce your request rate."), "Retry-After: 0")

# How a store that does not want the rest of a body ends the connection. It reads on; it closes, which is a
# reset where bytes are still under way; or it resets outright.
EARLY = ["keep", "half", "close", "reset"]

# What came before a reset can still be read here; elsewhere the kernel may drop it.
KEEPS_WHAT_CAME = sys.platform == "linux"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts, of which the first is longer than what the kernel takes ahead of the peer."""
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 5 * MiB + 64 * 1024)


@case(4, EXACT)
@pytest.mark.parametrize("read", [0, 1 * MiB, 5 * MiB - 1], ids=["at the headers", "midway", "at the end"])
def test_an_early_403_and_a_reset_lead_to_a_fresh_link(read: int, tls: bool, path: Path, rig: Open) -> None:
    """The link is dead for good."""
    with rig({1: until_renewed(reply(EXPIRED, read=read, then="reset"))}, tls=tls) as it:
        it.upload(path)
        assert it.result is not None
        assert it.result.retries in ((1,) if KEEPS_WHAT_CAME else (1, 2))
        assert (it.result.url_refreshes, it.result.recreated) == (1, False)


@case(4, EXACT)
@pytest.mark.parametrize("read", [0, 1 * MiB], ids=["at the headers", "midway"])
def test_where_the_reset_swallows_the_403_two_in_a_row_do_for_it(
    read: int, tls: bool, path: Path, rig: Open
) -> None:
    """What an early refusal looks like where the kernel drops what came before the reset."""
    with rig({1: until_renewed(broken(read))}, tls=tls) as it:
        it.upload(path)
        assert it.result is not None
        assert (it.result.retries, it.result.url_refreshes, it.result.recreated) == (2, 1, False)


@case(4, EXACT)
@pytest.mark.parametrize("then", ["keep", "half", "close"])
def test_an_early_403_leads_to_a_fresh_link(then: str, tls: bool, path: Path, rig: Open) -> None:
    with rig({1: until_renewed(reply(EXPIRED, read=1 * MiB, then=then))}, tls=tls) as it:
        it.upload(path)
        assert it.result is not None
        assert it.result.retries in ((1,) if KEEPS_WHAT_CAME or then != "close" else (1, 2))
        assert (it.result.url_refreshes, it.result.recreated) == (1, False)


@case(5, EXACT)
@pytest.mark.parametrize("then", EARLY)
def test_an_early_503_costs_one_retry(then: str, tls: bool, path: Path, rig: Open) -> None:
    """Heard or lost, it is one retry with the same link."""
    with rig({1: [reply(SLOW_DOWN, read=1 * MiB, then=then)]}, tls=tls) as it:
        it.upload(path)
        assert it.peer.seen[1] == 2
        (retry,) = [event for event in it.events if isinstance(event, PartRetrying)]
        lost = {Cause.NETWORK} if then in ("close", "reset") and not KEEPS_WHAT_CAME else set()
        assert retry.cause in {Cause.THROTTLED} | lost
        assert it.heard(UrlsRefreshed) == 0


# Short, since what is refused is found out when a stall is; nothing else may time out.
STALLING = Timeouts(connect=20, stall=0.3, answer=60, api=30)


@case(6, EXACT)
def test_a_403_and_then_not_a_byte_read_is_one_stall(tls: bool, path: Path, rig: Open) -> None:
    """The refusal lies unread behind a body nobody takes: when that stalls, it is looked for."""
    script = {1: until_renewed(reply(EXPIRED, read=64 * 1024, then="hold"))}
    with rig(script, tls=tls, narrow=True, timeouts=STALLING) as it:
        it.upload(path)
        (retry,) = [event for event in it.events if isinstance(event, PartRetrying)]
        assert retry.cause is Cause.EXPIRED
        assert it.result is not None
        assert (it.result.url_refreshes, it.result.recreated) == (1, False)


@case(6, "PartError")
def test_a_refusal_for_good_is_heard_though_not_a_byte_is_read(tls: bool, path: Path, rig: Open) -> None:
    too_large = response(413, xml("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size"))
    with rig(
        {1: [reply(too_large, read=64 * 1024, then="hold")]}, tls=tls, narrow=True, timeouts=STALLING
    ) as it:
        it.upload(path)
        assert "EntityTooLarge" in str(it.error)
        assert it.heard(PartRetrying) == 0


@case(6, EXACT)
def test_an_answer_in_pieces_that_never_gets_whole_is_a_stall(tls: bool, path: Path, rig: Open) -> None:
    with rig(
        {1: [reply(EXPIRED[:20], read=64 * 1024, then="hold")]}, tls=tls, narrow=True, timeouts=STALLING
    ) as it:
        it.upload(path)
        (retry,) = [event for event in it.events if isinstance(event, PartRetrying)]
        assert retry.cause is Cause.NETWORK


@case(8, EXACT)
@pytest.mark.parametrize("read", [1 * MiB, None], ids=["midway", "at the end"])
def test_a_request_timeout_is_sent_again_to_the_same_link(
    read: int | None, tls: bool, path: Path, rig: Open
) -> None:
    """S3's 400 for a body that came too slowly; it closes the connection."""
    said = (
        "Your socket connection to the server was not read from or written to within the timeout period. "
        "Idle connections will be closed."
    )
    timed_out = response(400, xml("RequestTimeout", said), "Connection: close")
    with rig({1: [reply(timed_out, read=read, then="close")]}, tls=tls) as it:
        it.upload(path)
        (retry,) = [event for event in it.events if isinstance(event, PartRetrying)]
        lost = {Cause.NETWORK} if read and not KEEPS_WHAT_CAME else set()
        assert retry.cause in {Cause.REREAD} | lost
        assert it.heard(UrlsRefreshed) == 0
        links = [head.split(b" ")[1] for head in it.peer.heads if b"partNumber=1" in head]
        assert len(links) == 2
        assert links[0] == links[1]
