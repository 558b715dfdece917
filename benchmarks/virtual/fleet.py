"""Many uploads begin at once and share one store: how long they take, what they ask, what deciding costs.

Times are seconds, sizes are bytes.
"""

from __future__ import annotations

import gc
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from uploader.core.calls import Call
from uploader.core.events import Action, Happening, Put
from uploader.core.outcomes import Answer
from uploader.core.plan import Plan
from uploader.core.retry import RetryBudget
from uploader.core.session import UploadSession
from uploader.options import RetryPolicy

from .store import Store, Terms
from .uploading import PART_SIZE, ROUND_TRIP, STORED, Uploading, World


@dataclass(frozen=True)
class Fleet:
    """Who uploads what to which store.

    Attributes:
        sessions: uploads, each a process of its own: its own budget, and no word of the others.
        parts: of each, of 16 MiB.
        concurrency: the most parts of each in flight.
        terms: what the store grants.
        spread: they begin within this time.
    """

    sessions: int = 1
    parts: int = 32
    concurrency: int = 8
    terms: Terms = field(default_factory=Terms)
    spread: float = 1.0
    seed: int = 1

    @property
    def all_parts(self) -> int:
        """Of all sessions."""
        return self.sessions * self.parts

    @property
    def ideal(self) -> float:
        """The least time: nothing but bytes at the rate there is for them, and parts as fast as taken."""
        streams = self.sessions * min(self.concurrency, self.parts)
        rate = min(self.terms.rate, streams * self.terms.connection_rate)
        return max(self.all_parts * PART_SIZE / rate, self.all_parts / self.terms.requests)


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        requests: how many, by what they were for: "put", "create", "get", "complete".
        refused: PUTs that stored nothing.
        retries: attempts that failed and were made again, as the sessions count them.
        refreshes: answers that carried fresh links.
        began: when the first session did.
        ends: when each was done.
        failed: what the others ended in.
        core_ns: CPU nanoseconds spent in the sessions.
    """

    requests: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    retries: int = 0
    refreshes: int = 0
    began: float = math.inf
    ends: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    core_ns: int = 0


class Metered(UploadSession):
    """The real session, and the CPU time it takes: to be made, for every answer, for saying when to wake it.

    Reading the clock is in it: some 0.3 microseconds each time, twice for each answer.
    """

    def __init__(self, outcome: Outcome, plan: Plan, **options: Any) -> None:
        self._outcome = outcome
        with self._metered():
            super().__init__(plan, **options)

    def start(self, now: float) -> list[Action]:
        """As the session's."""
        with self._metered():
            return super().start(now)

    def handle(self, happening: Happening, now: float) -> list[Action]:
        """As the session's."""
        began = time.process_time_ns()
        actions = super().handle(happening, now)
        self._outcome.core_ns += time.process_time_ns() - began
        return actions

    @property
    def wake(self) -> float | None:
        """As the session's."""
        began = time.process_time_ns()
        wake = super().wake
        self._outcome.core_ns += time.process_time_ns() - began
        return wake

    @contextmanager
    def _metered(self) -> Iterator[None]:
        began = time.process_time_ns()
        yield
        self._outcome.core_ns += time.process_time_ns() - began


class Harbour(World):
    """The store and the service, and all the sessions of a fleet."""

    def __init__(self, fleet: Fleet) -> None:
        super().__init__(RetryPolicy(), Random(fleet.seed).random)
        self.fleet = fleet
        self.outcome = Outcome()
        self._store = Store(self, fleet.terms)

    def outcome_of_all(self) -> Outcome:
        """Let them begin, and run to the end."""
        for _ in range(self.fleet.sessions):
            self.at(self.random() * self.fleet.spread, self._begin, None)
        self.run()
        ended = len(self.outcome.ends) + len(self.outcome.failed)
        assert ended == self.fleet.sessions, "somebody is stuck"
        return self.outcome

    def put(self, put: Put, now: float, ended: Callable[[Answer, float], None]) -> None:
        """A PUT begins."""
        self.outcome.requests["put"] += 1

        def counted(answer: Answer, end: float) -> None:
            self.outcome.refused += answer is not STORED
            ended(answer, end)

        self._store.put(put, now, counted)

    def call(self, call: Call, now: float) -> tuple[float, Answer]:
        """The service has time for everybody."""
        self.outcome.requests[call.name.lower()] += 1
        return now + 2 * ROUND_TRIP, STORED

    def links_expire(self, now: float) -> float:
        """It signs for whole seconds."""
        return int(now) + self.fleet.terms.lifetime

    def _begin(self, _: None, now: float) -> None:
        self.outcome.began = min(self.outcome.began, now)
        session = Metered(
            self.outcome,
            Plan(self.fleet.parts * PART_SIZE, PART_SIZE),
            file_name="file",
            concurrency=self.fleet.concurrency,
            policy=self.policy,
            budget=RetryBudget(self.policy.budget, self.policy.budget_rate),
            random=self.random,
        )
        Uploading(self, session, self._over).begin(None, now)

    def _over(self, upload: Uploading, now: float) -> None:
        result = upload.session.result
        if result is None:
            self.outcome.failed.append(str(upload.session.error))
            return
        self.outcome.ends.append(now)
        self.outcome.retries += result.retries
        self.outcome.refreshes += result.url_refreshes


def sail(fleet: Fleet) -> Outcome:
    """What comes of a fleet. The garbage collector rests: its time would depend on all that is modelled."""
    gc.disable()
    try:
        return Harbour(fleet).outcome_of_all()
    finally:
        gc.enable()
