"""The service as a whole: how it starts, stops, remembers, and what it shows of itself."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import logging
import signal
import socket
import ssl
import stat
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import uploader.local
from uploader.local import Recorded, Service, serve

MIB = 1024 * 1024
PART = 5 * MIB
QUICKLY = 5.0  # seconds, on a machine with other things to do; connections are kept for 20


def port_of(service: Service) -> int:
    port = urlsplit(service.base_url).port
    assert port
    return port


def test_the_public_names_are_these() -> None:
    assert sorted(uploader.local.__all__) == ["Recorded", "Service", "StoredPart", "serve"]


def test_nothing_of_the_client_is_imported() -> None:
    folder = Path(uploader.local.__file__).parent
    lines = [line for path in folder.glob("*.py") for line in path.read_text().splitlines()]
    imported = [line for line in lines if line.startswith(("import uploader", "from uploader"))]
    assert imported
    assert all(line.startswith("from uploader.local") for line in imported)


def test_it_answers_as_soon_as_the_block_is_entered_and_no_longer_after_it() -> None:
    with serve() as service:
        assert httpx.get(f"{service}/uploads/x").status_code == 401
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{service}/uploads/x")


def test_it_tells_how_to_reach_it() -> None:
    with serve(api_key="k", api_secret="s") as service:
        assert str(service) == service.base_url == f"http://127.0.0.1:{port_of(service)}/v1"
        assert service.environment == {
            "SCENARIO_BASE_URL": service.base_url,
            "SCENARIO_SDK_API_KEY": "k",
            "SCENARIO_SDK_API_SECRET": "s",
        }
        assert repr(service) == f"<Service at {service.base_url}>"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.1", "example.com", "", "::"])
def test_it_listens_on_loopback_addresses_only(host: str) -> None:
    with pytest.raises(ValueError, match="not a loopback address"), serve(host=host):
        pass


@pytest.mark.parametrize("host", ["localhost", "127.0.0.2", "::1"])
def test_any_loopback_address_will_do(host: str, start: Any) -> None:
    with contextlib.closing(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            pytest.skip(f"this machine has no {host}")
    api = start(host=host, stage_delay=0)
    assert api.send(b"abc")["status"] == "imported"


@pytest.mark.parametrize(
    "options", [{"ttl": 0}, {"ttl": 7 * 86400 + 1}, {"stage_delay": -1}, {"ttl": float("nan")}]
)
def test_impossible_times_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"), serve(None, **options):  # type: ignore[arg-type]
        pass


def test_a_fault_that_does_not_parse_is_told_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="fault '503'"), serve(tmp_path / "new", faults=["503"]):
        pass
    assert not (tmp_path / "new").exists()


def test_a_taken_port_is_told_as_such() -> None:
    with (
        serve() as service,
        pytest.raises(OSError, match=f"port {port_of(service)}"),
        serve(port=port_of(service)),
    ):
        pass


def test_a_missing_certificate_is_told_and_frees_the_port(tmp_path: Path) -> None:
    with serve() as service:
        port = port_of(service)
    with (
        pytest.raises(OSError, match="No such file"),
        serve(port=port, certificate=(tmp_path / "a", tmp_path / "b")),
    ):
        pass
    with serve(port=port):
        pass


def test_it_speaks_https_with_a_certificate(start: Any, certificate: Any) -> None:
    paths, authority = certificate
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    api = start(certificate=paths, verify=trust, stage_delay=0)
    assert api.service.base_url.startswith("https://127.0.0.1:")
    done = api.send(b"abc" * MIB)
    assert done["status"] == "imported"
    assert api.service.sha256(done["id"]) == hashlib.sha256(b"abc" * MIB).hexdigest()
    upload = api.create()
    wrong = upload["parts"][0]["url"].replace("partNumber=1", "partNumber=2")
    assert api.store.put(wrong, content=b"abc").status_code == 403


def test_a_temporary_directory_is_removed_and_a_given_one_stays(session: Any, tmp_path: Path) -> None:
    with session(stage_delay=0) as api:
        with api.service.open(api.send(b"abc")["id"]) as file:
            path = Path(file.name)
        assert path.is_file()
    assert not path.parent.exists()
    with session(tmp_path / "kept", stage_delay=0) as api:
        stored = tmp_path / "kept" / "objects" / api.send(b"abc")["id"]
    assert stored.read_bytes() == b"abc"


@pytest.mark.skipif("sys.platform == 'win32'", reason="file modes are POSIX")
def test_the_signing_key_is_its_owners_only(tmp_path: Path) -> None:
    with serve(tmp_path):
        assert stat.S_IMODE((tmp_path / "signing.key").stat().st_mode) == 0o600


@pytest.mark.any_store
def test_an_upload_goes_on_after_a_restart_with_new_links(
    session: Any, tmp_path: Path, eventually: Any
) -> None:
    with session(tmp_path) as api:
        upload = api.create("p", fileSize=PART + 3, parts=2, assetOptions={"hide": True})
        api.put(upload, 1, bytes(PART))
    with session(tmp_path, stage_delay=0) as api:
        shown = api.get(upload, params={"projectId": "p"}).json()["upload"]
        assert {**shown, "parts": None} == {**upload, "parts": None}
        assert api.put(shown, 2, b"abc").status_code == 200
        assert api.complete(upload, params={"projectId": "p"}).status_code == 200
        digest = hashlib.sha256(bytes(PART) + b"abc").hexdigest()
        eventually(lambda: api.service.upload(upload["id"])["status"] == "imported")
        assert api.service.sha256(upload["id"]) == digest


@pytest.mark.any_store
def test_the_links_stay_good_when_the_same_address_is_served_again(session: Any, tmp_path: Path) -> None:
    with session(tmp_path, resign=False) as api:
        upload, port = api.create(), port_of(api.service)
    with session(tmp_path, resign=False, port=port) as api:
        assert api.show(upload) == upload
        assert api.put(upload, 1, b"abc").status_code == 200


@pytest.mark.any_store
def test_a_validation_that_was_interrupted_is_taken_up_again(session: Any, tmp_path: Path) -> None:
    with session(tmp_path, stage_delay=3600.0) as api:
        upload = api.create()
        api.put(upload, 1, b"abc")
        api.complete(upload)
        assert api.show(upload)["status"] == "validating"
    with session(tmp_path, stage_delay=0) as api:
        api.settle(upload, "imported")
        with api.service.open(upload["id"]) as file:
            assert file.read() == b"abc"


@pytest.mark.any_store
def test_an_import_that_was_interrupted_is_taken_up_again(session: Any, tmp_path: Path) -> None:
    with session(tmp_path, stage_delay=3600.0) as api:
        upload = api.create()
        api.put(upload, 1, b"abc")
        api.complete(upload)
    record = tmp_path / "uploads" / f"{upload['id']}.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "validated"}))
    with session(tmp_path, stage_delay=0) as api:
        assert api.settle(upload, "imported")["entityId"]
        assert not list(tmp_path.rglob("*.part"))


@pytest.mark.any_store
def test_an_assembly_that_was_interrupted_is_taken_up_again(session: Any, tmp_path: Path) -> None:
    content = bytes(64 * MIB)
    with session(tmp_path, stage_delay=0) as api:
        upload = api.create(fileSize=len(content))
        api.put(upload, 1, content)
        api.complete(upload)
    with session(tmp_path, stage_delay=0) as api:
        api.settle(upload, "imported")
        assert api.service.sha256(upload["id"]) == hashlib.sha256(content).hexdigest()


def test_what_was_left_unfinished_is_removed_at_the_start(session: Any, tmp_path: Path) -> None:
    with session(tmp_path) as api:
        upload = api.create()
    leftovers = [
        tmp_path / "uploads/x.tmp",
        tmp_path / "objects/x.tmp",
        tmp_path / "parts" / upload["id"] / "x.tmp",
    ]
    for path in leftovers:
        path.touch()
    (tmp_path / "mine.tmp").touch()
    with serve(tmp_path):
        assert not any(path.exists() for path in leftovers)
        assert (tmp_path / "mine.tmp").exists()


def test_a_record_of_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "uploads").mkdir()
    (tmp_path / "uploads" / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x\.json is not an upload record"), serve(tmp_path):
        pass


def test_it_stops_promptly_with_clients_idle_stalled_and_in_mid_upload(
    session: Any,
    raw: Any,
    eventually: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before, handler = set(threading.enumerate()), signal.getsignal(signal.SIGINT)
    with caplog.at_level(logging.DEBUG), session(faults=["stall:part=1:times=2"]) as api:
        url = api.create(fileSize=64 * MIB)["parts"][0]["url"]
        stalled = [raw(url, f"Content-Length: {64 * MIB}") for _ in range(2)]
        stalled[0].socket.sendall(bytes(MIB))
        eventually(lambda: len(api.service.requests) == 3)
        sending = raw(url, f"Content-Length: {64 * MIB}")
        sending.socket.sendall(bytes(3 * MIB))
        idle = socket.create_connection(("127.0.0.1", port_of(api.service)))
        assert signal.getsignal(signal.SIGINT) is handler
        leaving = time.monotonic()
    assert time.monotonic() - leaving < QUICKLY
    assert set(threading.enumerate()) <= before
    idle.close()
    gc.collect()  # what was left open warns here, and a warning fails the test
    noise = [
        record for record in caplog.records if not record.name.startswith(("http", "asyncio", "filelock"))
    ]
    assert noise == []
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("secure", [False, True])
def test_it_leaves_nothing_open_whenever_a_client_connects(certificate: Any, secure: bool) -> None:
    for linger in (True, False, True, False):
        with contextlib.ExitStack() as clients:
            with serve(certificate=certificate[0] if secure else None) as service:
                for _ in range(10):
                    client = clients.enter_context(socket.create_connection(("127.0.0.1", port_of(service))))
                    if not linger:
                        client.close()
                leaving = time.monotonic()
            assert time.monotonic() - leaving < QUICKLY
    gc.collect()  # what was left open warns here, and a warning fails the test


def test_a_broken_request_is_answered_and_says_nothing_aloud(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        serve() as service,
        socket.create_connection(("127.0.0.1", port_of(service)), timeout=60) as connection,
    ):
        connection.sendall(b"nonsense\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert capfd.readouterr() == ("", "")


def test_an_error_in_the_block_comes_out_of_it_and_stops_the_service() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ZeroDivisionError), serve():
        raise ZeroDivisionError
    assert set(threading.enumerate()) <= before


def test_every_request_is_recorded_before_its_answer(start: Any) -> None:
    api = start()
    upload = api.create("proj")
    api.put(upload, 1, b"abc", headers=[("X-Twice", "1"), ("X-Twice", "2")])
    assert api.complete(upload).status_code == 404
    api.store.get(api.service.base_url)
    created, put, completed, other = api.service.requests
    assert isinstance(put, Recorded)
    assert (created.target, created.method, created.path, created.status) == (
        "create",
        "POST",
        "/v1/uploads",
        200,
    )
    assert created.query == {"projectId": "proj"}
    assert json.loads(created.body)["fileSize"] == 3
    assert created.body_bytes == len(created.body)
    assert created.headers["authorization"].startswith("Basic ")
    assert (put.target, put.part, put.body, put.body_bytes, put.status) == ("part", 1, b"", 3, 200)
    assert put.query["partNumber"] == "1"
    assert put.headers["x-twice"] == "1, 2"
    assert "authorization" not in put.headers
    assert (completed.target, completed.body, completed.status) == ("complete", b'{"action":"complete"}', 404)
    assert (other.target, other.part, other.status) == ("other", None, 404)


@pytest.mark.any_store
def test_nothing_is_known_of_an_upload_that_does_not_exist(start: Any) -> None:
    service = start().service
    for ask in (service.upload, service.open, service.sha256, service.stored_parts):
        with pytest.raises(KeyError):
            ask("upload_unknown")


def test_a_failure_of_the_service_itself_is_told_in_json(start: Any, tmp_path: Path) -> None:
    api = start(tmp_path)
    (tmp_path / "uploads").rename(tmp_path / "elsewhere")
    response = api.try_create()
    assert response.status_code == 500
    assert response.json()["error"] == "InternalError"
