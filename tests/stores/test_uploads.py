"""The library itself against real stores: the exact bytes, whatever the store does meanwhile."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest

from tests.faults.cases import EXACT, case
from tests.faults.peer import Exchange, peer
from tests.stores.processes import Server, free_ports, wait_until
from tests.stores.store import Store, certified
from uploader import PartError, RetryPolicy, UploadCancelledError, Uploader, UploadFailedError, events
from uploader.local import Service, serve

MiB = 1024 * 1024
PART = 5 * MiB
QUICK = RetryPolicy(base=0.01, cap=0.2, poll_first=0.02, poll_cap=0.1)

Heard = Callable[[events.Event], None]
Restart = Callable[..., Service]


class Sent(NamedTuple):
    """A file to send, and what must come of it."""

    path: Path
    digest: str


@pytest.fixture
def written(tmp_path: Path) -> Callable[[int], Sent]:
    """Writes a file of so many bytes, as random as those of a checkpoint."""

    def write(size: int) -> Sent:
        content = random.Random(size).randbytes(size)
        (tmp_path / "weights.ckpt").write_bytes(content)
        return Sent(tmp_path / "weights.ckpt", sha256(content).hexdigest())

    return write


@contextmanager
def behind(store: Store, **options: Any) -> Iterator[Service]:
    """A service with `store` behind it, whose credentials are in the environment as a user's are."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in store.environment.items():
            environment.setenv(name, value)
        with serve(s3_endpoint=store.endpoint, s3_bucket=store.bucket, stage_delay=0, **options) as service:
            yield service


@contextmanager
def uploading(service: Service, base_url: str | None = None) -> Iterator[Uploader]:
    """An uploader that knows the service, or what stands before it, and does not wait long."""
    key, secret, url = service.api_key, service.api_secret, base_url or service.base_url
    with Uploader(base_url=url, api_key=key, api_secret=secret, retry=QUICK) as up:
        yield up


def once(kind: type, act: Callable[[], object]) -> Heard:
    """A listener that does something at the first event of a kind, while the upload waits for it."""
    done = threading.Event()

    def listen(event: events.Event) -> None:
        if isinstance(event, kind) and not done.is_set():
            done.set()
            act()

    return listen


def both(first: Heard, second: Heard) -> Heard:
    """A listener for two."""

    def listen(event: events.Event) -> None:
        first(event)
        second(event)

    return listen


@pytest.fixture
def restarting(store: Store, tmp_path: Path) -> Iterator[Restart]:
    """Starts a service before the store; called again, another takes its place, over the same directory."""
    with ExitStack() as running:

        def restart(**options: Any) -> Service:
            running.close()
            return running.enter_context(behind(store, directory=tmp_path / "service", **options))

        yield restart


def links_expire(store: Store, seconds: int) -> None:
    """Returns when the store refuses a link that was signed just now for so many seconds."""
    with store.client() as client, httpx.Client(trust_env=False) as http:
        names = {"Bucket": store.bucket, "Key": "nothing"}
        url = client.generate_presigned_url("head_object", names, seconds)
        wait_until(lambda: http.head(url).status_code == 403, 60, "a link expires")


def stored_sum(store: Store, upload_id: str, name: str) -> str:
    """SHA-256 of the object, as the store itself gives it."""
    with store.client() as client:
        answer = client.get_object(Bucket=store.bucket, Key=f"{upload_id}/{name}")
        with answer["Body"] as body:
            return sha256(body.read()).hexdigest()


@pytest.mark.parametrize("size", [1, PART, PART + 1, 3 * PART + 17])
def test_a_file_arrives_byte_for_byte(store: Store, written: Any, size: int) -> None:
    path, digest = written(size)
    with behind(store) as service, uploading(service) as up:
        result = up.upload(path, kind="model", part_size=PART, wait_for="imported")
        assert (result.status, result.retries, result.recreated) == ("imported", 0, False)
        with service.open(result.upload_id) as file:
            assert sha256(file.read()).hexdigest() == service.sha256(result.upload_id) == digest


@case(53, EXACT)
def test_links_that_expire_on_the_way_are_renewed(store: Store, written: Any, restarting: Restart) -> None:
    path, digest = written(3 * PART)
    service = restarting(ttl=2)
    # However slow the machine is, the links that are asked for anew last.
    mend = once(events.UploadCreated, lambda: restarting(port=urlsplit(service.base_url).port))
    expire = once(events.PartStored, lambda: links_expire(store, 2))
    with uploading(service) as up:
        result = up.upload(path, kind="model", part_size=PART, concurrency=1, progress=both(mend, expire))
    assert result.url_refreshes >= 1
    assert not result.recreated
    assert stored_sum(store, result.upload_id, path.name) == digest


@case(53, EXACT)
def test_links_that_expire_and_are_not_renewed_start_the_upload_over_once(
    store: Store, written: Any, restarting: Restart
) -> None:
    path, digest = written(3 * PART)
    service = restarting(ttl=2, resign=False)
    expire = once(events.PartStored, lambda: links_expire(store, 2))
    # However slow the machine is, the links of the second time last.
    mend = once(events.Recreating, lambda: restarting(port=urlsplit(service.base_url).port))
    with uploading(service) as up:
        result = up.upload(path, kind="model", part_size=PART, concurrency=1, progress=both(expire, mend))
    assert result.recreated
    assert stored_sum(store, result.upload_id, path.name) == digest


def tampered(exchange: Exchange) -> None:
    """Passes on the service's answer with links that shall live longer than they were signed for."""
    exchange.send(exchange.ask_service().replace(b"X-Amz-Expires=3600", b"X-Amz-Expires=7200"))


@case(53, "PartError")
def test_links_that_were_tampered_with_are_refused_and_told_without_their_signatures(
    store: Store, written: Any
) -> None:
    path, _ = written(2 * PART)
    with (
        behind(store) as service,
        peer(service.base_url, {}, otherwise=tampered) as front,
        uploading(service, f"{front.origin}/v1") as up,
        pytest.raises(PartError) as caught,
    ):
        up.upload(path, kind="model", part_size=PART)
    assert "SignatureDoesNotMatch" in str(caught.value)
    assert "X-Amz-Signature" not in str(caught.value) + repr(caught.value)


def test_an_upload_is_gone_on_with_and_what_was_stored_is_not_sent_again(store: Store, written: Any) -> None:
    path, digest = written(3 * PART)
    stop = threading.Event()
    listener = once(events.PartStored, stop.set)
    with behind(store) as service, uploading(service) as up:
        job = up.prepare(path, kind="model", part_size=PART, concurrency=1)
        with pytest.raises(UploadCancelledError):
            up.run(job, progress=listener, cancelled=stop)
        result = up.upload(path, kind="model")
        assert (result.bytes_resumed, result.bytes_sent) == (PART, 2 * PART)
        assert service.sha256(result.upload_id) == digest


@case(52, EXACT)
def test_an_upload_outlasts_a_store_that_is_killed_and_started_again(own_store: Store, written: Any) -> None:
    path, digest = written(4 * PART)
    listener = once(events.PartStored, own_store.restart)
    with behind(own_store) as service, uploading(service) as up:
        result = up.upload(path, kind="model", part_size=PART, concurrency=2, progress=listener)
        assert service.sha256(result.upload_id) == digest


@case(52, EXACT)
def test_an_upload_outlasts_a_service_that_is_killed_and_started_again(
    store: Store, written: Any, tmp_path: Path
) -> None:
    path, digest = written(3 * PART)
    with serving(store, tmp_path) as (url, restart):
        listener = once(events.PartStored, restart)
        with Uploader(base_url=url, api_key="local-key", api_secret="local-secret", retry=QUICK) as up:
            result = up.upload(path, kind="model", part_size=PART, concurrency=1, progress=listener)
        assert (result.bytes_sent, result.recreated) == (3 * PART, False)
    assert stored_sum(store, result.upload_id, path.name) == digest


@contextmanager
def serving(store: Store, directory: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """`uploader serve` as a process: the API's URL, and how to kill it and start it again."""
    (port,) = free_ports(1)
    command = ("-m", "uploader", "serve", "--port", str(port), "--dir", str(directory / "service"))
    where = ("--s3-endpoint", store.endpoint, "--s3-bucket", store.bucket)
    server = Server(sys.executable, *command, *where, directory=directory, environment=store.environment)

    def start() -> None:
        server.start()
        wait_until(lambda: answers(port), 60, "the service answers")
        assert f"/v1, parts go to bucket {store.bucket} at {store.endpoint}; use it with" in server.log

    def restart() -> None:
        server.kill()
        assert not answers(port)
        start()

    try:
        start()
        yield f"http://127.0.0.1:{port}/v1", restart
    finally:
        server.kill()


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1", trust_env=False).status_code == 404
    except httpx.TransportError:
        return False


def test_an_upload_goes_to_a_store_with_a_certificate_of_a_private_authority(
    tls_store: Store, written: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digest = written(2 * PART)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_store.authority))  # as the library's users are told to
    with behind(tls_store) as service, uploading(service) as up:
        result = up.upload(path, kind="model", part_size=PART)
        assert service.sha256(result.upload_id) == digest


def test_others_reach_the_service_through_a_proxy_that_speaks_tls(
    store: Store, written: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, digest = written(2 * PART)
    tls = certified(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.authority))
    with (
        behind(store, api_secret="of-our-own") as service,
        peer(service.base_url, {}, certificate=(tls.certificate, tls.key)) as front,
        uploading(service, f"{front.origin}/v1") as up,
    ):
        result = up.upload(path, kind="model", part_size=PART)
        assert front.origin.startswith("https:")
        assert set(front.seen) == {"create", "complete", "get"}, "parts go straight to the store"
        assert service.sha256(result.upload_id) == digest


def test_what_the_service_finds_wrong_in_the_object_is_told(store: Store, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"abc")
    with (
        behind(store) as service,
        uploading(service) as up,
        pytest.raises(UploadFailedError, match="shorter"),
    ):
        up.upload(tmp_path / "a.safetensors", kind="model")
