"""An object store's error document, read for its code, message and request id."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass

from uploader.core.scrub import scrub, scrub_code


@dataclass(frozen=True, slots=True)
class StoreError:
    """An error document; every field is "" where the answer has none.

    It is read by pattern, not by an XML parser: a body cut short by a reset still tells its code, and
    entities are never expanded.

    Attributes:
        found: whether there is a document at all.
        request_id: the store's name for the request, also from the headers.
    """

    found: bool = False
    code: str = ""
    message: str = ""
    request_id: str = ""

    @classmethod
    def read(cls, headers: Mapping[str, str], body: bytes) -> StoreError:
        """The document in an answer, if any. Header names are in lower case."""
        text = _text(body)
        request_id = _element(text, "RequestId") or _request_id(headers)
        if not _ERROR.search(text):
            return cls(request_id=request_id)
        return cls(True, _element(text, "Code"), _element(text, "Message"), request_id)

    def __str__(self) -> str:
        said = ": ".join(filter(None, (scrub_code(self.code), scrub(self.message))))
        return f"{said} (request id {scrub(self.request_id)})" if self.request_id else said


# Every repetition is bounded, or ends at the next `<`: the time is linear, whatever the text.
_TAG = r"<(?:[\w.-]{1,40}:)?"
_REST = r"(?:\s[^<>]{0,200})?>\s*(?:<!\[CDATA\[((?:[^\]]|\](?!\]>)){0,2000})|([^<]{0,2000}))"
_ERROR = re.compile(f"{_TAG}Error")


def _text(body: bytes) -> str:
    """The document without its comments."""
    encoding = "utf-16" if body.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8"
    first, *others = body.decode(encoding, "replace").split("<!--")
    return first + "".join(other.partition("-->")[2] for other in others)


def _element(text: str, name: str) -> str:
    found = re.search(f"{_TAG}{name}{_REST}", text)
    if found is None:
        return ""
    plain, quoted = found.group(2), found.group(1)
    return (html.unescape(plain) if quoted is None else quoted).strip()


def _request_id(headers: Mapping[str, str]) -> str:
    names = ("x-amz-request-id", "x-guploader-uploadid", "x-trans-id", "x-amz-id-2")
    return next((headers[name] for name in names if headers.get(name)), "")
