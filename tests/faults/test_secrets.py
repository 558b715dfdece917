"""Nothing that anybody is told of an upload lets him in: cases 25, 26 and 29."""

from __future__ import annotations

import asyncio
import base64
import copy
import html
import json
import logging
import os
import pickle
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.overheard import Overheard, all_logged
from tests.faults.peer import Behaviour, Exchange, broken, pass_on, reply, response, xml
from tests.faults.rig import PATIENT, QUICK, MiB, Rig, make_file
from tests.secrets import leaks, values_of
from uploader import AsyncUploader, RetryPolicy, Uploader, UploaderError, UploadResult
from uploader.cli import main
from uploader.core.events import CallRetrying, Event, Failed, JournalTrouble, PartRetrying, PartStored
from uploader.models import PresignedUrl
from uploader.options import Credentials, TransferOptions

# As short as any is taken for one, and with characters that look different in every encoding.
KEY, SECRET, JWT = "k3y/+A=8", "s3c&r/t %", "eyJh-_.7"
COOKIE = "c00kie-of-a-session"
ROOT = Path(__file__).parents[2]
ELSEWHERE = "https://other.example/k?X-Amz-Security-Token=T0ken+of/another&X-Amz-Signature=5160a7u4e"

EVER = 20


@dataclass(frozen=True)
class Story:
    """What the service does, and what the upload ends in."""

    script: dict[int | str, list[Behaviour]]
    ends: str
    slow: bool = False


# What a service may repeat of what it was sent


def credentials(exchange: Exchange) -> list[str]:
    """The Authorization header, what is in it, and what is in that."""
    found = re.search(rb"(?i)\r\nauthorization: ((\w+) ([^\r]*))", exchange.head)
    assert found
    header, kind, value = (group.decode() for group in found.groups())
    if kind == "Bearer":
        return [header, value]
    pair = base64.b64decode(value).decode()
    return [header, value, pair, *pair.split(":", 1)]


def url_of(exchange: Exchange) -> str:
    return exchange.origin + exchange.head.split()[1].decode()


def string_to_sign(exchange: Exchange) -> str:
    """What Amazon shows of it: the algorithm, the date, the scope, a hash; then the canonical request."""
    path, _, query = url_of(exchange).removeprefix(exchange.origin).partition("?")
    values = re.findall(r"X-Amz-(?:Algorithm|Date|Credential|Security-Token)=([^&]*)", query)
    return "\n".join([*values, "PUT", path, query, "host:127.0.0.1", "", "host", "UNSIGNED-PAYLOAD"])


def saying(status: int, say: Callable[[Exchange], str], *headers: str) -> Behaviour:
    """Answer with a body made of the request."""

    def behave(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(response(status, say(exchange), *headers))

    return behave


def refused_link(exchange: Exchange) -> str:
    """As Amazon refuses a signature, and more talkative still."""
    said = html.escape(string_to_sign(exchange))
    given = html.escape(url_of(exchange).partition("Signature=")[2])
    return xml(
        "SignatureDoesNotMatch",
        f"We calculated another signature for {html.escape(url_of(exchange))} from {said}",
        StringToSign=said,
        SignatureProvided=given,
    )


def refused_call(exchange: Exchange) -> str:
    """As no API should refuse a call."""
    header, *values = credentials(exchange)
    return json.dumps({"error": {"code": header, "message": f"no access with {' '.join(values)}"}})


def failed(exchange: Exchange) -> str:
    upload = {
        "id": url_of(exchange).split("/")[5],
        "status": "failed",
        "errorMessage": refused_call(exchange),
    }
    return json.dumps({"upload": upload})


def created(**part: Any) -> Callable[[Exchange], str]:
    """A create answer with one part."""
    upload = {"id": "upload_1", "status": "pending", "parts": [{"number": 1, "url": ELSEWHERE} | part]}
    return lambda exchange: json.dumps({"upload": upload})


expired = reply(response(403, xml("AccessDenied", "Request has expired")))
redirected = reply(response(307, "", f"Location: {ELSEWHERE}"))
throttled = saying(503, lambda exchange: xml("SlowDown", html.escape(url_of(exchange))))
busy = saying(503, refused_call, f"Set-Cookie: session={COOKIE}")

STORIES = {
    "it goes well": Story({}, EXACT),
    "one of each is outlasted": Story(
        {
            "create": [busy],
            1: [expired, redirected, throttled, broken(0), saying(403, refused_link)],
            "complete": [busy],
            "get": [busy],
        },
        EXACT,
        slow=True,
    ),
    "links expired for ever": Story({1: [expired] * EVER}, "PartError"),
    "the store redirects for ever": Story({1: [redirected] * EVER}, "PartError"),
    "the store resets for ever": Story({1: [broken(0)] * EVER}, "PartError", slow=True),
    "the store refuses every link": Story({1: [saying(403, refused_link)] * EVER}, "PartError"),
    "complete is refused": Story({"complete": [saying(422, refused_call)]}, "ApiError"),
    "the credentials are refused": Story({"create": [saying(401, refused_call)]}, "AuthError"),
    "the API is out of order": Story({"create": [busy] * EVER}, "UnreachableError", slow=True),
    "the API redirects": Story({"create": [redirected]}, "AnswerError"),
    "a link is not one to send to": Story(
        {"create": [saying(200, created(url=ELSEWHERE.replace("https:", "http:")))]}, "AnswerError"
    ),
    "an answer cannot be read": Story({"create": [saying(200, created(number="one"))]}, "AnswerError"),
    "the content is rejected": Story({"get": [saying(200, failed)] * EVER}, "UploadFailedError"),
}

ALL_ENDS = (
    EXACT,
    "PartError",
    "ApiError",
    "AuthError",
    "UnreachableError",
    "AnswerError",
    "UploadFailedError",
)


def noting(links: set[str]) -> Behaviour:
    """Pass on, note the links in the answer, and set a cookie."""

    def behave(exchange: Exchange) -> None:
        raw = exchange.ask_service()
        links.update(json.loads(f'"{url.decode()}"') for url in re.findall(rb'"url": ?"([^"]+)"', raw))
        exchange.send(raw.replace(b"\r\n", f"\r\nSet-Cookie: session={COOKIE}\r\n".encode(), 1))

    return behave


def noted(script: dict[int | str, list[Behaviour]], links: set[str]) -> dict[int | str, list[Behaviour]]:
    """`script`, with all the links noted that are handed out."""
    return script | {call: [*script.get(call, []), *[noting(links)] * EVER] for call in ("create", "get")}


def secrets_with(links: Iterable[str]) -> set[str]:
    """What must not be heard."""
    return {KEY, SECRET, f"{KEY}:{SECRET}", JWT, COOKIE}.union(*map(values_of, (ELSEWHERE, *links)))


# Who uploads


class Awaited:
    """AsyncUploader, in the place of an Uploader."""

    def __init__(self, **settings: Any) -> None:
        self._settings = settings

    def upload(self, path: Path, **options: Any) -> UploadResult:
        async def upload() -> UploadResult:
            async with AsyncUploader(**self._settings) as up:
                return await up.upload(path, **options)

        return asyncio.run(upload(), debug=True)


def settings_for(it: Rig, **credentials: str) -> dict[str, Any]:
    credentials = credentials or {"api_key": KEY, "api_secret": SECRET}
    return {"base_url": f"{it.peer.origin}/v1", "retry": QUICK, "timeouts": PATIENT} | credentials


def overheard(it: Rig, log: list[str], path: Path, state: Path) -> Overheard:
    """What there was to hear of the rig's last upload."""
    settings = settings_for(it)
    with Uploader(**settings) as up:
        job, left = up.prepare(path), up.uploads()
        held = [
            up,
            AsyncUploader(**settings),
            Credentials.find({}, KEY, SECRET),
            Credentials.find({}, jwt=JWT),
        ]
        held += [TransferOptions(), job, *left]
    return Overheard(log, "", "", it.events, it.result, it.error, held, state)


FACES: dict[str, Callable[[Rig], AbstractContextManager[Any]]] = {
    "Uploader": lambda it: nullcontext(it.uploader),
    "Uploader with a JWT": lambda it: Uploader(**settings_for(it, jwt=JWT)),
    "AsyncUploader": lambda it: nullcontext(Awaited(**settings_for(it))),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_file(tmp_path / "scene.glb", 4096)


# 25: in whatever way it is told


# Of a token only what the API is told matters, and what it says.
BY_FACE = [
    (story, face)
    for story in STORIES
    for face in FACES
    if "JWT" not in face or story in ("one of each is outlasted", "the credentials are refused")
]


@case(25, *ALL_ENDS)
@pytest.mark.parametrize(("story", "face"), BY_FACE)
def test_nothing_that_is_told_of_an_upload_lets_anybody_in(
    story: str, face: str, path: Path, state_dir: Path, rig: Open, capfd: pytest.CaptureFixture[str]
) -> None:
    links: set[str] = set()
    with rig(noted(STORIES[story].script, links), api_key=KEY, api_secret=SECRET, jwt=JWT) as it:
        with FACES[face](it) as it.uploader, all_logged() as log:
            assert it.upload(path) == STORIES[story].ends
        heard = overheard(it, log, path, state_dir)
        heard.out, heard.err = capfd.readouterr()
        told = heard.told()
    told.pop("traceback", None)
    assert not leaks(told, secrets_with(links))
    assert told["log"], "the loggers were heard"


@case(25, *ALL_ENDS[1:])
@pytest.mark.parametrize("story", [name for name, story in STORIES.items() if story.ends != EXACT])
def test_nor_does_a_traceback_that_shows_every_local(story: str, path: Path, rig: Open) -> None:
    """As crash reporters make them."""
    links: set[str] = set()
    with rig(noted(STORIES[story].script, links), api_key=KEY, api_secret=SECRET) as it:
        it.upload(path)
        told = Overheard(error=it.error).told()["traceback"]
    assert b"UploaderError" in told or b"in upload" in told
    assert not leaks({"traceback": told}, secrets_with(links))


@case(25, *ALL_ENDS)
@pytest.mark.parametrize("story", [name for name, story in STORIES.items() if not story.slow])
def test_nor_does_anything_the_command_says(
    story: str,
    path: Path,
    state_dir: Path,
    rig: Open,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    links: set[str] = set()
    with rig(noted(STORIES[story].script, links), api_key=KEY, api_secret=SECRET) as it:
        for name, value in environment(it).items():
            monkeypatch.setenv(name, value)
        with all_logged() as log:
            main(["upload", str(path), "--json"])
        heard = Overheard(log, *capfd.readouterr(), state=state_dir)
    assert ended(heard.out) == STORIES[story].ends
    assert not leaks(heard.told(), secrets_with(links))


@case(25, EXACT, "PartError")
@pytest.mark.parametrize("story", ["it goes well", "the store refuses every link"])
def test_nor_does_a_process_in_which_every_logger_is_loud_from_the_start(
    story: str, path: Path, state_dir: Path, rig: Open
) -> None:
    links: set[str] = set()
    with rig(noted(STORIES[story].script, links), api_key=KEY, api_secret=SECRET) as it:
        done = subprocess.run(
            [sys.executable, "-c", LOUD, "upload", path, "--json"],
            env=os.environ | environment(it) | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended(done.stdout) == STORIES[story].ends
    assert "filelock: " in done.stderr, "the loggers were heard"
    heard = Overheard(out=done.stdout, err=done.stderr, state=state_dir)
    assert not leaks(heard.told(), secrets_with(links))


def environment(it: Rig) -> dict[str, str]:
    return it.service.environment | {"SCENARIO_BASE_URL": f"{it.peer.origin}/v1"}


def ended(out: str) -> str:
    """What the command's one JSON object says it ended in."""
    return str(json.loads(out).get("error", {}).get("type", EXACT))


LOUD = """
import sys
from tests.faults.overheard import all_logged
with all_logged() as log:
    from uploader.cli import main
    code = main(sys.argv[1:])
print(*log, sep="\\n", file=sys.stderr)
sys.exit(code)
"""


@case(25, "KeyboardInterrupt")
def test_nor_does_the_traceback_of_a_ctrl_c(path: Path, state_dir: Path, rig: Open) -> None:
    def interrupt(event: Event) -> None:
        if isinstance(event, PartRetrying):
            raise KeyboardInterrupt

    links: set[str] = set()
    with rig(noted({1: [expired]}, links), api_key=KEY, api_secret=SECRET) as it, all_logged() as log:
        stopped = raised(partial(it.upload, path, progress=interrupt))
        heard = overheard(it, log, path, state_dir)
        heard.error = stopped
        told = heard.told()
    assert isinstance(stopped, KeyboardInterrupt)
    assert b"in _loop" in told["traceback"]
    assert b"go" in told["error, its notes"]
    assert not leaks(told, secrets_with(links))


def raised(act: Callable[[], object]) -> BaseException:
    """What `act` raised; its traceback shows no local of a test's own."""
    try:
        act()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is to be searched
        return error
    raise AssertionError


@case(25, EXACT)
@pytest.mark.parametrize("form", [repr, str, pickle.dumps, copy.copy, copy.deepcopy, "{}".format])
def test_a_link_is_shown_and_pickled_without_its_query(form: Callable[[PresignedUrl], object]) -> None:
    assert not leaks({"it": repr(form(PresignedUrl(ELSEWHERE))).encode()}, values_of(ELSEWHERE))


# The search itself finds what was said, where it was said, and nowhere else

HIDDEN = "s3cret/of+all?"


def noted_error() -> UploaderError:
    error = UploaderError("it failed")
    error.add_note(HIDDEN)
    return error


def fail_beside_a_local() -> None:
    local = HIDDEN.encode()
    raise UploaderError(f"it failed after {len(local)} bytes")


def fail_after_another() -> None:
    try:
        raise OSError(HIDDEN)
    except OSError:
        raise UploaderError("it failed") from None


def logged(say: Callable[[], object]) -> Overheard:
    with all_logged() as log:
        say()
    return Overheard(log)


def written(name: str, content: str) -> Callable[[Path], Overheard]:
    def write(directory: Path) -> Overheard:
        (directory / name).write_text(content)
        return Overheard(state=directory)

    return write


PLANTED: list[tuple[str, Callable[[Path], Overheard]]] = [
    ("log", lambda _: logged(lambda: logging.getLogger("httpcore.http11").debug(HIDDEN))),
    ("log", lambda _: logged(lambda: logging.getLogger("httpx").log(1, "%d", 1, extra={"more": HIDDEN}))),
    ("log", lambda _: logged(lambda: logging.getLogger("h11").debug("%.3s", HIDDEN.encode()))),
    ("log", lambda _: logged(lambda: logging.getLogger(f"new.{time.monotonic_ns()}").debug(HIDDEN))),
    ("log", lambda _: logged(lambda: logging.getLogger("a").error("x", exc_info=OSError(HIDDEN)))),
    ("stdout", lambda _: Overheard(out=HIDDEN)),
    ("stderr", lambda _: Overheard(err=HIDDEN)),
    ("events", lambda _: Overheard(events=[JournalTrouble(HIDDEN)])),
    ("events", lambda _: Overheard(events=[Failed(noted_error())])),
    ("result", lambda _: Overheard(result=UploadResult(upload_id="u", status=HIDDEN))),
    ("objects", lambda _: Overheard(objects=[SimpleNamespace(_hidden={"deep": (HIDDEN,)})])),
    ("state", written("journal", f"x{HIDDEN}")),
    ("state", written(quote(HIDDEN, safe=""), "")),
    ("error", lambda _: Overheard(error=UploaderError(HIDDEN))),
    ("error, pickled", lambda _: Overheard(error=UploaderError(HIDDEN))),
    ("error", lambda _: Overheard(error=UploaderError("", upload_id=HIDDEN))),
    ("error", lambda _: Overheard(error=raised(fail_after_another))),
    ("error, its notes", lambda _: Overheard(error=noted_error())),
    ("traceback", lambda _: Overheard(error=raised(fail_beside_a_local))),
    ("traceback", lambda _: Overheard(error=raised(fail_after_another))),
]


@pytest.mark.parametrize(("where", "say"), PLANTED)
def test_the_search_hears_it(where: str, say: Callable[[Path], Overheard], tmp_path: Path) -> None:
    heard = {leak.partition(":")[0] for leak in leaks(say(tmp_path).told(), [HIDDEN])}
    assert where in heard
    assert heard == {where} or where.startswith(("error", "traceback"))


def test_the_search_hears_what_is_written_to_either_stream(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(1, HIDDEN.encode())
    os.write(2, HIDDEN.encode())
    heard = Overheard([], *capfd.readouterr()).told()
    assert [leak.partition(":")[0] for leak in leaks(heard, [HIDDEN])] == ["stdout", "stderr"]


@pytest.mark.parametrize(
    "hide",
    [
        str.encode,
        lambda secret: quote(secret).encode(),
        lambda secret: quote(secret, safe="").encode(),
        lambda secret: quote(quote(secret, safe=""), safe="").encode(),
        lambda secret: quote_plus(secret).encode(),
        lambda secret: re.sub("%..", lambda it: it[0].lower(), quote(secret)).encode(),
        lambda secret: json.dumps({"a": secret}).encode(),
        lambda secret: repr([secret]).encode(),
        lambda secret: pickle.dumps([secret]),
        lambda secret: html.escape(secret).encode(),
        lambda secret: secret.encode().hex().encode(),
        lambda secret: base64.b64encode(secret.encode()),
        lambda secret: base64.b64encode(f"a{secret}yz".encode()),
        lambda secret: base64.b64encode(f"ab{secret}yz".encode()),
        lambda secret: base64.urlsafe_b64encode(f"abc{secret}yz".encode()),
    ],
)
@pytest.mark.parametrize("secret", [HIDDEN, 'k"e\\y&<é> 1', SECRET, JWT, KEY])
def test_the_search_sees_through_every_encoding(secret: str, hide: Callable[[str], bytes]) -> None:
    assert leaks({"it": b"--" + hide(secret) + b"--"}, [secret])
    assert not leaks({"it": b"--" + hide("something else") + b"--"}, [secret])


# 26: whatever is echoed

ENCODINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "URL-encoded": lambda text: quote(text, safe=""),
    "URL-encoded, in lower case": lambda text: re.sub("%..", lambda it: it[0].lower(), quote(text, safe="")),
    "for a form": quote_plus,
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "JSON": json.dumps,
    "in the middle of a word": lambda text: f"prefix{text}suffix",
}


def values(exchange: Exchange) -> list[str]:
    """What is secret of a request to the store, the whole URL among it."""
    url = url_of(exchange)
    return [url, url.partition("?")[2], string_to_sign(exchange), *sorted(values_of(url))]


Page = Callable[[str], tuple[str, tuple[str, ...]]]

# A refusal's body and headers, around what is echoed.
STORE_PAGES: dict[str, Page] = {
    "the message": lambda said: (xml("Throttling", html.escape(said)), ()),
    "CDATA": lambda said: (xml("Throttling", f"<![CDATA[{said}"), ()),
    "the code": lambda said: (xml(html.escape(said)), ()),
    "the request id": lambda said: (xml("SlowDown").replace("4442587FB7D0A2F9", html.escape(said)), ()),
    "another element": lambda said: (xml("SlowDown", StringToSign=html.escape(said)), ()),
    "a header": lambda said: ("", (f"x-amz-request-id: {quote(said, safe='/+=:&? %')}",)),
    "a page": lambda said: (f"<html><h1>{html.escape(said)}</h1></html>", ()),
    "a text": lambda said: (said, ()),
}
API_PAGES: dict[str, Page] = {
    "the message": lambda said: (json.dumps({"message": said}), ()),
    "an inner message": lambda said: (json.dumps({"error": {"code": "denied", "message": said}}), ()),
    "the reason": lambda said: (json.dumps({"reason": said}), ()),
    "the code": lambda said: (json.dumps({"error": {"code": said}}), ()),
    "a word": lambda said: (json.dumps({"error": said}), ()),
    "another field": lambda said: (json.dumps({"message": "no", "token": said}), ()),
    "a list": lambda said: (json.dumps({"message": [said, {"deep": said}]}), ()),
    "a header": lambda said: ("", (f"X-Echo: {quote(said, safe='/+=:&? %')}",)),
}


# More than there are refusals in any script.
LASTING = RetryPolicy(
    attempts=999, first_attempts=999, base=0, cap=0, budget=999, budget_rate=999, poll_first=0.02
)


def echoing(secrets: Callable[[Exchange], list[str]], count: int, page: Page) -> list[Behaviour]:
    """Refusals, each with another of the `count` secrets, or in another encoding."""

    def refusal(number: int, encode: Callable[[str], str]) -> Behaviour:
        def behave(exchange: Exchange) -> None:
            exchange.read()
            body, headers = page(f"no: {encode(secrets(exchange)[number])} it is")
            exchange.send(response(503, body, *headers))

        return behave

    return [refusal(number, encode) for number in range(count) for encode in ENCODINGS.values()]


@case(26, EXACT)
@pytest.mark.parametrize("page", STORE_PAGES)
def test_what_a_store_repeats_of_a_link_is_heard_nowhere(
    page: str, path: Path, state_dir: Path, rig: Open
) -> None:
    links: set[str] = set()
    script = noted({1: echoing(values, 8, STORE_PAGES[page])}, links)
    with rig(script, retry=LASTING, api_key=KEY, api_secret=SECRET) as it:
        with all_logged() as log:
            it.upload(path)
        assert it.heard(PartRetrying) == 8 * len(ENCODINGS)
        told = overheard(it, log, path, state_dir).told()
    assert not leaks(told, secrets_with(links))


@case(26, EXACT, "ApiError")
@pytest.mark.parametrize("page", API_PAGES)
def test_what_an_api_repeats_of_the_credentials_is_heard_nowhere(
    page: str, path: Path, state_dir: Path, rig: Open
) -> None:
    final = saying(422, lambda exchange: API_PAGES[page](" and ".join(credentials(exchange)))[0])
    script: dict[int | str, list[Behaviour]] = {"create": [final, *echoing(credentials, 5, API_PAGES[page])]}
    with rig(script, retry=LASTING, api_key=KEY, api_secret=SECRET) as it, all_logged() as log:
        assert it.upload(path) == "ApiError"
        told = overheard(it, log, path, state_dir).told()
        assert it.upload(path) == EXACT
        assert it.heard(CallRetrying) == 5 * len(ENCODINGS)
        told |= {f"then {where}": text for where, text in overheard(it, log, path, state_dir).told().items()}
    del told["traceback"]
    assert not leaks(told, secrets_with([]))


@case(26, EXACT)
def test_what_a_page_in_the_apis_place_repeats_is_heard_nowhere(
    path: Path, state_dir: Path, rig: Open
) -> None:
    script: dict[int | str, list[Behaviour]] = {"create": echoing(credentials, 5, STORE_PAGES["a page"])}
    with rig(script, retry=LASTING, api_key=KEY, api_secret=SECRET) as it, all_logged() as log:
        assert it.upload(path) == EXACT
        assert it.heard(CallRetrying) == 5 * len(ENCODINGS)
        told = overheard(it, log, path, state_dir).told()
    assert not leaks(told, secrets_with([]))


@case(26, "ApiError")
def test_what_a_store_repeats_in_a_success_is_heard_nowhere(path: Path, state_dir: Path, rig: Open) -> None:
    """Its ETag is told and kept; that the service never got the part is its word against the store's."""
    links: set[str] = set()

    def behave(exchange: Exchange) -> None:
        exchange.read()
        signature = url_of(exchange).rpartition("Signature=")[2]
        exchange.send(response(200, "", f'ETag: "{signature}"'))

    with rig(noted({1: [behave]}, links), api_key=KEY, api_secret=SECRET) as it:
        with all_logged() as log:
            it.upload(path, verify="none")
        assert it.heard(PartStored) > 0
        told = overheard(it, log, path, state_dir).told()
    assert not leaks(told, secrets_with(links))


SHORT = "Sh0rt-8c"


@case(26, "PartError")
def test_a_short_value_of_a_links_query_is_not_repeated_either(path: Path, rig: Open) -> None:
    """A store that signs its links in its own way."""

    def create(exchange: Exchange) -> str:
        return created(url=f"{exchange.origin}/bucket/scene.glb?partNumber=1&ticket={SHORT}")(exchange)

    script: dict[int | str, list[Behaviour]] = {
        "create": [saying(200, create)],
        1: [
            saying(
                404, lambda exchange: f"<Error><Code>NoSuchTicket</Code><Message>{SHORT}</Message></Error>"
            )
        ],
    }
    with rig(script) as it:
        it.upload(path)
        assert "NoSuchTicket" in str(it.error)
        assert SHORT not in str(it.error)


# 29: what the store is sent


@case(29, EXACT)
@pytest.mark.parametrize("face", FACES)
def test_the_store_sees_no_credential_cookie_or_stray_header(face: str, tmp_path: Path, rig: Open) -> None:
    """Whatever was answered before, and on connections of its own."""
    connections: dict[str, set[object]] = {"put": set(), "create": set(), "get": set(), "complete": set()}

    def seen(behaviour: Behaviour) -> Behaviour:
        def behave(exchange: Exchange) -> None:
            connections[exchange.target].add(exchange.peer.getpeername())
            behaviour(exchange)

        return behave

    story, path = STORIES["one of each is outlasted"], make_file(tmp_path / "scene.glb", 5 * MiB + 1)
    script = noted(story.script, set())
    targets: tuple[int | str, ...] = (1, 2, *connections)
    script = {it: [*map(seen, script.get(it, ())), *[seen(pass_on)] * EVER] for it in targets}
    with rig(script, api_key=KEY, api_secret=SECRET, jwt=JWT) as it:
        with FACES[face](it) as it.uploader:
            it.upload(path)
        puts = [head for head in it.peer.heads if head.startswith(b"PUT")]
    assert len(puts) == 7
    for head in puts:
        names = re.findall(rb"\r\n([^:\r]+):", head)
        assert names == [b"Host", b"Content-Length", b"Accept-Encoding", b"User-Agent"]
    assert not leaks({"heads": b"".join(puts)}, [KEY, SECRET, f"{KEY}:{SECRET}", JWT, COOKIE])
    assert not connections["put"] & (connections["create"] | connections["get"] | connections["complete"])
    assert not [head for head in it.peer.heads if COOKIE.encode() in head or b"Cookie" in head]
