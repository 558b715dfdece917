"""How many parts may be in flight: as many as asked for, or as few as fill the link; fewer when told to.

What `Auto` goes by is acknowledged bytes per second, and the question is how to take a fair sample. Parts
that share a link end in bursts, so bytes per interval jump; and bytes handed to the kernel say little, for it
takes megabytes ahead of the link. So a part counts for the time it took: one that was on its way before the
sample began, for its share of it; one that is on its way at the end, by its age, at the speed of those that
ended. A sample, a *cycle*, is over when as many parts ended as may be in flight, whatever the speed of the
link, and not before two seconds have passed.

The first cycle after a change has connections in it that start slowly, and parts that were sent at two
speeds: it is believed only where it is plain, and else the next one is waited for.

What is in flight is lost when the upload is interrupted, and a full link gains nothing from more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from uploader.options import MAX_CONCURRENCY, Concurrency

# Bytes that `Auto` lets be in flight, and so be lost at once: 64 parts of the default size. However large the
# parts, it may have as many as it starts with, or a file of terabytes would go over a single connection.
BUDGET = 1024 * 1024 * 1024


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

    def stored(self, now: float, length: int, started: float, others: Sequence[float]) -> None:  # noqa: ARG002
        """A part was acknowledged: see `Auto`."""
        self._size = min(float(self._limit), self._size + 1.0 / self._size)

    def throttled(self, now: float) -> None:
        """The store asked for less, at `now`."""
        self.cut(now, self._size)

    def broke(self, now: float) -> None:
        """A connection broke: no reason to send less than was asked for."""

    def short(self, now: float, others: int) -> None:  # noqa: ARG002
        """This machine had nothing left for a part besides the `others` in flight: no more than these."""
        self._size = max(1.0, min(self._size, float(others)))

    def cut(self, now: float, used: float) -> bool:
        """Allow half of what was `used`, unless it was cut just before; whether it was cut."""
        if self._cut_at is not None and now - self._cut_at < self.PAUSE:
            return False
        self._size = max(1.0, min(self._size, used) / 2.0)
        self._cut_at = now
        return True


@dataclass(slots=True)
class Cycle:
    """What was sent since a moment, as far as it was acknowledged.

    Attributes:
        bytes: what was sent since then of the parts that ended.
        lengths: of these parts, all their bytes.
        seconds: that they took, added up.
    """

    since: float
    parts: int = 0
    bytes: float = 0.0
    lengths: int = 0
    seconds: float = 0.0

    # Where parts take milliseconds, as many as are in flight are too few to tell anything by.
    LEAST = 2.0

    def add(self, now: float, length: int, started: float) -> None:
        """Count a part that ended now."""
        took = max(now - started, 1e-6)
        self.parts += 1
        self.bytes += length * min(1.0, (now - self.since) / took)
        self.lengths += length
        self.seconds += took

    def goodput(self, now: float, others: Sequence[float]) -> float:
        """Bytes per second, with those of the parts that are being sent, since `others`."""
        length, speed = self.lengths / self.parts, self.lengths / self.seconds
        under_way = 0.0
        for started in others:
            age = max(now - started, 1e-6)
            under_way += min(speed, length / age) * min(age, now - self.since)
        return (self.bytes + under_way) / (now - self.since)


@dataclass(frozen=True, slots=True)
class Trial:
    """Another count is tried: the one before, and the goodput to compare with."""

    before: int
    goodput: float
    doubling: bool = False


class Auto:
    """Seeks the smallest count at which the link is full.

    It starts with 4 and doubles while that brings a quarter more; then it tries a few more and a few less in
    turn, and starts doubling again when either brings more or the goodput itself changes by a quarter. Where
    the store says slow down, or connections break, it is halved, and what was cut comes back as in `Window`.

    Args:
        part_size: bytes of a part.
    """

    START = 4
    # What doubling must bring to be done again, and what is a change of the link.
    RISE = 1.25
    # What the first cycle after a change must bring to be believed, and what it must lose.
    LEAP = 1.6
    SLUMP = 0.8
    # What a few more must bring to be kept; less may be noise.
    GAIN = 1.05
    # What may be lost for the sake of fewer. (Of the 5 % that all may cost, trying takes the rest.)
    LOSS = 0.96
    # Not more often than this does it try another count, when it has found one (seconds).
    REST = 5.0
    # So long is a count held for too small that was.
    MEMORY = 60.0
    # Where sending all that is in flight takes longer than this (seconds), it is not doubled: that would be
    # lost. Where each connection is slow it takes no longer after a doubling than before.
    AT_STAKE = 90.0
    # The very first cycle is believed if it took so long: then its connections' slow start is little of it.
    SETTLED = 10.0

    def __init__(self, part_size: int) -> None:
        self._most = max(self.START, min(MAX_CONCURRENCY, BUDGET // part_size))
        self._ceiling = Window(self._most)
        self._part_size = part_size
        self._count = self.START
        self._cycle: Cycle | None = None
        self._trial: Trial | None = None
        self._is_first = True  # whether this is the first cycle after a change
        self._is_rising = True  # whether doubling is next
        self._is_odd = False  # whether the last cycle was far from those before
        self._goodput: float | None = None  # at this count
        self._best = 0.0  # lately, at this count and a few more
        self._too_few = 0
        self._too_few_since = 0.0
        self._up_next = True
        self._rested_since = 0.0
        self._breaks = 0  # in a row

    @property
    def size(self) -> int:
        """Parts allowed in flight now, at least 1."""
        return self._count

    def stored(self, now: float, length: int, started: float, others: Sequence[float]) -> None:
        """A part of `length` bytes was acknowledged at `now` (seconds).

        Args:
            now: the time.
            length: the part's.
            started: since when it was sent.
            others: since when those are that are in flight.
        """
        self._breaks = 0
        self._ceiling.stored(now, length, started, others)
        cycle = self._cycle = self._cycle or Cycle(started)
        cycle.add(now, length, started)
        if cycle.parts >= self._count and now - cycle.since >= cycle.LEAST:
            self._cycle = Cycle(now)
            if self._goodput is None and now - cycle.since >= self.SETTLED:
                self._is_first = False
            self._judge(cycle.goodput(now, others), now)

    def throttled(self, now: float) -> None:
        """The store asked for less, at `now`."""
        if self._ceiling.cut(now, self._count):
            self._forget()
            self._move(self._ceiling.size, now)

    def broke(self, now: float) -> None:
        """A connection broke. One may; two with no part stored between them, and it is cut, once."""
        self._breaks += 1
        if self._breaks == 2:
            self.throttled(now)

    def short(self, now: float, others: int) -> None:
        """See `Window`."""
        self._ceiling.short(now, others)
        if self._ceiling.size < self._count:
            self._forget()
            self._move(self._ceiling.size, now)

    # Cycles

    def _judge(self, goodput: float, now: float) -> None:
        """A cycle is over."""
        is_first, self._is_first = self._is_first, False
        if self._trial is None:
            if not is_first:
                self._watch(goodput, now)
        elif self._count > self._trial.before:
            self._judge_more(self._trial, goodput, now, is_first)
        else:
            self._judge_fewer(self._trial, goodput, now, is_first)

    def _watch(self, goodput: float, now: float) -> None:
        """A cycle at a count that is not on trial."""
        known = self._goodput or goodput
        is_odd = not known / self.RISE < goodput < known * self.RISE
        was_odd, self._is_odd = self._is_odd, is_odd
        if is_odd and not was_odd:
            return  # once may be chance
        if is_odd:
            self._forget()
            self._is_rising = True
        self._goodput = (self._goodput + goodput) / 2 if self._goodput else goodput
        self._best = max(self._best, self._goodput)
        if self._is_rising:
            self._double(now)
        elif now - self._rested_since >= self.REST:
            self._try_another(now)

    def _forget(self) -> None:
        """What was measured is of another link, or of one that was let down."""
        self._trial, self._goodput, self._best = None, None, 0.0
        self._is_rising, self._is_odd, self._too_few = False, False, 0

    # Trials

    def _double(self, now: float) -> None:
        self._is_rising = self._up_next = False
        if self._goodput and self._count * self._part_size / self._goodput <= self.AT_STAKE:
            self._try(2 * self._count, now, doubling=True)

    def _try_another(self, now: float) -> None:
        """A few more or a few less, in turn."""
        more = self._count + max(1, self._count // 4)
        fewer = self._fewer(now)
        up = self._up_next or fewer == self._count
        self._up_next = not up
        self._try(more if up else fewer, now)

    def _fewer(self, now: float) -> int:
        """A quarter less, or half way to what was too few."""
        if now - self._too_few_since > self.MEMORY:
            self._too_few = 0
        return min(self._count, max(self._count * 3 // 4, (self._count + self._too_few + 1) // 2))

    def _try(self, count: int, now: float, *, doubling: bool = False) -> None:
        count = min(count, self._ceiling.size)
        if count == self._count or self._goodput is None:
            return
        self._trial = Trial(self._count, self._goodput, doubling)
        self._move(count, now)

    def _move(self, count: int, now: float) -> None:
        self._count, self._cycle, self._is_first = count, Cycle(now), True
        self._rested_since = now

    def _judge_more(self, trial: Trial, goodput: float, now: float, is_first: bool) -> None:
        gain = goodput / trial.goodput
        if is_first and self.SLUMP < gain < self.LEAP:
            return
        if gain < self.GAIN:
            self._best = max(goodput, trial.goodput)
            self._go_back(trial, now)
            return
        self._trial, self._goodput, self._best = None, goodput, goodput
        if gain < self.RISE and trial.doubling:
            self._try(self._fewer(now), now)
        else:
            self._too_few, self._too_few_since = trial.before, now
            self._double(now)

    def _judge_fewer(self, trial: Trial, goodput: float, now: float, is_first: bool) -> None:
        if goodput < self._best * (self.SLUMP if is_first else self.LOSS):
            self._too_few, self._too_few_since = self._count, now
            self._go_back(trial, now)
        elif not is_first:
            self._trial, self._goodput, self._best = None, goodput, max(self._best, goodput)
            if goodput > trial.goodput * self.GAIN:
                self._double(now)  # hardly because there are fewer: the link has more to give
            else:
                self._try(self._fewer(now), now)

    def _go_back(self, trial: Trial, now: float) -> None:
        self._trial = None
        self._move(trial.before, now)


def make_window(concurrency: Concurrency, part_size: int) -> Window | Auto:
    """What keeps to `concurrency`, for parts of `part_size` bytes."""
    return Auto(part_size) if concurrency == "auto" else Window(concurrency)
