"""What goes to a worker of somebody else's executor, and what it does there.

An errand travels as a pickle in a `BytesIO`, and a worker opens it with Python's own `pickle.load`: to open
it is to carry it out. So a worker without this library, or with another version, fails as tasks may fail.
(What a Dask worker cannot even receive ends it, is handed to the next one, and is printed whole.) And what is
printed of it, by whomever, does not show what is in it: a presigned URL.
"""

from __future__ import annotations

import io
import os
import pickle
import secrets
import socket
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from uploader.core.outcomes import Break, Broken
from uploader.core.policy import StoragePolicy
from uploader.errors import SourceError
from uploader.io.connections import TRUST_VARIABLES, Connections, Scope, make_tls_context
from uploader.io.storage import Meter, PartResult, PartTask, no_attempt, put, unsent
from uploader.version import __version__


@dataclass(frozen=True, slots=True)
class Errand:
    """One attempt, to be made elsewhere.

    Attributes:
        storage: where the worker may connect to.
        token: tells it from every other, another attempt at the same part with the same URL included: Dask
            takes tasks that are alike for one, and would hand out the first one's result.
    """

    task: PartTask
    storage: StoragePolicy
    token: str

    @classmethod
    def of(cls, task: PartTask, storage: StoragePolicy) -> Errand:
        """An errand unlike any other."""
        return cls(task, storage, secrets.token_hex(8))

    def pack(self) -> io.BytesIO:
        """What `pickle.load` carries out."""
        return io.BytesIO(pickle.dumps(_Order(self)))


@dataclass(frozen=True, slots=True)
class _Order:
    """Unpickled, it is what came of its errand."""

    errand: Errand

    def __reduce__(self) -> tuple[Any, ...]:
        return carry_out, (__version__, self.errand)


def carry_out(version: str, errand: Errand) -> PartResult:
    """In a worker: make one attempt.

    Raises:
        ImportError: the coordinator has another `version` of this library.
    """
    if version != __version__:
        raise ImportError(f"scenario-uploader is version {version} here and {__version__} there")
    done = _attempt(errand)
    if isinstance(done.answer, Broken):
        detail = f"{done.answer.detail} ({_here()})".lstrip()
        return replace(done, answer=replace(done.answer, detail=detail))
    return done


def _attempt(errand: Errand) -> PartResult:
    try:
        source = errand.task.source.seen_here()
    except SourceError as error:
        how = no_attempt(error)
        if how.kind is Break.UNREADABLE:
            how = replace(how, detail=f"{how.detail}: is it on storage that every worker sees?")
        return unsent(how)
    connections = _connections(errand.storage, *map(os.environ.get, TRUST_VARIABLES))
    return put(replace(errand.task, source=source), connections, Scope(), Meter())


@lru_cache(maxsize=8)
def _connections(storage: StoragePolicy, *_trust: str | None) -> Connections:
    """This process' connections to where a policy lets it, by certificates that are trusted so.

    They are kept from one part to the next.
    """
    return Connections(lru_cache(make_tls_context), storage.permitted)


def _here() -> str:
    return f"on {socket.gethostname()}"
