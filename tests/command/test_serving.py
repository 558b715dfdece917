"""`uploader serve` with a store that does not do what it should: what is said, and how it ends."""

from __future__ import annotations

import logging
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from tests.command.conftest import spawn
from tests.stores.processes import wait_until
from tests.stores.relay import Relay, relaying
from tests.stores.store import Store
from uploader import AuthError, Uploader
from uploader.serving import warnings_said

QUICKLY = 5.0  # seconds, on a machine with other things to do


@pytest.fixture
def relay(store: Store) -> Iterator[Relay]:
    with relaying(store.endpoint) as opened:
        yield opened


def start(store: Store, relay: Relay, *arguments: str | Path) -> subprocess.Popen[str]:
    where = ("--s3-endpoint", relay.url, "--s3-bucket", store.bucket)
    return spawn("serve", "--port", "0", *where, *arguments, **store.environment)


def told_by(process: subprocess.Popen[str]) -> dict[str, str]:
    """The variables that the service says to set, when it is there."""
    assert process.stdout is not None
    text = "".join(process.stdout.readline() for _ in range(4))
    return dict(re.findall(r"(SCENARIO_\w+)=\"?([^\"\s]+)", text))


def end(process: subprocess.Popen[str]) -> str:
    """What a service that is told to end has said on stderr."""
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0
    return err


def client_of(process: subprocess.Popen[str]) -> Uploader:
    """A client of the service, when it is there."""
    told = told_by(process)
    return Uploader(
        base_url=told["SCENARIO_BASE_URL"],
        api_key=told["SCENARIO_SDK_API_KEY"],
        api_secret=told["SCENARIO_SDK_API_SECRET"],
    )


def test_a_secret_of_ones_own_is_asked_for_and_not_shown(picture: Path) -> None:
    process = spawn("serve", "--port", "0", UPLOADER_SERVE_SECRET="of-our-own")
    told = told_by(process)
    assert set(told) == {"SCENARIO_BASE_URL", "SCENARIO_SDK_API_KEY"}
    where = {"base_url": told["SCENARIO_BASE_URL"], "api_key": told["SCENARIO_SDK_API_KEY"]}
    with Uploader(**where, api_secret="of-our-own") as uploader:
        uploader.upload(picture, progress=False)
    with Uploader(**where, api_secret="local-secret") as uploader, pytest.raises(AuthError):
        uploader.upload(picture, progress=False)
    process.send_signal(signal.SIGINT)
    assert "of-our-own" not in "".join(process.communicate(timeout=60))


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        ("", "is set, but blank: set it to a secret, or not at all"),
        (" \t\n", "is set, but blank: set it to a secret, or not at all"),
        ("a b \u00e9", "has characters no credential has: use printable ASCII"),
        ("a\nb", "has characters no credential has: use printable ASCII"),
    ],
)
def test_a_secret_that_is_none_is_not_replaced_by_the_known_one(secret: str, said: str) -> None:
    process = spawn("serve", "--port", "0", UPLOADER_SERVE_SECRET=secret)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (2, "", f"uploader: UPLOADER_SERVE_SECRET {said}\n")


def test_a_defect_is_said_in_a_line_with_the_request(tmp_path: Path) -> None:
    process = spawn("serve", "--port", "0", "--dir", tmp_path)
    with client_of(process) as uploader:
        key = ("local-key", "local-secret")
        (tmp_path / "parts").rename(tmp_path / "elsewhere")
        body = {"fileName": "a.bin", "contentType": "a/b", "fileSize": 3, "kind": "asset", "parts": 1}
        url = f"{uploader.base_url}/uploads"
        answer = httpx.post(url, json=body, params={"projectId": "p"}, auth=key, trust_env=False)
        assert answer.status_code == 500
    err = end(process)
    beginning = "uploader: Exception in ASGI application: POST /v1/uploads: FileNotFoundError: "
    assert err.startswith(beginning)
    assert err.count("\n") == 1
    assert "\\n" not in err


def test_a_defect_is_said_without_the_signature_in_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    error = RuntimeError("cannot send\n  https://store.example/a.bin?X-Amz-Signature=5ec4e7&x=y now")
    with warnings_said():
        logging.getLogger("uploader.local").error("It failed\n", exc_info=error)
    said = "uploader: It failed: RuntimeError: cannot send https://store.example/a.bin?… now\n"
    assert capsys.readouterr().err == said


def test_a_warning_is_said_once(store: Store, relay: Relay, picture: Path, tmp_path: Path) -> None:
    """However often it is tried again: with URLs that end so soon, the next sweep comes at once."""
    refused = []
    relay.refused = lambda method, path: "prefix=upload_" in path and not refused.append(path)
    sent = start(store, relay, "--dir", tmp_path / "state")
    with client_of(sent) as uploader:
        uploader.upload(picture, wait_for="imported", progress=False)
    end(sent)
    refused.clear()
    process = start(store, relay, "--dir", tmp_path / "state", "--ttl", "1", "--abandon-after", "0s")
    assert told_by(process)  # from now on it heeds signals
    wait_until(lambda: len(refused) > 2, 60, "it is tried again")
    assert end(process) == (
        "uploader: what is left of an upload stays for now: "
        "the object store did not abort the multipart upload: it answered AccessDenied\n"
    )


def test_a_start_that_waits_for_the_store_ends_at_ctrl_c(store: Store, relay: Relay) -> None:
    relay.held = lambda *_: True
    process = start(store, relay)
    assert relay.holding.wait(60)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert time.monotonic() - began < QUICKLY


def test_a_second_signal_does_not_wait_for_the_store(store: Store, relay: Relay) -> None:
    process = start(store, relay)
    body = {"fileName": "a.bin", "contentType": "a/b", "fileSize": 3, "kind": "asset", "parts": 1}
    with client_of(process) as uploader, ThreadPoolExecutor() as pool:
        relay.held = lambda method, path: method == "POST"
        key = ("local-key", "local-secret")
        pool.submit(httpx.post, f"{uploader.base_url}/uploads", json=body, auth=key, trust_env=False)
        assert relay.holding.wait(60)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: not listens(uploader.base_url), 60, "the service ends")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == -signal.SIGINT
        assert time.monotonic() - began < QUICKLY


@pytest.mark.parametrize("with_store", [False, True], ids=["own store", "S3 store"])
def test_a_directory_in_use_is_refused_until_its_service_is_killed(
    store: Store, with_store: bool, picture: Path, tmp_path: Path
) -> None:
    """And no longer: a service that had no time to put anything in order can be started again at once."""
    where = ("--s3-endpoint", store.endpoint, "--s3-bucket", store.bucket) if with_store else ()
    command = ("serve", "--port", "0", "--dir", tmp_path / "state", *where)
    first = spawn(*command, **store.environment)
    with client_of(first) as uploader:
        upload_id = uploader.upload(picture, wait_for=None, progress=False).upload_id
        second = spawn(*command, **store.environment)
        out, err = second.communicate(timeout=60)
        assert (second.returncode, out) == (2, "")
        start = f"uploader: {tmp_path / 'state'} is in use by process {first.pid} on "
        assert err.startswith(start)
        assert err.count("\n") == 1
        assert uploader.wait(upload_id, wait_for="imported").status == "imported"
    first.kill()
    with client_of(spawn(*command, **store.environment)) as uploader:
        assert uploader.wait(upload_id, wait_for="imported").status == "imported"


def listens(url: str) -> bool:
    where = urlsplit(url)
    with socket.socket() as connection:
        return connection.connect_ex((where.hostname, where.port)) == 0
