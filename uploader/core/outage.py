"""Whether it is this part or that which fails, or nothing that gets through."""

from __future__ import annotations

import math

STREAK = 4
"""So many failures without a success between them are an outage, and not one unlucky part."""


class Streak:
    """The failures in a row, of any part.

    In its methods `size` is how many parts may be in flight, `left` how many are not stored yet.
    """

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0
        self._recovered = -math.inf  # when an outage ended

    def fail(self, now: float) -> None:
        """An attempt failed."""
        if not self._count:
            self._since = now
        self._count += 1

    def succeed(self, now: float, size: int, left: int) -> None:
        """A part is stored; it is still one of those `left`."""
        if self.is_outage(size, left):
            self._recovered = now
        self._count = 0

    def forget(self) -> None:
        """What comes now has nothing to do with what failed."""
        self._count = 0

    def is_outage(self, size: int, left: int) -> bool:
        """Whether as much failed in a row as may be in flight: it is not the parts, nothing gets through."""
        return self._count >= max(STREAK, min(size, left))

    def is_total(self, size: int) -> bool:
        """Whether all that may be in flight failed, and once more."""
        return self._count >= 2 * max(STREAK, size)

    def counted_from(self, size: int, left: int) -> float:
        """Since when a part's failures count: those in an outage do not, if it fails again just after."""
        return self._since if self.is_outage(size, left) else self._recovered
