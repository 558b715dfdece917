"""Answers that are meant to do harm, or might as well be: cases 30, 31, 32, 34 and 38."""

from __future__ import annotations

import gzip
import json
import re
import time
import traceback
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.command.test_progress import on_a_terminal
from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.others import listening
from tests.faults.peer import BLOCK, Behaviour, Exchange, reply, response, xml
from tests.faults.rig import MiB, Rig, make_file
from uploader import RetryPolicy, Timeouts
from uploader.cli import main
from uploader.core.events import CallRetrying, PartRetrying

EVER = 50

AT_ONCE = RetryPolicy(
    attempts=50, first_attempts=50, base=0, cap=0, retry_after_cap=0.05, poll_first=0.02, poll_cap=0.1
)
ONCE = RetryPolicy(attempts=1, first_attempts=1, base=0, cap=0, poll_first=0.02)
# Seconds; far longer than anybody should listen to an answer.
PATIENCE = 20.0
SHORT = Timeouts(connect=5, stall=0.5, answer=0.2, api=0.2)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One small part."""
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 4096)


@pytest.fixture(scope="module")
def two_parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("files") / "pair.glb", 5 * MiB + 1024)


@contextmanager
def little_memory() -> Iterator[None]:
    """What happens inside never needs more than a few megabytes."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 24 * MiB


# 30: answers without an end


@dataclass
class Endless:
    """Answers with `head`, and then with `more` for as long as somebody listens.

    Attributes:
        pace: seconds between one `more` and the next.
        taken: bytes that were sent, for each time it was asked.
    """

    head: bytes
    more: bytes
    pace: float = 0.0
    taken: list[int] = field(default_factory=list)

    def __call__(self, exchange: Exchange) -> None:
        exchange.read()
        self.taken.append(0)
        exchange.send(self.head)
        began = time.monotonic()
        while not exchange.stopping.wait(self.pace):
            assert time.monotonic() - began < PATIENCE, "nobody left"
            exchange.send(self.more)
            self.taken[-1] += len(self.more)


def head(status: int, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status} Told So", *headers, "", "")).encode()


LONG, CHUNKED = f"Content-Length: {1024 * MiB}", "Transfer-Encoding: chunked"
CHUNK = b"%x\r\n%s\r\n" % (BLOCK, b"x" * BLOCK)

# Name → how it begins, what never ends, how slowly it comes.
WITHOUT_END: dict[str, tuple[bytes, bytes, float]] = {
    "a body of 1 GiB": (head(500, LONG), b"x" * BLOCK, 0),
    "a body of unknown length": (head(500), b"x" * BLOCK, 0),
    "chunks": (head(500, CHUNKED), CHUNK, 0),
    "a chunk's length": (head(500, CHUNKED), b"0" * 1024, 0),
    "a chunk's extension": (head(500, CHUNKED) + b"1;", b"x" * 1024, 0),
    "trailers": (head(500, CHUNKED) + b"0\r\n", b"X: y\r\n" * 100, 0),
    "a dribbling body": (head(500, LONG), b"x", 0.01),
    "dribbling chunks": (head(500, CHUNKED), b"1\r\nx\r\n", 0.05),
    "a good answer's dribbling body": (head(200, LONG), b" ", 0.01),
    "a header": (b"HTTP/1.1 500 Told So\r\nX: ", b"y" * 1024, 0),
    "headers": (b"HTTP/1.1 500 Told So\r\n", b"X: y\r\n" * 100, 0),
    "dribbling headers": (b"HTTP/1.1 500 Told So\r\n", b"X: y\r\n", 0.02),
    "a dribbling header": (b"HTTP/1.1 500 Told So\r\nX: ", b"y", 0.01),
    "a status line": (b"HTTP/1.1 500 ", b"y" * 1024, 0),
    "empty lines": (b"", b"\r\n" * 1024, 0),
    "dribbling empty lines": (b"", b"\r\n", 0.01),
    "100 Continue": (b"", head(100) * 20, 0),
    "100 Continue now and then": (b"", head(100), 0.05),
    "103 Early Hints": (b"", head(103, "Link: </k>; rel=preload; as=style", "X: " + "y" * 500), 0),
    "what is no HTTP": (b"", b"\0\xff" * 512, 0),
}


@case(30, EXACT)
@pytest.mark.parametrize("name", WITHOUT_END)
def test_an_answer_without_an_end_is_cut_short_and_outlasted(name: str, path: Path, rig: Open) -> None:
    """At the creation, the part, the completion and a look at it."""
    endless = Endless(*WITHOUT_END[name])
    script: dict[int | str, list[Behaviour]] = {it: [endless] for it in ("create", 1, "complete", "get")}
    with rig(script, retry=AT_ONCE, timeouts=SHORT) as it:
        it.upload(path)
    assert len(endless.taken) == 4
    assert max(endless.taken) < 32 * MiB, "what the kernel holds of it, and no more"


@case(30, "PartError", "UnreachableError")
@pytest.mark.parametrize("name", ["a body of 1 GiB", "a dribbling body", "headers"])
def test_one_that_comes_every_time_is_an_error(name: str, path: Path, rig: Open) -> None:
    with rig({1: [Endless(*WITHOUT_END[name])]}, retry=ONCE, timeouts=replace(SHORT, api=30)) as it:
        assert it.upload(path) == "PartError"
    with rig({"create": [Endless(*WITHOUT_END[name])]}, retry=ONCE, timeouts=SHORT) as it:
        assert it.upload(path) == "UnreachableError"


@case(30, "ApiError", "PartError")
def test_of_an_error_that_never_ends_the_beginning_is_told(path: Path, rig: Open) -> None:
    refused = Endless(head(402, LONG) + b'{"message": "no credit"}', b" " * BLOCK)
    unknown = Endless(head(404, LONG) + xml("NoSuchBucket", "it is gone").encode(), b"x" * BLOCK)
    with rig({"create": [refused]}) as it, little_memory():
        assert it.upload(path) == "ApiError"
        assert "no credit" in str(it.error)
        it.peer.tell({1: [unknown]})
        assert it.upload(path) == "PartError"
        assert "NoSuchBucket: it is gone" in str(it.error)


@case(30, "AnswerError", "UnreachableError")
def test_a_good_answer_that_never_ends_is_none(path: Path, rig: Open) -> None:
    """No honest one is as long as 64 MiB."""
    endless = Endless(head(200, LONG) + b'{"upload": {"id": "', b"x" * BLOCK)
    with rig({"create": [endless]}, retry=ONCE, timeouts=Timeouts(api=5)) as it:
        it.upload(path)
    assert max(endless.taken) < 96 * MiB


@cache
def bomb(said: bytes, bits: int = 31) -> bytes:
    """`said`, and 64 MiB of spaces after it, as 64 KiB."""
    squeeze = zlib.compressobj(9, wbits=bits)
    spaces = b" " * MiB
    squeezed = [squeeze.compress(said), *[squeeze.compress(spaces) for _ in range(64)], squeeze.flush()]
    return b"".join(squeezed)


SQUEEZED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "GZIP": bomb,
    " deflate": lambda said: bomb(said, 15),
}


@case(30, EXACT, "ApiError")
@pytest.mark.parametrize("encoding", SQUEEZED)
def test_a_compressed_error_is_read_and_a_bomb_no_further_than_it_need_be(
    encoding: str, path: Path, rig: Open
) -> None:
    """No encoding is asked for, and some proxy on the way compresses all the same."""
    squeeze, header = SQUEEZED[encoding], f"Content-Encoding: {encoding}"
    expired = squeeze(xml("AccessDenied", "Request has expired").encode())
    poor = squeeze(b'{"message": "no credit"}')
    with rig({1: [reply(response(403, expired, header))]}) as it, little_memory():
        assert it.upload(path) == EXACT
        assert it.result is not None
        assert it.result.url_refreshes == 1
        it.peer.tell({"create": [reply(response(402, poor, header))]})
        assert it.upload(path, resume=False) == "ApiError"
        assert "no credit" in str(it.error)


@case(30, EXACT)
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, gzip", "x", ""])
def test_an_error_that_is_not_what_it_says_is_judged_by_its_status(
    encoding: str, path: Path, rig: Open
) -> None:
    odd = [
        reply(response(500, body, f"Content-Encoding: {encoding}"))
        for body in (b"", b"\x1f\x8b", gzip.compress(b"x" * 999)[:-20], gzip.compress(gzip.compress(b"x")))
    ]
    with rig({"create": odd, 1: odd}, retry=AT_ONCE) as it:
        it.upload(path)
        assert it.heard(PartRetrying) == it.heard(CallRetrying) == len(odd)


def check_nothing_moved(it: Rig) -> None:
    assert set(it.peer.seen) == {"create"}
    assert it.error is not None
    assert it.error.nothing_sent


# 31: XML that grows, or reaches out

LAUGHS = "".join(f'<!ENTITY lol{n} "{f"&lol{n - 1};" * 10}">' for n in range(1, 10))


def laughing(inside: str) -> str:
    """An error document whose entities expand to a billion words."""
    return f'<?xml version="1.0"?><!DOCTYPE e [<!ENTITY lol0 "lol">{LAUGHS}]><Error>{inside}</Error>'


def reaching(to: str, inside: str) -> str:
    """An error document with an entity that is somewhere else."""
    begun = f'<?xml version="1.0"?><!DOCTYPE e SYSTEM "{to}" ['
    return f'{begun}<!ENTITY it SYSTEM "{to}"><!ENTITY % p SYSTEM "{to}"> %p;]><Error>{inside}</Error>'


@case(31, EXACT, "PartError")
@pytest.mark.parametrize("inside", ["<Code>&lol9;</Code>", "<Code>E</Code><Message>&lol9;</Message>"])
def test_an_entity_bomb_is_not_set_off(inside: str, path: Path, rig: Open) -> None:
    with rig({1: [reply(response(503, laughing(inside)))]}) as it, little_memory():
        assert it.upload(path) == EXACT
        it.peer.tell({1: [reply(response(404, laughing(inside)))]})
        assert it.upload(path) == "PartError"
    assert "lollol" not in str(it.error)


@case(31, EXACT)
def test_an_error_beside_a_bomb_is_understood(path: Path, rig: Open) -> None:
    inside = "<Code>AccessDenied</Code><Message>Request has expired</Message><Extra>&lol9;</Extra>"
    with rig({1: [reply(response(403, laughing(inside)))]}) as it, little_memory():
        it.upload(path)
        assert it.result is not None
        assert it.result.url_refreshes == 1


@case(31, "PartError")
def test_an_entity_that_is_elsewhere_is_not_fetched(path: Path, tmp_path: Path, rig: Open) -> None:
    (tmp_path / "secret").write_text("what is in the file")
    with listening() as elsewhere, rig() as it:
        for to in (f"http://127.0.0.1:{elsewhere.port}/dtd", (tmp_path / "secret").as_uri()):
            inside = "<Code>E&it;</Code><Message>&it;</Message>"
            it.peer.tell({1: [reply(response(404, reaching(to, inside)))]})
            it.upload(path)
            assert "what is in the file" not in str(it.error)
    assert elsewhere.connections == 0


# 32: text that would drive a terminal

CLEAR, TITLE, LINK = "\x1b[2J", "\x1b]0;owned\x07", "\x1b]8;;http://evil.example\x1b\\here"
EVIL = f"{CLEAR}{TITLE}{LINK}\rdone\b\x00\x7f\x9b31m\u202egpj\u2066\u200b\u2028\ufeff\ud800\nuploader: done"
# What a file's name may hold here: anything but NUL and a slash.
EVIL_NAME = f"a{CLEAR}{TITLE}\r\x9b31m\u202egpj\u2066\u2028\nuploader: done.glb"
# What an XML document may hold as it is, or a header.
EVIL_XML = EVIL.replace("\x00", "").encode("utf-8", "replace").decode()


def is_harmless(text: str) -> bool:
    """Nothing in it does anything to a terminal but begin a new line."""
    return all(line.isprintable() for line in text.split("\n"))


def answer(**fields: Any) -> Behaviour:
    """Pass on, by a name the service takes; in its answer these fields are other ones."""

    def behave(exchange: Exchange) -> None:
        if exchange.target == "create":
            plain = json.dumps(json.loads(exchange.read()) | {"fileName": "scene.glb"})
            exchange.body[:] = plain.ljust(exchange.length).encode()
        told = json.loads(exchange.ask_service().partition(b"\r\n\r\n")[2])
        told["upload"] |= fields
        exchange.send(response(200, json.dumps(told)))

    return behave


def refusing(status: int, **fields: Any) -> Behaviour:
    return reply(response(status, json.dumps(fields)))


# What is said, and what it ends in.
EVIL_STORIES: dict[str, tuple[dict[int | str, list[Behaviour]], str]] = {
    "the API's message": ({"create": [refusing(422, message=EVIL)]}, "ApiError"),
    "the API's code": ({"create": [refusing(422, error={"code": EVIL, "message": "no"})]}, "ApiError"),
    "a refusal of credentials": ({"create": [refusing(401, message=EVIL)]}, "AuthError"),
    "a refusal of the completion": ({"complete": [refusing(402, message=EVIL)]}, "ApiError"),
    "the API is out of order": ({"create": [refusing(503, message=EVIL)]}, "UnreachableError"),
    "why it failed": ({"get": [answer(status="failed", errorMessage=EVIL)]}, "UploadFailedError"),
    "an id": ({"create": [answer(id=EVIL)]}, "AnswerError"),
    "a part's number": ({"create": [answer(parts=[{"number": EVIL, "url": EVIL}])]}, "AnswerError"),
    "a part's URL": ({"create": [answer(parts=[{"number": 1, "url": EVIL}])]}, "AnswerError"),
    "a URL's scheme": ({"create": [answer(parts=[{"number": 1, "url": "\x1b[2J://h/"}])]}, "AnswerError"),
    "the store's message": ({1: [reply(response(404, xml("No", EVIL_XML)))]}, "PartError"),
    "the store's code": ({1: [reply(response(404, xml(EVIL_XML)))]}, "PartError"),
    "the store's message, coded": (
        {1: [reply(response(404, xml("No", "&#27;[2J&#x202e;&#13;")))]},
        "PartError",
    ),
    "the store's request id": (
        {1: [reply(response(404, xml("No").replace("44425", "\x1b[2J")))]},
        "PartError",
    ),
    "a status line": ({1: [reply(b"HTTP/1.1 200 \x1b[2J\r\n\r\n", then="close")]}, "PartError"),
}
EVIL_ENDS = tuple(dict.fromkeys(ends for _, ends in EVIL_STORIES.values()))


def script_of(story: str) -> dict[int | str, list[Behaviour]]:
    script, _ = EVIL_STORIES[story]
    return {"create": [answer()] * EVER} | {key: it * EVER for key, it in script.items()}


@case(32, *EVIL_ENDS)
@pytest.mark.parametrize("story", EVIL_STORIES)
def test_no_error_does_anything_to_a_terminal(story: str, tmp_path: Path, rig: Open) -> None:
    """Not even one that nobody caught."""
    path = make_file(tmp_path / EVIL_NAME, 4096)
    policy = RetryPolicy(attempts=3, first_attempts=3, base=0, cap=0, poll_first=0.02)
    with rig(script_of(story), retry=policy) as it:
        assert it.upload(path) == EVIL_STORIES[story][1]
    assert it.error is not None
    assert is_harmless(str(it.error))
    assert "\n" not in str(it.error)
    assert is_harmless("".join(traceback.format_exception(it.error)))


SLOW = ("the API is out of order", "a passing trouble", "a status line")


@case(32, *EVIL_ENDS)
@pytest.mark.parametrize("story", [name for name in EVIL_STORIES if name not in SLOW])
def test_nor_does_anything_the_command_says(
    story: str, tmp_path: Path, rig: Open, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path / EVIL_NAME, 4096)
    with rig(script_of(story)) as it:
        for name, value in (it.service.environment | {"SCENARIO_BASE_URL": f"{it.peer.origin}/v1"}).items():
            monkeypatch.setenv(name, value)
        main(["upload", str(path)])
        main(["list"])
        main(["resume"])
        main(["upload", str(path), "--json", "--no-resume"])
    out, err = capfd.readouterr()
    assert is_harmless(out + err)
    assert not [line for line in err.split("\n") if line.startswith("uploader: done")]
    assert "\\x1b" in err
    assert json.loads(out.splitlines()[-1])["error"]["type"] == EVIL_STORIES[story][1]


@case(32, EXACT)
def test_what_is_told_of_a_success_is_harmless_too(
    tmp_path: Path, rig: Open, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_file(tmp_path / EVIL_NAME, 4096)
    script: dict[int | str, list[Behaviour]] = {
        "create": [answer()],
        1: [reply(response(503, xml("SlowDown", EVIL_XML), "Retry-After: 0"))],
        "get": [answer(status=EVIL), answer(status="imported", entityId=EVIL, fileName=EVIL)],
    }
    with rig(script) as it:
        for name, value in (it.service.environment | {"SCENARIO_BASE_URL": f"{it.peer.origin}/v1"}).items():
            monkeypatch.setenv(name, value)
        assert main(["upload", str(path)]) == 0
    out, err = capfd.readouterr()
    assert is_harmless(out + err)
    assert "SlowDown" in err
    assert "imported" in out


@case(32, "UploadFailedError")
def test_a_bar_on_a_terminal_is_not_led_astray(tmp_path: Path, rig: Open) -> None:
    path = make_file(tmp_path / EVIL_NAME, 4096)
    script: dict[int | str, list[Behaviour]] = {
        "create": [answer()],
        1: [reply(response(503, xml("SlowDown", EVIL_XML)))],
        "get": [answer(status=EVIL), answer(status="failed", errorMessage=EVIL)],
    }
    with rig(script) as it:
        environment = it.service.environment | {"SCENARIO_BASE_URL": f"{it.peer.origin}/v1"}
        code, shown = on_a_terminal(["upload", str(path)], environment)
    assert code == 1
    assert "SlowDown" in shown
    # The bar itself goes back to the beginning of its line, and a line up.
    assert is_harmless(shown.replace("\r", "").replace("\x1b[A", ""))
    assert "\rdone" not in shown


@case(32, "AnswerError")
@pytest.mark.parametrize("upload_id", ["", ".", "..", "\ud800", "x" * 99_000], ids=lambda it: ascii(it)[:9])
def test_an_id_that_can_be_none_is_refused(upload_id: str, path: Path, rig: Open) -> None:
    """No path can be made of it, or one that leads elsewhere: `POST /v1/action`."""
    with rig({"create": [answer(id=upload_id)]}) as it:
        it.upload(path)
        check_nothing_moved(it)


@case(32, EXACT, "AnswerError")
@pytest.mark.parametrize("upload_id", ["../..", "a/b", "a?b=c", "a#b", "%2e%2e", " ", "\r\nX: y", "\x1b[2J"])
def test_no_id_leads_to_another_call(upload_id: str, path: Path, rig: Open) -> None:
    """It is a part of the path of the calls that follow."""
    with rig({"create": [answer(id=upload_id)]}) as it:
        it.upload(path)
    for asked in it.peer.heads:
        assert re.match(rb"PUT |(GET|POST) /v1/uploads(/[^/?# ]+(/action)?)? HTTP/1.1\r\n", asked)
        assert b"\r\nX:" not in asked


# 34: create answers that cannot be meant

Parts = list[dict[str, Any]]


def numbered(*numbers: object) -> Callable[[Parts], object]:
    """The first part's URL under each of these numbers."""
    return lambda parts: [{**parts[0], "number": number} for number in numbers]


WRONG_PARTS: dict[str, Callable[[Parts], object]] = {
    "none": numbered(),
    "null": lambda parts: None,
    "the first is missing": numbered(2),
    "the last is missing": numbered(1),
    "one twice": numbered(1, 1),
    "one twice, and all": numbered(1, 2, 2),
    "one too many": numbered(1, 2, 3),
    "from 0": numbered(0, 1),
    "0 as well": numbered(0, 1, 2),
    "10,001": numbered(1, 10_001),
    "10,001 as well": numbered(1, 2, 10_001),
    "10,001 of them": numbered(*range(1, 10_002)),
    "negative": numbered(-1, 2),
    "a fraction": numbered(1, 1.5),
    "a word": numbered(1, "two"),
    "null as a number": numbered(1, None),
    "not a number": numbered(1, float("nan")),
    "infinite": numbered(1, float("inf")),
    "immense": numbered(1, 10**400),
    "a list": numbered(1, [2]),
    "an object": lambda parts: {"1": parts[0], "2": parts[1]},
    "a string": lambda parts: "12",
    "a list of lists": lambda parts: [parts],
    "without URLs": lambda parts: [{"number": 1}, {"number": 2}],
    "with null for a URL": lambda parts: [parts[0], {**parts[1], "url": None}],
    "with a number for a URL": lambda parts: [parts[0], {**parts[1], "url": 7}],
}


def with_parts(change: Callable[[Parts], object], **more: Any) -> Behaviour:
    """Pass on; the answer's parts are others."""

    def behave(exchange: Exchange) -> None:
        told = json.loads(exchange.ask_service().partition(b"\r\n\r\n")[2])
        told["upload"] |= {"parts": change(told["upload"]["parts"])} | more
        exchange.send(response(200, json.dumps(told)))

    return behave


@case(34, "AnswerError")
@pytest.mark.parametrize("wrong", WRONG_PARTS)
def test_wrong_parts_are_refused_before_any_byte_moves(wrong: str, two_parts: Path, rig: Open) -> None:
    with rig({"create": [with_parts(WRONG_PARTS[wrong])]}) as it:
        it.upload(two_parts)
        check_nothing_moved(it)


@case(34, "AnswerError")
@pytest.mark.parametrize("count", [0, 1, 3, 10_001, -2, 2.5])
def test_so_is_a_wrong_count(count: float, two_parts: Path, rig: Open) -> None:
    with rig({"create": [with_parts(lambda parts: parts, partsCount=count)]}) as it:
        it.upload(two_parts)
        check_nothing_moved(it)


@case(34, EXACT)
def test_the_right_parts_may_come_in_any_order_and_as_floats(two_parts: Path, rig: Open) -> None:
    def change(parts: Parts) -> Parts:
        return [{**part, "number": float(part["number"])} for part in reversed(parts)]

    with rig({"create": [with_parts(change, partsCount=2.0)]}) as it:
        it.upload(two_parts)


# 38: Retry-After

NOW = 784_111_777  # 1994, so that it cannot be this machine's clock that counts

# Header → seconds to wait, of at most 0.05.
WISHES: dict[str, float] = {
    "0": 0,
    "0.02": 0.02,
    "-5": 0,
    "-1e9": 0,
    "1000000000": 0.05,
    "1e9": 0.05,
    "9" * 300: 0.05,
    formatdate(NOW - 86_400, usegmt=True): 0,
    formatdate(NOW + 86_400, usegmt=True): 0.05,
    "Fri, 31 Dec 9999 23:59:59 GMT": 0.05,
    "Fri, 99 Dec 9999 99:99:99 GMT": 0,
    "soon": 0,
    "": 0,
    "nan": 0,
    "inf": 0,
    "-inf": 0,
    "0x10": 0,
    "1 2": 0,
    "1, 2": 0,
}
# These are no numbers of seconds to HTTP, and perhaps to Python: waited for or not, it is not for long.
DOUBTFUL = ["9" * 10_000, "1e999", "1_0", "\u0663", "\uff13", "\u00b2", "+1", " 1 "]


@case(38, EXACT)
@pytest.mark.parametrize("wish", [*WISHES, *DOUBTFUL], ids=lambda wish: ascii(wish)[:30])
def test_whatever_retry_after_says_the_wait_is_bounded(wish: str, path: Path, rig: Open) -> None:
    told_when = f"Retry-After: {wish}", f"Date: {formatdate(NOW, usegmt=True)}"
    busy, full = (reply(response(status, "", *told_when)) for status in (503, 429))
    script: dict[int | str, list[Behaviour]] = {"create": [busy], 1: [full, busy], "complete": [full]}
    with rig(script | {"get": [full]}, retry=AT_ONCE) as it:
        it.upload(path)
        told = [event for event in it.events if isinstance(event, PartRetrying | CallRetrying)]
    # What the session repeats by itself, a completion in doubt, it tells nobody.
    assert len(told) == 4
    for event in told:
        if wish in WISHES:
            assert event.delay == pytest.approx(WISHES[wish])
        else:
            assert 0 <= event.delay <= 0.05
