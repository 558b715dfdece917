"""Which attempts are stragglers: nothing moves on their connections, while other parts get through.

At the end of an upload one of these is all that is waited for, and its timeouts are made for links far slower
than this one has proved to be. So it is measured by what the other parts took.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass

# Seconds that an attempt may stand still in any case. TCP sends a lost segment again after 0.2, 0.4 and
# 0.8 s: three losses in a row, or a store that takes a breath, are no stall.
LEAST_STILL = 2.0

# It may stand still for as long as the slowest of the recent parts took as a whole, its connection and its
# answer included, and half as long again. What is in this machine's socket buffer when nothing seems to move
# is less than a part, so on any link that a part got over it has left by then.
TIMES = 1.5

# How many parts are recent, so that a link that got slower is known to be; and how many there must be.
RECENT = 16
FEWEST = 5

# How often one part is taken for a straggler. Whatever holds it up then is not its connection, and the
# timeouts judge.
CHANCES = 2


@dataclass(slots=True)
class _Pulse:
    """What is known of an attempt under way.

    Attributes:
        number: its part's.
        began: when (seconds).
        sent: bytes put on the wire, as last heard.
        moved: when it began, or this last grew.
        passed: how many parts had been stored by then.
        still: how long it had stood still when it was aborted (seconds), None if it was not.
    """

    number: int
    began: float
    moved: float
    passed: int
    sent: int = 0
    still: float | None = None


class Stragglers:
    """Keeps the pulse of every attempt, and how long stored parts took.

    An attempt that moves is left alone, however slow: what it has sent would be lost, and another need be no
    faster. So is one that waits for the file, and one that stands still where more do than get through: that
    is the store or the link, and no new connection helps.
    """

    def __init__(self) -> None:
        self._pulses: dict[int, _Pulse] = {}
        self._took: deque[float] = deque(maxlen=RECENT)
        self._stored = 0
        self._aborted: Counter[int] = Counter()

    def depart(self, attempt: int, number: int, now: float) -> None:
        """An attempt at part `number` begins."""
        self._pulses[attempt] = _Pulse(number, now, now, self._stored)

    def hear(self, sent: Mapping[int, int], now: float, reading: Collection[int] = ()) -> None:
        """So many bytes each attempt has put on the wire by now; those `reading` wait for the file."""
        for attempt, size in sent.items():
            pulse = self._pulses[attempt]
            if size > pulse.sent or attempt in reading:
                pulse.sent, pulse.moved, pulse.passed = size, now, self._stored

    def land(self, attempt: int) -> float | None:
        """An attempt ended; if it was aborted, how long it had stood still (seconds)."""
        return self._pulses.pop(attempt).still

    def store(self, number: int, seconds: float) -> bool:
        """A part was stored by an attempt of `seconds`; whether one at it was aborted before."""
        self._stored += 1
        self._took.append(seconds)
        return self._aborted.pop(number, 0) > 0

    def overdue(self, now: float, left: int) -> list[int]:
        """The attempts to abort, so that their parts can be sent again, where `left` parts are not stored.

        More parts must have been stored since one stood still than there are attempts that do. But where only
        one part is left, no other can be stored any more: if it is an outage after all, that costs a request.
        """
        if len(self._took) < FEWEST:
            return []
        latest = now - max(LEAST_STILL, TIMES * self._slowest)
        still = {attempt: pulse for attempt, pulse in self._pulses.items() if pulse.moved < latest}
        return [
            attempt
            for attempt, pulse in still.items()
            if pulse.still is None
            and self._aborted[pulse.number] < CHANCES
            and (self._stored - pulse.passed > len(still) or left == 1)
        ]

    @property
    def _slowest(self) -> float:
        """What the slowest part takes (seconds), as far as is known.

        Those under way tell first that a link got slower: they take at least until they last moved. Of
        several the slowest does not count: its connection alone may be slow.
        """
        under_way = sorted(pulse.moved - pulse.began for pulse in self._pulses.values())
        return max(*self._took, *(under_way[:-1] if len(under_way) > 2 else under_way))

    def abort(self, attempt: int, now: float) -> None:
        """An attempt is being aborted; it goes on until it lands."""
        pulse = self._pulses[attempt]
        pulse.still = now - pulse.moved
        self._aborted[pulse.number] += 1
