"""Which parts are ready, resting, waiting for a URL, in flight or stored."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from uploader.core.links import Link
from uploader.core.outcomes import Cause
from uploader.models import PresignedUrl

# What counts as progress of a part across attempts: less than this may be socket buffers filling, not bytes
# arriving.
PROGRESS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Held:
    """A part's URL as this side holds it; times on the engine's clock.

    Attributes:
        granted: when the service handed it out.
        expires: when it lapses, None where nobody says.
        generation: how many times links had been handed out before.
        stated: when it lapses by the service's clock, as it said.
        renewable: false once the service was asked for a fresh one and gave none.
        suspect: whether to ask for a fresh one before it is used again.
    """

    url: PresignedUrl
    granted: float
    expires: float | None
    generation: int
    stated: float | None = None
    renewable: bool = True
    suspect: bool = False

    # Renewed this long before the end: enough for a request to start, however slow the handshake.
    MARGIN = 10.0

    def differs(self, link: Link) -> bool:
        """Whether `link` is another than this: its URL, or until when it is said to hold."""
        return link.url != self.url or link.expires != self.stated

    def wants_renewal(self, now: float) -> bool:
        """Whether to ask for a fresh one first: it is suspect, or about to lapse."""
        if self.suspect:
            return True
        if self.expires is None or not self.renewable:
            return False
        margin = min(self.MARGIN, (self.expires - self.granted) / 10)
        return now >= self.expires - margin


@dataclass(slots=True)
class History:
    """What a part went through so far."""

    failures: int = 0
    breaks: int = 0
    best: int = 0
    strikes: Counter[Cause] = field(default_factory=Counter)

    def strike(self, cause: Cause) -> int:
        """Count one more of `cause`; how many there were."""
        self.strikes[cause] += 1
        return self.strikes[cause]

    def failed(self, sent: int) -> int:
        """Count a failure after `sent` bytes; how many in a row came without the part getting any further."""
        if sent >= self.best + PROGRESS:
            self.best, self.failures = sent, 0
        self.failures += 1
        return self.failures


@dataclass(frozen=True, slots=True)
class Flight:
    """An attempt under way."""

    number: int
    held: Held
    started: float


class Parts:
    """Every part is in exactly one place: ready, resting, blocked, in flight or stored."""

    def __init__(self, count: int, stored: Iterable[int] = ()) -> None:
        self.count = count
        self.in_flight: dict[int, Flight] = {}
        self.blocked: dict[int, str | None] = {}
        self._must_have_url = False
        self._stored = set(stored)
        self._ready: deque[int] = deque(self.missing())
        self._resting: list[tuple[float, int]] = []
        self._history: dict[int, History] = {}
        self._held: dict[int, Held] = {}
        self._generation = 0
        self._attempts = 0

    def start_over(self) -> None:
        """Forget what was stored and every URL; what the parts went through stays known."""
        self.unblock()
        self._stored.clear()
        self._resting.clear()
        self._ready = deque(range(1, self.count + 1))

    @property
    def all_stored(self) -> bool:
        """Whether the store acknowledged every part."""
        return len(self._stored) == self.count

    @property
    def left(self) -> int:
        """How many parts are not stored yet."""
        return self.count - len(self._stored)

    @property
    def must_have_url(self) -> bool:
        """Whether some part cannot go on without a new URL."""
        return self._must_have_url

    def missing(self) -> Iterator[int]:
        """The part numbers not stored yet, in order."""
        return (number for number in range(1, self.count + 1) if number not in self._stored)

    def history(self, number: int) -> History:
        """What part `number` went through; kept only for parts that failed at least once."""
        return self._history.setdefault(number, History())

    # URLs

    def grant(self, links: dict[int, Link], now: float, server_time: float) -> None:
        """Take in fresh links. Their expiry is by the service's clock, so ours may be wrong by any amount.

        One that is past already says more about some clock than about the link: the store shall judge it.
        """
        self._generation += 1
        for number, link in links.items():
            life = 0.0 if link.expires is None else link.expires - server_time
            expires = now + life if life > 0 else None
            self._held[number] = Held(link.url, now, expires, self._generation, link.expires)

    def renew(self, offered: dict[int, Link], now: float, server_time: float) -> int:
        """Take in what the service offered when it was asked for fresh links; how many of them were.

        A part that needs a new URL and was offered none stays blocked.
        """
        blocked = self.unblock()
        for number, refusal in blocked.items():
            if refusal is not None and not self._has_new_url(number, offered):
                self.block(number, refusal)
        # What the store refused is not mended by another date for the same URL: that was granted when it was.
        others = {n: link for n, link in offered.items() if n not in self.blocked}
        fresh = {n: link for n, link in others.items() if self._held[n].differs(link)}
        if fresh:
            self.grant(fresh, now, server_time)
        usable = [n for n in blocked if n not in self.blocked]
        for number in usable:
            if number not in fresh:
                self.keep_url(number)
        self.ready_again(usable)
        return len(fresh)

    def _has_new_url(self, number: int, offered: dict[int, Link]) -> bool:
        return number in offered and offered[number].url != self._held[number].url

    def held(self, number: int) -> Held:
        """The URL part `number` would be sent to now."""
        return self._held[number]

    def keep_url(self, number: int) -> None:
        """No fresher URL is to be had: use this one, and do not ask again before the store refuses it."""
        self._held[number] = replace(self._held[number], renewable=False, suspect=False)

    def distrust(self, number: int) -> None:
        """Ask for a fresh URL before the part is sent again, if one is to be had."""
        self._held[number] = replace(self._held[number], suspect=True)

    def wants_url(self, number: int, now: float) -> bool:
        """Whether a fresh URL should be asked for before the part is sent."""
        return self._held[number].wants_renewal(now)

    def block(self, number: int, refusal: str | None = None) -> None:
        """Put a part aside until links were asked for; `refusal`: why it cannot go on with the old one."""
        self.blocked[number] = refusal
        self._must_have_url = self._must_have_url or refusal is not None

    def unblock(self) -> dict[int, str | None]:
        """Take out all blocked parts: why each needs a new URL (None: it does not), by part number."""
        blocked, self.blocked = self.blocked, {}
        self._must_have_url = False
        return blocked

    # Attempts

    def is_due(self, now: float) -> bool:
        """Whether some part has rested long enough."""
        return bool(self._resting) and self._resting[0][0] <= now

    def next_ready(self, now: float, *, fresh: bool = True, rested: bool = True) -> int | None:
        """Take out the next part to send, one that failed before first; None where there is none at `now`.

        Args:
            now: the time.
            fresh: whether a part that has not failed may be taken.
            rested: whether one that rested long enough may be.
        """
        if rested and self.is_due(now):
            return heapq.heappop(self._resting)[1]
        if self._ready and (fresh or self._ready[0] in self._history):
            return self._ready.popleft()
        return None

    @property
    def next_rested(self) -> float | None:
        """When the next resting part is due."""
        return self._resting[0][0] if self._resting else None

    @property
    def any_under_way(self) -> bool:
        """Whether some part is in flight or resting: something will happen by itself."""
        return bool(self.in_flight or self._resting)

    def depart(self, number: int, now: float) -> int:
        """A part goes into flight; the attempt's id."""
        self._attempts += 1
        self.in_flight[self._attempts] = Flight(number, self._held[number], now)
        return self._attempts

    def land(self, attempt: int) -> Flight:
        """An attempt ended; the part is in no place until the caller puts it into one."""
        return self.in_flight.pop(attempt)

    def store(self, number: int) -> bool:
        """The part is stored; whether it had failed before."""
        self._stored.add(number)
        past = self._history.pop(number, None)
        return past is not None and past.failures > 0

    def rest(self, number: int, until: float) -> None:
        """Send the part again, not before `until`."""
        heapq.heappush(self._resting, (until, number))

    def ready_again(self, numbers: Iterable[int]) -> None:
        """Send these next."""
        self._ready.extendleft(sorted(numbers, reverse=True))
