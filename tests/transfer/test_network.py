"""The network layer: which address a name is connected at, and how soon a wait can be ended."""

from __future__ import annotations

import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import unquote_plus

import httpx
import pytest
import trustme

from tests.transfer.servers import answering, deaf, http
from uploader.core.outcomes import Break, Broken, Response
from uploader.errors import InputError
from uploader.io.connections import ERROR_BODY, Connection, Connections, Scope
from uploader.io.network import Address, Resolve
from uploader.io.transport import anywhere, proxy_for

TIMEOUTS = ("connect", "read", "write", "pool")


def asked(origin: str, path: str = "/", seconds: float = 5.0) -> httpx.Request:
    return httpx.Request("GET", origin + path, extensions={"timeout": dict.fromkeys(TIMEOUTS, seconds)})


def leading(*addresses: str) -> Resolve:
    """Every name leads to these addresses, in this order."""

    def resolve(host: str, port: int) -> list[Address]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port))
            for address in addresses
        ]

    return resolve


@contextmanager
def connection(resolve: Resolve | None = None) -> Iterator[Connection]:
    made = Connection(
        ssl.create_default_context(), anywhere, **({} if resolve is None else {"resolve": resolve})
    )
    try:
        yield made
    finally:
        made.close()


# Addresses


def test_a_silent_address_costs_no_more_than_a_moment() -> None:
    with answering(http("here")) as origin:
        port = int(origin.rpartition(":")[2])
        with deaf("127.0.0.2", port), connection(leading("127.0.0.2", "127.0.0.1")) as it:
            began = time.monotonic()
            answer = it.ask(asked(f"http://store.example:{port}"), Scope())
    assert isinstance(answer, Response)
    assert time.monotonic() - began < 3, "a quarter of a second; its timeout is five"


def test_an_address_that_refuses_leads_to_the_next_at_once() -> None:
    with answering(http("here")) as origin, connection(leading("127.0.0.3", "127.0.0.1")) as it:
        answer = it.ask(asked(f"http://store.example:{origin.rpartition(':')[2]}"), Scope())
    assert isinstance(answer, Response)


def test_where_all_refuse_the_reason_is_told() -> None:
    with connection(leading("127.0.0.3", "127.0.0.2")) as it:
        answer = it.ask(asked("http://store.example:9"), Scope())
    assert isinstance(answer, Broken)
    assert (answer.kind, "refused" in answer.detail) == (Break.CONNECT, True)


def test_where_all_are_silent_the_timeout_holds() -> None:
    with deaf("127.0.0.2") as port, connection(leading("127.0.0.2")) as it:
        answer = it.ask(asked(f"http://store.example:{port}", seconds=0.3), Scope())
    assert isinstance(answer, Broken)
    assert answer.kind is Break.CONNECT


def test_a_name_that_leads_nowhere_is_told() -> None:
    with connection() as it:
        answer = it.ask(asked("http://no-such-host.invalid"), Scope())
    assert isinstance(answer, Broken)
    assert answer.kind is Break.CONNECT


def test_what_is_not_permitted_is_not_connected_to() -> None:
    accepted: list[bytes] = []
    with answering(http("here"), heard=accepted) as origin:
        it = Connection(ssl.create_default_context(), lambda host, addresses: [])
        answer = it.ask(asked(origin), Scope())
        it.close()
    assert isinstance(answer, Broken)
    assert answer.kind is Break.REFUSED
    assert accepted == []


# Ending a wait


def ended_after(it: Connection, request: httpx.Request, began: threading.Event) -> float:
    """How long after the stop a call that was under way went on."""
    scope, stopped = Scope(), 0.0

    def stop() -> None:
        nonlocal stopped
        began.wait()
        stopped = time.monotonic()
        scope.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    answer = it.ask(request, scope)
    thread.join()
    assert isinstance(answer, Broken)
    return time.monotonic() - stopped


def test_a_stop_ends_a_connection_in_the_making() -> None:
    begun = threading.Event()
    begun.set()
    with deaf("127.0.0.2") as port, connection(leading("127.0.0.2")) as it:
        assert ended_after(it, asked(f"http://store.example:{port}", seconds=60), begun) < 5


def test_a_stop_ends_the_lookup_of_a_name() -> None:
    looking, enough = threading.Event(), threading.Event()

    def resolve(host: str, port: int) -> list[Address]:
        looking.set()
        enough.wait()
        return []

    with connection(resolve) as it:
        assert ended_after(it, asked("http://store.example", seconds=60), looking) < 5
    enough.set()


def test_a_lookup_without_end_is_a_failure_to_connect() -> None:
    enough = threading.Event()

    def resolve(host: str, port: int) -> list[Address]:
        enough.wait()
        return []

    with connection(resolve) as it:
        answer = it.ask(asked("http://store.example", seconds=0.2), Scope())
    enough.set()
    assert isinstance(answer, Broken)
    assert answer.kind is Break.CONNECT


# Answers without end


@contextmanager
def dribbling(start: bytes, drop: bytes) -> Iterator[str]:
    """A server that says `start`, and then `drop` for ever, in as small pieces as it likes."""
    gone = threading.Event()

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            try:
                peer.sendall(start)
                while not gone.wait(0.05):
                    peer.sendall(drop)
            except OSError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            gone.set()
            thread.join()


@pytest.mark.parametrize(
    ("start", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", b"."),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"),
    ],
    ids=["status line", "header", "body", "fast 100s", "slow 103s"],
)
def test_an_answer_that_does_not_end_is_given_up(start: bytes, drop: bytes) -> None:
    with dribbling(start, drop) as origin, connection() as it:
        answer = it.ask(asked(origin, seconds=0.3), Scope())
    assert isinstance(answer, Broken)


# Bodies


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "GZIP"])
def test_an_error_that_came_compressed_is_read(encoding: str) -> None:
    body = gzip.compress(b"<Error><Code>SlowDown</Code></Error>")
    with answering(http(body, "503 Slow", f"Content-Encoding: {encoding}\r\n")) as origin, connection() as it:
        answer = it.ask(asked(origin), Scope())
    assert isinstance(answer, Response)
    assert b"SlowDown" in answer.body


def test_a_bomb_is_inflated_only_so_far() -> None:
    bomb = gzip.compress(bytes(50_000_000))
    with answering(http(bomb, "500 Bomb", "Content-Encoding: gzip\r\n")) as origin, connection() as it:
        answer = it.ask(asked(origin), Scope(), body_limit=1_000)
    assert isinstance(answer, Response)
    assert len(answer.body) == ERROR_BODY


def test_what_is_not_what_it_says_is_no_body() -> None:
    with answering(http("plain", "500 Odd", "Content-Encoding: gzip\r\n")) as origin, connection() as it:
        assert it.ask(asked(origin), Scope()) == Response(
            500, {"content-encoding": "gzip", "content-length": "5", "connection": "close"}, b""
        )


# Proxies


def test_a_proxy_that_speaks_tls_is_passed_through(
    trusted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS to the proxy, and inside of it TLS to the store."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*trusted)
    heads: list[bytes] = []
    with answering(http("through"), tls=tls) as store, tunnelling(tls, store, heads) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        context = httpx.create_ssl_context()
        context.check_hostname = False  # the certificate is for 127.0.0.1, to which no proxy is ever asked
        it = Connection(context, lambda host, addresses: [])
        request = asked("https://store.example/key")
        request.extensions["target"] = b"/key?X-Amz-Signature=secret"
        answer = it.ask(request, Scope())
        it.close()
    assert isinstance(answer, Response)
    assert answer.body == b"through"
    assert heads[0].startswith(b"CONNECT store.example:443 HTTP/1.1\r\n")
    assert b"secret" not in heads[0]


@contextmanager
def tunnelling(tls: ssl.SSLContext, store: str, heads: list[bytes]) -> Iterator[str]:
    """A proxy over TLS that connects everybody to `store`."""

    def serve() -> None:
        peer, _ = listener.accept()
        with tls.wrap_socket(peer, server_side=True) as peer:
            heads.append(peer.recv(65536))
            peer.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            with socket.create_connection(("127.0.0.1", int(store.rpartition(":")[2]))) as upstream:
                thread = threading.Thread(target=pump, args=(upstream, peer))
                thread.start()
                pump(peer, upstream)
                thread.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join()


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # one side has left


@pytest.mark.parametrize(
    ("exempt", "direct"),
    [
        ("", False),
        ("*", True),
        ("store.example", True),
        (".example", True),
        ("other.example, EXAMPLE", True),
        ("store.example:443", True),
        ("store.example:8443", False),
        ("tore.example", False),
        ("*.example", True),
        ("store.example.", True),
        ("other.test store.example", True),
        ("*tore.example", False),
    ],
)
def test_no_proxy_is_heeded(exempt: str, direct: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    for host in ("store.example", "store.example."):
        assert proxy_for("https", host, None) == (None if direct else "http://proxy.example:3128")


@pytest.mark.parametrize(
    ("host", "exempt", "direct"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:8443", False),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "store.example", False),
        ("2001:db8::1", "2001:DB8:0::1", True),
        ("2001:db8::1", "[2001:db8::1]", True),
        ("2001:db8::1", "[2001:db8::1]:443", True),
        ("2001:db8::1", "[2001:db8::1]:8443", False),
        ("2001:db8::1", "2001:db8::/32", True),
        ("2001:db8::1", "10.0.0.0/8", False),
    ],
)
def test_no_proxy_names_addresses_and_networks(
    host: str, exempt: str, direct: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", exempt)
    assert proxy_for("https", host, None) == (None if direct else "http://proxy.example:3128")


def test_all_proxy_is_for_what_has_none_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://all.example:1")
    assert proxy_for("https", "store.example", None) == "http://all.example:1"
    assert proxy_for("http", "127.0.0.1", 80) is None, "no proxy leads to this machine itself"


@pytest.mark.parametrize(
    "proxy",
    [
        "http://bob:s3cretpw#x@127.0.0.1:1",
        "socks5://bob:s3cretpw@127.0.0.1:1",
        "http://bob:s3cretpw@proxy..example:3128",
        "http://bob:s3cretpw@proxy.example:99999",
        "http://bob:s3cretpw@proxy.example:0",
    ],
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with connection() as it, pytest.raises(InputError, match="HTTPS_PROXY") as caught:
        it.ask(asked("https://store.example"), Scope())
    assert "s3cretpw" not in str(caught.value)


@pytest.mark.parametrize("form", ["HTTP://127.0.0.1:{}", " http://127.0.0.1:{}\n", "127.0.0.1:{}"])
def test_a_proxy_that_is_not_there_is_named(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("HTTPS_PROXY", form.format(port))
    with connection() as it:
        answer = it.ask(asked("https://store.example"), Scope())
    assert isinstance(answer, Broken)
    assert answer.kind is Break.CONNECT
    assert answer.detail.startswith("the proxy 127.0.0.1: ")
    assert "refused" in answer.detail


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (http("bob:s3cretpw", "407 s3cretpw"), Break.PROXY),
        (http("", "502 s3cretpw"), Break.CONNECT),
        (b"HTTP/1.1 407 No\r\nX-User : bob:s3cretpw\r\n\r\n", Break.CONNECT),
        (b"s3cretpw\r\n\r\n", Break.CONNECT),
        (b"", Break.CONNECT),
    ],
    ids=["407", "502", "header", "status line", "nothing"],
)
def test_what_a_proxy_says_is_not_quoted(answer: bytes, kind: Break, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(answer) as origin, connection() as it:
        monkeypatch.setenv("HTTPS_PROXY", origin.replace("//", "//bob:s3cretpw@"))
        broken = it.ask(asked("https://store.example"), Scope())
    assert isinstance(broken, Broken)
    assert broken.kind is kind
    assert broken.detail.startswith("the proxy 127.0.0.1 ")
    assert "s3cretpw" not in broken.detail


def test_a_name_with_its_dot_is_the_certificates_without() -> None:
    authority = trustme.CA()
    tls, context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("store.example").configure_cert(tls)
    authority.configure_trust(context)
    it = Connection(context, anywhere, leading("127.0.0.1"))
    with answering(http("here"), tls=tls) as origin:
        answer = it.ask(asked(f"https://store.example.:{origin.rpartition(':')[2]}"), Scope())
    it.close()
    assert isinstance(answer, Response)


def test_what_tls_failed_for_is_told_in_words() -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    with answering(http("here"), tls=tls) as origin, connection() as it:
        answer = it.ask(asked(origin), Scope())
    assert isinstance(answer, Broken)
    assert answer.kind is Break.TLS
    assert answer.detail.startswith("certificate verify failed: ")


# One connection, several requests


def kept(body: str) -> bytes:
    return http(body).replace(b"Connection: close\r\n", b"")


def bodies(it: Connection, origin: str, times: int) -> list[bytes]:
    answers = [it.ask(asked(origin), Scope()) for _ in range(times)]
    return [answer.body for answer in answers if isinstance(answer, Response)]


def test_one_connection_serves_several_requests() -> None:
    heard: list[bytes] = []
    with answering(kept("1"), kept("2"), keep=True, heard=heard) as origin, connection() as it:
        assert bodies(it, origin, 2) == [b"1", b"2"]
        assert it.is_open


def test_an_answer_that_nobody_asked_for_is_nobodys() -> None:
    """Two in one segment: the second is not the answer to what is asked next."""
    with answering(kept("1") + kept("stale"), kept("2"), keep=True) as origin, connection() as it:
        first = it.ask(asked(origin), Scope())
        assert isinstance(first, Response)
        assert not it.is_open, "what else comes on it cannot be told from an answer"
    with answering(kept("1") + kept("stale"), kept("2")) as origin, connection() as it:
        assert bodies(it, origin, 2) == [b"1", b"2"]


def test_an_answer_that_nobody_asked_for_is_nobodys_in_tls_inside_of_tls(
    trusted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(*trusted)
    said = kept("1") + kept("stale")
    with answering(said, tls=tls) as store, tunnelling(tls, store, []) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy)
        context = httpx.create_ssl_context()
        context.check_hostname = False
        it = Connection(context, anywhere)
        first = it.ask(asked("https://store.example/key"), Scope())
        still_open = it.is_open
        it.close()
    assert isinstance(first, Response)
    assert not still_open


def test_connections_that_their_servers_closed_are_dropped() -> None:
    """Lent several at once, then one at a time: those that are not needed any more are not kept for ever."""
    context = ssl.create_default_context()
    connections = Connections(lambda: context, anywhere)
    with answering(http("bye")) as origin:
        with connections.lend() as one, connections.lend() as two, connections.lend() as three:
            for it in (one, two, three):
                it.ask(asked(origin), Scope())
        with connections.lend():
            pass
    assert len(connections._idle) == 1
    connections.close()


def test_an_error_whose_body_does_not_end_keeps_nobody() -> None:
    """Its status is known: the body is worth a moment, and not the whole of the answer's time."""
    with socket.create_server(("127.0.0.1", 0)) as listener, connection() as it:
        origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        server = threading.Thread(target=hold, args=(listener, b"HTTP/1.1 503 Slow Down\r\n\r\n"))
        server.start()
        answer = it.ask(asked(origin, seconds=60), Scope())
        server.join()
    assert isinstance(answer, Response)
    assert answer.status == 503
    assert time.monotonic() - began < 30


def hold(listener: socket.socket, said: bytes) -> None:
    """Say this, and keep the connection until the client has left."""
    peer, _ = listener.accept()
    with peer, suppress(OSError):
        peer.recv(65536)
        peer.sendall(said)
        peer.recv(1)


# What a server says


@pytest.mark.parametrize(
    "location", ["http://a:b/", "https://999.1.1.1/", "mailto:x", "urn:x:y", "x" * 70_000]
)
def test_wherever_a_redirect_points_it_is_an_answer(location: str) -> None:
    with answering(http("", "307 Go", f"Location: {location}\r\n")) as origin, connection() as it:
        answer = it.ask(asked(origin), Scope())
    assert isinstance(answer, Response)
    assert answer.status == 307


def test_what_it_gives_back_of_the_request_is_masked_verbatim_and_decoded() -> None:
    token = "abcdefgh+ijklmnopqrstuvwx.SECRET%2fTAIL"
    said = f"{token} {token.replace('%2f', '/')} {unquote_plus(token)}"
    for answer in (
        http(said, "403 No", f"X-Amz-Request-Id: {token}\r\n"),
        http(" " * 300 + said, "200 OK", f'ETag: "{token}"\r\n'),
        f"HTTP/1.1 {said}\r\n\r\n".encode(),
    ):
        with answering(answer) as origin, connection() as it:
            request = asked(origin)
            request.extensions["target"] = f"/key?X-Amz-Signature={token}".encode()
            assert "SECRET" not in str(it.ask(request, Scope()))


def test_nothing_is_left_open() -> None:
    """Neither where a connection was made nor where none was."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("descriptors cannot be counted here")
    before = set(os.listdir("/proc/self/fd"))
    with answering(http("here")) as origin:
        port = origin.rpartition(":")[2]
        for addresses in (["127.0.0.3", "127.0.0.1"], ["127.0.0.3"], []):
            with connection(leading(*addresses)) as it:
                it.ask(asked(f"http://store.example:{port}"), Scope())
    assert set(os.listdir("/proc/self/fd")) == before
