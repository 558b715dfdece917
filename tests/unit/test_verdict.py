"""When the wait for the service's verdict is over, and when to look next."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.verdict import Poller, is_decided
from uploader.errors import UploadFailedError
from uploader.models import Upload
from uploader.options import RetryPolicy, WaitFor

SIGNATURE = "0123456789abcdef" * 4
EVERY = ["pending", "validating", "validated", "imported", "complete", "quarantined"]


def upload(status: str, **fields: Any) -> Upload:
    return Upload(id="up_1", status=status, **fields)


@pytest.mark.parametrize(
    ("wait_for", "entity_id", "ends"),
    [
        ("validated", None, {"validated", "imported", "complete"}),
        ("validated", "ent_1", {"validated", "imported", "complete"}),
        ("imported", None, {"imported", "complete"}),
        ("imported", "", {"imported", "complete"}),
        ("imported", "ent_1", {"validated", "imported", "complete"}),
        (None, None, set(EVERY)),
    ],
)
def test_the_wait_ends_where_the_protocol_says(
    wait_for: WaitFor | None, entity_id: str | None, ends: set[str]
) -> None:
    decided = {status for status in EVERY if is_decided(upload(status, entity_id=entity_id), wait_for)}
    assert decided == ends


@pytest.mark.parametrize("wait_for", [*get_args(WaitFor), None])
def test_failed_raises_with_the_services_reason_and_the_upload(wait_for: WaitFor | None) -> None:
    with pytest.raises(UploadFailedError, match="not a valid GLB") as caught:
        is_decided(upload("failed", error_message="not a valid GLB"), wait_for)
    assert caught.value.upload_id == "up_1"


@pytest.mark.parametrize("reason", [None, ""])
def test_failed_without_a_reason_says_so(reason: str | None) -> None:
    with pytest.raises(UploadFailedError, match="gave no reason"):
        is_decided(upload("failed", error_message=reason), "validated")


def test_a_presigned_url_in_the_services_reason_is_not_repeated() -> None:
    """errors.py: no message carries a presigned URL's query; faults.md case 26."""
    reason = f"cannot read https://b.s3.amazonaws.com/k?X-Amz-Signature={SIGNATURE}"
    with pytest.raises(UploadFailedError) as caught:
        is_decided(upload("failed", error_message=reason), "validated")
    assert SIGNATURE not in str(caught.value)


@pytest.mark.parametrize(("chance", "share"), [(0.0, 0.8), (0.5, 1.0), (1.0, 1.2)])
def test_waits_grow_and_are_jittered_by_a_fifth(chance: float, share: float) -> None:
    poller = Poller(RetryPolicy(poll_first=1.0, poll_cap=100.0), lambda: chance)
    waits = [poller.next_wait() for _ in range(4)]
    assert waits == pytest.approx([share, 1.5 * share, 2.25 * share, 3.375 * share])


@given(st.floats(0, 1, exclude_max=True), st.floats(0.1, 5), st.floats(5, 60))
def test_no_wait_is_longer_than_the_policys_cap(chance: float, first: float, cap: float) -> None:
    """RetryPolicy: `poll_cap` is the longest wait between two looks at the status."""
    poller = Poller(RetryPolicy(poll_first=first, poll_cap=cap), lambda: chance)
    waits = [poller.next_wait() for _ in range(30)]
    assert min(waits) > 0
    assert max(waits) <= cap
