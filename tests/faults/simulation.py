"""Many uploads on a virtual clock: what they do to a store in trouble, and how they come out of it.

    python -m tests.faults.simulation --uploaders 50 1000 10000 --scene storm silent

The sessions are the real ones: see `benchmarks/virtual`, which `benchmarks/simulate.py` uses too.

The budget is what the policy allows to be asked: the first attempts, and the retries.

    for each upload       parts + 3 control calls (create, complete, one look at the verdict)
    for each uploader     budget + budget_rate * the seconds from its first failure to its end

A retry that stores its part is paid for too, though the policy gives that token back.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Protocol

from benchmarks.virtual.store import Quota
from benchmarks.virtual.uploading import BUSY, PART_SIZE, ROUND_TRIP, SLOW_DOWN, STORED, Uploading, World
from uploader.core import retry
from uploader.core.calls import Call
from uploader.core.events import Put
from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.core.plan import Plan
from uploader.core.session import UploadSession
from uploader.errors import UploaderError
from uploader.options import RetryPolicy

BUSY_FOR_5 = Response(503, {"retry-after": "5"}, SLOW_DOWN)
FAULT = Response(500, {}, b"<Error><Code>InternalError</Code></Error>")
REFUSED = Broken(Break.CONNECT, "connection refused")
BROKEN = Broken(Break.RESET, "connection reset by peer")
SILENT = Broken(Break.STALL, "timed out")

# An outage lasts ten minutes.
LENGTH = 600.0

# Links outlive everything here.
NEVER = 3e9


# What there is to talk to


class Server(Protocol):
    """A store, or the service."""

    def meet(self, now: float, seconds: float, part: int) -> tuple[float, Answer]:
        """When a request of `now` that would take `seconds` ends, and in what; a control call is part 0."""


@dataclass
class Calm:
    """Has time for everybody."""

    def meet(self, now: float, seconds: float, part: int) -> tuple[float, Answer]:
        return now + seconds, STORED


@dataclass
class Outage:
    """From `start` on, for `length` seconds, all comes to `answer` after `delay`; else as `behind` has it.

    Where that is no answer, what is under way when it begins breaks too.
    """

    start: float
    answer: Answer
    delay: float = ROUND_TRIP
    length: float = LENGTH
    behind: Server = field(default_factory=Calm)

    def meet(self, now: float, seconds: float, part: int) -> tuple[float, Answer]:
        if self.start <= now < self.start + self.length:
            return now + self.delay, self.answer
        end, answer = self.behind.meet(now, seconds, part)
        if now < self.start < end and isinstance(self.answer, Broken):
            return self.start + self.delay, BROKEN
        return end, answer


class Limited:
    """Takes `rate` requests a second, a second's worth of them at once, and says `answer` to all above."""

    def __init__(self, rate: float, answer: Answer) -> None:
        self.rate = rate
        self._answer = answer
        self._quota = Quota(rate)

    def meet(self, now: float, seconds: float, part: int) -> tuple[float, Answer]:
        if self._quota.take(now):
            return now + seconds, STORED
        return now + ROUND_TRIP, self._answer


@dataclass
class Spoilt:
    """Never takes one part of an upload."""

    part: int

    def meet(self, now: float, seconds: float, part: int) -> tuple[float, Answer]:
        if part == self.part:
            return now + ROUND_TRIP, FAULT
        return now + seconds, STORED


# Who talks


@dataclass(frozen=True)
class Scene:
    """Who uploads what, and what befalls them.

    Attributes:
        uploaders: how many there are. They begin within the time that one part takes.
        uploads: of each uploader, which share its budget.
        parts: of each upload.
        seconds: what sending a part takes, give or take a quarter, however many are sent at once.
        store: makes the store.
        api: makes the service.
    """

    uploaders: int = 50
    uploads: int = 1
    parts: int = 40
    concurrency: int = 8
    seconds: float = 8.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)
    store: Callable[[], Server] = Calm
    api: Callable[[], Server] = Calm
    seed: int = 1

    @property
    def all_parts(self) -> int:
        return self.uploaders * self.uploads * self.parts

    @property
    def demand(self) -> float:
        """Requests a second that all make together where nothing hinders them."""
        return self.uploaders * self.uploads * self.concurrency / self.seconds

    @property
    def middle(self) -> float:
        """When everybody has sent about half."""
        return 0.6 * self.parts / self.concurrency * self.seconds


@dataclass
class Client:
    """An uploader, with the budget its uploads share."""

    budget: retry.RetryBudget
    troubled: float | None = None
    end: float = 0.0


@dataclass
class Outcome:
    """What came of it. Times are seconds from the beginning.

    Attributes:
        requests: how many, by what they were for: "put", "create", "get", "complete".
        per_second: how many began in each second.
        stored: how many times the store took a part.
        done: how many uploads came to a result.
        errors: what the others ended in.
        end: when the last one was over.
        budget: how many requests the policy allows.
    """

    requests: Counter[str] = field(default_factory=Counter)
    per_second: Counter[int] = field(default_factory=Counter)
    stored: int = 0
    done: int = 0
    errors: list[UploaderError] = field(default_factory=list)
    end: float = 0.0
    budget: float = 0.0

    @property
    def share(self) -> float:
        """The requests, as a share of the budget."""
        return self.requests.total() / self.budget

    def peak(self, since: float = 0.0) -> int:
        """The most requests in one second."""
        return max((count for second, count in self.per_second.items() if second >= since), default=0)


class Simulation(World):
    """All that is not the uploads; runs a scene to its end."""

    def __init__(self, scene: Scene) -> None:
        super().__init__(scene.policy, Random(scene.seed).random)
        self.scene = scene
        self.store = scene.store()
        self.api = scene.api()
        self.outcome = Outcome()

    def outcome_of_all(self) -> Outcome:
        scene, policy, outcome = self.scene, self.scene.policy, self.outcome
        budgets = (retry.RetryBudget(policy.budget, policy.budget_rate) for _ in range(scene.uploaders))
        clients = [Client(budget) for budget in budgets]
        for client in clients:
            for _ in range(scene.uploads):
                upload = Uploading(self, self._session(client), partial(self._over, client))
                self.at(self.random() * scene.seconds, upload.begin, None)
        self.run()
        assert outcome.done + len(outcome.errors) == scene.uploaders * scene.uploads, "somebody is stuck"
        outcome.end = max(client.end for client in clients)
        outcome.budget = sum(map(self._budget, clients))
        return outcome

    def put(self, put: Put, now: float, ended: Callable[[Answer, float], None]) -> None:
        seconds = self.scene.seconds * (0.75 + 0.5 * self.random())
        end, answer = self._ask(self.store, "put", now, seconds, put.part.number)
        self.outcome.stored += answer is STORED
        self.at(end, ended, answer)

    def call(self, call: Call, now: float) -> tuple[float, Answer]:
        return self._ask(self.api, call.name.lower(), now, 2 * ROUND_TRIP)

    def links_expire(self, now: float) -> float:
        return NEVER

    def _ask(
        self, server: Server, kind: str, now: float, seconds: float, part: int = 0
    ) -> tuple[float, Answer]:
        """Make a request: when it ends, and in what."""
        self.outcome.requests[kind] += 1
        self.outcome.per_second[int(now)] += 1
        return server.meet(now, seconds, part)

    def _session(self, client: Client) -> UploadSession:
        return UploadSession(
            Plan(self.scene.parts * PART_SIZE, PART_SIZE),
            file_name="file",
            concurrency=self.scene.concurrency,
            policy=self.policy,
            budget=client.budget,
            random=self.random,
        )

    def _over(self, client: Client, upload: Uploading, now: float) -> None:
        client.end = max(client.end, now)
        if upload.troubled is not None:
            client.troubled = min(upload.troubled, now if client.troubled is None else client.troubled)
        if upload.session.error is not None:
            self.outcome.errors.append(upload.session.error)
        else:
            self.outcome.done += 1

    def _budget(self, client: Client) -> float:
        scene = self.scene
        troubled = 0.0 if client.troubled is None else client.end - client.troubled
        retries = scene.policy.budget + scene.policy.budget_rate * troubled
        return scene.uploads * (scene.parts + 3) + retries


def simulate(scene: Scene) -> Outcome:
    """What comes of a scene."""
    return Simulation(scene).outcome_of_all()


# Scenes: each takes those who upload, and adds what befalls them


def storm(scene: Scene, answer: Answer = BUSY, share: float = 0.25) -> Scene:
    """The store takes a share of what everybody would send, all the time."""
    return replace(scene, store=partial(Limited, share * scene.demand, answer))


def outage(scene: Scene, answer: Answer, delay: float = ROUND_TRIP) -> Scene:
    """In mid-transfer, the store is out."""
    return replace(scene, store=partial(Outage, scene.middle, answer, delay))


def weak(scene: Scene, answer: Answer, delay: float = ROUND_TRIP) -> Scene:
    """The same, and before and after the store takes half of what everybody would send."""

    def store() -> Server:
        return Outage(scene.middle, answer, delay, behind=Limited(0.5 * scene.demand, BUSY))

    return replace(scene, store=store)


def everything(scene: Scene, answer: Answer, delay: float = ROUND_TRIP) -> Scene:
    """The service is out together with the store."""
    return replace(outage(scene, answer, delay), api=partial(Outage, scene.middle, answer, delay))


def service(scene: Scene, answer: Answer) -> Scene:
    """Only the service is out."""
    return replace(scene, api=partial(Outage, scene.middle, answer))


STORMS: dict[str, Callable[[Scene], Scene]] = {
    "storm": storm,
    "storm, Retry-After": partial(storm, answer=BUSY_FOR_5),
    "storm, a tenth": partial(storm, share=0.1),
}
OUTAGES: dict[str, Callable[[Scene], Scene]] = {
    "refused": partial(outage, answer=REFUSED),
    "503": partial(outage, answer=BUSY),
    "503, Retry-After": partial(outage, answer=BUSY_FOR_5),
    "500": partial(outage, answer=FAULT),
    "silent": partial(outage, answer=SILENT, delay=30.0),
    "refused, API too": partial(everything, answer=REFUSED),
    "silent, API too": partial(everything, answer=SILENT, delay=30.0),
    "API only": partial(service, answer=BUSY),
    "silent, then weak": partial(weak, answer=SILENT, delay=30.0),
}


def unhindered(scene: Scene) -> float:
    """Seconds until all is done where there is no outage, and the store takes all it can in a storm."""
    store = scene.store()
    if isinstance(store, Limited):
        return scene.all_parts / store.rate
    behind = store.behind if isinstance(store, Outage) else store
    # Where nothing is short, fifty are done as soon as thousands.
    enough = min(50, scene.uploaders) if isinstance(behind, Calm) else scene.uploaders
    return simulate(replace(scene, store=lambda: behind, api=Calm, uploaders=enough)).end


# The table

_COLUMNS = ("scene", "uploaders", "done", "requests", "of budget", "per part", "looks", "peak", "took", "CPU")


def table(scenes: Iterable[tuple[str, Scene]]) -> Iterator[str]:
    """A line for each scene.

    `looks`: control calls, for each upload. `peak`: the most requests in one second, once an outage is over,
    for each upload. `took`: seconds from the end of the outage, or the beginning of the storm, and how many
    times what it takes where nothing is in the way.
    """
    widths = [20, 9, 7, 9, 9, 8, 7, 6, 15, 7]
    yield "  ".join(f"{name:>{width}}" for name, width in zip(_COLUMNS, widths, strict=True))
    for name, scene in scenes:
        began = time.process_time()
        it = simulate(scene)
        cpu = time.process_time() - began
        out = scene.middle + LENGTH if name in OUTAGES else 0.0
        uploads, total = scene.uploaders * scene.uploads, it.requests.total()
        took = it.end - out
        fields = (
            name,
            f"{uploads:,}",
            f"{it.done:,}",
            f"{total:,}",
            f"{it.share:.0%}",
            f"{total / scene.all_parts:.1f}",
            f"{(total - it.requests['put']) / uploads:.1f}",
            f"{it.peak(out) / uploads:.2f}",
            f"{took:.0f} s ({took / unhindered(scene):.2f} x)",
            f"{cpu:.1f} s",
        )
        yield "  ".join(f"{text:>{width}}" for text, width in zip(fields, widths, strict=True))


def main() -> None:
    """Print the table."""
    kinds = {"calm": lambda scene: scene} | STORMS | OUTAGES
    parser = argparse.ArgumentParser(description="Retry storms on a virtual clock.")
    parser.add_argument("--uploaders", type=int, nargs="+", default=[50, 1000])
    parser.add_argument("--uploads", type=int, default=1, help="of each uploader, sharing its budget")
    parser.add_argument("--parts", type=int, default=40, help="of each upload")
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0, help="that sending a part takes")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scene", nargs="+", choices=kinds, default=list(kinds))
    given = vars(parser.parse_args())
    names, numbers = given.pop("scene"), given.pop("uploaders")
    scenes = [(name, kinds[name](Scene(uploaders=n, **given))) for n in numbers for name in names]
    for line in table(scenes):
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
