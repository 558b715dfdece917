"""The ASGI application: both sets of routes, and the face of every error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from uploader.local.answers import ApiError, RefusalError, StoreError
from uploader.local.connections import Connections
from uploader.local.pacing import Pacer
from uploader.local.recording import Log, Recorder
from uploader.local.store import StoreDownError


def application(
    routes: Iterable[BaseRoute],
    log: Log,
    connections: Connections,
    clock: Callable[[], float],
    pacer: Pacer | None,
) -> ASGIApp:
    """The service as an ASGI application that enters each request into `log`, and reads parts by `pacer`."""
    handlers = {
        RefusalError: _refused,
        HTTPException: _not_routed,
        ClientDisconnect: _gone,
        StoreDownError: _down,
        Exception: _broken,
    }
    app = Starlette(routes=list(routes), exception_handlers=handlers)
    app.router.redirect_slashes = False
    return Recorder(app, log, connections, clock, pacer)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)  # noqa: S101 - for the type checker
    return error.response()


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker
    wrong_method = error.status_code == HTTPStatus.METHOD_NOT_ALLOWED
    if wrong_method and request.url.path.startswith("/storage/"):
        message = "The specified method is not allowed against this resource."
        return StoreError(error.status_code, "MethodNotAllowed", message).response()
    code = "MethodNotAllowed" if wrong_method else "NotFound"
    return ApiError(
        error.status_code, code, f"{request.method} {request.url.path}: {error.detail}"
    ).response()


async def _gone(_: Request, __: Exception) -> Response:
    return Response()  # nobody gets it: the client has left


async def _down(_: Request, error: Exception) -> Response:
    return ApiError(503, "ServiceUnavailable", str(error)).response()


async def _broken(_: Request, error: Exception) -> Response:
    return ApiError(500, "InternalError", f"the embedded service failed: {error!r}").response()
