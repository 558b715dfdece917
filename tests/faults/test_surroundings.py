"""What surrounds an uploader: netrc and proxies, and 49 others like it. Cases 33 and 39."""

from __future__ import annotations

import base64
import hashlib
import math
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.others import API, STORE, from_afar, handing_out, proxy, watching
from tests.faults.overheard import Overheard, all_logged
from tests.faults.peer import Behaviour, Exchange, pass_on, reply, response, xml
from tests.faults.rig import PATIENT, QUICK, Rig, make_file
from tests.secrets import leaks, values_of
from tests.state.conftest import until
from uploader import RetryPolicy, Uploader
from uploader.core.events import Failed

EVER = 20
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
NAME, WORD = "proxy-user", "pr0xy/word+="


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 4096)


@pytest.fixture(autouse=True)
def no_proxy_of_this_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (*VARIABLES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)


# 33: netrc


@case(33, EXACT)
@pytest.mark.parametrize("where", ["HOME", "NETRC"])
def test_netrc_is_not_read(
    where: str, path: Path, tmp_path: Path, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has a login for this very host, and one for any."""
    netrc = tmp_path / ".netrc"
    netrc.write_text(
        f"machine 127.0.0.1 login {NAME} password {WORD}\ndefault login {NAME} password {WORD}\n"
    )
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path if where == "HOME" else tmp_path / "empty"))
    monkeypatch.setenv("NETRC", str(netrc if where == "NETRC" else ""))
    expired = reply(response(403, xml("AccessDenied", "Request has expired")))
    with rig({1: [expired]}) as it:
        it.upload(path)
        ours = base64.b64encode(f"{it.service.api_key}:{it.service.api_secret}".encode())
    for head in it.peer.heads:
        said = b"" if head.startswith(b"PUT") else b"Authorization: Basic " + ours
        assert [line for line in head.split(b"\r\n") if line.lower().startswith(b"auth")] == [said] * bool(
            said
        )
    assert not leaks({"heads": b"".join(it.peer.heads)}, [NAME, WORD])


# 33: proxies


@case(33, EXACT)
@pytest.mark.parametrize("no_proxy", ["", "elsewhere.example", "127.0.0.1"])
def test_no_proxy_leads_to_this_machine(
    no_proxy: str, path: Path, tls: bool, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever NO_PROXY says, and by whatever name."""
    with rig(tls=tls) as it, proxy(it.peer.origin) as way:
        for variable in VARIABLES:
            monkeypatch.setenv(variable, way.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        it.upload(path)
        monkeypatch.setattr(it, "uploader", uploader_at(it, it.peer.origin.replace("127.0.0.1", "localhost")))
        with it.uploader:
            it.upload(path)
    assert way.heads == []


def uploader_at(it: Rig, origin: str) -> Uploader:
    key, secret = it.service.api_key, it.service.api_secret
    return Uploader(base_url=f"{origin}/v1", api_key=key, api_secret=secret, retry=QUICK, timeouts=PATIENT)


def abroad(*first: Behaviour) -> dict[int | str, list[Behaviour]]:
    """The store has a name on the Internet."""
    links = handing_out(f"https://{STORE}")
    return {"create": [links] * EVER, "get": [links] * EVER, 1: list(first)}


@case(33, EXACT)
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "ALL_PROXY", "https_proxy"])
def test_a_proxy_sees_where_to_and_nothing_else(
    variable: str, path: Path, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked for a tunnel to the API and one to the store; what goes through them it cannot read."""
    expired = reply(response(403, xml("AccessDenied", "Request has expired")))
    with rig(abroad(expired), tls=True) as it, proxy(it.peer.origin) as way:
        monkeypatch.setenv(variable, way.url)
        with from_afar(it) as it.uploader, watching() as asked:
            it.upload(path)
        secrets = {it.service.api_key, it.service.api_secret}
        secrets |= {value for head in it.peer.heads for value in values_of(head.split()[1].decode())}
    assert {head.split(b"\r\n")[0] for head in way.heads} == {
        f"CONNECT {host}:443 HTTP/1.1".encode() for host in (API, STORE)
    }
    for head in way.heads:
        names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:-2]}
        assert names <= {b"host", b"accept", b"user-agent"}
    assert not leaks({"asked": b"".join(way.heads), "tunnels": b"".join(way.clear)}, secrets)
    assert asked.addresses == {("127.0.0.1", way.port)}
    assert asked.names <= {"127.0.0.1"}, "names are the proxy's to look up"


@case(33, EXACT)
def test_a_proxys_password_is_the_proxys_alone(
    path: Path, state_dir: Path, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    throttled = reply(response(503, xml("SlowDown")))
    with rig(abroad(throttled), tls=True) as it, proxy(it.peer.origin) as way:
        word = WORD.replace("/", "%2F")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{NAME}:{word}@127.0.0.1:{way.port}")
        with from_afar(it) as it.uploader, all_logged() as log:
            it.upload(path)
            told = Overheard(log, events=it.events, objects=[it.uploader], state=state_dir).told()
    pair = base64.b64encode(f"{NAME}:{WORD}".encode())
    assert way.heads
    for head in way.heads:
        assert b"Proxy-Authorization: Basic " + pair in head
    told |= {"servers": b"".join(it.peer.heads)}
    assert not leaks(told, [NAME, WORD, f"{NAME}:{WORD}"])


REFUSALS = {
    "407 Proxy Authentication Required": "HTTPS_PROXY",
    "403 Forbidden": "HTTPS_PROXY",
    "502 Bad Gateway": "502",
    f"500 {NAME}:{WORD} and Basic {base64.b64encode(f'{NAME}:{WORD}'.encode()).decode()}": "500",
}


@case(33, "UnreachableError")
@pytest.mark.parametrize("status", REFUSALS)
def test_a_proxy_that_refuses_is_told_without_its_password(
    status: str, path: Path, state_dir: Path, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = f"<html>{NAME} {WORD} may not go to {API}</html>"
    refusal = f"HTTP/1.1 {status}\r\nContent-Length: {len(page)}\r\n\r\n{page}".encode()
    with rig(tls=True) as it, proxy(it.peer.origin, refusal=refusal) as way:
        word = WORD.replace("/", "%2F")
        monkeypatch.setenv("HTTPS_PROXY", f"http://{NAME}:{word}@127.0.0.1:{way.port}")
        with from_afar(it) as it.uploader, all_logged() as log:
            it.upload(path)
            heard = Overheard(log, events=it.events, error=it.error, state=state_dir)
            told = heard.told()
        assert it.peer.connections == 0
        assert REFUSALS[status] in str(it.error)
    assert not leaks(told, [WORD, f"{NAME}:{WORD}"])


@case(33, EXACT, "UnreachableError")
@pytest.mark.parametrize("no_proxy", [API, ".scenario.example", "scenario.example", f"other, {API}", "*"])
def test_no_proxy_is_heeded(no_proxy: str, path: Path, rig: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API is then looked for directly, and no such name is known to anybody."""
    policy = RetryPolicy(attempts=1, first_attempts=1)
    with rig(abroad(), tls=True) as it, proxy(it.peer.origin) as way:
        monkeypatch.setenv("HTTPS_PROXY", way.url)
        monkeypatch.setenv("NO_PROXY", no_proxy)
        with from_afar(it, retry=policy) as it.uploader, watching() as asked:
            assert it.upload(path) == "UnreachableError"
        assert asked.names == {API}
        assert way.heads == []
        monkeypatch.setenv("NO_PROXY", "other.example")
        with from_afar(it) as it.uploader:
            assert it.upload(path) == EXACT
        assert way.heads


@case(33, "PartError", EXACT)
def test_a_proxy_that_no_part_can_take_ends_it_as_any_failure_does(
    path: Path, rig: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API is on this machine, where none is asked. What is mended is gone on with."""
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1")
    with rig({"create": [handing_out(f"https://{STORE}")]}) as it:
        assert it.upload(path) == "PartError"
        assert it.error is not None
        assert "the machine is not fit to send it: the proxy in HTTPS_PROXY" in str(it.error)
        assert "it is http://host:port" in str(it.error)
        assert (it.error.resumable, it.error.nothing_sent) == (True, False)
        assert [event.error for event in it.events if isinstance(event, Failed)] == [it.error]
        (left,) = it.uploader.uploads()
        assert (left.upload_id, left.reason) == (it.error.upload_id, str(it.error))
        assert it.upload(path) == EXACT  # the links are to this machine now
        assert it.result is not None
        assert it.result.upload_id == left.upload_id


# 39: many at once

CLIENTS, FILES = 50, 2
STORM = 0.6
STUBBORN = RetryPolicy(attempts=10_000, base=0.0, cap=0.0, budget=4, budget_rate=4.0)


class Storm:
    """503 to every part, until all clients have met it and `STORM` seconds are over; then the service rules.

    Attributes:
        puts: when each part was sent, by the upload's id.
        refused: how many of these were refused.
    """

    def __init__(self) -> None:
        self.puts: defaultdict[str, list[float]] = defaultdict(list)
        self.refused = 0
        self._ends = math.inf
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        now = time.monotonic()
        with self._lock:
            self.puts[exchange.head.split(b"/")[2].decode()].append(now)
            if len(self.puts) == CLIENTS * FILES:
                self._ends = min(self._ends, now + STORM)
            over = now > self._ends
            self.refused += not over
        (pass_on if over else reply(response(503, xml("SlowDown"))))(exchange)


@case(39, EXACT)
def test_50_clients_in_a_storm_ask_no_more_than_their_budgets_allow(tmp_path: Path, rig: Open) -> None:
    """Each client has two files of one part on their way at once, and no backoff but the budget's.

    What the policy allows each client: every part twice, that is once at first, and once more when it is
    stored, as that gives its retry back; between the two, retries from a bucket of `budget` that fills at
    `budget_rate` from its first part to its last; and two control calls for each file, which nobody refuses,
    its creation and its completion.
    """
    storm = Storm()
    files = [make_file(tmp_path / f"{number}.glb", 2048, seed=number) for number in range(FILES)]
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]

    def client(number: int) -> list[str]:
        with (
            Uploader(
                base_url=f"{it.peer.origin}/v1",
                api_key=it.service.api_key,
                api_secret=it.service.api_secret,
                retry=STUBBORN,
                state_dir=tmp_path / f"state-{number}",
            ) as up,
            ThreadPoolExecutor(FILES) as mine,
        ):
            sent = mine.map(lambda file: up.upload(file, wait_for=None, progress=False), files)
            return [result.upload_id for result in sent]

    with rig({"put": [storm] * 100_000}) as it, ThreadPoolExecutor(CLIENTS) as pool:
        clients = list(pool.map(client, range(CLIENTS)))
        times = [[at for one in uploads for at in storm.puts[one]] for uploads in clients]
        earned = sum(STUBBORN.budget + STUBBORN.budget_rate * (max(at) - min(at)) for at in times)
        assert len(it.peer.heads) <= 1.2 * (CLIENTS * FILES * (2 + 2) + earned)
        assert storm.refused >= CLIENTS * (FILES + 1), "it was a storm"
        until(lambda: {it.service.upload(one)["status"] for ids in clients for one in ids} == {"imported"})
        for uploads in clients:
            assert [it.service.sha256(one) for one in uploads] == digests
