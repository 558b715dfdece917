"""What is to be tried, in which order. Pure; sizes are bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from uploader.core.plan import Limits, MiB, make_plan
from uploader.errors import InputError
from uploader.options import Concurrency, TransferOptions
from uploader.sample import SMALLEST


@dataclass(frozen=True, slots=True)
class Setting:
    """What an upload is tried with: parts in flight, and bytes of a part."""

    concurrency: Concurrency
    part_size: int

    def __str__(self) -> str:
        return f"concurrency {self.concurrency}, parts of {size_text(self.part_size)}"

    @property
    def options(self) -> str:
        """It as the command's options."""
        return f"--concurrency {self.concurrency} --part-size {size_text(self.part_size)}"

    @property
    def in_flight(self) -> int:
        """The most parts it has in flight; 0 for `auto`, which sees to that by itself."""
        return 0 if self.concurrency == "auto" else self.concurrency

    @property
    def column(self) -> tuple[bool, int]:
        """Where its concurrency stands among others: `auto` behind the numbers."""
        return self.concurrency == "auto", self.in_flight


@dataclass(frozen=True, slots=True)
class Grid:
    """Which settings to try with a file of `size` bytes, each `repeat` times.

    Attributes:
        left_out: settings that would be the same as others, because the file has fewer parts than they may
            have in flight.
    """

    size: int
    settings: tuple[Setting, ...]
    left_out: tuple[Setting, ...]
    repeat: int

    @property
    def uploads(self) -> int:
        """How many uploads that makes."""
        return len(self.settings) * self.repeat

    def order(self) -> Iterator[Setting]:
        """All of them in rounds, there and back: a link that gets slower meanwhile is no setting's fault."""
        for number in range(self.repeat):
            yield from self.settings[:: -1 if number % 2 else 1]


def make_grid(
    size: int, concurrencies: Sequence[Concurrency], part_sizes: Sequence[int], repeat: int
) -> Grid:
    """Every concurrency with every part size, but those that the file has too few parts for.

    Raises:
        InputError: one of them cannot be used, or none is left.
    """
    if size < SMALLEST:
        raise InputError(f"a file of {size:,} bytes is too small to measure anything: use at least 5 MiB")
    if repeat < 1:
        raise InputError(f"each setting is tried at least once, not {repeat} times")
    tried = [Setting(n, part_size) for part_size in set(part_sizes) for n in set(concurrencies)]
    tried.sort(key=lambda setting: (setting.part_size, setting.column))
    useful = [setting for setting in tried if _parts(size, setting) >= setting.in_flight]
    if not useful:
        raise InputError(
            f"a file of {size_text(size)} has too few parts for any of these settings: use a larger --size"
        )
    left_out = tuple(setting for setting in tried if setting not in useful)
    return Grid(size, tuple(useful), left_out, repeat)


def _parts(size: int, setting: Setting) -> int:
    """How many parts there are.

    Raises:
        InputError: the setting breaks a limit.
    """
    TransferOptions(concurrency=setting.concurrency)
    least = Limits().min_part
    if setting.part_size < least:  # the store takes a last part that is smaller; here it would only mislead
        raise InputError(f"a part has at least {least // MiB} MiB, not {setting.part_size:,} bytes")
    return make_plan(size, setting.part_size).count


def size_text(size: int) -> str:
    """A size as `--part-size` and `--size` take it, exact: 16MiB, 16777217."""
    for unit, power in (("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if size and size % 1024**power == 0:
            return f"{size // 1024**power}{unit}"
    return str(size)
