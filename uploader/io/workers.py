"""Who makes the attempts at parts: threads of this process, or any executor that somebody else set up."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from uploader.core.events import Sampled
from uploader.core.outcomes import Broken
from uploader.io.connections import Connections, Scope
from uploader.io.pool import Pool
from uploader.io.storage import Meter, PartResult, PartTask, no_attempt, put, unsent


class Workers(Protocol):
    """Makes attempts, as many side by side as it is told to. For one thread.

    Attempts are known by the ids that the session gave them.
    """

    def start(self, attempt: int, task: PartTask) -> Future[PartResult]:
        """Begin an attempt. What the future raises is a defect."""
        ...

    def land(self, attempt: int) -> None:
        """An attempt has ended, and its result was taken."""
        ...

    def sample(self) -> Sampled | None:
        """How far the attempts under way are; None where there are none, or it cannot be seen from here."""
        ...

    def abort(self, attempt: int) -> None:
        """End an attempt, at once if that can be done from here."""
        ...

    def abort_all(self) -> None:
        """End all that are under way."""
        ...

    def close(self) -> None:
        """Abort what is under way, and make no more."""
        ...


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt under way: how far it is, and what ends it."""

    meter: Meter = field(default_factory=Meter)
    scope: Scope = field(default_factory=Scope)


class Threads:
    """Threads of this process. Where there can be no further one, those there are go on with what they have.

    Args:
        connections: carry the parts.
        most: threads, at most.
    """

    def __init__(self, connections: Connections, most: int) -> None:
        self._connections = connections
        self._pool = Pool(most, "uploader-part")
        self._attempts: dict[int, _Attempt] = {}

    def start(self, attempt: int, task: PartTask) -> Future[PartResult]:
        """See `Workers`."""
        it = self._attempts[attempt] = _Attempt()
        try:
            return self._pool.submit(partial(put, task, self._connections, it.scope, it.meter))
        except (OSError, MemoryError) as error:
            return refused(no_attempt(error))

    def land(self, attempt: int) -> None:
        """See `Workers`."""
        del self._attempts[attempt]

    def sample(self) -> Sampled | None:
        """See `Workers`."""
        if not self._attempts:
            return None
        meters: Mapping[int, Meter] = {number: it.meter for number, it in self._attempts.items()}
        reading = frozenset(number for number, meter in meters.items() if meter.reading)
        return Sampled({number: meter.sent for number, meter in meters.items()}, reading)

    def abort(self, attempt: int) -> None:
        """See `Workers`: it ends within a millisecond."""
        self._attempts[attempt].scope.cancel()

    def abort_all(self) -> None:
        """See `Workers`."""
        for it in self._attempts.values():
            it.scope.cancel()

    def close(self) -> None:
        """See `Workers`: no thread is left."""
        try:
            self.abort_all()
        finally:  # Ctrl-C may come twice
            self._pool.close()


def refused(how: Broken) -> Future[PartResult]:
    """An attempt that nobody makes."""
    future = Future[PartResult]()
    future.set_result(unsent(how))
    return future
