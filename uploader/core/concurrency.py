"""How many parts may be in flight: fewer when the store says slow down, more again as parts succeed."""

from __future__ import annotations


class Window:
    """A limit that is halved on throttling and grows back by one for each windowful of stored parts (AIMD).

    Args:
        limit: the most parts in flight, and where it starts.
    """

    # One burst of 503s comes from one overload: every part in flight may report it, and it counts once.
    PAUSE = 1.0

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = float(limit)
        self._cut_at: float | None = None

    @property
    def size(self) -> int:
        """Parts allowed in flight now, at least 1."""
        return int(self._size)

    def stored(self) -> None:
        """A part was acknowledged."""
        self._size = min(float(self._limit), self._size + 1.0 / self._size)

    def throttled(self, now: float) -> None:
        """The store asked for less, at `now` (seconds)."""
        if self._cut_at is None or now - self._cut_at >= self.PAUSE:
            self._size = max(1.0, self._size / 2.0)
            self._cut_at = now
