"""Acts out a fault on a request that would otherwise have been served."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from starlette.responses import HTMLResponse, Response

from uploader.local.answers import ApiError, RefusalError, StoreError
from uploader.local.faults import Fault, Kind
from uploader.local.recording import Exchange

Action = Callable[[], Awaitable[Response]]

_BODYLESS = (204, 205, 304)


@dataclass(frozen=True, slots=True)
class Serving:
    """What a request does when nothing is in its way, and what it can be made to do instead.

    `size` is the body's length in bytes, `act` serves the request, `refusal` is the face of an error here
    (JSON or XML), `variants` are the other ways to serve it, by the kind of fault that asks for them.
    """

    exchange: Exchange
    size: int
    act: Action
    refusal: type[ApiError] | type[StoreError]
    variants: Mapping[Kind, Action]


async def serve_with(fault: Fault | None, serving: Serving) -> Response:
    """Serve the request, with `fault` if there is one. Raises the RefusalError of one served without."""
    if fault is None:
        return await serving.act()
    if fault.kind in ("drop", "stall"):
        return await _interrupt(fault, serving)
    response = await _answer(fault, serving)
    if fault.after is not None:
        response.headers["retry-after"] = fault.after
    if fault.early:  # uvicorn closes after such an answer, whatever is still coming in
        response.headers["connection"] = "close"
    return response


async def _interrupt(fault: Fault, serving: Serving) -> Response:
    cut = fault.at.cut(serving.size)
    if cut is None:
        await _outcome(serving.act)
    else:
        await serving.exchange.discard(cut)
    await (serving.exchange.drop() if fault.kind == "drop" else serving.exchange.hold())
    return Response()  # nobody is there any more to get it


async def _answer(fault: Fault, serving: Serving) -> Response:
    if variant := serving.variants.get(fault.kind):
        return await _outcome(variant)
    if not fault.early:
        await serving.exchange.discard()
    return _canned(fault, serving)


async def _outcome(act: Action) -> Response:
    try:
        return await act()
    except RefusalError as refusal:
        return refusal.response()


def _canned(fault: Fault, serving: Serving) -> Response:
    if fault.kind == "html":
        page = "<html><head><title>Blocked</title></head><body>This request was blocked.</body></html>"
        return HTMLResponse(page, fault.status, {"server": "proxy"})
    bare = fault.status in _BODYLESS or (200 <= fault.status < 300 and fault.code is None)
    response = Response(b"", fault.status) if bare else serving.refusal(fault.status, *fault.text).response()
    if fault.kind == "redirect":
        response.headers["location"] = fault.to or f"/elsewhere{serving.exchange.scope['path']}"
    return response
