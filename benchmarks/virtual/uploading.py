"""An upload in a modelled world: the real session, obeyed as the engine obeys it.

Only the store, the service and the clock are not real, and the control calls, which are repeated here as
`uploader.io.api` repeats them. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from uploader.core import retry
from uploader.core.calls import Again, Call, judge_call
from uploader.core.events import (
    Action,
    Ask,
    CallDone,
    CallFailed,
    Happening,
    PartEnded,
    PartRetrying,
    Put,
    Tick,
)
from uploader.core.outcomes import Answer, Response
from uploader.core.session import UploadSession
from uploader.models import Upload
from uploader.options import RetryPolicy

MIB = 1024 * 1024
PART_SIZE = 16 * MIB

# Seconds until an answer that takes no work.
ROUND_TRIP = 0.05

# The service's clock (epoch seconds) when the virtual one starts.
EPOCH = 1e9

# The only answer that means that a part is stored, or that a control call went through.
STORED = Response(200, {"etag": '"an-etag"'})
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
BUSY = Response(503, {}, SLOW_DOWN)


class Clock:
    """What will happen, and when: nothing else moves the time."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[..., None], Any]] = []
        self._count = 0

    def at(self, when: float, do: Callable[[Any, float], None], what: object) -> None:
        """Then, call `do` with `what` and the time."""
        self._count += 1  # of two at the same time, the one set first
        heapq.heappush(self._queue, (when, self._count, do, what))

    def run(self) -> None:
        """Until nothing will happen any more."""
        queue, pop = self._queue, heapq.heappop
        while queue:
            now, _, do, what = pop(queue)
            do(what, now)


class World(Clock, ABC):
    """The clock, a store and a service; `random` is all the chance there is."""

    def __init__(self, policy: RetryPolicy, random: retry.Random) -> None:
        super().__init__()
        self.policy = policy
        self.random = random

    @abstractmethod
    def put(self, put: Put, now: float, ended: Callable[[Answer, float], None]) -> None:
        """Take up an attempt at a part: call `ended` with what it came to, and when."""

    @abstractmethod
    def call(self, call: Call, now: float) -> tuple[float, Answer]:
        """When a control call is answered, and with what."""

    @abstractmethod
    def links_expire(self, now: float) -> float:
        """Until when a link holds that is handed out `now`."""


class Uploading:
    """One upload, and what the engine does for it.

    Attributes:
        session: the real one.
        troubled: when the first of its requests failed, None while none has.
    """

    def __init__(
        self, world: World, session: UploadSession, over: Callable[[Uploading, float], None]
    ) -> None:
        self.session = session
        self.troubled: float | None = None
        self._world = world
        self._over = over
        self._sending: set[int] = set()
        self._tick_at = math.inf
        self._asked_at = 0.0
        self._asked = 0
        self._looks = 0
        self._status = "pending"

    def begin(self, _: None, now: float) -> None:
        """Start it."""
        self._obey(self.session.start(now), now)

    def _hear(self, happening: Happening, now: float) -> None:
        if not self.session.finished:
            self._obey(self.session.handle(happening, now), now)

    def _tick(self, due: float, now: float) -> None:
        if due == self._tick_at:  # else another one was set since
            self._tick_at = math.inf
            self._hear(Tick(), now)

    def _obey(self, actions: list[Action], now: float) -> None:
        for action in actions:
            if isinstance(action, Put):
                self._put(action, now)
            elif isinstance(action, Ask):
                self._asked_at, self._asked = now, 0
                self._ask(action, now)
            elif isinstance(action, PartRetrying):
                self._note_trouble(now)
        if self.session.finished:
            self._over(self, now)
        else:
            self._set_tick(now)

    def _set_tick(self, now: float) -> None:
        wake = self.session.wake
        assert wake is None or wake > now, "woken again at once, for ever"
        if wake is not None and wake < self._tick_at:
            self._tick_at = wake
            self._world.at(wake, self._tick, wake)

    def _note_trouble(self, now: float) -> None:
        if self.troubled is None:
            self.troubled = now

    # Parts

    def _put(self, put: Put, now: float) -> None:
        assert put.part.number not in self._sending, "in flight twice"
        self._sending.add(put.part.number)

        def ended(answer: Answer, end: float) -> None:
            self._sending.remove(put.part.number)
            sent = put.part.length if answer is STORED else 0
            self._hear(PartEnded(put.attempt, answer, sent, None, end - now), end)

        self._world.put(put, now, ended)

    # Control calls

    def _ask(self, ask: Ask, now: float) -> None:
        self._asked += 1
        end, answer = self._world.call(ask.call, now)
        self._world.at(end, self._answered, (ask, answer))

    def _answered(self, what: tuple[Ask, Answer], now: float) -> None:
        ask, answer = what
        if answer is STORED:
            self._hear(CallDone(ask.call, self._told(ask.call, now), EPOCH + now), now)
            return
        self._note_trouble(now)
        verdict = judge_call(ask.call, answer, "")
        assert isinstance(verdict, Again)
        if self._gives_up(ask, now):
            self._hear(CallFailed(ask.call, verdict.error), now)
        else:
            policy, random = self._world.policy, self._world.random
            wait = retry.pause(policy, self._asked, verdict.error.retry_after, random)
            self._world.at(now + wait, self._ask, ask)

    def _gives_up(self, ask: Ask, now: float) -> bool:
        """As the API does; complete is never repeated there."""
        policy = self._world.policy
        if ask.call is Call.COMPLETE:
            return True
        if ask.first:
            return self._asked >= policy.first_attempts
        return retry.is_spent(policy, self._asked, now - self._asked_at)

    def _told(self, call: Call, now: float) -> Upload:
        if call is Call.COMPLETE:
            self._status = "validating"
        elif call is Call.GET and self._status == "validating":
            self._status = "validated"
        if self._status != "pending":
            return _decided(self._status)
        self._looks += 1
        return _pending(self.session.plan.count, self._looks % 2, EPOCH + self._world.links_expire(now))


@lru_cache
def _decided(status: str) -> Upload:
    return Upload.model_validate({"id": "up", "status": status})


# A few are enough: uploads that ask in the same second are told the same.
@lru_cache(16)
def _pending(parts: int, generation: int, expires: float) -> Upload:
    """What the service says of an upload that is sent: its links."""
    url = f"https://store.example/{{}}?Generation={generation}&Expires={expires}"
    links = [{"number": n, "url": url.format(n), "expires": expires} for n in range(1, parts + 1)]
    return Upload.model_validate({"id": "up", "status": "pending", "parts": links})


def expires(put: Put) -> float:
    """Until when the link of an attempt holds, by the virtual clock."""
    return float(put.url.reveal().rpartition("=")[2]) - EPOCH
