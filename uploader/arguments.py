"""Arguments of the wrong kind are refused by name, before they do harm somewhere deeper."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from types import NoneType

from uploader.errors import InputError
from uploader.job import Job
from uploader.options import RetryPolicy, Timeouts

_TEXT = ((str, NoneType), "a string")

_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "api_key": _TEXT,
    "api_secret": _TEXT,
    "jwt": _TEXT,
    "base_url": _TEXT,
    "project_id": _TEXT,
    "retry": ((RetryPolicy, NoneType), "a RetryPolicy"),
    "timeouts": ((Timeouts, NoneType), "a Timeouts"),
    "state_dir": ((str, os.PathLike, NoneType), "a path"),
    "storage_hosts": ((Iterable, NoneType), "a list of hosts"),
    "executor": ((Executor, NoneType), "a concurrent.futures.Executor"),
    "path": ((str, os.PathLike), "a path"),
    "upload_id": ((str,), "a string"),
    "job": ((Job,), "a Job, as `prepare` makes it"),
    "progress": ((bool, Callable, NoneType), "True, False, None or a function"),  # type: ignore[dict-item]
    "cancelled": ((threading.Event, NoneType), "a threading.Event"),
}


def check_arguments(**given: object) -> None:
    """Refuse what cannot be meant.

    Raises:
        InputError: one is of another kind than it is documented to be.
    """
    for name, value in given.items():
        kinds, what = _KINDS[name]
        if not isinstance(value, kinds):
            raise InputError(f"{name} is {what}, not {type(value).__name__}")
