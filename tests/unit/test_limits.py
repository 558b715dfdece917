"""The time a call may take is counted once, from its beginning, and said as it is."""

from __future__ import annotations

import threading
import time

import pytest

from uploader import UploadCancelledError, UploadTimeoutError
from uploader.core.waiting import say_seconds
from uploader.io.limits import Limits


def ago(seconds: float) -> float:
    return time.monotonic() - seconds


def test_what_is_left_is_counted_from_the_beginning() -> None:
    left = Limits(3600, began=ago(600)).left
    assert left is not None
    assert 2900 < left <= 3000
    assert Limits(4, began=ago(9)).left == 0
    assert Limits(began=ago(9)).left is None


def test_a_call_goes_on_within_its_limits() -> None:
    Limits().check("doing this")
    Limits(3600).check("doing this")


def test_a_call_whose_time_is_up_says_how_long_it_had() -> None:
    with pytest.raises(UploadTimeoutError, match=r"^time is up after 0\.3 s while doing this$"):
        Limits(0.3, began=ago(1)).check("doing this")


def test_a_call_that_was_cancelled_says_so_even_if_its_time_is_up_too() -> None:
    cancelled = threading.Event()
    cancelled.set()
    for limits in (Limits(None, cancelled), Limits(1, cancelled, began=ago(2))):
        with pytest.raises(UploadCancelledError, match="cancelled while doing this"):
            limits.check("doing this")


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.04 s"),
        (0.3, "0.3 s"),
        (0.312, "0.31 s"),
        (4.0, "4 s"),
        (9.96, "10 s"),
        (10.4, "10 s"),
        (3600, "3,600 s"),
    ],
)
def test_a_fraction_of_a_few_seconds_is_said(seconds: float, said: str) -> None:
    assert say_seconds(seconds) == said
