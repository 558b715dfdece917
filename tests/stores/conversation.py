"""A multipart upload as two sides have it: a service has the keys, a client has presigned URLs."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple
from xml.etree import ElementTree

import httpx

from tests.stores.store import Store


class Refusal(NamedTuple):
    """What a store says when it does not do as it is told."""

    status: int
    code: str
    message: str


@dataclass(frozen=True)
class Upload:
    """A multipart upload in a store, with the service's side and the client's side of it."""

    s3: Any
    http: httpx.Client
    bucket: str
    key: str
    id: str

    @property
    def names(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key, "UploadId": self.id}

    def url(self, number: int, seconds: int = 600) -> str:
        """A presigned URL for a part, good for so many seconds."""
        parameters = {**self.names, "PartNumber": number}
        return str(self.s3.generate_presigned_url("upload_part", Params=parameters, ExpiresIn=seconds))

    def put(self, number: int, content: bytes, **options: Any) -> httpx.Response:
        return self.http.put(self.url(number), content=content, **options)

    def send(self, number: int, content: bytes) -> str:
        """Puts a part; its ETag, without the quotes."""
        response = self.put(number, content)
        assert response.status_code == 200, response.text
        return response.headers["etag"].strip('"')

    def listed(self, **options: Any) -> list[dict[str, Any]]:
        """All parts there are, page by page."""
        pages = self.s3.get_paginator("list_parts").paginate(**self.names, **options)
        return [part for page in pages for part in page.get("Parts", [])]

    def complete(self, parts: list[tuple[int, str]]) -> dict[str, Any]:
        """Makes an object of parts, each a number and an ETag without quotes."""
        listed = [{"PartNumber": number, "ETag": f'"{etag}"'} for number, etag in parts]
        answer: dict[str, Any] = self.s3.complete_multipart_upload(
            **self.names, MultipartUpload={"Parts": listed}
        )
        return answer

    def abort(self) -> None:
        self.s3.abort_multipart_upload(**self.names)

    def stored(self, **options: Any) -> bytes:
        """The object, or the `Range` of it."""
        answer = self.s3.get_object(Bucket=self.bucket, Key=self.key, **options)
        with answer["Body"] as body:
            content: bytes = body.read()
        return content


@dataclass(frozen=True)
class Conversation:
    """A store, and both sides' clients for it."""

    store: Store
    s3: Any
    http: httpx.Client

    def begin(self, key: str) -> Upload:
        bucket = self.store.bucket
        created = self.s3.create_multipart_upload(Bucket=bucket, Key=key)
        return Upload(self.s3, self.http, bucket, key, created["UploadId"])


@contextmanager
def talking(store: Store) -> Iterator[Conversation]:
    """Clients of both sides for a store, closed after the block."""
    trust = ssl.create_default_context(cafile=store.authority)
    with store.client() as s3, httpx.Client(verify=trust, timeout=60, trust_env=False) as http:
        yield Conversation(store, s3, http)


def refusal(response: httpx.Response) -> Refusal:
    """What a store's error answer says, as S3 has it: XML."""
    assert response.status_code >= 400, response.status_code
    root = ElementTree.fromstring(response.content)
    assert root.tag == "Error", response.text
    return Refusal(response.status_code, root.findtext("Code") or "", root.findtext("Message") or "")
