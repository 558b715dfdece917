"""What the service says when it refuses: JSON from the API, S3's XML from the store.

RefusalError
├── ApiError      {"error": CODE, "message": TEXT}
└── StoreError    <Error><Code/><Message/>…<RequestId/><HostId/></Error>
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from http import HTTPStatus
from xml.sax.saxutils import escape

from starlette.responses import JSONResponse, Response

# The codes S3 itself uses. What is not listed goes by the status' own name, as gateways do.
_USUAL_CODES = {
    301: "PermanentRedirect",
    307: "TemporaryRedirect",
    400: "InvalidRequest",
    403: "AccessDenied",
    404: "NoSuchUpload",
    405: "MethodNotAllowed",
    408: "RequestTimeout",
    409: "OperationAborted",
    411: "MissingContentLength",
    412: "PreconditionFailed",
    413: "EntityTooLarge",
    429: "TooManyRequests",
    500: "InternalError",
    501: "NotImplemented",
    503: "SlowDown",
}


class RefusalError(Exception):
    """Root of the refusals. `status` is the HTTP status, `code` the machine-readable reason."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status, self.code, self.message = status, code, message

    def response(self) -> Response:
        """The refusal as the HTTP answer the client gets."""
        raise NotImplementedError


class ApiError(RefusalError):
    """The control API refuses: a JSON object with `error` (the code) and `message`."""

    def response(self) -> Response:
        """The JSON answer; a 401 also says which scheme is wanted."""
        headers = (
            {"www-authenticate": 'Basic realm="scenario"'} if self.status == HTTPStatus.UNAUTHORIZED else None
        )
        return JSONResponse({"error": self.code, "message": self.message}, self.status, headers)


class StoreError(RefusalError):
    """The store refuses, in S3's XML. `details` are further elements, by name, in order."""

    def __init__(
        self, status: int, code: str, message: str, details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, code, message)
        self.details = dict(details or {})

    def response(self) -> Response:
        """The XML answer with a fresh request id, in the body and in `x-amz-request-id`."""
        headers = storage_headers()
        elements = {"Code": self.code, "Message": self.message, **self.details}
        elements |= {"RequestId": headers["x-amz-request-id"], "HostId": headers["x-amz-id-2"]}
        body = "".join(f"<{name}>{escape(_legal(text))}</{name}>" for name, text in elements.items())
        document = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{body}</Error>'
        return Response(document, self.status, headers, media_type="application/xml")


def _legal(text: str) -> str:
    # XML 1.0 has no way at all to write these, and requests can smuggle them into what is echoed.
    return re.sub(r"[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", text)


def storage_headers() -> dict[str, str]:
    """The two ids every answer of the store carries, new ones for each answer."""
    return {"x-amz-request-id": secrets.token_hex(8).upper(), "x-amz-id-2": secrets.token_urlsafe(48)}


def usual_code(status: int) -> str:
    """The error code a store usually gives with `status`: 503 is "SlowDown", 502 "BadGateway"."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    return _USUAL_CODES.get(status) or re.sub(r"[^A-Za-z]", "", phrase)
