"""Between the service and its store: calls that are refused, hang, or break off."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.stores.relay import Relay, none, relaying
from tests.stores.store import Store

MIB = 1024 * 1024

pytestmark = pytest.mark.real_store


@pytest.fixture
def relay(real_store: Store) -> Iterator[Relay]:
    with relaying(real_store.endpoint) as opened:
        yield opened


def reads(method: str, path: str) -> bool:
    return method == "GET" and "upload_" in path and "upload" not in path.partition("?")[2]


def lists_uploads(method: str, path: str) -> bool:
    return method == "GET" and "prefix=upload_" in path


def change(directory: Path, upload: dict[str, Any], **fields: Any) -> None:
    """Changes the record of an upload, while no service uses it."""
    path = directory / "uploads" / f"{upload['id']}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_what_is_abandoned_is_gone_at_once_though_the_store_takes_its_time(
    session: Any, relay: Relay, refused: Any, tmp_path: Path
) -> None:
    """None is completed while another is dropped, and dropped itself after that."""
    with session(tmp_path, s3_endpoint=relay.url) as api:
        uploads = [api.create(), api.create()]
        for upload in uploads:
            assert api.put(upload, 1, b"abc").status_code == 200
    for upload in uploads:
        change(tmp_path, upload, created_at=0.0)
    relay.held = lists_uploads
    with session(tmp_path, s3_endpoint=relay.url) as api:
        assert relay.holding.wait(60)
        assert [refused(api.complete(upload))[0] for upload in uploads] == [404, 404]
        relay.release()


def test_an_object_whose_bytes_break_off_is_looked_at_again(start: Any, relay: Relay) -> None:
    left = iter(range(1))
    relay.broken = lambda *call: reads(*call) and next(left, None) is not None
    api = start(s3_endpoint=relay.url, stage_delay=0)
    assert api.send(b"\xff\xd8\xff" + bytes(MIB), name="a.jpg")["status"] == "imported"
    assert next(left, None) is None


def test_no_more_of_an_object_is_read_than_tells_what_it_is(start: Any, relay: Relay) -> None:
    asked: list[str] = []
    relay.refused = lambda *call: reads(*call) and bool(asked.append(call[1]))
    api = start(s3_endpoint=relay.url, stage_delay=0)
    assert api.send(bytes(MIB))["status"] == "imported"
    assert asked == []
    content = b"\xff\xd8\xff" + bytes(MIB)
    done = api.send(content, name="a.jpg")
    assert len(asked) == 1
    assert api.service.sha256(done["id"]) == sha256(content).hexdigest()


def test_an_upload_is_done_before_what_is_left_of_it_is_dropped(
    session: Any, relay: Relay, eventually: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody waits for what may never be allowed; the next sweep tries again."""
    relay.refused = lists_uploads
    with session(tmp_path, s3_endpoint=relay.url, resign=False, stage_delay=0) as api:
        done, kept = api.send(b"abc"), list((tmp_path / "links").iterdir())
        assert (done["status"], len(kept)) == ("imported", 1)
        said = "stays for now: the object store did not abort the multipart upload: it answered AccessDenied"
        eventually(lambda: said in caplog.text)
    relay.refused = none
    with session(tmp_path, s3_endpoint=relay.url):
        eventually(lambda: not kept[0].exists())


def test_what_waits_for_the_store_says_what_it_answered(
    start: Any, relay: Relay, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    relay.refused = lambda method, path: method == "HEAD" and "upload_" in path
    api = start(s3_endpoint=relay.url, stage_delay=0)
    upload = api.create()
    assert api.put(upload, 1, b"abc").status_code == 200
    assert api.complete(upload).status_code == 200
    eventually(lambda: "the object store did not look at the object: it answered 403" in caplog.text)
    relay.refused = none
    assert api.settle(upload, "imported", "failed")["status"] == "imported"


def test_a_create_that_is_under_way_when_a_temporary_service_ends_is_aborted(
    session: Any, relay: Relay, real_store: Store
) -> None:
    listed = threading.Event()
    relay.held = lambda method, path: method == "POST" and path.endswith("?uploads")
    relay.broken = lambda *call: lists_uploads(*call) and bool(listed.set())

    def release() -> None:
        creating.exception(60)  # the end has begun: nobody hears of it any more
        listed.wait(1)  # what is listed before the create comes is too early
        relay.release()

    with real_store.client() as client, ThreadPoolExecutor() as pool:
        before = begun(client, real_store)
        with session(s3_endpoint=relay.url) as api:
            creating = pool.submit(api.try_create)
            assert relay.holding.wait(60)
            pool.submit(release)
        assert isinstance(creating.exception(), httpx.TransportError)
        assert begun(client, real_store) == before


def begun(client: Any, store: Store) -> set[str]:
    """The ids of all multipart uploads there are."""
    pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=store.bucket)
    return {it["UploadId"] for page in pages for it in page.get("Uploads", ())}


def test_the_end_waits_ten_seconds_for_a_store_that_hangs_and_says_what_stays_there(
    session: Any, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    with ThreadPoolExecutor() as pool, session(s3_endpoint=relay.url, stage_delay=0) as api:
        uploads = [api.create() for _ in range(3)]
        assert api.put(uploads[0], 1, b"abc").status_code == 200
        relay.held = lambda *_: True
        completing = pool.submit(api.complete, uploads[0])
        assert relay.holding.wait(60)
        began = time.monotonic()
    assert time.monotonic() - began < 14
    assert isinstance(completing.exception(), httpx.TransportError)
    ids = ", ".join(upload["id"] for upload in uploads)
    assert f"what was sent of {ids} stays in the store: it does not answer" in caplog.text


def test_what_may_not_be_dropped_at_the_end_is_said_with_the_reason(
    session: Any, relay: Relay, caplog: pytest.LogCaptureFixture
) -> None:
    relay.refused = lists_uploads
    with session(s3_endpoint=relay.url) as api:
        upload = api.create()
    why = "the object store did not abort the multipart upload: it answered AccessDenied"
    assert f"what was sent of {upload['id']} stays in the store: {why}" in caplog.text


@pytest.fixture
def before(
    own_store: Store, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[[str], Any]:
    """Starts a service before a store of the test's own, or before a relay to it, at this URL."""
    for name, value in own_store.environment.items():
        monkeypatch.setenv(name, value)
    where = tmp_path / "service"
    return lambda url: start(where, s3_endpoint=url, s3_bucket=own_store.bucket, stage_delay=0)


def test_a_store_that_is_down_is_told_as_503(
    own_store: Store, before: Callable[[str], Any], refused: Any
) -> None:
    api = before(own_store.endpoint)
    upload = api.create()
    assert api.put(upload, 1, b"abc").status_code == 200
    own_store.stop()
    for call in (api.try_create, lambda: api.complete(upload)):
        status, code, message = refused(call())
        assert (status, code) == (503, "ServiceUnavailable")
        assert message.startswith("the object store could not be asked to ")
        assert own_store.access_key not in message
    own_store.start()
    assert api.complete(upload).status_code == 200
    assert api.settle(upload, "imported", "failed")["status"] == "imported"


def test_a_store_that_goes_down_when_it_is_to_join_the_parts_is_outlasted(
    own_store: Store, before: Callable[[str], Any], eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with relaying(own_store.endpoint) as relay:
        api = before(relay.url)
        upload = api.create()
        assert api.put(upload, 1, b"abc").status_code == 200
        relay.held = lambda method, path: method == "POST" and "uploadId=" in path
        assert api.complete(upload).status_code == 200
        assert relay.holding.wait(60)
        own_store.stop()
        relay.release()
        eventually(lambda: "the object store could not be asked to join the parts" in caplog.text)
        assert api.show(upload)["status"] == "validating"
        own_store.start()
        assert api.settle(upload, "imported", "failed")["status"] == "imported"
