"""The face of the disk store: takes the PUT of a part, and refuses what S3 refuses, when S3 refuses it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import parse_qsl

import aiofiles
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from uploader.local.answers import StoreError, storage_headers
from uploader.local.creation import LARGEST_PART, MOST_PARTS
from uploader.local.depot import Depot
from uploader.local.disk import DiskStore
from uploader.local.faults import FaultPlan
from uploader.local.misbehave import Action, Serving, serve_with
from uploader.local.recording import Exchange
from uploader.local.records import Upload
from uploader.local.signing import SignedRequest
from uploader.local.store import BLOCK
from uploader.local.sweeping import drop
from uploader.local.verifying import expired, verify

_WRONG_ETAG = f'"{"bad" * 10}00"'


@dataclass(frozen=True, slots=True)
class Storage:
    """The routes under /storage."""

    depot: Depot
    store: DiskStore
    key: bytes
    plan: FaultPlan
    clock: Callable[[], float]

    def routes(self) -> list[Route]:
        """The store's routes, for the application."""
        return [Route("/storage/{upload_id}/{file_name}", self.put, methods=["PUT"])]

    async def put(self, request: Request) -> Response:
        """PUT of one part. Everything that can be refused on the headers is, before the body is read."""
        verify(self.key, signed_request(request), self.clock())
        size, checksum = _length(request), _checksum(request)
        number = self._part_number(request, self._pending(request))
        store = partial(self._store, request, number, checksum)
        serving = Serving(
            exchange=Exchange.of(request),
            size=size,
            act=store,
            refusal=StoreError,
            variants={
                "expire": partial(self._expire, request),
                "vanish": partial(self._vanish, request),
                "etag": partial(self._mislabel, store),
            },
        )
        return await serve_with(self.plan.next("part", number), serving)

    def _pending(self, request: Request) -> Upload:
        upload = self.depot.find(request.path_params["upload_id"])
        if upload is None or upload.status != "pending":
            raise _gone()
        return upload

    def _part_number(self, request: Request, upload: Upload) -> int:
        text = request.query_params.get("partNumber", "")
        number = int(text) if re.fullmatch("[0-9]{1,9}", text) else 0
        if not 1 <= number <= min(upload.parts_count, MOST_PARTS):
            message = f"Part number must be an integer between 1 and {upload.parts_count}, inclusive"
            raise StoreError(400, "InvalidArgument", message)
        return number

    async def _store(self, request: Request, number: int, checksum: bytes | None) -> Response:
        arriving = self.store.temporary(request.path_params["upload_id"])
        try:
            size, md5 = await spool(request.stream(), arriving)
            if checksum not in (None, bytes.fromhex(md5)):
                message = "The Content-MD5 you specified did not match what we received."
                raise StoreError(400, "BadDigest", message)
            upload = self._pending(request)  # again: it can be over by the time the body is here
            self.store.keep_part(upload.id, number, arriving, size, md5)
        except FileNotFoundError:  # somebody has removed the upload's directory
            raise _gone() from None
        finally:
            arriving.unlink(missing_ok=True)
        return Response(headers={"etag": f'"{md5}"', **storage_headers()})

    async def _mislabel(self, store: Action) -> Response:
        response = await store()
        response.headers["etag"] = _WRONG_ETAG
        return response

    async def _expire(self, request: Request) -> Response:
        # The credentials behind a link can end before its date: so it died now, whatever the link says.
        now, lifetime = self.clock(), int(request.query_params["X-Amz-Expires"])
        raise expired(now, at=now, lifetime=lifetime)

    async def _vanish(self, request: Request) -> Response:
        upload = self._pending(request)
        await drop(self.depot, self.store, upload)
        raise _gone()


async def spool(chunks: AsyncIterator[bytes], path: Path) -> tuple[int, str]:
    """Write what arrives to a new file, a block at a time; returns the size in bytes and the hex MD5."""
    digest, size, block = hashlib.md5(usedforsecurity=False), 0, bytearray()
    async with aiofiles.open(path, "wb") as file:
        async for chunk in chunks:
            block += chunk
            if len(block) >= BLOCK or not chunk:  # Starlette marks the end with an empty chunk
                digest.update(block)
                size += await file.write(block)
                block = bytearray()
    return size, digest.hexdigest()


def signed_request(request: Request) -> SignedRequest:
    """What the signature of a request is checked against."""
    query = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return SignedRequest(request.method, request.scope["path"], query, request.headers)


def _length(request: Request) -> int:
    length = request.headers.get("content-length")
    if length is None or "transfer-encoding" in request.headers:
        raise StoreError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if int(length) > LARGEST_PART:
        message = "Your proposed upload exceeds the maximum allowed size"
        details = {"ProposedSize": length, "MaxSizeAllowed": str(LARGEST_PART)}
        raise StoreError(400, "EntityTooLarge", message, details)
    return int(length)


def _checksum(request: Request) -> bytes | None:
    """The decoded `Content-MD5`, or None if there is none."""
    text = request.headers.get("content-md5")
    if text is None:
        return None
    try:
        digest = base64.b64decode(text.encode("latin-1"), validate=True)
    except binascii.Error:
        digest = b""
    if len(digest) != hashlib.md5(usedforsecurity=False).digest_size:
        raise StoreError(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
    return digest


def _gone() -> StoreError:
    message = "The specified upload does not exist. It may have been aborted or completed."
    return StoreError(404, "NoSuchUpload", message)
