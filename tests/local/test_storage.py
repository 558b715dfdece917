"""The store: parts go in as they were sent, and what S3 refuses is refused in S3's words."""

from __future__ import annotations

import base64
import hashlib
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from uploader.local.signing import Signer

MIB = 1024 * 1024
PART = 5 * MIB
Refused = Callable[[httpx.Response], tuple[int, str, str]]


def url(upload: dict[str, Any], number: int = 1) -> str:
    return str(upload["parts"][number - 1]["url"])


@pytest.mark.any_store
def test_a_part_is_stored_and_answered_with_its_md5(start: Any) -> None:
    api = start()
    upload = api.create(fileName="ünï %41 ?#.bin")
    response = api.put(upload, 1, b"abc")
    md5 = hashlib.md5(b"abc").hexdigest()
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["etag"] == f'"{md5}"'
    assert response.headers["x-amz-request-id"]
    assert "date" in response.headers
    stored = api.service.stored_parts(upload["id"])[1]
    assert (stored.size, stored.md5) == (3, md5)


@pytest.mark.any_store
def test_putting_a_part_again_overwrites_it(start: Any, later: Any) -> None:
    api = start(stage_delay=0)
    upload = api.create()
    assert api.put(upload, 1, b"first").status_code == 200
    later()
    assert api.put(upload, 1, b"abc").status_code == 200
    api.complete(upload)
    api.settle(upload, "imported")
    assert api.service.sha256(upload["id"]) == hashlib.sha256(b"abc").hexdigest()


def test_what_a_part_was_before_does_not_stay_on_the_disk(start: Any, tmp_path: Path) -> None:
    api = start(tmp_path)
    upload = api.create()
    for content in (b"first", b"abc"):
        assert api.put(upload, 1, content).status_code == 200
    assert len(list(tmp_path.rglob("*.part"))) == 1


def test_a_tampered_link_is_refused_with_what_was_signed(start: Any, refused: Refused) -> None:
    api = start()
    upload = api.create(fileSize=PART + 1, parts=2)
    for wrong in (url(upload).replace("a.bin", "b.bin"), url(upload).replace("partNumber=1", "partNumber=2")):
        response = api.store.put(wrong, content=b"abc")
        assert refused(response)[:2] == (403, "SignatureDoesNotMatch")
        assert "<StringToSign>AWS4-HMAC-SHA256\n" in response.text
    localhost = url(upload).replace("127.0.0.1", "localhost")
    assert refused(api.store.put(localhost, content=b"abc"))[:2] == (403, "SignatureDoesNotMatch")


def test_what_cannot_be_written_in_xml_is_not_echoed(start: Any, refused: Refused) -> None:
    api = start()
    response = api.store.put(f"{url(api.create())}&x=%00%1b%ef%bf%be", content=b"")
    assert refused(response)[:2] == (403, "SignatureDoesNotMatch")


def test_no_signature_is_access_denied_and_half_of_one_is_garbled(start: Any, refused: Refused) -> None:
    api = start()
    bare = url(api.create()).partition("?")[0]
    assert refused(api.store.put(bare, content=b"abc"))[:2] == (403, "AccessDenied")
    response = api.store.put(f"{bare}?X-Amz-Algorithm=AWS4-HMAC-SHA256", content=b"abc")
    assert refused(response)[:2] == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"authorization": "Basic x"}, 400, "InvalidArgument"),
        ({"x-amz-acl": "public-read"}, 403, "AccessDenied"),
        ({"content-md5": base64.b64encode(bytes(16)).decode()}, 400, "BadDigest"),
        ({"content-md5": "abc"}, 400, "InvalidDigest"),
        ({"content-md5": base64.b64encode(bytes(15)).decode()}, 400, "InvalidDigest"),
        ({"transfer-encoding": "chunked"}, 411, "MissingContentLength"),
    ],
)
def test_a_header_s3_refuses_is_refused_and_nothing_is_stored(
    start: Any, refused: Refused, headers: dict[str, str], status: int, code: str
) -> None:
    api = start()
    upload = api.create()
    assert refused(api.put(upload, 1, b"abc", headers=headers))[:2] == (status, code)
    assert api.service.stored_parts(upload["id"]) == {}
    assert api.put(upload, 1, b"abc").status_code == 200


def test_headers_that_do_not_matter_are_ignored(start: Any) -> None:
    api = start()
    digest = base64.b64encode(hashlib.md5(b"abc").digest()).decode()
    headers = {"content-md5": digest, "content-type": "image/png", "x-other": "1"}
    assert api.put(api.create(), 1, b"abc", headers=headers).status_code == 200


def test_a_body_of_unknown_length_is_refused(start: Any, refused: Refused) -> None:
    api = start()
    assert refused(api.store.put(url(api.create()), content=iter([b"abc"])))[:2] == (
        411,
        "MissingContentLength",
    )


def test_more_than_5_gib_is_refused_on_the_headers(start: Any, raw: Any) -> None:
    api = start()
    answer = raw(url(api.create()), f"Content-Length: {5 * 1024 * MIB + 1}").answer()
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"<Code>EntityTooLarge</Code>" in answer


def test_what_the_headers_condemn_gets_no_100_continue(start: Any, raw: Any) -> None:
    api = start()
    good = url(api.create())
    asking = ("Content-Length: 3", "Expect: 100-continue")
    assert raw(good.replace("a.bin", "b.bin"), *asking).answer().startswith(b"HTTP/1.1 403 ")
    connection = raw(good, *asking)
    assert connection.socket.recv(1000).startswith(b"HTTP/1.1 100 ")
    connection.socket.sendall(b"abc")
    assert connection.answer().startswith(b"HTTP/1.1 200 ")


def signed(root: Path, api: Any, upload_id: str, number: str) -> str:
    """A link for a part no upload has, but well signed: only the service's own key makes one."""
    where = urlsplit(api.service.base_url)
    signer = Signer(bytes.fromhex((root / "signing.key").read_text()), f"http://{where.netloc}", where.netloc)
    fields, path = [("uploadId", upload_id), ("partNumber", number)], f"/storage/{upload_id}/a.bin"
    return signer.presign(path, fields, session="s", issued_at=time.time(), ttl=60).url


@pytest.mark.parametrize("number", ["0", "2", "10001", "-1", "x", "", "1" * 30])
def test_a_part_number_the_upload_does_not_have_is_refused(
    start: Any, refused: Refused, number: str, tmp_path: Path
) -> None:
    api = start(tmp_path)
    response = api.store.put(signed(tmp_path, api, api.create()["id"], number), content=b"abc")
    assert refused(response)[:2] == (400, "InvalidArgument")


def test_an_upload_that_is_unknown_or_no_longer_pending_takes_nothing(
    start: Any, refused: Refused, tmp_path: Path
) -> None:
    api = start(tmp_path)
    unknown = signed(tmp_path, api, "upload_unknown", "1")
    assert refused(api.store.put(unknown, content=b"abc"))[:2] == (404, "NoSuchUpload")
    upload = api.create()
    api.put(upload, 1, b"abc")
    api.complete(upload)
    assert refused(api.put(upload, 1, b"abc"))[:2] == (404, "NoSuchUpload")


def test_a_part_that_arrives_after_complete_is_not_taken(
    start: Any, raw: Any, eventually: Any, tmp_path: Path
) -> None:
    api = start(tmp_path)
    upload = api.create()
    api.put(upload, 1, b"abc")
    late = raw(url(upload), "Content-Length: 3")
    late.socket.sendall(b"x")
    eventually(lambda: list(tmp_path.rglob("*.tmp")))
    assert api.complete(upload).status_code == 200
    late.socket.sendall(b"yz")
    assert b"<Code>NoSuchUpload</Code>" in late.answer()
    api.settle(upload, "imported")
    with api.service.open(upload["id"]) as file:
        assert file.read() == b"abc"


def test_a_part_whose_directory_was_removed_is_of_no_upload_any_more(
    start: Any, refused: Refused, raw: Any, eventually: Any, tmp_path: Path
) -> None:
    """Before the PUT, or while its body is on the way."""
    api = start(tmp_path)
    before, meanwhile = api.create(), api.create()
    late = raw(url(meanwhile), "Content-Length: 3")
    late.socket.sendall(b"x")
    (arriving,) = eventually(lambda: list(tmp_path.rglob("*.tmp")))
    arriving.unlink()
    for upload in (before, meanwhile):
        (tmp_path / "parts" / upload["id"]).rmdir()
    assert refused(api.put(before, 1, b"abc"))[:2] == (404, "NoSuchUpload")
    late.socket.sendall(b"yz")
    assert b"<Code>NoSuchUpload</Code>" in late.answer()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_not_allowed_in_xml(start: Any, method: str) -> None:
    api = start()
    response = api.store.request(method, url(api.create()))
    assert response.status_code == 405
    assert response.headers["content-type"] == "application/xml"
    assert method == "HEAD" or "<Code>MethodNotAllowed</Code>" in response.text


def test_an_expired_link_says_so_with_the_times(session: Any, refused: Refused, tmp_path: Path) -> None:
    with session(tmp_path, ttl=60) as api:
        upload, port = api.create(), urlsplit(api.service.base_url).port
    with session(tmp_path, port=port, clock_offset=3600.0) as api:
        response = api.put(upload, 1, b"abc")
        assert refused(response) == (403, "AccessDenied", "Request has expired")
        assert "<Expires>" in response.text
        assert "<ServerTime>" in response.text
        assert api.put(api.show(upload), 1, b"abc").status_code == 200


def test_a_link_from_the_future_is_not_valid_yet(session: Any, refused: Refused, tmp_path: Path) -> None:
    with session(tmp_path, clock_offset=3600.0) as api:
        upload, port = api.create(), urlsplit(api.service.base_url).port
    with session(tmp_path, port=port) as api:
        assert refused(api.put(upload, 1, b"abc")) == (403, "AccessDenied", "Request is not valid yet")


def test_expiry_counts_when_the_request_starts_only(
    start: Any, raw: Any, refused: Refused, eventually: Any
) -> None:
    api = start(ttl=1)

    def begun() -> tuple[Any, Any] | None:
        """An upload, and a PUT that came before its link expired: then its body is asked for."""
        upload = api.create()
        slow = raw(url(upload), "Content-Length: 3", "Expect: 100-continue")
        return (upload, slow) if slow.socket.recv(1000).startswith(b"HTTP/1.1 100 ") else None

    upload, slow = eventually(begun)
    eventually(lambda: api.put(upload, 1, b"other").status_code == 403)
    slow.socket.sendall(b"abc")
    assert slow.answer().startswith(b"HTTP/1.1 200 ")
    assert api.service.stored_parts(upload["id"])[1].md5 == hashlib.md5(b"abc").hexdigest()


def test_a_body_cut_short_leaves_the_part_as_it_was(
    start: Any, raw: Any, eventually: Any, tmp_path: Path
) -> None:
    api = start(tmp_path)
    upload = api.create()
    api.put(upload, 1, b"abc")
    before = api.service.stored_parts(upload["id"])
    cut = raw(url(upload), "Content-Length: 1000000")
    cut.socket.sendall(b"x" * 500_000)
    cut.socket.close()
    record = eventually(lambda: [each for each in api.service.requests if each.status is None])[0]
    assert (record.part, record.body_bytes <= 500_000) == (1, True)
    assert api.service.stored_parts(upload["id"]) == before
    eventually(lambda: not list(tmp_path.rglob("*.tmp")))


def test_memory_does_not_grow_with_the_part(start: Any) -> None:
    api, size, block = start(), 64 * MIB, bytes(MIB)

    def body() -> Iterator[bytes]:
        for _ in range(size // len(block)):
            yield block

    upload = api.create(fileSize=size)
    tracemalloc.start()
    response = api.store.put(url(upload), content=body(), headers={"content-length": str(size)})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert response.status_code == 200
    assert api.service.stored_parts(upload["id"])[1].size == size
    assert peak < 16 * MIB
