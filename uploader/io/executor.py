"""Attempts on an executor that somebody else set up: a pool of processes, a cluster of machines.

What goes to a worker is an `Errand`, and what comes back a `PartResult`: no credential of the API, no
journal, no decision.

An executor can neither say how far an attempt is nor end one that runs. So progress moves part by part, no
straggler is sought, and when an upload is stopped the parts under way go on to their end, which does no harm:
they are of the very file that the upload is of.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from uploader.core.outcomes import Break, Broken
from uploader.core.policy import StoragePolicy
from uploader.core.scrub import scrub
from uploader.errors import SourceChangedError, SourceError
from uploader.io.dask import Watch
from uploader.io.errand import Errand
from uploader.io.source import Source
from uploader.io.storage import PartResult, PartTask, unsent
from uploader.io.workers import refused

# What an executor raises when it cannot run an errand at all, here or there.
_CANNOT_RUN = (ImportError, AttributeError, TypeError, pickle.PickleError)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt under way.

    Attributes:
        name: its task's, where the executor knows such.
        running: the executor's future.
        result: ours, which raises none of the executor's own troubles: they are not the part's fault.
    """

    name: str
    running: Future[Any]
    result: Future[PartResult] = field(default_factory=Future)


class OnExecutor:
    """See `Workers`, and this module.

    Args:
        executor: runs the attempts; it is not shut down.
        storage: where parts may be sent, as it is known when one is.
    """

    def __init__(self, executor: Executor, storage: Callable[[], StoragePolicy]) -> None:
        self._executor = executor
        self._storage = storage
        self._watch = Watch.over(executor)
        self._attempts: dict[int, _Attempt] = {}

    def start(self, attempt: int, task: PartTask) -> Future[PartResult]:
        """See `Workers`."""
        errand = Errand.of(task, self._storage())
        name = f"part-{task.part.number}-{errand.token}"
        named: dict[str, Any] = {"key": name} if self._watch else {}  # by that it is on Dask's dashboard
        try:
            running = self._executor.submit(pickle.load, errand.pack(), **named)
        except Exception as error:  # noqa: BLE001 - shut down, broken, its connection lost: all are one to us
            return refused(Broken(Break.EXECUTOR, _said(error)))
        it = self._attempts[attempt] = _Attempt(name, running)
        # Without a way back from the one future to the other, or what was sent would stay in memory.
        running.add_done_callback(partial(_settle, it.result, task.source))
        return it.result

    def land(self, attempt: int) -> None:
        """See `Workers`."""
        it = self._attempts.pop(attempt, None)
        if it and self._watch:
            self._watch.forget(it.name)

    def sample(self) -> None:
        """See `Workers`: how far they are cannot be seen; that the end of one will never be told, perhaps."""
        if self._watch is None:
            return
        for it in self._attempts.values():
            loss = self._watch.loss(it.name, time.monotonic())
            if loss:
                with suppress(InvalidStateError):  # its end was told after all
                    it.result.set_result(unsent(loss))

    def abort(self, attempt: int) -> None:
        """See `Workers`: it ends if it was not begun."""
        self._attempts[attempt].running.cancel()

    def abort_all(self) -> None:
        """See `Workers`: those end that were not begun."""
        if not (self._watch and self._watch.is_closed):
            for it in list(self._attempts.values()):
                it.running.cancel()

    def close(self) -> None:
        """See `Workers`."""
        self.abort_all()


def _settle(result: Future[PartResult], source: Source, running: Future[Any]) -> None:
    """Pass on how an attempt ended."""
    with suppress(InvalidStateError):  # it was given up
        result.set_result(_outcome(source, running))


def _outcome(source: Source, running: Future[Any]) -> PartResult:
    try:
        done = running.result()
    except CancelledError:
        return unsent(Broken(Break.LOST, "it was cancelled"))
    except _CANNOT_RUN as error:
        return unsent(Broken(Break.EXECUTOR, _said(error)))
    except BaseException as error:  # noqa: BLE001 - of any kind
        return unsent(Broken(Break.LOST, _said(error)))
    if not isinstance(done, PartResult):
        return unsent(Broken(Break.EXECUTOR, f"it answered {type(done).__name__}"))
    return _told_apart(source, done)


def _told_apart(source: Source, done: PartResult) -> PartResult:
    """A file that changed for a worker and not here is another one, or another's view of it."""
    if not (isinstance(done.answer, Broken) and done.answer.kind is Break.CHANGED):
        return done
    try:
        source.check()
    except SourceChangedError:
        return done
    except SourceError as error:
        return replace(done, answer=Broken(Break.UNREADABLE, f"{done.answer.detail}, and here: {error}"))
    said = f"{done.answer.detail}, but not here: is it on storage that every worker sees?"
    return replace(done, answer=Broken(Break.UNREADABLE, said))


def _said(error: BaseException) -> str:
    return scrub(f"{type(error).__name__}: {error}")
