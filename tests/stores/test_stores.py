"""What each store does with a multipart upload to presigned URLs, through boto3 and plain HTTP alone.

Where stores differ, `Manners` says how; a store that changes its ways is noticed here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.exceptions import ClientError

from tests.stores.conversation import Conversation, Refusal, Upload, refusal, talking
from tests.stores.processes import Server, wait_until
from tests.stores.store import Store

MiB = 1024 * 1024
PART = 5 * MiB
CONTENT = random.Random(1).randbytes(2 * PART + 1000)
PIECES = [CONTENT[start : start + PART] for start in range(0, len(CONTENT), PART)]
FIRST, SECOND, SHORT = PIECES


@pytest.fixture
def talk(store: Store) -> Iterator[Conversation]:
    with talking(store) as conversation:
        yield conversation


@pytest.fixture
def upload(talk: Conversation, request: pytest.FixtureRequest) -> Upload:
    """An upload to a key of this test's own."""
    return talk.begin(f"objects/{request.node.originalname}.bin")


def send_all(upload: Upload, *pieces: bytes) -> list[tuple[int, str]]:
    return [(number, upload.send(number, piece)) for number, piece in enumerate(pieces, 1)]


def refused(error: pytest.ExceptionInfo[ClientError]) -> tuple[int, str]:
    """Status and code of what boto3 has raised."""
    response: dict[str, Any] = error.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def etags(upload: Upload, **options: Any) -> list[tuple[int, str]]:
    """What is listed, as complete takes it."""
    return [(part["PartNumber"], part["ETag"].strip('"')) for part in upload.listed(**options)]


def test_parts_put_to_presigned_urls_become_the_object(upload: Upload) -> None:
    sent = send_all(upload, *PIECES)
    assert [etag for _, etag in sent] == [md5(piece, usedforsecurity=False).hexdigest() for piece in PIECES]
    assert etags(upload) == sent
    assert [part["Size"] for part in upload.listed()] == [len(piece) for piece in PIECES]
    upload.complete(sent)
    assert upload.stored() == CONTENT
    assert upload.stored(Range=f"bytes={PART - 10}-{PART + 9}") == CONTENT[PART - 10 : PART + 10]


def test_an_object_may_have_an_etag(upload: Upload, store: Store) -> None:
    upload.complete(send_all(upload, SHORT))
    head = upload.s3.head_object(Bucket=upload.bucket, Key=upload.key)
    assert head["ContentLength"] == len(SHORT)
    assert ("ETag" in head) is store.manners.tags_objects


def test_a_content_type_that_is_not_signed_is_accepted(upload: Upload) -> None:
    assert "X-Amz-SignedHeaders=host&" in upload.url(1)
    assert upload.put(1, SHORT, headers={"Content-Type": "model/gltf-binary"}).status_code == 200


def test_a_part_that_is_not_what_its_md5_says_is_refused(upload: Upload) -> None:
    response = upload.put(1, SHORT, headers={"Content-MD5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert refusal(response)[:2] == (400, "BadDigest")
    assert upload.listed() == []


def test_a_url_of_two_seconds_expires(upload: Upload) -> None:
    url = upload.url(1, seconds=2)
    answers = [upload.http.put(url, content=SHORT)]

    def expired() -> bool:
        answers.append(upload.http.put(url, content=SHORT))
        return answers[-1].status_code != 200

    wait_until(expired, 60, "the URL expires")
    assert refusal(answers[-1]) == Refusal(403, "AccessDenied", "Request has expired")
    upload.send(1, SHORT)


@pytest.mark.parametrize("content", [SHORT, FIRST], ids=["1 kB", "5 MiB"])
@pytest.mark.parametrize("what", ["signature", "number"])
def test_a_url_that_was_tampered_with_is_refused(upload: Upload, what: str, content: bytes) -> None:
    head, name, signature = upload.url(1).partition("&X-Amz-Signature=")
    turned = f"{int(signature[0], 16) ^ 1:x}{signature[1:]}"
    number = head.replace("partNumber=1&", "partNumber=2&")
    url = f"{head}{name}{turned}" if what == "signature" else f"{number}{name}{signature}"
    assert refusal(upload.http.put(url, content=content))[:2] == (403, "SignatureDoesNotMatch")
    assert upload.listed() == []


def test_of_a_part_that_is_sent_again_the_newer_is_to_be_had(upload: Upload, store: Store) -> None:
    older, newer, last = upload.send(1, FIRST), upload.send(1, SECOND), upload.send(2, SHORT)
    assert older != newer
    listed = [(1, older), (1, newer), (2, last)] if store.manners.keeps_resent else [(1, newer), (2, last)]
    assert sorted(etags(upload)) == sorted(listed)
    upload.complete([(1, newer), (2, last)])
    assert upload.stored() == SECOND + SHORT


def test_of_a_part_that_is_sent_again_the_older_may_be_to_be_had(upload: Upload, store: Store) -> None:
    older, _ = upload.send(1, FIRST), upload.send(1, SECOND)
    if store.manners.keeps_resent:
        upload.complete([(1, older)])
        assert upload.stored() == FIRST
    else:
        with pytest.raises(ClientError) as error:
            upload.complete([(1, older)])
        assert refused(error) == (400, "InvalidPart")


@pytest.mark.parametrize("attempt", range(6))  # a store that took just any would be right once in three
def test_of_all_that_is_listed_complete_takes_the_newest(upload: Upload, attempt: int) -> None:
    """Who has no ETags but those of the list can pass them on, and need not know which is the newest."""
    for piece in (SECOND, bytes(PART + 1), FIRST):
        upload.send(1, piece)
    upload.send(2, SHORT)
    upload.complete(sorted(etags(upload)))
    assert upload.stored() == FIRST + SHORT


def test_the_same_bytes_sent_again_change_nothing(upload: Upload) -> None:
    assert upload.send(1, SHORT) == upload.send(1, SHORT)
    upload.complete(sorted(set(etags(upload))))
    assert upload.stored() == SHORT


def test_a_short_part_before_the_last_may_be_refused(upload: Upload, store: Store) -> None:
    sent = send_all(upload, FIRST, SHORT, SECOND)
    if len(SHORT) >= store.manners.smallest_part:
        upload.complete(sent)
        assert upload.stored() == FIRST + SHORT + SECOND
    else:
        with pytest.raises(ClientError) as error:
            upload.complete(sent)
        assert refused(error) == (400, "EntityTooSmall")
        assert etags(upload) == sent, "it is not too late to send more"


def test_complete_with_another_etag_is_refused(upload: Upload) -> None:
    upload.send(1, SHORT)
    with pytest.raises(ClientError) as error:
        upload.complete([(1, "0" * 32)])
    assert refused(error) == (400, "InvalidPart")


def test_complete_without_a_part_is_refused(upload: Upload, store: Store) -> None:
    sent = send_all(upload, FIRST)
    with pytest.raises(ClientError) as error:
        upload.complete([*sent, (2, "0" * 32)])
    assert refused(error) == store.manners.missing_part
    assert etags(upload) == sent


def test_complete_wants_parts_by_number(upload: Upload) -> None:
    sent = send_all(upload, FIRST, SHORT)
    with pytest.raises(ClientError) as error:
        upload.complete(sent[::-1])
    assert refused(error) == (400, "InvalidPartOrder")


def test_complete_again(upload: Upload, store: Store) -> None:
    sent = send_all(upload, FIRST, SHORT)
    first = upload.complete(sent)
    if store.manners.completes_again:
        assert upload.complete(sent)["ETag"] == first["ETag"]
    else:
        with pytest.raises(ClientError) as error:
            upload.complete(sent)
        assert refused(error) == (404, "NoSuchUpload")
    assert upload.stored() == FIRST + SHORT


def test_abort_after_complete_leaves_the_object(upload: Upload) -> None:
    upload.complete(send_all(upload, FIRST, SHORT))
    with suppress(ClientError):  # there is nothing left to abort, and not every store minds
        upload.abort()
    assert upload.stored() == FIRST + SHORT


def test_a_late_part_is_refused_or_must_be_the_same(upload: Upload, store: Store) -> None:
    upload.complete(send_all(upload, FIRST, SHORT))
    late = upload.put(1, FIRST)
    assert upload.stored() == FIRST + SHORT
    if not store.manners.takes_late_parts:
        assert refusal(late)[:2] == (404, "NoSuchUpload")
        return
    assert late.status_code == 200
    assert upload.put(1, SECOND).status_code == 200
    with pytest.raises(ClientError) as error:
        upload.stored()
    assert refused(error) == (409, "BrokenMPU")


def test_after_abort_nothing_more_is_taken(upload: Upload, store: Store) -> None:
    sent = send_all(upload, SHORT)
    upload.abort()
    assert refusal(upload.put(1, SHORT))[:2] == (404, "NoSuchUpload")
    for call in (upload.listed, lambda: upload.complete(sent)):
        with pytest.raises(ClientError) as error:
            call()
        assert refused(error) == (404, "NoSuchUpload")


def test_abort_again(upload: Upload, store: Store) -> None:
    upload.abort()
    if store.manners.aborts_again:
        upload.abort()
    else:
        with pytest.raises(ClientError) as error:
            upload.abort()
        assert refused(error) == (404, "NoSuchUpload")


def test_uploads_are_listed_by_the_beginning_of_their_keys(talk: Conversation) -> None:
    ours, other = talk.begin("listed/a/ours.bin"), talk.begin("listed/b/other.bin")

    def listed(prefix: str) -> list[tuple[str, str]]:
        answer = talk.s3.list_multipart_uploads(Bucket=talk.store.bucket, Prefix=prefix)
        return [(found["Key"], found["UploadId"]) for found in answer.get("Uploads", [])]

    assert listed(ours.key) == [(ours.key, ours.id)]
    assert listed("listed/a/") == [(ours.key, ours.id)]
    assert sorted(listed("listed/")) == sorted([(ours.key, ours.id), (other.key, other.id)])
    ours.abort()
    assert listed("listed/") == [(other.key, other.id)]


def test_any_number_up_to_ten_thousand_is_listed(upload: Upload, store: Store) -> None:
    numbers = [1, 999, 1000, 1001, 10_000]
    for number in numbers:
        upload.send(number, b"%d" % number)
    listed = [number for number, _ in etags(upload)]
    assert sorted(listed) == numbers
    assert (listed == numbers) is store.manners.lists_in_order


def test_more_than_a_thousand_parts_are_listed_in_pages(upload: Upload, store: Store) -> None:
    numbers = range(1, 1003)
    with ThreadPoolExecutor(4) as pool:
        sent = list(pool.map(lambda number: (number, upload.send(number, b"%d" % number)), numbers))
    assert etags(upload) == sent
    assert etags(upload, PaginationConfig={"PageSize": 400}) == sent
    first = upload.s3.list_parts(**upload.names)
    assert len(first["Parts"]) == min(store.manners.most_listed, len(numbers))
    assert first["IsTruncated"] is (store.manners.most_listed < len(numbers))


def test_pages_may_hide_a_part_that_was_sent_again_but_no_number(upload: Upload, store: Store) -> None:
    for _ in range(3):
        send_all(upload, FIRST[:10], SECOND[:10])
    listed = [number for number, _ in etags(upload, PaginationConfig={"PageSize": 1})]
    assert listed == [1, 2]
    assert len(upload.listed()) == (6 if store.manners.keeps_resent else 2)


def test_parts_outlive_a_store_that_is_killed(own_store: Store) -> None:
    with talking(own_store) as talk:
        upload = talk.begin("outlives.bin")
        sent = send_all(upload, FIRST)
        own_store.restart()
        assert etags(upload) == sent
        rest = [(number, upload.send(number, piece)) for number, piece in enumerate(PIECES[1:], 2)]
        upload.complete([*sent, *rest])
        own_store.restart()
        assert upload.stored() == CONTENT


def test_a_store_that_is_stopped_does_not_answer(own_store: Store) -> None:
    with talking(own_store) as talk:
        own_store.stop()
        with pytest.raises(httpx.ConnectError):
            talk.http.get(own_store.endpoint)
        own_store.start()
        talk.begin("again.bin").send(1, SHORT)


def test_a_store_that_does_not_start_says_why(tmp_path: Path) -> None:
    server = Server("sh", "-c", "echo no room >&2; exit 1", directory=tmp_path)
    with pytest.raises(RuntimeError, match="no room"):
        Store("broken", "http://127.0.0.1:9", (server,)).start()


def test_tls_is_spoken_to_those_who_trust_its_authority(tls_store: Store) -> None:
    with talking(tls_store) as talk:
        upload = talk.begin("objects/tls.bin")
        assert upload.url(1).startswith("https://")
        upload.complete(send_all(upload, *PIECES))
        assert upload.stored() == CONTENT
    with httpx.Client(trust_env=False) as stranger, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        stranger.get(tls_store.endpoint)


def test_the_environment_is_all_that_boto3_needs(tls_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in tls_store.environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("s3", endpoint_url=tls_store.endpoint)
    try:
        assert [bucket["Name"] for bucket in client.list_buckets()["Buckets"]] == [tls_store.bucket]
    finally:
        client.close()
