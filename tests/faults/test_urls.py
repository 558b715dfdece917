"""Where a part is sent, and where it is not, whatever the service says: cases 27 and 28."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.others import API, STORE, Listener, from_afar, handing_out, listening, proxy, watching
from tests.faults.peer import Behaviour, Exchange, reply, response, xml
from tests.faults.rig import make_file
from uploader.core.events import PartRetrying
from uploader.hosts import is_private

EVER = 20


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 4096)


@pytest.fixture
def elsewhere() -> Iterator[Listener]:
    """A host that nothing is to be sent to."""
    with listening() as host:
        yield host
    assert not host.heard


# 27: links that are not ones to send a file to

NOT_THERE = [
    "file:///etc/passwd",
    "file://{elsewhere}/etc/passwd",
    "ftp://{elsewhere}/k",
    "gopher://{elsewhere}/k",
    "ws://{elsewhere}/k",
    "http+unix://{elsewhere}/k",
    "//{elsewhere}/k",
    "{elsewhere}/k",
    "k",
    "",
    "javascript:alert(1)",
    "http://192.0.2.1/k",
    "http://store.scenario.example/k",
    "http://10.0.0.5/k",
    "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1.scenario.example/k",
    "http://2130706433:{port}/k",
    "http://0x7f.1:{port}/k",
    "http://user@{elsewhere}/k",
    "http://user:password@{elsewhere}/k",
    "https://user:password@{elsewhere}/k",
    "http://@{elsewhere}/k",
    "http://127.0.0.1:{port}\\@store.scenario.example/k",
    "http://{elsewhere}/k\r\nHost: other",
    "http://{elsewhere}/k\tk",
    "http://{elsewhere} /k",
    "http://127.0.0.1:port/k",
    "http://[127.0.0.1]:{port}/k",
    "http://{elsewhere}/" + "k" * 70_000,
]


def linked(url: str) -> Behaviour:
    """Pass on; the links in the answer are all `url`, with the query they had."""

    def behave(exchange: Exchange) -> None:
        answer = json.loads(exchange.ask_service().partition(b"\r\n\r\n")[2])
        for part in answer["upload"].get("parts", ()):
            part["url"] = f"{url}?{part['url'].partition('?')[2]}"
        exchange.send(response(200, json.dumps(answer)))

    return behave


def filled_in(url: str, elsewhere: Listener) -> str:
    return url.replace("{elsewhere}", f"127.0.0.1:{elsewhere.port}").replace("{port}", str(elsewhere.port))


@case(27, "AnswerError")
@pytest.mark.parametrize("url", NOT_THERE, ids=lambda url: repr(url)[:40])
def test_a_link_that_is_not_one_to_send_to_is_refused_before_a_socket_opens(
    url: str, path: Path, elsewhere: Listener, rig: Open
) -> None:
    with rig({"create": [linked(filled_in(url, elsewhere))]}) as it:
        with watching() as asked:
            it.upload(path)
        assert asked.addresses == {("127.0.0.1", int(it.peer.origin.rpartition(":")[2]))}
        assert asked.names <= {"127.0.0.1"}
        assert "part 1" in str(it.error)
        assert it.error is not None
        assert it.error.nothing_sent
    assert elsewhere.connections == 0


@case(27, "AnswerError")
@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "http://user:password@{elsewhere}/k", "ftp://{elsewhere}/k"]
)
def test_nor_is_one_that_comes_later(url: str, path: Path, elsewhere: Listener, rig: Open) -> None:
    """In the place of one that has expired."""
    expired = reply(response(403, xml("AccessDenied", "Request has expired")))
    with rig({1: [expired], "get": [linked(filled_in(url, elsewhere))]}) as it:
        it.upload(path)
        assert it.peer.seen[1] == 1
    assert elsewhere.connections == 0


@case(27, "AnswerError")
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "0.0.0.0",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::a9fe:a9fe]",
        "[2002:7f00:1::]",
    ],
)
def test_an_api_on_the_internet_cannot_send_the_file_into_this_network(
    host: str, path: Path, elsewhere: Listener, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        rig({"create": [linked(f"https://{host}:{elsewhere.port}/k")]}, tls=True) as it,
        proxy(it.peer.origin) as way,
    ):
        monkeypatch.setenv("HTTPS_PROXY", way.url)
        with from_afar(it) as it.uploader, watching() as asked:
            it.upload(path)
        assert asked.addresses == {("127.0.0.1", way.port)}
        assert asked.names <= {"127.0.0.1"}
        assert [head.split()[1] for head in way.heads] == [f"{API}:443".encode()]
        assert "private network" in str(it.error)
    assert elsewhere.connections == 0


def own_address() -> str:
    """An address of this machine's that other machines know; no packet is sent to find it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


PRIVATE = ["127.0.0.1", "127.1.2.3", "0.0.0.0", "::1", "::ffff:127.0.0.1", "this machine's"]


@case(27, "PartError", "AnswerError")
@pytest.mark.parametrize("address", PRIVATE)
def test_nor_by_a_name_that_leads_there(
    address: str, path: Path, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store is reached without the proxy, so that this machine looks its name up."""
    if address == "this machine's":
        address = own_address()
        if not is_private(address):
            pytest.skip("this machine has an address on the Internet")
    look_up = socket.getaddrinfo

    def answer(host: str | bytes | None, *more: object, **names: object) -> object:
        name = host.decode() if isinstance(host, bytes) else host
        return look_up(address if name == STORE else host, *more, **names)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    bound = {"0.0.0.0": "127.0.0.1", "::ffff:127.0.0.1": "127.0.0.1"}.get(address, address)
    with listening(bound) as inside:
        links = handing_out(f"https://{STORE}:{inside.port}")
        with rig({"create": [links], "get": [links] * EVER}, tls=True) as it, proxy(it.peer.origin) as way:
            monkeypatch.setenv("HTTPS_PROXY", way.url)
            monkeypatch.setenv("NO_PROXY", STORE)
            with from_afar(it) as it.uploader:
                it.upload(path)
            assert "private network" in str(it.error)
            assert it.heard(PartRetrying) == 0
    assert not inside.heard


# 28: redirects


@case(28, EXACT, "PartError")
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_store_that_redirects_to_another_host_is_not_followed(
    status: int, tls: bool, path: Path, elsewhere: Listener, rig: Open
) -> None:
    there = [f"http://127.0.0.1:{elsewhere.port}/k", f"//127.0.0.1:{elsewhere.port}/k"]
    moved = [
        reply(response(status, "", f"Location: {to}", f"Refresh: 0; url={to}", f"Content-Location: {to}"))
        for to in there
    ]
    with rig({1: [moved[0]]}, tls=tls) as it, watching() as asked:
        assert it.upload(path) == EXACT
        assert it.result is not None
        assert it.result.url_refreshes == 1
        it.peer.tell({1: moved * EVER})
        assert it.upload(path) == "PartError"
        assert "redirects" in str(it.error)
        assert asked.addresses == {("127.0.0.1", int(it.peer.origin.rpartition(":")[2]))}
        assert not [head for head in it.peer.heads if b"referer" in head.lower()]
    assert elsewhere.connections == 0


@case(28, "AnswerError")
@pytest.mark.parametrize("call", ["create", "get", "complete"])
def test_nor_is_an_api_that_does(call: str, tls: bool, path: Path, elsewhere: Listener, rig: Open) -> None:
    """The credentials would go with it."""
    to = f"Location: http://127.0.0.1:{elsewhere.port}/v1/uploads"
    with rig({call: [reply(response(307, "", to))] * EVER}, tls=tls) as it:
        it.upload(path)
        assert "redirect" in str(it.error)
    assert elsewhere.connections == 0
