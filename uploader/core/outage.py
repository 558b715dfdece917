"""Whether it is this part or that which fails, or nothing that gets through."""

from __future__ import annotations

import math

# So many failures without a success between them are an outage, and not one unlucky part.
_STREAK = 4


class Streak:
    """The failures in a row, of any part."""

    def __init__(self) -> None:
        self._count = 0
        self._since = 0.0
        self._recovered = -math.inf  # when an outage ended

    def fail(self, now: float) -> None:
        """An attempt failed."""
        if not self._count:
            self._since = now
        self._count += 1

    def succeed(self, now: float, *, outage: bool) -> None:
        """A part was stored, in an outage or not."""
        if outage:
            self._recovered = now
        self._count = 0

    def forget(self) -> None:
        """What comes now has nothing to do with what failed."""
        self._count = 0

    def is_outage(self, size: int, left: int) -> bool:
        """Whether it is not the parts, nothing gets through: all failed that may be in flight, or is left."""
        return self._count >= max(_STREAK, min(size, left))

    def is_total(self, size: int) -> bool:
        """Whether all that may be in flight failed, and again."""
        return self._count >= 2 * max(_STREAK, size)

    def counted_from(self, *, outage: bool) -> float:
        """Since when a part's failures count: those in an outage do not, if it fails again just after."""
        return self._since if outage else self._recovered
