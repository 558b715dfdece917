"""Any S3-compatible store behind the service: the parts go straight there. Needs the extra `s3`.

A presigned URL leads to the store itself, so what it refuses, and how, is the store's matter. What stores
differ in is evened out here: a part that was sent twice is listed once or twice, its newest counts; an
upload that is joined may or may not be known any more, the object tells; short parts may or may not be
refused, so the service looks at the sizes itself before it asks for the object.

One thing is not: Swift takes a part after the object was joined, and if its bytes are others than before, the
object cannot be read until the former ones are sent again. The links hold until their end there.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from botocore.exceptions import ClientError

from uploader.local.depot import folder
from uploader.local.records import Upload
from uploader.local.s3client import check_bucket, code_of, make_client, told
from uploader.local.s3links import S3Links
from uploader.local.s3object import Objects
from uploader.local.store import AssemblyError, GoneError, Link, StoredPart, check_size
from uploader.local.threads import Threads

T = TypeVar("T")

_LONGEST_NAME = 255  # bytes: what a file system takes; some stores are made of files
_CONNECTIONS = 32  # that a client keeps

# Said of parts that will never become an object. Anything else may pass.
_UNFIT = ("InvalidPart", "InvalidPartOrder", "EntityTooSmall", "EntityTooLarge", "MalformedXML")


@contextmanager
def s3_store(endpoint: str, bucket: str, root: Path, ttl: float, threads: Threads) -> Iterator[S3Store]:
    """The store at `endpoint` (a URL), as long as the block lasts; the rest is the service's.

    Raises:
        ValueError: `endpoint` or `bucket` is none.
        StoreDownError: it cannot be used; the message says why.
    """
    # A client of the API waits 30 s for an answer; it gets one that says what is wrong, if a store hangs.
    quick = make_client(endpoint, patience=10, attempts=2, connections=_CONNECTIONS)
    patient = make_client(endpoint, patience=60, attempts=2, connections=_CONNECTIONS)
    with closing(quick), closing(patient):
        check_bucket(quick, endpoint, bucket)
        links = S3Links(quick, folder(root, "links"), math.ceil(ttl))
        yield S3Store(quick, patient, threads, bucket, links)


class S3Store:
    """Parts and objects in `bucket`; an object's key is UPLOAD_ID/FILE_NAME, or its end.

    `quick` and `patient` are clients, for calls of the API and for long work.
    """

    def __init__(self, quick: Any, patient: Any, threads: Threads, bucket: str, links: S3Links) -> None:
        self._quick, self._patient, self._threads = quick, patient, threads
        self._bucket, self._links, self._objects = bucket, links, Objects(patient)

    async def run(self, call: Callable[[], T]) -> T:
        """In a thread, so that nobody else waits for the store."""
        return await self._threads.run(call)

    def begin(self, upload: Upload) -> Upload:
        """See `Store`."""
        with told("begin a multipart upload"):
            begun = self._quick.create_multipart_upload(
                **self._names(upload), ContentType=upload.content_type
            )
        return replace(upload, multipart_id=begun["UploadId"])

    def links(self, upload: Upload, *, fresh: bool) -> list[Link]:
        """See `Store`."""
        names, count = self._multipart(upload), upload.parts_count
        return self._links.sign(names, count) if fresh else self._links.kept(upload.id, names, count)

    def parts(self, upload: Upload) -> Mapping[int, StoredPart]:
        """See `Store`. The MD5 is the part's ETag, which on some stores is something else."""
        if upload.status in ("validated", "imported"):  # Swift lists them for ever
            return {}
        try:
            newest = self._newest(upload)
        except GoneError:
            if upload.status == "pending":
                raise
            return {}
        return {number: StoredPart(one["Size"], _md5(one)) for number, (one, *_) in newest.items()}

    def assemble(self, upload: Upload, stopped: Callable[[], bool]) -> None:  # noqa: ARG002 - one call does it
        """See `Store`. The bytes are not read: who sent a part has looked at its ETag."""
        with suppress(GoneError):  # joined before, but nobody was left to hear so: the object tells
            self._join(upload)
        try:
            size = self._objects.size(self._names(upload))
        except FileNotFoundError:
            raise AssemblyError("the object store has dropped the parts") from None
        check_size(upload, size)

    def open(self, upload: Upload) -> BinaryIO:
        """See `Store`."""
        return self._objects.open(self._names(upload))

    def drop_parts(self, upload: Upload) -> None:
        """See `Store`. Looks for uploads of this object nobody was told of, too: an answer can be lost."""
        with told("abort the multipart upload"):
            for multipart_id in {*self._begun(upload), *self._unjoined(upload)}:
                self._abort(upload, multipart_id)
        self._links.drop(upload.id)

    def discard(self, upload: Upload) -> None:
        """See `Store`."""
        self.drop_parts(upload)
        if upload.status != "pending":  # or there is no object
            self._objects.remove(self._names(upload))

    def _names(self, upload: Upload) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": f"{upload.id}/{_end(upload.file_name)}"}

    def _multipart(self, upload: Upload) -> dict[str, Any]:
        return {**self._names(upload), "UploadId": upload.multipart_id}

    def _newest(self, upload: Upload) -> dict[int, list[dict[str, Any]]]:
        """The parts as listed: of each number those last modified, which can be several in the same second.

        Raises:
            GoneError: the store does not know the multipart upload any more.
        """
        found = defaultdict[int, list[dict[str, Any]]](list)
        # No size of page is asked for: where a part is listed twice, a page's end may swallow the second.
        pages = self._quick.get_paginator("list_parts").paginate(**self._multipart(upload))
        with told("list the parts"), _gone():
            for part in (part for page in pages for part in page.get("Parts", ())):
                found[part["PartNumber"]].append(part)
        return {number: _last_modified(found[number]) for number in sorted(found)}

    def _join(self, upload: Upload) -> None:
        newest = self._newest(upload)
        for number, versions in newest.items():
            if len({_md5(part) for part in versions}) > 1:
                raise AssemblyError(f"part {number} was sent twice within a second, and not the same")
        parts = [{"PartNumber": number, "ETag": one["ETag"]} for number, (one, *_) in newest.items()]
        with told("join the parts"), _gone(), _unfit():
            self._patient.complete_multipart_upload(
                **self._multipart(upload), MultipartUpload={"Parts": parts}
            )

    def _begun(self, upload: Upload) -> list[str]:
        """The ids of all multipart uploads for the object. No key is compared: XML has not every letter."""
        pages = self._quick.get_paginator("list_multipart_uploads").paginate(
            Bucket=self._bucket, Prefix=f"{upload.id}/"
        )
        return [begun["UploadId"] for page in pages for begun in page.get("Uploads", ())]

    def _unjoined(self, upload: Upload) -> list[str]:
        """The id of the one that is known, unless it has become the object: not every store minds that."""
        joined = upload.status in ("validated", "imported")
        return [] if joined or upload.multipart_id is None else [upload.multipart_id]

    def _abort(self, upload: Upload, multipart_id: str) -> None:
        with suppress(GoneError), _gone():
            self._quick.abort_multipart_upload(**self._names(upload), UploadId=multipart_id)


@contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) != "NoSuchUpload":
            raise
        raise GoneError("the object store does not know the multipart upload any more") from None


@contextmanager
def _unfit() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if code_of(error) not in _UNFIT:
            raise
        raise AssemblyError(f"the object store cannot join the parts: {code_of(error)}") from None


def _end(name: str) -> str:
    """As much of the end of a file's name as any store takes."""
    return name.encode()[-_LONGEST_NAME:].decode(errors="ignore")


def _last_modified(versions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    newest = max(part["LastModified"] for part in versions)
    return [part for part in versions if part["LastModified"] == newest]


def _md5(part: Mapping[str, Any]) -> str:
    return str(part["ETag"]).strip('"')
