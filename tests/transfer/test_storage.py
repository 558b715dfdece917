"""One attempt at one part, by itself."""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.transfer.servers import answering, http
from uploader.core.outcomes import Break, Broken, Response
from uploader.core.plan import Part
from uploader.io.connections import Connections, Scope
from uploader.io.source import Source
from uploader.io.storage import Meter, PartResult, PartTask, put
from uploader.io.transport import anywhere
from uploader.models import PresignedUrl

DATA = b"0123456789" * 1000


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "f.bin"
    path.write_bytes(DATA)
    return Source.find(path)


def attempt(source: Source, url: str, part: Part, *, md5: bool = True) -> PartResult:
    """Makes it, as a worker elsewhere would: with a task that was pickled."""
    task = pickle.loads(pickle.dumps(PartTask(source, part, PresignedUrl(url), "image/png", md5)))
    connections = Connections(httpx.create_ssl_context, anywhere)
    try:
        return put(task, connections, Scope(), Meter())
    finally:
        connections.close()


def test_exactly_the_parts_bytes_are_sent_and_hashed(source: Source) -> None:
    with answering(http("", headers='ETag: "x"\r\n')) as origin:
        result = attempt(source, f"{origin}/p?s=1", Part(2, 5, 100))
    assert isinstance(result.answer, Response)
    assert (result.answer.status, result.answer.headers["etag"]) == (200, '"x"')
    assert (result.sent, result.md5) == (100, hashlib.md5(DATA[5:105]).hexdigest())
    assert result.seconds > 0


def test_without_verification_nothing_is_hashed(source: Source) -> None:
    with answering(http("", headers='ETag: "x"\r\n')) as origin:
        assert attempt(source, f"{origin}/p?s=1", Part(1, 0, 10), md5=False).md5 is None


def test_the_content_type_is_sent_only_if_the_signature_covers_it(source: Source) -> None:
    requests: list[bytes] = []
    with answering(http("", headers='ETag: "x"\r\n'), heard=requests) as origin:
        attempt(source, f"{origin}/a%2Fb?X-Amz-SignedHeaders=content-type%3Bhost", Part(1, 0, 10))
        attempt(source, f"{origin}/a%2Fb?X-Amz-SignedHeaders=host", Part(1, 0, 10))
    first, second = (request.decode().split("\r\n") for request in requests)
    assert first[0] == "PUT /a%2Fb?X-Amz-SignedHeaders=content-type%3Bhost HTTP/1.1", (
        "as signed, byte for byte"
    )
    assert "Content-Type: image/png" in first
    assert not any(line.lower().startswith("content-type") for line in second)


def test_a_file_shorter_than_it_says_is_a_changed_one(source: Source) -> None:
    with answering(http("")) as origin:
        result = attempt(source, f"{origin}/p?s=1", Part(1, len(DATA) - 5, 10))
    assert isinstance(result.answer, Broken)
    assert result.answer.kind is Break.CHANGED
    assert result.md5 is None


def test_a_path_that_can_no_longer_be_read_is_said_so(source: Source) -> None:
    source.path.unlink()
    source.path.mkdir()
    with answering(http("")) as origin:
        result = attempt(source, f"{origin}/p?s=1", Part(1, 0, 10))
    assert isinstance(result.answer, Broken)
    assert result.answer.kind in (Break.UNREADABLE, Break.CHANGED)


def test_a_url_no_request_can_be_made_of_is_final(source: Source) -> None:
    result = attempt(source, "https://a..b/p?s=secret", Part(1, 0, 10))
    assert result.answer == Broken(Break.UNUSABLE)


def test_a_change_within_the_part_is_noticed_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "f.bin"
    path.write_bytes(bytes(512 * 1024))
    meter, connections = Meter(), Connections(httpx.create_ssl_context, anywhere)

    def touch_when_under_way() -> None:
        while not meter.sent:
            time.sleep(0.001)
        os.utime(path, ns=(0, 0))

    toucher = threading.Thread(target=touch_when_under_way)
    with answering(http("", headers='ETag: "x"\r\n'), pace=512 * 1024) as origin:
        task = PartTask(
            Source.find(path), Part(1, 0, 512 * 1024), PresignedUrl(f"{origin}/p"), "image/png", True
        )
        toucher.start()
        result = put(task, connections, Scope(), meter)
        toucher.join()
    connections.close()
    assert isinstance(result.answer, Broken)
    assert result.answer.kind is Break.CHANGED
