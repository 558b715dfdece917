"""A slow link is not a stall."""

from __future__ import annotations

import json
import ssl
from pathlib import Path

import pytest

from tests.transfer.conftest import MiB
from tests.transfer.servers import answering, created, http
from uploader import RetryPolicy, Timeouts, Uploader
from uploader.io.connections import BLOCK, Pace

DONE = http(json.dumps({"upload": {"id": "up1", "status": "validated"}}))


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_steady_slow_link_is_not_called_stalled(
    scheme: str, trusted: tuple[Path, Path], tmp_path: Path
) -> None:
    """Here a block of full size takes longer than the stall time."""
    tls = None
    if scheme == "https":
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*trusted)
    path = tmp_path / "slow.ckpt"
    path.write_bytes(bytes(2 * MiB))
    answers = [created, http("", headers='ETag: "e-1"\r\n'), DONE]
    with (
        answering(*answers, tls=tls, pace=512 * 1024) as origin,
        Uploader(
            base_url=f"{origin}/v1",
            api_key="k",
            api_secret="s",
            retry=RetryPolicy(attempts=3, base=0.0, cap=0.0),
            timeouts=Timeouts(stall=0.4, answer=20),
        ) as up,
    ):
        result = up.upload(path, progress=False)
    assert result.status == "validated"


def test_blocks_grow_while_they_are_taken_quickly_and_shrink_when_they_are_not() -> None:
    pace, sizes = Pace(), []
    for _ in range(20):
        sizes.append(pace.block)
        pace.took(pace.block, 0.001, 30.0)
    assert sizes[:18] == [Pace.LEAST] * 16 + [2 * Pace.LEAST, 4 * Pace.LEAST]
    assert pace.block == BLOCK
    pace.took(BLOCK, 1.0, 30.0)
    assert pace.block == BLOCK
    for _ in range(6):
        pace.took(pace.block, 10.0, 30.0)
    assert pace.block == Pace.LEAST
