"""What each store does with a multipart upload to presigned URLs, through boto3 and plain HTTP alone."""

from __future__ import annotations

import random
from collections.abc import Iterator
from hashlib import md5

import httpx
import pytest

from tests.stores.conversation import Conversation, talking
from tests.stores.store import Store

MiB = 1024 * 1024
PART = 5 * MiB
CONTENT = random.Random(1).randbytes(2 * PART + 1000)
PIECES = [CONTENT[start : start + PART] for start in range(0, len(CONTENT), PART)]


@pytest.fixture
def talk(store: Store) -> Iterator[Conversation]:
    with talking(store) as conversation:
        yield conversation


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    """An object's key for this test."""
    return f"objects/{request.node.originalname}.bin"


def test_parts_put_to_presigned_urls_become_the_object(talk: Conversation, key: str) -> None:
    upload = talk.begin(key)
    etags = [upload.send(number, piece) for number, piece in enumerate(PIECES, 1)]
    assert etags == [md5(piece, usedforsecurity=False).hexdigest() for piece in PIECES]
    listed = [(part["PartNumber"], part["ETag"].strip('"'), part["Size"]) for part in upload.listed()]
    assert listed == [(n, etag, len(PIECES[n - 1])) for n, etag in enumerate(etags, 1)]
    upload.complete(list(enumerate(etags, 1)))
    assert upload.stored() == CONTENT
    assert upload.stored(Range=f"bytes={PART - 10}-{PART + 9}") == CONTENT[PART - 10 : PART + 10]


def test_parts_outlive_a_store_that_is_killed(own_store: Store, key: str) -> None:
    with talking(own_store) as talk:
        upload = talk.begin(key)
        first = upload.send(1, PIECES[0])
        own_store.restart()
        assert [part["ETag"].strip('"') for part in upload.listed()] == [first]
        rest = [upload.send(number, piece) for number, piece in enumerate(PIECES[1:], 2)]
        upload.complete(list(enumerate([first, *rest], 1)))
        assert upload.stored() == CONTENT


def test_a_store_that_is_stopped_does_not_answer(own_store: Store) -> None:
    own_store.stop()
    with pytest.raises(httpx.ConnectError), talking(own_store) as talk:
        talk.http.get(own_store.endpoint)
    own_store.start()


def test_tls_is_spoken_to_those_who_trust_its_authority(tls_store: Store, key: str) -> None:
    with talking(tls_store) as talk:
        upload = talk.begin(key)
        upload.complete([(1, upload.send(1, CONTENT))])
        assert upload.stored() == CONTENT
    with httpx.Client(trust_env=False) as stranger, pytest.raises(httpx.ConnectError, match="CERTIFICATE"):
        stranger.get(tls_store.endpoint)
