"""How a file is split: part size, count and byte ranges, within the store's limits. All sizes are bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from uploader.errors import InputError

MiB = 1024 * 1024
GiB = 1024 * MiB


@dataclass(frozen=True, slots=True)
class Limits:
    """What the store and the service allow (Amazon S3's multipart limits; 5 TB from the service's guide).

    Attributes:
        min_part: the least size of every part but the last.
        max_part: the greatest size of any part.
        max_parts: the greatest part count; numbers run from 1.
        max_file: the greatest file.
    """

    min_part: int = 5 * MiB
    max_part: int = 5 * GiB
    max_parts: int = 10_000
    max_file: int = 5 * 10**12


# Small enough that a lost part costs little, large enough that the round trip between two parts does not
# show.
DEFAULT_PART_SIZE = 16 * MiB

# The create answer carries about 1 KB of URL per part, and API gateways cap a body at 6 to 10 MB: past this
# many, parts grow instead.
TARGET_PARTS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """One contiguous range of the file: `length` bytes from `offset`, under `number` (from 1)."""

    number: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A file of `file_size` bytes in parts of `part_size`, the last one shorter where it does not divide."""

    file_size: int
    part_size: int

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.file_size // self.part_size)

    def part(self, number: int) -> Part:
        """The range of part `number`."""
        offset = (number - 1) * self.part_size
        return Part(number, offset, min(self.part_size, self.file_size - offset))

    def size_of(self, count: int, *, with_last: bool) -> int:
        """Bytes of `count` parts, among them the last one or not."""
        short = self.count * self.part_size - self.file_size
        return count * self.part_size - (short if with_last else 0)

    def __iter__(self) -> Iterator[Part]:
        return (self.part(number) for number in range(1, self.count + 1))


def make_plan(file_size: int, part_size: int | None = None, limits: Limits | None = None) -> Plan:
    """Split `file_size` bytes: into parts of 16 MiB, or more where that would make over 1,000 parts.

    Raises:
        InputError: the file is empty or too large, or `part_size` breaks a limit; the message names the
        nearest size that does not.
    """
    limits = limits or Limits()
    if file_size < 1:
        raise InputError("the file is empty: there is nothing to upload")
    most = min(limits.max_file, limits.max_part * limits.max_parts)
    if file_size > most:
        raise InputError(f"the file has {file_size:,} bytes: the service takes at most {most:,}")
    if part_size is None:
        return Plan(file_size, _default_part_size(file_size, limits))
    _check(file_size, part_size, limits)
    return Plan(file_size, part_size)


def _default_part_size(file_size: int, limits: Limits) -> int:
    size = max(DEFAULT_PART_SIZE, limits.min_part, -(-file_size // min(TARGET_PARTS, limits.max_parts)))
    return min(-(-size // MiB) * MiB, limits.max_part)


def _check(file_size: int, part_size: int, limits: Limits) -> None:
    if type(part_size) is not int:
        raise InputError(f"a part size is a whole number of bytes, not {part_size!r}")
    if part_size > limits.max_part:
        raise InputError(f"a part has at most {limits.max_part:,} bytes, not {part_size:,}")
    count = -(-file_size // max(part_size, 1))
    if part_size < 1 or (count > 1 and part_size < limits.min_part):
        wrong = f"all parts but the last have at least {limits.min_part:,}"
    elif count > limits.max_parts:
        wrong = f"it would make {count:,} parts and {limits.max_parts:,} are the most"
    else:
        return
    least = _least_part_size(file_size, limits)
    raise InputError(
        f"a part size of {part_size:,} bytes is too small: {wrong}; use at least {least // MiB} MiB"
    )


def _least_part_size(file_size: int, limits: Limits) -> int:
    """The smallest whole number of MiB that breaks no limit as a part size, in bytes."""
    per_part = max(limits.min_part, -(-file_size // limits.max_parts))
    return -(-per_part // MiB) * MiB
