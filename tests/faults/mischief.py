"""What the peer does at random: every kind of answer, broken connections, and lies.

Each has a name, so that a schedule can be printed, and typed again.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from tests.faults.peer import (
    Behaviour,
    Exchange,
    LeftError,
    broken,
    carried_out,
    pass_on,
    reply,
    response,
    xml,
)

LONG_AGO, FAR_OFF = "2001-01-01T00:00:00Z", "9999-01-01T00:00:00Z"
ENDS = ("keep", "close", "reset", "half", "hold")


class Terse:
    """A dataclass that prints only what is not as usual."""

    def __repr__(self) -> str:
        said = [
            f"{it.name}={value!r}"
            for it in fields(self)  # type: ignore[arg-type]
            if (value := getattr(self, it.name)) != it.default
        ]
        return f"{type(self).__name__}({', '.join(said)})"


@dataclass(frozen=True, repr=False)
class Fault(Terse):
    """What the peer does to some of the requests of one kind.

    Attributes:
        on: "create", "get", "complete", "put" (any part), or a part number.
        does: which mischief.
        at: how much of the body it reads first, from 0 to 1; None: all.
        then: what it does with the connection afterwards, one of ENDS.
        skip: so many requests are passed on before.
        times: it is done to so many.
    """

    on: str | int
    does: str
    at: float | None = None
    then: str = "keep"
    skip: int = 0
    times: int = 1


@dataclass
class Witness:
    """What came of the faults.

    Attributes:
        lacks_parts: whether the service still waits for parts of an upload.
        swallowed: whether a part was called stored which the service does not have: nobody can know that
            before the service refuses to complete.
        fired: how often each mischief was done.
    """

    lacks_parts: Callable[[str], bool]
    swallowed: bool = False
    fired: Counter[str] = field(default_factory=Counter)


def script(faults: tuple[Fault, ...], witness: Witness) -> dict[int | str, list[Behaviour]]:
    """The faults as the peer takes them. Of several on the same kind, a later one comes after the first."""
    told: dict[int | str, list[Behaviour]] = {}
    for fault in faults:
        told.setdefault(fault.on, []).extend([pass_on] * fault.skip + [_noted(fault, witness)] * fault.times)
    return told


def _noted(fault: Fault, witness: Witness) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        witness.fired[f"{exchange.target}: {fault.does}"] += 1
        behaviour(fault, exchange, witness)(exchange)

    return behave


def behaviour(fault: Fault, exchange: Exchange, witness: Witness) -> Behaviour:
    """What a fault means for one request; of `fault` only `does`, `at` and `then` count."""
    at = None if fault.at is None else int(exchange.length * fault.at)
    if fault.does == "broken":
        return broken(at, fault.then)
    if fault.does == "lost":
        return carried_out(fault.then if fault.then != "keep" else "close")
    if fault.does in _HABITS:
        return _HABITS[fault.does]
    if fault.does == "swallowed":
        witness.swallowed = True
        return reply(response(200, "", 'ETag: "no-md5-1"'), read=at, then=fault.then)
    if fault.does == "smuggled":
        witness.swallowed = True  # the next part on this connection takes the second answer for its own
        return lambda it: it.send(it.ask_service() + response(200, "", 'ETag: "no-md5-1"'))
    if fault.does in _EDITS:
        return _edited(_EDITS[fault.does], witness)
    raw = (STORE_ANSWERS if exchange.target == "put" else API_ANSWERS)[fault.does]
    return reply(raw(exchange) if callable(raw) else raw, read=at, then=fault.then)


# Habits: the request is carried out, in a way of its own


def _late(exchange: Exchange) -> None:
    """The connection ends, and only then is it carried out."""
    exchange.read()
    socket.socket.shutdown(exchange.peer, socket.SHUT_RDWR)
    time.sleep(0.05)
    exchange.ask_service()
    raise LeftError


def _slow(exchange: Exchange) -> None:
    for upto in range(0, exchange.length, max(1, exchange.length // 5)):
        exchange.read(upto)
        time.sleep(0.01)
    pass_on(exchange)


def _hinting(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" + exchange.ask_service())


def _dribbling(exchange: Exchange) -> None:
    raw = exchange.ask_service()
    for start in range(0, 200, 40):
        exchange.send(raw[start : start + 40])
        time.sleep(0.002)
    exchange.send(raw[200:])


def _corrupting(exchange: Exchange) -> None:
    exchange.read()
    exchange.body[len(exchange.body) // 2] ^= 1
    pass_on(exchange)


def _cutting(exchange: Exchange) -> None:
    exchange.read()
    if exchange.length > 1:
        exchange.length //= 2
        del exchange.body[exchange.length :]
        length = b"\r\nContent-Length: %d" % exchange.length
        exchange.head = re.sub(rb"(?i)\r\ncontent-length:[^\r]*", length, exchange.head)
    pass_on(exchange)


def _relabelled(label: Callable[[bytes], bytes]) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        raw = exchange.ask_service()
        exchange.send(re.sub(rb"(?i)\r\netag: *([^\r]*)", lambda found: label(found[1]), raw, count=1))

    return behave


_HABITS: Mapping[str, Behaviour] = {
    "late": _late,
    "slow": _slow,
    "hinting": _hinting,
    "dribbling": _dribbling,
    "corrupted": _corrupting,
    "cut": _cutting,
    "wrong etag": _relabelled(lambda _: b'\r\nETag: "%s"' % (b"0bad" * 8)),
    "other etag": _relabelled(lambda _: b'\r\nETag: "no-md5-1"'),
    "no etag": _relabelled(lambda _: b""),
    "weak etag": _relabelled(lambda etag: b"\r\nETag: W/" + etag),
    "loud etag": _relabelled(lambda etag: b"\r\nETag: " + etag.upper()),
    "sealed etag": _relabelled(
        lambda _: b'\r\nx-amz-server-side-encryption: aws:kms\r\nETag: "%s"' % (b"0bad" * 8)
    ),
}
# What verify="none" cannot notice.
NEEDS_MD5 = frozenset({"corrupted", "cut"})


# Answers: the request is not carried out

Raw = bytes | Callable[[Exchange], bytes]

_PAGE = "<!doctype html><html><body>Blocked by policy. Sign in to go on.</body></html>"
_HTML = "Content-Type: text/html"
_ENDLESS = "X-Endless: " + "endless" * 40_000


def _echo(exchange: Exchange) -> str:
    """The request, as servers quote it."""
    return exchange.head.decode("latin-1").replace("&", "&amp;").replace("\r\n", "&#10;")


_COMMON: dict[str, Raw] = {
    "401": response(401),
    "404": response(404),
    "408": response(408),
    "409": response(409, xml("OperationAborted", "A conflicting operation is in progress.")),
    "413": response(413),
    "429 for a while": response(429, "", "Retry-After: 0.1"),
    "429 for ever": response(429, "", "Retry-After: 1000000000"),
    "499": response(499),
    "500": response(500, xml("InternalError", "We encountered an internal error. Please try again.")),
    "500 endless": response(500, b"x" * 300_000),
    "501": response(501),
    "502 page": response(502, _PAGE, _HTML),
    "503 negative": response(503, xml("SlowDown", "Please reduce your request rate."), "Retry-After: -5"),
    "503 garbage": response(503, "", "Retry-After: soon"),
    "503 gzip": response(503, gzip.compress(xml("SlowDown").encode()), "Content-Encoding: gzip"),
    "500 bomb": response(500, gzip.compress(bytes(5_000_000)), "Content-Encoding: gzip"),
    "504": response(504),
    "302": response(302, "", "Location: http://127.0.0.1:9/elsewhere"),
    "307": response(307, "", "Location: http://127.0.0.1:9/elsewhere"),
    "403 page": response(403, _PAGE, _HTML),
    "407": response(407, _PAGE, _HTML),
    "200 page": response(200, _PAGE, _HTML),
    "200 empty": response(200),
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "noise": b"\x16\x03\x01\x00\xff\x00 not HTTP at all\r\n\r\n",
    "endless headers": response(200, "", *[_ENDLESS] * 2),
    "cut short": response(200, "{", length=1000),
}
STORE_ANSWERS: Mapping[str, Raw] = _COMMON | {
    "expired at AWS": response(403, xml("AccessDenied", "Request has expired", Expires=LONG_AGO)),
    "expired at Ceph": response(403, xml("AccessDenied")),
    "expired at STS": response(400, xml("ExpiredToken", "The provided token has expired.")),
    "expired at R2": response(400, xml("ExpiredRequest", "Request has expired")),
    "expired at Garage": response(400, xml("InvalidRequest", "Bad request: Date is too old")),
    "to be refreshed": response(400, xml("TokenRefreshRequired", "The provided token must be refreshed.")),
    "not valid yet": response(403, xml("AccessDenied", "Request is not valid yet")),
    "skewed": response(403, xml("RequestTimeTooSkewed", "The difference between the times is too large.")),
    "mismatch": lambda it: response(403, xml("SignatureDoesNotMatch", _echo(it), StringToSign=_echo(it))),
    "denied": response(403, xml("AccessDenied", "Access Denied")),
    "timed out": response(400, xml("RequestTimeout", "Your socket connection was not read in time.")),
    "incomplete": response(400, xml("IncompleteBody", "You did not provide the number of bytes.")),
    "bad digest": response(400, xml("BadDigest", "The Content-MD5 you specified did not match.")),
    "too large": response(400, xml("EntityTooLarge", "Your proposed upload is too large.")),
    "no such upload": response(404, xml("NoSuchUpload", "The specified upload does not exist.")),
    "400": response(400, "Bad Request"),
    "200 error": response(200, xml("InternalError", "We encountered an internal error.")),
}


def _said(status: int, code: str, message: str = "", *headers: str) -> bytes:
    body = json.dumps({"error": code, "message": message})
    return response(status, body, "Content-Type: application/json", *headers)


API_ANSWERS: Mapping[str, Raw] = _COMMON | {
    "400": _said(400, "BadRequest", "something is wrong"),
    "402": _said(402, "PaymentRequired", "out of credits"),
    "403": _said(403, "Forbidden"),
    "409 of the API": _said(409, "Conflict", "the upload is not pending"),
    "422": _said(422, "Unprocessable"),
    "503 of the API": _said(503, "Unavailable", "try later", "Retry-After: 0.05"),
    "500 echo": lambda it: _said(500, "Internal", it.head.decode("latin-1")),
    "400 echo": lambda it: _said(400, "BadRequest", it.head.decode("latin-1")),
    "null": response(200, "null"),
    "a list": response(200, "[]"),
    "no upload": response(200, '{"upload": null}'),
    "half an upload": response(200, '{"upload": {"id": "upload_1"}}'),
    "deep": response(200, "[" * 100_000),
}


# Edits: the request is carried out, and the answer tells something else

Edit = Callable[[dict[str, Any], Witness], None]


def _edited(edit: Edit, witness: Witness) -> Behaviour:
    def behave(exchange: Exchange) -> None:
        head, _, body = exchange.ask_service().partition(b"\r\n\r\n")
        if b'"upload"' in body[:20]:
            answer = json.loads(body)
            edit(answer["upload"], witness)
            body = json.dumps(answer).encode()
        length = b"\r\nContent-Length: %d" % len(body)
        exchange.send(re.sub(rb"(?i)\r\ncontent-length:[^\r]*", length, head) + b"\r\n\r\n" + body)

    return behave


def _each(**changes: Any) -> Edit:
    """Every part is said to have these."""

    def edit(upload: dict[str, Any], _: Witness) -> None:
        for part in upload["parts"] or ():
            part.update(changes)

    return edit


def _fields(**changes: Any) -> Edit:
    """The upload is said to have these."""
    return lambda upload, _: upload.update(changes)


def _parts(change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> Edit:
    def edit(upload: dict[str, Any], _: Witness) -> None:
        if upload["parts"]:
            upload["parts"] = change(upload["parts"])

    return edit


def _too_soon(upload: dict[str, Any], witness: Witness) -> None:
    """Said to be validated while parts are missing: later on, nobody could know that it is a lie."""
    if not witness.swallowed and witness.lacks_parts(upload["id"]):
        upload["status"] = "validated"


HARMLESS_EDITS: dict[str, Edit] = {
    "floats": _parts(lambda parts: [part | {"number": float(part["number"])} for part in parts]),
    "shuffled": _parts(lambda parts: parts[::-1]),
    "unknown fields": _fields(somethingNew={"a": [1]}, jobId=17),
    "expired long ago": _each(expires=LONG_AGO),
    "never expires": _each(expires=FAR_OFF),
    "odd expiry": _each(expires="soon"),
    "no expiry": _each(expires=None),
}
CREATE_EDITS: dict[str, Edit] = HARMLESS_EDITS | {
    "part missing": _parts(lambda parts: parts[:-1]),
    "part twice": _parts(lambda parts: [*parts, parts[0]]),
    "part 0": _parts(lambda parts: [parts[0] | {"number": 0}, *parts[1:]]),
    "part too many": _parts(lambda parts: [*parts, parts[0] | {"number": len(parts) + 1}]),
    "no parts": _fields(parts=None),
    "wrong count": _fields(partsCount=7),
    "dead links": _each(url="http://127.0.0.1:1/dead?X-Amz-Signature=5ecre7"),
    "file links": _each(url="file:///etc/passwd"),
    "plain links": _each(url="http://192.0.2.1/plain?X-Amz-Signature=5ecre7"),
    "user links": _each(url="http://user:word@127.0.0.1:1/x"),
}
GET_EDITS: dict[str, Edit] = HARMLESS_EDITS | {
    "part missing": CREATE_EDITS["part missing"],
    "no parts": CREATE_EDITS["no parts"],
    "dead links": CREATE_EDITS["dead links"],
    "plain links": CREATE_EDITS["plain links"],
    "stale": _fields(status="pending"),
    "unknown status": _fields(status="frobnicating"),
    "failed": _fields(status="failed", errorMessage="\x1b[31mno good\x1b[0m"),
    "too soon": _too_soon,
    "another's": _fields(id="upload_of_another"),
}
COMPLETE_EDITS: dict[str, Edit] = {
    name: GET_EDITS[name] for name in ("unknown fields", "stale", "unknown status", "failed", "another's")
}
_EDITS = CREATE_EDITS | GET_EDITS | COMPLETE_EDITS

_BREAKS = ("broken", "lost")
_STATUSES = ("stale", "unknown status", "failed", "too soon")
# What may be done to each kind of request; what there is most of comes most often.
MISCHIEF: Mapping[str, tuple[str, ...]] = {
    "put": (*_BREAKS * 5, *tuple(_HABITS) * 3, "swallowed", "smuggled", *STORE_ANSWERS),
    "create": (*_BREAKS, "late", "hinting", "dribbling", *CREATE_EDITS, *API_ANSWERS),
    "get": (*_BREAKS * 3, *_STATUSES * 4, "hinting", "dribbling", *GET_EDITS, *API_ANSWERS),
    "complete": (*_BREAKS * 5, "late", "hinting", "dribbling", *COMPLETE_EDITS, *API_ANSWERS),
}


def without(faults: tuple[Fault, ...], names: frozenset[str]) -> tuple[Fault, ...]:
    """The same faults, those of these names passed on."""
    return tuple(replace(it, does="slow") if it.does in names else it for it in faults)
