"""Servers that answer as no service should: whatever they do, it is an error of ours, and bounded."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.transfer.conftest import QUICK, MiB
from tests.transfer.servers import answering, created, http
from uploader import (
    AnswerError,
    InputError,
    PartError,
    RetryPolicy,
    Timeouts,
    UnreachableError,
    Uploader,
    UploaderError,
    UploadFailedError,
)
from uploader.core.outcomes import Break, Broken
from uploader.io.connections import BROKEN, ERROR_BODY, Connection, Scope, classify
from uploader.io.transport import TunnelError, anywhere

TIMEOUTS = ("connect", "read", "write", "pool")
FEW = RetryPolicy(attempts=2, first_attempts=2, base=0.0, cap=0.0)


def uploader(origin: str, policy: RetryPolicy = FEW) -> Uploader:
    timeouts = Timeouts(connect=2, stall=2, answer=2, api=2)
    return Uploader(base_url=f"{origin}/v1", api_key="k", api_secret="s", retry=policy, timeouts=timeouts)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(""), "SCENARIO_BASE_URL"),
        (http("[]"), "SCENARIO_BASE_URL"),
        (http('{"upload": null}'), "cannot be used"),
        (http('{"upload": {"id": 7, "status": []}}'), "id .*status"),
        (http("[" * 100_000), "SCENARIO_BASE_URL"),
        (http('{"upload": {"id": "u", "status": "pending", "parts": []}}'), "carries no parts"),
        (http('{"upload": {"id": "u", "status": "pending", "parts": [{"number": 1.5}]}}'), "number"),
        (
            http(
                '{"upload": {"id": "u", "status": "pending", "parts": [{"number": 1, "url": "file:///etc"}]}}'
            ),
            "part 1",
        ),
        (http("moved", "302 Found", "Location: https://elsewhere.example/\r\n"), "redirect"),
    ],
)
def test_a_create_answer_that_is_none_is_refused(answer: bytes, said: str, glb: Path) -> None:
    with (
        answering(answer) as origin,
        uploader(origin) as up,
        pytest.raises(AnswerError, match=said) as caught,
    ):
        up.upload(glb, part_size=32 * MiB, progress=False)
    assert caught.value.nothing_sent


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
)
def test_an_api_that_does_not_speak_http_is_unreachable(answer: bytes, glb: Path) -> None:
    with answering(answer) as origin, uploader(origin) as up, pytest.raises(UnreachableError):
        up.upload(glb, progress=False)


def test_an_answer_about_another_upload_is_refused() -> None:
    other = http('{"upload": {"id": "other", "status": "validated"}}')
    with (
        answering(other) as origin,
        uploader(origin) as up,
        pytest.raises(AnswerError, match="another upload"),
    ):
        up.wait("mine", progress=False)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http("", "200 OK"), "without an ETag"),
        (http("<Error><Code>SlowDown</Code>", "503 Slow", "Retry-After: -1\r\n"), "SlowDown"),
        (
            b"HTTP/1.1 500 Oops\r\nContent-Length: 9999\r\n\r\n<Error><Code>InternalError</Code>",
            "InternalError",
        ),
        (http(b"x" * 5_000_000, "404 Bad"), "404"),
        (http("Signature=abcdef" * 10 + " ?X-Amz-Signature=deadbeef", "404 Bad"), "404"),
    ],
)
def test_a_store_that_answers_oddly_ends_in_a_part_error(answer: bytes, said: str, glb: Path) -> None:
    policy = RetryPolicy(attempts=3, base=0.0, cap=0.0)
    with (
        answering(created, answer) as origin,
        uploader(origin, policy) as up,
        pytest.raises(PartError, match=said) as caught,
    ):
        up.upload(glb, part_size=32 * MiB, progress=False, verify="none")
    assert "deadbeef" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_an_error_body_is_read_only_so_far() -> None:
    connection = Connection(ssl.create_default_context(), anywhere)
    with answering(http(b"x" * 5_000_000, "400 Bad")) as origin:
        answer = connection.ask(httpx.Request("GET", origin), Scope(), body_limit=10_000_000)
    connection.close()
    assert len(getattr(answer, "body", b"")) == ERROR_BODY


def test_a_cancelled_scope_sends_nothing() -> None:
    scope, connection = Scope(), Connection(ssl.create_default_context(), anywhere)
    scope.cancel()
    answer = connection.ask(httpx.Request("GET", "http://127.0.0.1:9/"), scope)
    connection.close()
    assert getattr(answer, "detail", "") == "stopped"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (httpx.WriteTimeout(""), Break.STALL),
        (httpx.ReadTimeout(""), Break.SILENCE),
        (httpx.ConnectTimeout(""), Break.CONNECT),
        (httpx.ConnectError(""), Break.CONNECT),
        (TunnelError("the proxy p answered 407", 407), Break.PROXY),
        (TunnelError("the proxy p answered 502", 502), Break.CONNECT),
        (TunnelError("the proxy p: Connection refused"), Break.CONNECT),
        (httpx.RemoteProtocolError(""), Break.RESET),
        (httpx.ReadError(""), Break.RESET),
    ],
)
def test_every_way_to_break_has_a_name(error: Exception, kind: Break) -> None:
    assert classify(error).kind is kind


def test_every_exception_of_a_transport_is_caught() -> None:
    """But for what says that no request can be made of a URL."""
    kinds = [it for it in vars(httpx).values() if isinstance(it, type)]
    raised = {it for it in kinds if issubclass(it, httpx.TransportError)}
    missed = {it for it in raised if not issubclass(it, BROKEN)}
    assert missed == {httpx.TransportError, httpx.UnsupportedProtocol}


def test_connections_lent_while_it_is_closed_are_closed_when_they_come_back(glb: Path) -> None:
    up = uploader("http://127.0.0.1:9", QUICK)
    with up._api_connections.lend():
        up.close()
    assert not up._api_connections._idle


def test_an_early_200_is_no_success(glb: Path) -> None:
    """A store that answers at the headers and closes cannot have the part, whatever its ETag says."""
    etag = http("", headers='ETag: "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"\r\n')
    with (
        answering(created, etag, bodies=False) as origin,
        uploader(origin, RetryPolicy(attempts=3, base=0.0, cap=0.0)) as up,
        pytest.raises(UploaderError) as caught,
    ):
        up.upload(glb, part_size=32 * MiB, progress=False)
    assert not isinstance(caught.value, UploadFailedError)


def test_a_cancel_during_the_tls_handshake_is_prompt() -> None:
    """The other side accepts, and never says hello."""
    scope, connection = Scope(), Connection(ssl.create_default_context(), anywhere)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        request = httpx.Request(
            "GET",
            f"https://127.0.0.1:{silent.getsockname()[1]}/",
            extensions={"timeout": dict.fromkeys(TIMEOUTS, 30.0)},
        )
        threading.Timer(0.3, scope.cancel).start()
        began = time.monotonic()
        answer = connection.ask(request, scope)
    connection.close()
    assert isinstance(answer, Broken)
    assert time.monotonic() - began < 10


def test_settings_of_the_environment_that_cannot_be_used_are_said_so(
    glb: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in {
        "SSL_CERT_FILE": str(tmp_path / "absent.pem"),
        "HTTPS_PROXY": "foo://127.0.0.1:1",
    }.items():
        with monkeypatch.context() as patch:
            patch.setenv(variable, value)
            with (
                uploader("https://api.example.invalid") as up,
                pytest.raises(InputError, match=variable) as caught,
            ):
                up.upload(glb, progress=False)
        assert caught.value.nothing_sent


def test_a_wrong_address_is_told_within_few_attempts(glb: Path) -> None:
    policy = RetryPolicy(attempts=1000, first_attempts=2, base=0.0, cap=0.0)
    heard: list[bytes] = []
    with (
        answering(http("", "500 Oops"), heard=heard) as origin,
        uploader(origin, policy) as up,
        pytest.raises(UnreachableError),
    ):
        up.upload(glb, progress=False)
    assert len(heard) == 2


@pytest.mark.parametrize("upload_id", ["", ".", "..", "a/b", "up\udcff", "up?x"])
def test_what_can_be_no_upload_id_is_refused(upload_id: str) -> None:
    with uploader("http://127.0.0.1:9") as up, pytest.raises(InputError, match="upload id"):
        up.wait(upload_id)


def test_a_proxy_that_speaks_tls_is_no_crash(
    glb: Path, trusted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*trusted)
    with answering(http("", "403 Forbidden"), tls=tls) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        with (
            uploader("https://api.example.invalid") as up,
            pytest.raises(UnreachableError, match="proxy refused"),
        ):
            up.upload(glb, progress=False)
