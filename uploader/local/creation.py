"""Is the body of a create call acceptable? Pure. Where the real service is not known, the strict way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from uploader.local.answers import ApiError

MIB = 1024 * 1024
SMALLEST_PART = 5 * MIB
"""Bytes every part but the last must have."""
LARGEST_PART = 5 * 1024 * MIB
"""Bytes a part may have."""
LARGEST_FILE = 5 * 10**12
"""Bytes: the guide's 5 TB, read the strict way."""
MOST_PARTS = 10_000
KINDS = ("3d", "asset", "audio", "avatar", "image", "model", "text", "video")

_IMPORTS = ("url", "huggingFaceModelName", "civitaiModelUrl")
_LONGEST_NAME = 1024


@dataclass(frozen=True, slots=True)
class Creation:
    """A checked create body; `file_size` in bytes."""

    file_name: str
    content_type: str
    file_size: int
    kind: str
    parts: int
    asset_options: dict[str, Any] | None


def read_creation(data: bytes) -> Creation:
    """The checked body of a create call. Raises ApiError (400) that names the field at fault."""
    body = read_object(data)
    if any(name in body for name in _IMPORTS):
        raise ApiError(400, "NotSupported", "imports are not supported by the embedded service")
    _check_names(body, {"fileName", "contentType", "fileSize", "kind", "parts"}, optional={"assetOptions"})
    creation = Creation(
        file_name=_file_name(body["fileName"]),
        content_type=_content_type(body["contentType"]),
        file_size=_whole("fileSize", body["fileSize"], LARGEST_FILE),
        kind=_kind(body["kind"]),
        parts=_whole("parts", body["parts"], MOST_PARTS),
        asset_options=_asset_options(body["assetOptions"]) if "assetOptions" in body else None,
    )
    _check_together(creation)
    return creation


def read_object(data: bytes) -> dict[str, Any]:
    """`data` as a JSON object. Raises ApiError (400) for anything else, NaN and Infinity included."""
    try:
        body = json.loads(data.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        refuse("the body is not JSON")
    if not isinstance(body, dict):
        refuse("the body is not a JSON object")
    return body


def refuse(message: str) -> NoReturn:
    """Raise the ApiError of a request that is wrong in itself."""
    raise ApiError(400, "BadRequest", message)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _check_names(body: Mapping[str, Any], required: set[str], *, optional: set[str], where: str = "") -> None:
    for name in sorted(required - body.keys()):
        refuse(f"{where}{name} is required")
    for name in sorted(body.keys() - required - optional):
        refuse(f"{where}{name} is not a known field")


def _text(name: str, value: Any, longest: int = _LONGEST_NAME) -> str:
    if not isinstance(value, str) or not value:
        refuse(f"{name} must be a string that is not empty")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        refuse(f"{name} must be valid Unicode")
    if size > longest:
        refuse(f"{name} must have at most {longest} bytes")
    return value


def _file_name(value: Any) -> str:
    name = _text("fileName", value)
    # The name becomes a segment of the part URLs: nothing a client or proxy would normalize may get there.
    if name in (".", "..") or any(letter in "/\\" or ord(letter) < 32 or letter == "\x7f" for letter in name):
        refuse("fileName must be a plain name, without a directory or control characters")
    return name


def _content_type(value: Any) -> str:
    text = _text("contentType", value, 255)
    kind, slash, rest = text.partition("/")
    if not (kind and slash and rest) or not text.isascii() or not text.isprintable():
        refuse("contentType must be a MIME type such as image/png")
    return text


def _whole(name: str, value: Any, most: int) -> int:
    # The SDK's types are floats, so 3.0 is 3; a bool is an int in Python, but not in JSON.
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 1 <= value <= most or value != int(value):
        refuse(f"{name} must be a whole number from 1 to {most}")
    return int(value)


def _kind(value: Any) -> str:
    if not isinstance(value, str) or value not in KINDS:
        refuse(f"kind must be one of {', '.join(KINDS)}")
    return value


def _asset_options(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse("assetOptions must be an object")
    _check_names(value, set(), optional=set(_OPTION_TYPES), where="assetOptions.")
    for name, option in value.items():
        accepts, what = _OPTION_TYPES[name]
        if not accepts(option):
            refuse(f"assetOptions.{name} must be {what}")
    return value


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_OPTION_TYPES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "collectionIds": (_is_texts, "a list of strings"),
    "hide": (lambda value: isinstance(value, bool), "true or false"),
    "parentId": (lambda value: isinstance(value, str), "a string"),
}


def _check_together(creation: Creation) -> None:
    size, parts = creation.file_size, creation.parts
    if creation.asset_options is not None and creation.kind == "model":
        refuse("assetOptions is not available for kind model")
    if size <= (parts - 1) * SMALLEST_PART:
        refuse(
            f"parts: {size} bytes cannot make {parts} parts with {SMALLEST_PART} bytes in all but the last"
        )
    if size > parts * LARGEST_PART:
        refuse(f"parts: {size} bytes do not fit into {parts} parts of at most {LARGEST_PART} bytes")
