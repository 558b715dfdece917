"""Is a stored object what its file name says? Blocks, but reads as little as it can."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

from uploader.local.safetensors import LONGEST_HEADER, UnsoundError, check_safetensors, read_json_object

__all__ = ["UnsoundError", "check_object"]

_Check = Callable[[BinaryIO, int], None]  # of a file at its start, and its size in bytes

_JSON_CHUNK = 0x4E4F534A


def check_object(file: BinaryIO, file_name: str) -> None:
    """Raise UnsoundError, with a reason for a person, if an object does not suit its `file_name`.

    Known: .safetensors, .glb, .png, .jpg, .jpeg, .webp, .gif, .wav, .mp4. Anything else passes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    if check := _CHECKS.get(Path(file_name.lower()).suffix):
        check(file, size)


def _check_glb(file: BinaryIO, size: int) -> None:
    header = file.read(12)
    if len(header) < 12:
        raise UnsoundError("glb: shorter than its 12-byte header")
    magic, version, length = struct.unpack("<4sII", header)
    if magic != b"glTF" or version != 2:
        raise UnsoundError("glb: does not start with the magic glTF and version 2")
    if length != size:
        raise UnsoundError(f"glb: says it has {length} bytes, the file has {size}")
    _check_chunks(file, size)


def _check_chunks(file: BinaryIO, size: int) -> None:
    position = 12
    while position < size or position == 12:
        file.seek(position)
        head = file.read(8)
        length, kind = struct.unpack("<II", head) if len(head) == 8 else (size, 0)
        if position + 8 + length > size:
            raise UnsoundError(f"glb: the chunk at byte {position} does not fit into the file")
        if position == 12:
            _check_first_chunk(kind, file.read(min(length, LONGEST_HEADER + 1)))
        position += 8 + length


def _check_first_chunk(kind: int, data: bytes) -> None:
    if kind != _JSON_CHUNK:
        raise UnsoundError("glb: the first chunk is not JSON")
    read_json_object(data, "glb: the first chunk")


def _signature(name: str, **expected: bytes) -> _Check:
    """A check that the file has each of the given bytes at the offset its keyword names (`at8=b"WEBP"`)."""
    places = {int(key.removeprefix("at")): value for key, value in expected.items()}

    def check(file: BinaryIO, _: int) -> None:
        head = file.read(16)
        if any(not head.startswith(value, offset) for offset, value in places.items()):
            raise UnsoundError(f"{name}: the file does not start like one")

    return check


def _check_gif(file: BinaryIO, _: int) -> None:
    if file.read(6) not in (b"GIF87a", b"GIF89a"):
        raise UnsoundError("gif: the file does not start like one")


_CHECKS: Mapping[str, _Check] = {
    ".safetensors": check_safetensors,
    ".glb": _check_glb,
    ".png": _signature("png", at0=b"\x89PNG\r\n\x1a\n"),
    ".jpg": _signature("jpeg", at0=b"\xff\xd8\xff"),
    ".jpeg": _signature("jpeg", at0=b"\xff\xd8\xff"),
    ".webp": _signature("webp", at0=b"RIFF", at8=b"WEBP"),
    ".gif": _check_gif,
    ".wav": _signature("wav", at0=b"RIFF", at8=b"WAVE"),
    ".mp4": _signature("mp4", at4=b"ftyp"),
}
