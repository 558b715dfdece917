"""A file to upload where there is none at hand: random bytes that a service accepts as a model."""

from __future__ import annotations

import json
import os
from pathlib import Path

_HEADER = 256
_BLOCK = 1024 * 1024

# Bytes: the length of the header, the header, and one byte of a tensor.
SMALLEST = 8 + _HEADER + 1


def make_sample(path: Path, size: int) -> Path:
    """A valid .safetensors file of `size` bytes, at least `SMALLEST`: one tensor of random bytes."""
    room = size - 8 - _HEADER
    tensor = {"dtype": "U8", "shape": [room], "data_offsets": [0, room]}
    text = json.dumps({"weight": tensor}).encode().ljust(_HEADER)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for _ in range(room // _BLOCK):
            file.write(os.urandom(_BLOCK))
        file.write(os.urandom(room % _BLOCK))
    return path
