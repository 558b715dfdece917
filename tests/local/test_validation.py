"""What is stored is really read: a file that is not what its name says is told apart from one that is."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.local.safetensors import LONGEST_HEADER
from uploader.local.validation import UnsoundError, check_object


def tensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(begin: int, end: int, dtype: str = "F32", shape: list[int] | None = None) -> dict[str, Any]:
    return {
        "dtype": dtype,
        "shape": [(end - begin) // 4] if shape is None else shape,
        "data_offsets": [begin, end],
    }


def glb(chunks: bytes, version: int = 2, length: int | None = None, magic: bytes = b"glTF") -> bytes:
    return struct.pack("<4sII", magic, version, 12 + len(chunks) if length is None else length) + chunks


def chunk(data: bytes, kind: bytes = b"JSON") -> bytes:
    return struct.pack("<I4s", len(data), kind) + data


GOOD = {
    "two.safetensors": tensors(
        {"b": tensor(8, 16), "a": tensor(0, 8), "__metadata__": {"x": "y"}}, bytes(16)
    ),
    "empty.safetensors": tensors({"a": tensor(0, 0, shape=[0, 4])}),
    "packed.safetensors": tensors(
        {"a": tensor(0, 3, "F6_E2M3", [4]), "b": tensor(3, 4, "F4", [2])}, bytes(4)
    ),
    "scalar.SAFETENSORS": tensors({"a": tensor(0, 8, "F64", [])}, bytes(8)),
    "one.glb": glb(chunk(b'{"asset":{}}')),
    "two.glb": glb(chunk(b'{"asset":{}}') + chunk(b"\0" * 8, b"BIN\0")),
    "a.png": b"\x89PNG\r\n\x1a\n...",
    "a.jpg": b"\xff\xd8\xff\xe0",
    "a.JPEG": b"\xff\xd8\xff\xe0",
    "a.webp": b"RIFF\0\0\0\0WEBP",
    "a.gif": b"GIF89a",
    "b.gif": b"GIF87a",
    "a.wav": b"RIFF\0\0\0\0WAVE",
    "a.mp4": b"\0\0\0\x18ftypisom",
    "anything.bin": b"",
    "noextension": b"x",
}

BAD = {
    ("a.safetensors", "shorter than"): b"1234567",
    ("b.safetensors", "in a file of"): tensors({}, length=3),
    ("c.safetensors", "at most"): tensors({}, length=LONGEST_HEADER + 1),
    ("d.safetensors", "not JSON"): tensors(b"{"),
    ("e.safetensors", "not JSON"): tensors(b"\xff\xff"),
    ("f.safetensors", "not a JSON object"): tensors([]),
    ("g.safetensors", "a key is repeated"): tensors(b'{"a":1,"a":2}'),
    ("h.safetensors", "not JSON"): tensors(b'{"a":' + b"[" * 100_000),
    ("i.safetensors", "no known dtype"): tensors({"a": tensor(0, 4, "F99")}, bytes(4)),
    ("j.safetensors", "no known dtype"): tensors({"a": 5}),
    ("k.safetensors", "no valid shape"): tensors({"a": tensor(0, 4, shape=[-1])}, bytes(4)),
    ("l.safetensors", "no valid shape"): tensors({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0]}}),
    ("m.safetensors", "not what F32 [2] takes"): tensors({"a": tensor(0, 4, shape=[2])}, bytes(4)),
    ("n.safetensors", "spans bytes 4 to 0"): tensors({"a": tensor(4, 0, shape=[0])}, bytes(4)),
    ("o.safetensors", "hole"): tensors({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    ("p.safetensors", "overlap"): tensors({"a": tensor(0, 8), "b": tensor(4, 12)}, bytes(12)),
    ("q.safetensors", "cover 4 bytes of data, the file has 5"): tensors({"a": tensor(0, 4)}, bytes(5)),
    ("r.safetensors", "cover 8 bytes of data, the file has 4"): tensors({"a": tensor(0, 8)}, bytes(4)),
    ("a.glb", "shorter than"): b"glTF",
    ("b.glb", "magic"): glb(chunk(b"{}"), magic=b"GLTF"),
    ("c.glb", "version 2"): glb(chunk(b"{}"), version=1),
    ("d.glb", "says it has 21 bytes"): glb(chunk(b"{}"), length=21),
    ("e.glb", "does not fit"): glb(b""),
    ("f.glb", "does not fit"): glb(struct.pack("<I4s", 50, b"JSON") + b"{}"),
    ("g.glb", "the chunk at byte 22 does not fit"): glb(chunk(b"{}") + b"xyz"),
    ("h.glb", "first chunk is not JSON"): glb(chunk(b"{}", b"BIN\0")),
    ("i.glb", "first chunk is not JSON"): glb(chunk(b"{")),
    **{(f"a.{kind}", "does not start like one"): b"x" * 20 for kind in ("png", "jpg", "jpeg", "webp", "gif")},
    **{(f"a.{kind}", "does not start like one"): b"" for kind in ("wav", "mp4")},
}


@pytest.mark.parametrize("name", GOOD)
def test_a_sound_file_passes(name: str) -> None:
    check_object(io.BytesIO(GOOD[name]), name)


@pytest.mark.parametrize(("name", "why"), BAD)
def test_a_broken_file_is_refused_with_a_reason(name: str, why: str) -> None:
    with pytest.raises(UnsoundError) as caught:
        check_object(io.BytesIO(BAD[name, why]), name)
    assert why in str(caught.value)


@given(st.sampled_from(["x.safetensors", "x.glb", "x.gif"]), st.binary(max_size=64))
def test_any_bytes_are_either_sound_or_unsound_and_nothing_else_is_raised(name: str, data: bytes) -> None:
    with contextlib.suppress(UnsoundError):
        check_object(io.BytesIO(data), name)
