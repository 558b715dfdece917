"""What a file is, by its extension: the kind and content type used when the caller names neither."""

from __future__ import annotations

import mimetypes
import re
from pathlib import PurePath

from uploader.errors import InputError
from uploader.models import Kind

FALLBACK_CONTENT_TYPE = "application/octet-stream"

# A fresh table: the module-level one also reads the system's files, so its answers would differ between
# machines.
_STANDARD = mimetypes.MimeTypes()

# What the standard table lacks, or has otherwise on some Python versions (IANA registrations where there is
# one).
_CONTENT_TYPES = {
    ".avif": "image/avif",
    ".blend": "application/x-blender",
    ".fbx": FALLBACK_CONTENT_TYPE,
    ".flac": "audio/flac",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".m4a": "audio/mp4",
    ".mkv": "video/x-matroska",
    ".mp3": "audio/mpeg",
    ".obj": "model/obj",
    ".ogg": "audio/ogg",
    ".ply": FALLBACK_CONTENT_TYPE,
    ".stl": "model/stl",
    ".usdz": "model/vnd.usdz+zip",
    ".wav": "audio/wav",
    ".webm": "video/webm",
    ".webp": "image/webp",
}

_MODEL = (".safetensors", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
_THREE_D = (".3ds", ".blend", ".dae", ".fbx", ".glb", ".gltf", ".obj", ".ply", ".stl", ".usd", ".usdz")
_KINDS = {**dict.fromkeys(_MODEL, Kind.MODEL), **dict.fromkeys(_THREE_D, Kind.THREE_D)}


def content_type_of(name: str) -> str:
    """The MIME type for a file name, `application/octet-stream` where the extension says nothing."""
    extension = PurePath(name).suffix.lower()
    if extension in _MODEL:
        return FALLBACK_CONTENT_TYPE
    known = _CONTENT_TYPES.get(extension) or _STANDARD.guess_type(f"file{extension}")[0]
    return known or FALLBACK_CONTENT_TYPE


def kind_of(name: str) -> Kind:
    """The kind for a file name.

    Raises:
        InputError: the extension does not tell; the message lists the kinds to choose from.
    """
    extension = PurePath(name).suffix.lower()
    if extension in _KINDS:
        return _KINDS[extension]
    family = content_type_of(name).partition("/")[0]
    if family in ("image", "audio", "video", "text"):
        return Kind(family)
    said = (
        f"the extension {extension!r} does not tell" if extension else "the file has no extension to tell by"
    )
    raise InputError(f"what kind of file is {name}? {said}: say kind, one of {', '.join(Kind)}")


def parse_kind(value: str | None, name: str) -> Kind:
    """The kind the caller named, or the file's own.

    Raises:
        InputError: `value` is no kind, or is None and the extension does not tell.
    """
    if value is None:
        return kind_of(name)
    try:
        return Kind(value)
    except ValueError:
        raise InputError(f"unknown kind {value!r}: it is one of {', '.join(Kind)}") from None


def parse_content_type(value: str | None, name: str) -> str:
    """The content type the caller named, or the file's own.

    Raises:
        InputError: `value` is not of the form type/subtype.
    """
    if value is None:
        return content_type_of(name)
    if not isinstance(value, str) or not re.fullmatch(
        r"[\w!#$&^.+-]+/[\w!#$&^.+-]+( *;[ -~]*)?", value, re.ASCII
    ):
        raise InputError(f"{value!r} is no content type: it has the form image/png")
    return value
