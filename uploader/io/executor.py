"""Attempts on an executor that somebody else set up: a pool of processes, a cluster of machines.

What goes to a worker is an `Errand`, and what comes back a `PartResult`: no credential of the API, no
journal, no decision. The presigned URL does go with it, as it must, and shows in the pickle alone.

An executor can neither say how far an attempt is nor end one that runs. So progress moves part by part, no
straggler is sought, and when an upload is stopped the parts under way go on to their end, which does no harm:
they are of the very file that the upload is of.
"""

from __future__ import annotations

import os
import pickle
import secrets
import socket
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from types import TracebackType
from typing import Self

from uploader.core.outcomes import Break, Broken
from uploader.core.policy import StoragePolicy
from uploader.core.scrub import scrub
from uploader.errors import UploaderError
from uploader.io.connections import TRUST_VARIABLES, Connections, Scope, make_tls_context
from uploader.io.storage import Meter, PartResult, PartTask, put

# What an executor raises when it cannot run our function at all, here or there.
_CANNOT_RUN = (ImportError, AttributeError, TypeError, pickle.PickleError)


@dataclass(frozen=True, slots=True)
class Errand:
    """What a worker is to do, picklable.

    Attributes:
        storage: where it may connect to.
        token: tells it from every other, another attempt at the same part with the same URL included: Dask
            takes tasks that are alike for one, and would hand out the first one's result.
    """

    task: PartTask
    storage: StoragePolicy
    token: str


def carry_out(errand: Errand) -> PartResult:
    """In a worker: make one attempt."""
    try:
        source = errand.task.source.seen_here()
    except OSError as error:
        said = f"{error.strerror or error} {_here()}: is it on storage that every worker sees?"
        return _unsent(Break.UNREADABLE, said)
    connections = _connections(errand.storage, *map(os.environ.get, TRUST_VARIABLES))
    done = put(replace(errand.task, source=source), connections, Scope(), Meter())
    if isinstance(done.answer, Broken):
        answer = replace(done.answer, detail=f"{done.answer.detail} {_here()}".lstrip())
        done = replace(done, answer=answer)
    return done


@lru_cache(maxsize=8)
def _connections(storage: StoragePolicy, *_trust: str | None) -> Connections:
    """This process' connections to where a policy lets it, by certificates that are trusted so.

    They are kept from one part to the next.
    """
    return Connections(lru_cache(make_tls_context), storage.permitted)


def _here() -> str:
    return f"on {socket.gethostname()}"


class OnExecutor:
    """See `Workers`, and this module.

    Args:
        executor: runs the attempts; it is not shut down.
        storage: where parts may be sent, as it is known when one is.
    """

    def __init__(self, executor: Executor, storage: Callable[[], StoragePolicy]) -> None:
        self._executor = executor
        self._storage = storage
        self._attempts: dict[int, _Attempt] = {}

    def start(self, attempt: int, task: PartTask) -> Future[PartResult]:
        """See `Workers`."""
        errand = Errand(task, self._storage(), secrets.token_hex(8))
        try:
            it = _Attempt(self._executor.submit(carry_out, errand))
        except Exception as error:  # noqa: BLE001 - shut down, broken, its connection lost: all are one to us
            refused: Future[PartResult] = Future()
            refused.set_result(_unsent(Break.EXECUTOR, _said(error)))
            return refused
        self._attempts[attempt] = it
        it.running.add_done_callback(it.settle)
        return it.result

    def land(self, attempt: int) -> None:
        """See `Workers`."""
        self._attempts.pop(attempt, None)

    def sample(self) -> None:
        """See `Workers`: how far they are cannot be seen, but that none of them will ever end."""
        if self._attempts and _is_closed(self._executor):
            for it in self._attempts.values():
                it.give_up("its scheduler is gone")

    def abort(self, attempt: int) -> None:
        """See `Workers`: it ends if it was not begun."""
        self._attempts[attempt].running.cancel()

    def abort_all(self) -> None:
        """See `Workers`: those end that were not begun."""
        if not _is_closed(self._executor):
            for it in list(self._attempts.values()):
                it.running.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort_all()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """An attempt under way.

    Attributes:
        running: the executor's future.
        result: ours, which raises none of the executor's own troubles: they are not the part's fault.
    """

    running: Future[PartResult]
    result: Future[PartResult] = field(default_factory=Future)

    def settle(self, _: Future[PartResult]) -> None:
        """It ended."""
        with suppress(InvalidStateError):  # it was given up
            try:
                self.result.set_result(self.running.result())
            except UploaderError as error:
                self.result.set_exception(error)
            except CancelledError:
                self._end(Break.LOST, "it was cancelled")
            except _CANNOT_RUN as error:
                self._end(Break.EXECUTOR, _said(error))
            except BaseException as error:  # noqa: BLE001 - of any kind
                self._end(Break.LOST, _said(error))

    def give_up(self, why: str) -> None:
        """It will never end."""
        with suppress(InvalidStateError):  # it did
            self._end(Break.EXECUTOR, why)

    def _end(self, how: Break, said: str) -> None:
        self.result.set_result(_unsent(how, said))


def _unsent(how: Break, said: str) -> PartResult:
    return PartResult(Broken(how, said), 0, None, 0.0)


def _is_closed(executor: Executor) -> bool:
    """Whether it is one of Dask's whose client is closed, as it is some seconds after its scheduler is lost.

    What was submitted just then may never end, and nothing can be cancelled any more.
    """
    client = getattr(executor, "_client", None)
    return getattr(client, "status", None) == "closed"


def _said(error: BaseException) -> str:
    return scrub(f"{type(error).__name__}: {error}")
