"""The fault language: what shall go wrong, for which request, how often. Pure.

    KIND[:key=value|flag]...        503:part=3    drop:part=5:at=50%    expire:part=7:times=inf

KIND
    200…599     answer with that status: `code=` and `message=` replace the usual ones
    drop        reset the connection: `at=headers` (default, before the body is read), `at=50%`, `at=NNN`
                bytes, or `at=answer` (all is carried out, the answer is lost)
    stall       stop reading (or, with `at=answer`, answering) at the same places, and hold the connection
    expire      the PUT is answered like one with an expired link
    etag        the part is stored, the answer carries a wrong ETag
    html        an HTML page with no request id, as a proxy sends: 403, or `status=502`
    redirect    a 307 to another path of the same host, or `to=URL`
    vanish      the upload is deleted: NoSuchUpload from the store, 404 from the API from then on
Target, exactly one
    part=N, part=*, on=create, on=get, on=complete
Modifiers
    times=N     how often it fires: default 1, `inf` for ever
    skip=N      the first N matching requests pass; a request counts whether or not another fault took it
    after=TEXT  also send `Retry-After: TEXT`, seconds or anything else
    early       answer on the headers and close at once, the body unread; otherwise the body is read first
                (after the answer, for expire and vanish)

A value may hold anything but a colon, which is written %3A; other percent escapes are decoded too. Only
requests that would be let in (signed, authorized) meet a fault. Of several that match, the first one fires.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from uploader.local.answers import usual_code

Kind = Literal["status", "drop", "stall", "expire", "etag", "html", "redirect", "vanish"]
Target = Literal["create", "get", "complete", "part", "other"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in a request a drop or stall happens: at its headers, in its body, or instead of its answer."""

    kind: Literal["headers", "percent", "bytes", "answer"] = "headers"
    amount: float = 0

    def cut(self, size: int) -> int | None:
        """How many bytes of a body of `size` are read before it happens; None: all are, and acted upon."""
        if self.kind == "percent":
            return int(size * self.amount / 100)
        return None if self.kind == "answer" else min(size, int(self.amount))


@dataclass(frozen=True, slots=True)
class Fault:
    """One parsed fault. `part` None is any part, `times` may be infinite, `after` is a Retry-After header."""

    spec: str
    kind: Kind
    target: Target
    part: int | None = None
    status: int = 200
    code: str | None = None
    message: str | None = None
    at: Place = Place()
    to: str | None = None
    times: float = 1
    skip: int = 0
    after: str | None = None
    early: bool = False

    def matches(self, target: Target, part: int | None) -> bool:
        """Whether it is meant for such a request, its counts aside."""
        return self.target == target and self.part in (None, part)

    @property
    def text(self) -> tuple[str, str]:
        """The error code and message a status fault answers with."""
        code = self.code if self.code is not None else usual_code(self.status)
        return code, self.message if self.message is not None else f"{code} (injected)"


class FaultPlan:
    """Which fault fires for which request: keeps the counts, decides nothing else."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self._entries = [_Entry(fault) for fault in faults]

    def next(self, target: Target, part: int | None = None) -> Fault | None:
        """The fault for the request that has just come in, or None. Each call counts as one request."""
        chosen = None
        for entry in self._entries:
            if entry.meets(target, part) and chosen is None:
                chosen = entry.fire()
        return chosen


class _Entry:
    """One fault, with how many requests it has seen and how often it fired."""

    def __init__(self, fault: Fault) -> None:
        self._fault, self._seen, self._fired = fault, 0, 0

    def meets(self, target: Target, part: int | None) -> bool:
        if not self._fault.matches(target, part):
            return False
        self._seen += 1
        return self._seen > self._fault.skip and self._fired < self._fault.times

    def fire(self) -> Fault:
        self._fired += 1
        return self._fault
