"""One transfer of a benchmark: what to send where. Shared by all that send."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Job:
    """What to send where; sizes in bytes.

    Attributes:
        base_url: of the control API.
        ca_file: the certificate to trust, "" for plain http.
        defaults: leave part size and concurrency, signing and checksums, to the contender; `part_size` and
            `concurrency` are then what it is known to choose.
        concurrency: parts in flight; only this library takes "auto".
    """

    path: str
    base_url: str
    ca_file: str
    size: int
    part_size: int
    concurrency: int | Literal["auto"]
    defaults: bool

    @property
    def store(self) -> str:
        """The object store's address."""
        return self.base_url.removesuffix("/v1")

    @property
    def secure(self) -> bool:
        """Whether it is sent over TLS."""
        return bool(self.ca_file)

    def urls(self) -> list[str]:
        """Where each part goes, in their order."""
        count = -(-self.size // self.part_size)
        return [f"{self.store}/parts/{number}" for number in range(1, count + 1)]

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Each part's offset and length."""
        for offset in range(0, self.size, self.part_size):
            yield offset, min(self.part_size, self.size - offset)


# Carries a job out; returns the bytes that were acknowledged.
Send = Callable[[Job], int]
