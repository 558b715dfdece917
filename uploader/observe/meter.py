"""One line of progress that fits its terminal, however narrow that is and however long the file's name."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator
from itertools import accumulate
from typing import Any

from tqdm import tqdm
from tqdm.utils import disp_len

from uploader.core.events import Phase

# From the widest to the narrowest. tqdm measures the bar as ten columns where it is given no width.
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_NUMBERS = "{desc}: {percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}]"
_FEWER = "{desc}: {percentage:3.0f}% [{remaining}, {rate_fmt}]"
_SHARE = "{desc}: {percentage:3.0f}%"
_TIME = "{desc} {elapsed}"

# Of a terminal that does not tell its width.
_USUAL = 79


class Meter(tqdm):  # type: ignore[type-arg]  # only the stubs know its argument
    """A line that fits: the name is shortened, to some third of the width, before the bar goes, then numbers.

    Without tqdm's thread, which would outlive the upload: events come often enough.

    Attributes:
        name: of what is under way.
        doing: what is being done to it, "" for nothing yet.
    """

    monitor_interval = 0

    def __init__(self, name: str, **options: Any) -> None:
        self.name, self.doing = name, ""
        super().__init__(**options)

    def label(self, name: str, doing: str = "") -> None:
        """Show another name, or that something else is done."""
        self.name, self.doing = name, doing
        self.refresh()

    def __str__(self) -> str:
        width, ellipsis = self._width(), "..." if self.ascii else "…"
        for layout, doing in self._layouts():
            tail = f": {doing}" if doing else ""
            line = self._drawn(layout, self.name + tail)
            room = width - disp_len(line) + disp_len(self.name)
            if room >= min(disp_len(self.name), width // 4):
                most = room if room >= disp_len(self.name) else min(room, width // 3)
                return self._drawn(layout, shortened(self.name, most, ellipsis) + tail, width)
        return shortened(line, width, ellipsis)

    def _layouts(self) -> Iterator[tuple[str, str]]:
        """How it may be shown, and what is said of it, from the widest on."""
        if not self.total:
            yield _TIME, self.doing
            return
        for layout in (_BAR, _NUMBERS, _FEWER):
            yield layout, self.doing
        if self.doing == Phase.SENDING:  # the numbers say so
            yield _FEWER, ""
            yield _SHARE, ""
        else:
            yield _SHARE, self.doing

    def _drawn(self, layout: str, label: str, width: int | None = None) -> str:
        meter = dict(self.format_dict) | {"bar_format": layout, "prefix": label, "ncols": width}
        return str(self.format_meter(**meter))

    def _width(self) -> int:
        columns = self.format_dict["ncols"]
        return columns if columns and columns > 0 else _USUAL


def shortened(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` with its middle left out, if it takes more than `width` columns: its end often tells most."""
    if disp_len(text) <= width:
        return text
    room = max(0, width - len(ellipsis))
    return _leading(text, room - room // 2) + ellipsis + _leading(text[::-1], room // 2)[::-1]


def _leading(text: str, width: int) -> str:
    """As much of the beginning as takes no more than `width` columns."""
    return text[: bisect(list(accumulate(map(disp_len, text))), width)]
