"""All that anybody could be told of an upload: logs, streams, events, results, errors, objects, state."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class _Loud(logging.Logger):
    """A logger made while all is logged, whatever level its maker sets it to."""

    def isEnabledFor(self, level: int) -> bool:  # noqa: N802 - the base class named it
        return True


class _Ear(logging.Handler):
    """Keeps all that could be made of a record."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__(level=0)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.threadName).startswith(
            "uploader-local"
        ):  # the service, which is in this process in tests only
            return
        said = f"{record.name}: {record.getMessage()}"
        self._lines += [said, str(record.args), repr(vars(record)), self.format(record)]


@contextmanager
def all_logged() -> Iterator[list[str]]:
    """Every logger at its loudest, and those that are made meanwhile. Yields what they say."""
    lines: list[str] = []
    ear, root = _Ear(lines), logging.getLogger()
    known = [it for it in root.manager.loggerDict.values() if isinstance(it, logging.Logger)]
    kind = logging.getLoggerClass()
    with ExitStack() as stack:
        for logger in (root, *known):
            stack.callback(logger.setLevel, logger.level)
            stack.callback(setattr, logger, "disabled", logger.disabled)
            logger.setLevel(1)
            logger.disabled = False
            if logger is root or not logger.propagate:
                stack.callback(logger.removeHandler, ear)
                logger.addHandler(ear)
        stack.callback(logging.setLoggerClass, kind)
        logging.setLoggerClass(_Loud)
        yield lines


@dataclass
class Overheard:
    """What there was to hear of an upload.

    Attributes:
        log: the lines of all loggers.
        out: standard output.
        err: standard error.
        events: what the listener was told.
        result: what was returned.
        error: what was raised.
        objects: what the caller holds.
        state: the state directory.
    """

    log: list[str] = field(default_factory=list)
    out: str = ""
    err: str = ""
    events: list[Any] = field(default_factory=list)
    result: BaseModel | None = None
    error: BaseException | None = None
    objects: list[object] = field(default_factory=list)
    state: Path | None = None

    def told(self) -> dict[str, bytes]:
        """Everything as bytes, by the way it was told."""
        texts = {
            "log": "\n".join(self.log).encode(errors="surrogateescape"),
            "stdout": self.out.encode(errors="surrogateescape"),
            "stderr": self.err.encode(errors="surrogateescape"),
            "events": b"\n".join(map(_of_event, self.events)),
            "result": _of_model(self.result) if self.result else b"",
            "objects": b"\n".join(map(_of_object, self.objects)),
            "state": b"\n".join(_of_directory(self.state)) if self.state else b"",
        }
        if self.error is not None:
            texts |= _of_error(self.error)
        return texts


def _shown(value: object) -> bytes:
    return f"{value}\n{value!r}\n{[value]}".encode(errors="surrogateescape")


def _of_event(event: Any) -> bytes:
    fields = json.dumps(dataclasses.asdict(event), default=repr).encode()
    return b"\n".join((_shown(event), pickle.dumps(event), fields))


def _of_model(model: BaseModel) -> bytes:
    return b"\n".join((_shown(model), pickle.dumps(model), model.model_dump_json().encode()))


def _of_object(value: object) -> bytes:
    held = repr(vars(value)) if hasattr(value, "__dict__") else ""
    return _shown(value) + _shown(copy.copy(value)) + held.encode(errors="surrogateescape")


def _of_directory(directory: Path) -> Iterator[bytes]:
    for path in directory.rglob("*"):
        yield bytes(path)
        if path.is_file():
            yield path.read_bytes()


def _of_error(error: BaseException) -> dict[str, bytes]:
    """An error with all it came of, shown or not."""
    links, left = list[BaseException](), [error]
    while left:
        link = left.pop()
        if link not in links:
            links.append(link)
            left += [it for it in (link.__cause__, link.__context__) if it is not None]
    traces = [
        "".join(traceback.TracebackException.from_exception(link, capture_locals=True).format())
        for link in links
    ]
    notes = [note for link in links for note in getattr(link, "__notes__", [])]
    return {
        "error": b"\n".join(_shown(link) + repr((link.args, vars(link))).encode() for link in links),
        "error, pickled": pickle.dumps(error),
        "error, its notes": "\n".join(notes).encode(errors="surrogateescape"),
        "traceback": "\n".join(traces).encode(errors="surrogateescape"),
    }
