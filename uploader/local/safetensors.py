"""Is a stored object a sound .safetensors file? Reads the header only; the data is checked by its size."""

from __future__ import annotations

import json
import math
import struct
from typing import Any, BinaryIO, TypeGuard

LONGEST_HEADER = 100_000_000
"""Bytes: the limit of the safetensors library itself."""

_BITS = {
    **dict.fromkeys(("F4",), 4),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 16),
    **dict.fromkeys(("U32", "I32", "F32"), 32),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 64),
}


class UnsoundError(ValueError):
    """The object is not what its name says; the message tells why, for a person."""


def check_safetensors(file: BinaryIO, size: int) -> None:
    """Raise UnsoundError unless the file, of `size` bytes, has a header that describes its data exactly."""
    prefix = file.read(8)
    if len(prefix) < 8:
        raise UnsoundError("safetensors: shorter than its 8-byte header length")
    (length,) = struct.unpack("<Q", prefix)
    if length > LONGEST_HEADER:
        raise UnsoundError(f"safetensors: header of {length} bytes, at most {LONGEST_HEADER} are allowed")
    if length > size - 8:
        raise UnsoundError(f"safetensors: header of {length} bytes in a file of {size}")
    header = read_json_object(file.read(length), "safetensors: header")
    _check_layout(header, size - 8 - length)


def read_json_object(data: bytes, what: str) -> dict[str, Any]:
    """`data` as a JSON object without repeated keys; UnsoundError says what `what` is instead."""
    try:
        value = json.loads(data.decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise UnsoundError(f"{what} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise UnsoundError(f"{what} is not a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key is repeated")
    return dict(pairs)


def _check_layout(header: dict[str, Any], size: int) -> None:
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    end = 0
    for begin, stop, name in sorted((*_extent(name, entry), name) for name, entry in tensors.items()):
        if begin != end:
            raise UnsoundError(f"safetensors: {'hole' if begin > end else 'overlap'} before tensor {name!r}")
        end = stop
    if end != size:
        raise UnsoundError(f"safetensors: the tensors cover {end} bytes of data, the file has {size}")


def _extent(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor lies in the data section, checked against its type and shape."""
    fields = entry if isinstance(entry, dict) else {}
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise UnsoundError(f"safetensors: tensor {name!r} has no known dtype")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2:
        raise UnsoundError(f"safetensors: tensor {name!r} has no valid shape or data_offsets")
    begin, end = offsets
    if begin > end or (end - begin) * 8 != math.prod(shape) * _BITS[dtype]:
        raise UnsoundError(
            f"safetensors: tensor {name!r} spans bytes {begin} to {end}, not what {dtype} {shape} takes"
        )
    return begin, end


def _is_counts(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)
