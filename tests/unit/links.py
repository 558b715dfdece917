"""A link on a virtual clock: flows that share its rate, each with a slow start and a window of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

MiB = 1024 * 1024
PART = 16 * MiB
MBIT = 1e6 / 8


class Control(Protocol):
    """What says how many parts may be in flight."""

    @property
    def size(self) -> int: ...
    def stored(self, now: float, length: int, started: float, others: Sequence[float]) -> None: ...
    def throttled(self, now: float) -> None: ...
    def broke(self, now: float) -> None: ...


@dataclass(frozen=True)
class Link:
    """Times are seconds, rates bytes per second.

    Attributes:
        rate: of all flows together, by the time.
        rtt: there and back.
        window: bytes that one connection may have under way; the rate of one is no more than that per `rtt`.
        cap: the rate of one connection.
        loss: how often a connection loses, per byte of the rate it has: its rate is halved.
        breaks: how often a part's connection breaks in the middle.
        tolerance: requests in flight; the store refuses what is more.
        jitter: a flow's share is as much as this more or less than fair.
    """

    rate: Callable[[float], float]
    rtt: float
    window: float = 3 * MiB
    cap: float = math.inf
    loss: float = 0.0
    breaks: float = 0.0
    tolerance: int = 1000
    jitter: float = 0.0

    @property
    def most(self) -> float:
        return min(self.cap, self.window / self.rtt)


FIRST_WINDOW = 10 * 1460


@dataclass
class Flow:
    """One connection: idle, or sending a part."""

    speed: float  # what it may send at, by its congestion window
    started: float = 0.0
    ready: float = 0.0  # when the body's first byte goes, after the handshake
    left: float = 0.0
    ends: float | None = None  # when the answer is there
    breaks_at: float = -1.0
    weight: float = 1.0
    refused: bool = False


@dataclass
class Transfer:
    """An endless file over `link`, as many parts at a time as `control` says.

    Attributes:
        acknowledged: (time, bytes) of each part.
        sizes: (time, parts allowed), as often as it was looked at.
        sent: bytes that left, whatever became of them, by whole seconds.
    """

    link: Link
    control: Control
    seed: int = 1
    acknowledged: list[tuple[float, int]] = field(default_factory=list)
    sizes: list[tuple[float, int]] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    refusals: int = 0

    def run(self, seconds: float) -> Transfer:
        """For so long."""
        self._random = Random(self.seed)
        self._busy: list[Flow] = []
        self._idle: list[Flow] = []
        self._pauses: list[float] = []
        self.sent = [0.0] * math.ceil(seconds)
        step = min(self.link.rtt / 2, PART / self.link.rate(0.0) / 8, 0.05)
        for tick in range(int(seconds / step)):
            self._step(tick * step, step)
        return self

    def goodput(self, since: float, until: float) -> float:
        """Bytes per second that left in between: what is acknowledged comes in bursts."""
        return sum(self.sent[int(since) : int(until)]) / (until - since)

    def typical(self, since: float, until: float) -> int:
        """The median count."""
        sizes = sorted(size for at, size in self.sizes if since <= at < until)
        return sizes[len(sizes) // 2]

    def _step(self, now: float, step: float) -> None:
        self._land(now)
        self._depart(now)
        self.sizes.append((now, self.control.size))
        sending = [flow for flow in self._busy if flow.ends is None and flow.ready <= now]
        for flow, speed in self._shares(sending, now):
            self._send(flow, speed, now, step)

    def _land(self, now: float) -> None:
        for flow in [flow for flow in self._busy if flow.ends is not None and flow.ends <= now]:
            self._busy.remove(flow)
            if flow.refused:
                self.refusals += 1
                self._pauses.append(now + self._random.random())
                self.control.throttled(now)
                self._idle.append(flow)
            elif flow.left > 0:
                self._pauses.append(now + self._random.random())
                self.control.broke(now)
            else:
                self._idle.append(flow)
                self.acknowledged.append((now, PART))
                self.control.stored(now, PART, flow.started, [it.started for it in self._busy])

    def _depart(self, now: float) -> None:
        link, random = self.link, self._random
        self._pauses = [until for until in self._pauses if until > now]
        while len(self._busy) < self.control.size - len(self._pauses):
            is_new = not self._idle
            flow = self._idle.pop() if self._idle else Flow(FIRST_WINDOW / link.rtt)
            flow.started, flow.ready = now, now + (2.5 if is_new else 0.5) * link.rtt
            flow.left, flow.ends = float(PART), None
            flow.weight = 1.0 + link.jitter * (2 * random.random() - 1)
            flow.breaks_at = PART * random.random() if random.random() < link.breaks else -1.0
            flow.refused = len(self._busy) >= link.tolerance
            if flow.refused:
                flow.ends = flow.ready + link.rtt
            self._busy.append(flow)

    def _shares(self, flows: list[Flow], now: float) -> list[tuple[Flow, float]]:
        """The rate is shared fairly; what one cannot use, the others can."""
        left, weights = self.link.rate(now), sum(flow.weight for flow in flows)
        shares = []
        for flow in sorted(flows, key=lambda flow: flow.speed / flow.weight):
            speed = min(flow.speed, left * flow.weight / weights)
            shares.append((flow, speed))
            left, weights = left - speed, weights - flow.weight
        return shares

    def _send(self, flow: Flow, speed: float, now: float, step: float) -> None:
        link = self.link
        size = min(flow.left, speed * step)
        flow.left -= size
        self.sent[min(int(now), len(self.sent) - 1)] += size
        flow.speed = min(link.most, flow.speed * 2 ** (step / link.rtt))
        if link.loss and self._random.random() < link.loss * size:
            flow.speed = max(FIRST_WINDOW / link.rtt, flow.speed / 2)
        if flow.left <= 0 or flow.left < flow.breaks_at:
            flow.ends = now + step + link.rtt / 2
