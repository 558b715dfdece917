"""When to try again: full-jitter backoff, Retry-After, and a budget that all parts share."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol

from uploader.options import RetryPolicy


class Random(Protocol):
    """A source of numbers in [0, 1), handed in so that a test can replay it."""

    def __call__(self) -> float:
        """The next number."""
        ...


def backoff(policy: RetryPolicy, failures: int, random: Random) -> float:
    """Seconds to wait after a number of failures in a row: uniform up to base * 2^(failures-1), capped.

    Full jitter, because it spreads a crowd of clients best (AWS Architecture Blog, "Exponential Backoff And
    Jitter").
    """
    doublings = min(max(failures - 1, 0), 63)
    return random() * min(policy.cap, policy.base * 2.0**doublings)


def pause(policy: RetryPolicy, failures: int, after: float | None, random: Random) -> float:
    """Seconds to wait before another attempt: the backoff, or what a Retry-After asked for if that is longer.

    Args:
        policy: its `retry_after_cap` is the longest wish that is honoured.
        failures: how many there were in a row, from 1.
        after: seconds the server asked for, unclamped; None where it did not.
        random: as for `backoff`.
    """
    return max(backoff(policy, failures, random), min(after or 0.0, policy.retry_after_cap))


def patience(policy: RetryPolicy) -> float:
    """Seconds that `attempts` attempts take if each backoff between them is as long as it may be.

    So long an outage is sat out; without it, the jitter would halve that, and leave much of it to chance.
    """
    longest = [min(policy.cap, policy.base * 2.0**n) for n in range(64)]
    gaps = policy.attempts - 1
    return sum(longest[:gaps]) + max(0, gaps - 64) * longest[-1]


def is_spent(policy: RetryPolicy, failures: int, seconds: float) -> bool:
    """Whether to give up after a number of failures in a row, while nothing got through for `seconds`."""
    return failures >= policy.attempts and seconds >= patience(policy)


def parse_retry_after(value: str | None, date: str | None) -> float | None:
    """Seconds that a `Retry-After` header asks for, at least 0; None where it is absent or unreadable.

    Args:
        value: the header: a number of seconds, or an HTTP date.
        date: the same answer's `Date` header, so that a date is measured by the server's clock and not by
            ours.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        until, now = parse_http_date(value), parse_http_date(date)
        seconds = math.nan if until is None or now is None else until - now
    return max(0.0, seconds) if math.isfinite(seconds) else None


def parse_http_date(value: str | None) -> float | None:
    """Epoch seconds of an HTTP date, None where it is absent or unreadable."""
    try:
        moment = parsedate_to_datetime(value or "")
    except (ValueError, OverflowError):
        return None
    return _epoch(moment)


def parse_iso_date(value: str) -> float | None:
    """Epoch seconds of an ISO 8601 moment (UTC where it names no zone), None where it is unreadable."""
    try:
        return _epoch(datetime.fromisoformat(value.strip()))
    except ValueError:
        return None


def _epoch(moment: datetime) -> float:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class RetryBudget:
    """A token bucket of retries, so that many parts failing at once do not multiply an outage.

    A retry takes its token when it is made, so that one nobody waits for any more does not weigh on others.
    One that stores its part gives it back: those that fail again are held to the rate, while what an outage
    left behind is sent as fast as it gets through. Where several threads share one it may be out by a token.
    """

    def __init__(self, size: int, per_second: float) -> None:
        self._size = float(size)
        self._per_second = per_second
        self._tokens = float(size)
        self._filled_at = -math.inf

    def take(self, now: float) -> bool:
        """Take one token, if there is one at `now`."""
        if self._tokens < self._size:
            earned = max(0.0, now - self._filled_at) * self._per_second
            self._tokens = min(self._size, self._tokens + earned)
        self._filled_at = max(self._filled_at, now)
        if self._tokens < 1.0 - _ROUNDING:
            return False
        self._tokens -= 1.0
        return True

    def give_back(self) -> None:
        """Put one back that was taken."""
        self._tokens = min(self._size, self._tokens + 1.0)

    @property
    def ready_at(self) -> float:
        """When there is a token, if nobody takes it first; past if there is one now."""
        return self._filled_at + (1.0 - self._tokens) / self._per_second


# So much may be missing of a token after the seconds until it is there were counted.
_ROUNDING = 1e-6
