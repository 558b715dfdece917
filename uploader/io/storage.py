"""Put one part into the object store: one attempt, on a connection that carries no credential but the URL."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx

from uploader.core.links import signed_headers
from uploader.core.outcomes import Answer, Break, Broken
from uploader.core.plan import Part
from uploader.errors import SourceChangedError, SourceError, UploaderError
from uploader.io.connections import Connection, Connections, Scope
from uploader.io.shortage import shortage
from uploader.io.source import Source, reason
from uploader.models import PresignedUrl
from uploader.options import Timeouts
from uploader.version import __version__


@dataclass(frozen=True, slots=True)
class PartTask:
    """One attempt at one part, picklable: the one thing whose pickle carries a presigned URL whole.

    `md5`: whether to hash what is sent.
    """

    source: Source
    part: Part
    url: PresignedUrl
    content_type: str
    md5: bool
    timeouts: Timeouts = field(default_factory=Timeouts)

    def __reduce__(self) -> tuple[Any, ...]:
        url, rest = self.url.reveal(), (self.content_type, self.md5, self.timeouts)
        return _make_task, (self.source, self.part, url, *rest)


def _make_task(source: Source, part: Part, url: str, *rest: Any) -> PartTask:
    return PartTask(source, part, PresignedUrl(url), *rest)


@dataclass(frozen=True, slots=True)
class PartResult:
    """How the attempt ended: the answer, bytes sent, hex MD5 (if asked for, and all were sent), seconds."""

    answer: Answer
    sent: int
    md5: str | None
    seconds: float


class Meter:
    """One attempt's bytes on the wire so far, and whether it waits for the file.

    Written by the worker, read by the engine.
    """

    __slots__ = ("reading", "sent")

    def __init__(self) -> None:
        self.sent = 0
        self.reading = False


class PartBody(httpx.SyncByteStream):
    """The bytes of one part, read and hashed block by block as they are sent.

    The file is checked before the first block and after the last, so no part is ever of two versions of it.
    """

    def __init__(self, task: PartTask, scope: Scope, meter: Meter, connection: Connection) -> None:
        self._task = task
        self._scope = scope
        self._meter = meter
        self._pace = connection.pace
        self._buffer = connection.buffer
        self._hash = hashlib.md5(usedforsecurity=False) if task.md5 else None
        self._whole = False

    @property
    def md5(self) -> str | None:
        """Hex MD5, once every byte was sent."""
        return self._hash.hexdigest() if self._hash and self._whole else None

    def __iter__(self) -> Iterator[bytes]:
        source, part = self._task.source, self._task.part
        left = part.length
        with source.reading() as file:
            file.seek(part.offset)
            while left:
                self._scope.check()
                self._meter.reading = True
                size = file.readinto(self._buffer[: min(self._pace.block, left)])
                self._meter.reading = False
                if not size:
                    break
                block = self._buffer[:size]
                if self._hash:
                    self._hash.update(block)
                began = time.monotonic()
                # No copy: it is sent before the next is read into its place.
                yield block  # type: ignore[misc]
                left -= len(block)
                self._meter.sent += len(block)
                self._pace.took(len(block), time.monotonic() - began, self._task.timeouts.stall)
        if left:
            raise SourceChangedError(f"{source.path.name} ended early")
        self._whole = True


def put(task: PartTask, connections: Connections, scope: Scope, meter: Meter) -> PartResult:
    """Make one attempt at sending a part. What it raises is a defect."""
    started = time.monotonic()
    answer: Answer
    md5 = None
    try:
        with connections.lend() as connection:
            body = PartBody(task, scope, meter, connection)
            answer = connection.ask(_request(task, body), scope)
            md5 = body.md5
    except (UploaderError, httpx.InvalidURL, MemoryError) as error:
        answer = no_attempt(error)
    if isinstance(answer, Broken) and answer.kind is Break.SHORTAGE:
        connections.close_idle()  # of which each holds a descriptor
    return PartResult(answer, meter.sent, md5, time.monotonic() - started)


def no_attempt(error: Exception) -> Broken:
    """What kept an attempt from being made, or from going on, though neither network nor store did."""
    match error:
        case httpx.InvalidURL():
            return Broken(Break.UNUSABLE)  # without its message, which may show the URL
        case SourceChangedError():
            return Broken(Break.CHANGED, str(error))
        case _ if lack := shortage(error):
            return Broken(Break.SHORTAGE, lack)
        case SourceError():
            return Broken(Break.UNREADABLE, reason(error.__cause__ or error))
        case _:  # its proxy, its certificates
            return Broken(Break.UNFIT, str(error))


def unsent(how: Broken) -> PartResult:
    """What came of an attempt that was none."""
    return PartResult(how, 0, None, 0.0)


def _request(task: PartTask, body: PartBody) -> httpx.Request:
    """The PUT: only what the signature covers, and no default header of a client's.

    The signature travels in the `target` extension and not in the request's URL, so neither httpx's logger
    nor an exception that shows the request can print it; and the path goes out byte for byte as it was
    signed.
    """
    whole = urlsplit(task.url.reveal())
    url = httpx.URL(str(task.url))
    headers = {
        "Host": url.netloc.decode("ascii"),
        "Content-Length": str(task.part.length),
        "Accept-Encoding": "identity",
        "User-Agent": f"scenario-uploader/{__version__}",
    }
    if "content-type" in signed_headers(task.url):
        headers["Content-Type"] = task.content_type
    timeouts = task.timeouts
    return httpx.Request(
        "PUT",
        url,
        headers=headers,
        stream=body,
        extensions={
            "target": f"{whole.path or '/'}{'?' * bool(whole.query)}{whole.query}".encode("ascii"),
            "timeout": {
                "connect": timeouts.connect,
                "write": timeouts.stall,
                "read": timeouts.answer,
            },
        },
    )
