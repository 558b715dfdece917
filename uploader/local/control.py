"""The control API: create, get and complete an upload."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from uploader.local.answers import ApiError
from uploader.local.creation import SMALLEST_PART, read_creation, read_object, refuse
from uploader.local.credentials import Credentials
from uploader.local.depot import Depot
from uploader.local.faults import FaultPlan
from uploader.local.lifecycle import Lifecycle
from uploader.local.links import new_session
from uploader.local.misbehave import Serving, serve_with
from uploader.local.recording import LONGEST_BODY, Exchange
from uploader.local.records import Upload, iso
from uploader.local.store import GoneError, Store, StoredPart
from uploader.local.sweeping import drop

_Call = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ControlApi:
    """The routes under /v1."""

    depot: Depot
    store: Store
    lifecycle: Lifecycle
    plan: FaultPlan
    credentials: Credentials
    clock: Callable[[], float]
    resign: bool

    def routes(self) -> list[Route]:
        """The API's routes, for the application."""
        return [
            Route("/v1/uploads", self.create, methods=["POST"]),
            Route("/v1/uploads/{upload_id}", self.get, methods=["GET"]),
            Route("/v1/uploads/{upload_id}/action", self.act, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """POST /uploads."""
        return await self._serve(request, self._create, vanish=self._create_in_vain)

    async def get(self, request: Request) -> Response:
        """GET /uploads/{id}."""
        return await self._serve(request, self._get, vanish=partial(self._vanished, self._get))

    async def act(self, request: Request) -> Response:
        """POST /uploads/{id}/action."""
        return await self._serve(request, self._complete, vanish=partial(self._vanished, self._complete))

    async def _serve(self, request: Request, call: _Call, vanish: _Call) -> Response:
        if not self.credentials.admit(request.headers.get("authorization", "")):
            raise ApiError(401, "Unauthorized", "the API key and secret, or the token, are missing or wrong")
        exchange = Exchange.of(request)
        serving = Serving(exchange, 0, partial(call, request), ApiError, {"vanish": partial(vanish, request)})
        return await serve_with(self.plan.next(exchange.target), serving)

    async def _vanished(self, call: _Call, request: Request) -> Response:
        if upload := self.depot.find(request.path_params["upload_id"]):
            await drop(self.depot, self.store, upload)
        return await call(request)

    async def _create_in_vain(self, request: Request) -> Response:
        upload = await self._created(request)
        parts = await self._parts(upload)
        await drop(self.depot, self.store, upload)
        return JSONResponse({"upload": upload.wire(parts)})

    async def _create(self, request: Request) -> Response:
        upload = await self._created(request)
        return JSONResponse({"upload": upload.wire(await self._parts(upload))})

    async def _parts(self, upload: Upload) -> list[dict[str, Any]]:
        """The `parts` of an answer: the same links each time they are asked for, or if `resign` new ones."""
        links = await self.store.run(partial(self.store.links, upload, fresh=self.resign))
        return [
            {"number": number, "url": link.url, "expires": iso(link.expires)}
            for number, link in enumerate(links, 1)
        ]

    async def _created(self, request: Request) -> Upload:
        creation = read_creation(await _body(request))
        project, now = _project(request), self.clock()
        upload = Upload(
            id=f"upload_{secrets.token_hex(12)}",
            project_id=project,
            created_at=now,
            updated_at=now,
            file_name=creation.file_name,
            content_type=creation.content_type,
            file_size=creation.file_size,
            kind=creation.kind,
            parts_count=creation.parts,
            asset_options=creation.asset_options,
            job_id=f"job_{secrets.token_hex(12)}",
            session=new_session(),
            issued_at=now,
        )
        return await self._begun(upload)

    async def _begun(self, upload: Upload) -> Upload:
        # The record comes first: were the service killed in between, it tells the next one what to remove.
        self.depot.save(upload)
        try:
            begun = await self.store.run(partial(self.store.begin, upload))
        except Exception:
            self.depot.withdraw(upload.id)
            raise
        if begun != upload:
            self.depot.save(begun)
        return begun

    async def _get(self, request: Request) -> Response:
        upload = self._found(request)
        if upload.status != "pending":
            return JSONResponse({"upload": upload.wire()})
        self.depot.save(replace(upload, asked_at=self.clock()))
        return JSONResponse({"upload": upload.wire(await self._parts(upload))})

    async def _complete(self, request: Request) -> Response:
        body = await _body(request)
        upload = self._found(request)
        if read_object(body) != {"action": "complete"}:
            refuse('the body must be {"action": "complete"}')
        _check_pending(upload)
        stored = await self._stored(upload)
        upload = self._found(request)  # again: another call can have come in between
        _check_pending(upload)
        if stored is None:
            await drop(self.depot, self.store, upload)
            raise _not_found(upload.id)
        _check_parts(upload, stored)
        upload = upload.moved("validating", self.clock())
        self.depot.save(upload)
        self.lifecycle.start(upload.id)
        return JSONResponse({"upload": upload.wire()})

    async def _stored(self, upload: Upload) -> Mapping[int, StoredPart] | None:
        """Its parts, or None if the store does not know the upload any more."""
        try:
            return await self.store.run(partial(self.store.parts, upload))
        except GoneError:
            return None

    def _found(self, request: Request) -> Upload:
        project, upload_id = _project(request), request.path_params["upload_id"]
        upload = self.depot.find(upload_id)
        if upload is None or upload.project_id != project:
            raise _not_found(upload_id)
        return upload


def _not_found(upload_id: str) -> ApiError:
    return ApiError(404, "NotFound", f"there is no upload {upload_id} in this project")


def _check_pending(upload: Upload) -> None:
    if upload.status != "pending":
        raise ApiError(409, "Conflict", f"the upload is {upload.status}, not pending")


def _check_parts(upload: Upload, stored: Mapping[int, StoredPart]) -> None:
    for number in range(1, upload.parts_count + 1):
        if number not in stored:
            raise ApiError(400, "MissingPart", f"part {number} of {upload.parts_count} has not been uploaded")
        if number < upload.parts_count and stored[number].size < SMALLEST_PART:
            size = stored[number].size
            raise ApiError(
                400, "EntityTooSmall", f"part {number} has {size} bytes, less than {SMALLEST_PART}"
            )
    total = sum(part.size for part in stored.values())
    if total != upload.file_size:
        message = f"the parts have {total} bytes together, fileSize is {upload.file_size}"
        raise ApiError(400, "SizeMismatch", message)


def _project(request: Request) -> str | None:
    if "dryRun" in request.query_params:
        refuse("dryRun is not supported by the embedded service")
    given = request.query_params.getlist("projectId")
    if len(given) > 1 or "" in given:
        refuse("projectId must be given once, and not be empty")
    return given[0] if given else None


async def _body(request: Request) -> bytes:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        refuse("Content-Type must be application/json")
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > LONGEST_BODY:
            raise ApiError(413, "PayloadTooLarge", f"the body has more than {LONGEST_BODY} bytes")
    return bytes(data)
