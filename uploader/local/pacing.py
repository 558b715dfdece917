"""The rate at which the service takes bytes in. Pure: the time is handed in."""

from __future__ import annotations

SLACK = 0.02
"""Seconds a sleep may be late without the rate being any lower for it."""


class Pacer:
    """Spreads what comes over time, so that all that asks it keeps to one rate together.

    `rate` is in bytes per second.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._free = float("-inf")

    def wait(self, size: int, now: float) -> float:
        """Seconds from `now` (monotonic) until more may be read by whoever has just read `size` bytes."""
        self._free = max(self._free, now - SLACK) + size / self._rate
        return max(0.0, self._free - now)
