"""What is asked of `uploader bench`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uploader.bench.grid import Grid, make_grid
from uploader.options import Concurrency


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for; sizes are bytes."""

    size: int
    concurrency: Sequence[Concurrency]
    part_size: Sequence[int]
    repeat: int | None
    local: bool
    project_id: str | None
    yes: bool
    plot: Path | None
    as_json: bool

    def grid(self) -> Grid:
        """What that makes. An embedded service costs nobody anything, so there chance is measured too.

        Raises:
            InputError: it makes none.
        """
        repeat = (3 if self.local else 1) if self.repeat is None else self.repeat
        return make_grid(self.size, self.concurrency, self.part_size, repeat)
