"""A model of an object store that many share: rates, latency, throttling, links that run out.

What it leaves out: slow start, a link that is lossy or shared with others on the client's side, and the bytes
that a client has sent before it hears that it is refused. Times are seconds, rates are bytes a second.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass

from uploader.core.events import Put
from uploader.core.outcomes import Answer, Response

from .uploading import BUSY, ROUND_TRIP, STORED, Clock, expires

EXPIRED = Response(403, {}, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")

Ended = Callable[[Answer, float], None]


@dataclass(frozen=True)
class Terms:
    """What a store grants.

    Attributes:
        rate: for all connections together.
        connection_rate: for one of them.
        round_trip: what every request takes besides its bytes.
        requests: so many parts it takes in a second, and a second's worth at once; above, it says SlowDown.
        lifetime: of a link.
    """

    rate: float = 50e9
    connection_rate: float = 50e6
    round_trip: float = ROUND_TRIP
    requests: float = math.inf
    lifetime: float = 24 * 3600.0


class Quota:
    """Requests that are taken: `rate` a second, and a second's worth of them at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._stock = 0.0
        self._filled = 0.0

    def take(self, now: float) -> bool:
        """Whether one more is."""
        self._stock = min(max(1.0, self._rate), self._stock + (now - self._filled) * self._rate)
        self._filled = now
        if self._stock < 1.0:
            return False
        self._stock -= 1.0
        return True


class Pipe:
    """Transfers side by side: all have an equal share of `rate`, and none more than `each`.

    Since the shares are equal, one count serves all: the bytes that a connection open from the beginning
    would have sent. A transfer ends when that has grown by its own bytes, and what others do moves only the
    moment, never the order. So each costs O(log n), however many there are.
    """

    def __init__(self, clock: Clock, rate: float, each: float) -> None:
        self._clock = clock
        self._rate = rate
        self._each = each
        self._sent = 0.0
        self._since = 0.0
        self._ends: list[tuple[float, int, Callable[[float], None]]] = []
        self._count = 0
        self._due = math.inf

    def send(self, size: int, now: float, sent: Callable[[float], None]) -> None:
        """Send so many bytes from `now` on, then call `sent` with the time."""
        self._settle(now)
        self._count += 1
        heapq.heappush(self._ends, (self._sent + size, self._count, sent))
        self._expect(now)

    @property
    def _share(self) -> float:
        return min(self._each, self._rate / len(self._ends))

    def _settle(self, now: float) -> None:
        if self._ends:
            self._sent += self._share * (now - self._since)
        self._since = now

    def _expect(self, now: float) -> None:
        if self._ends:
            self._due = now + max(0.0, self._ends[0][0] - self._sent) / self._share
            self._clock.at(self._due, self._ended, self._due)

    def _ended(self, due: float, now: float) -> None:
        if due != self._due:
            return  # others came or went since
        self._settle(now)
        end, _, sent = heapq.heappop(self._ends)
        self._sent = end  # exactly, whatever was lost in rounding
        self._due = math.inf
        self._expect(now)
        sent(now)


class Store:
    """Takes parts on its terms."""

    def __init__(self, clock: Clock, terms: Terms) -> None:
        self._clock = clock
        self._way = terms.round_trip / 2
        self._pipe = Pipe(clock, terms.rate, terms.connection_rate)
        self._quota = Quota(terms.requests) if math.isfinite(terms.requests) else None

    def put(self, put: Put, now: float, ended: Ended) -> None:
        """Take up an attempt at a part: call `ended` with what it came to, and when."""
        self._clock.at(now + self._way, self._arrived, (put, ended))

    def _arrived(self, what: tuple[Put, Ended], now: float) -> None:
        put, ended = what
        refusal = self._refusal(put, now)
        if refusal:
            self._answer(refusal, ended, now)
        else:
            self._pipe.send(put.part.length, now, lambda end: self._answer(STORED, ended, end))

    def _refusal(self, put: Put, now: float) -> Answer | None:
        if now >= expires(put):
            return EXPIRED
        return BUSY if self._quota and not self._quota.take(now) else None

    def _answer(self, answer: Answer, ended: Ended, now: float) -> None:
        self._clock.at(now + self._way, ended, answer)
