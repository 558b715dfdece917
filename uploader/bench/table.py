"""Results as text: a table, a plot in bars, and what to make of them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from uploader.bench.grid import Grid, size_text
from uploader.bench.results import AS_GOOD, Cell, best
from uploader.observe.text import columns, human_size

_HEAD = ("PART SIZE", "CONCURRENCY", "MEDIAN", "LEAST", "MOST", "RUNS", "RETRIES", "")

# A bar's three stretches: to the least, on to the median, on to the most.
BLOCKS, ASCII = "█▓░", "#=-"


def table(cells: Sequence[Cell]) -> Iterator[str]:
    """Its lines: a heading, and one for each setting."""
    found = best(cells)
    return columns(_HEAD, [_row(cell, best=cell is found) for cell in cells], right=_HEAD[1:-1])


def _row(cell: Cell, *, best: bool) -> tuple[str, ...]:
    return (
        size_text(cell.setting.part_size),
        str(cell.setting.concurrency),
        *(speed(goodput) for goodput in (cell.median, cell.least, cell.most)),
        str(len(cell.runs)),
        str(cell.retries),
        "best" if best else "",
    )


def speed(goodput: float) -> str:
    """Bytes per second as people read them."""
    return f"{human_size(goodput)}/s"


def bars(cells: Sequence[Cell], width: int, marks: str = BLOCKS) -> Iterator[str]:
    """A plot for a terminal of `width` columns: a bar for each setting, by part size."""
    scale = max(10, width - 24) / max(cell.most for cell in cells)
    for part_size, group in groupby(cells, lambda cell: cell.setting.part_size):
        yield f"parts of {size_text(part_size)}"
        for cell in group:
            bar = _bar([round(scale * it) for it in (cell.least, cell.median, cell.most)], marks)
            yield f"  {cell.setting.concurrency:>4}  {bar} {speed(cell.median)}"
    if any(cell.least < cell.most for cell in cells):
        yield f"  {marks[0]} least, {marks[1]} to the median, {marks[2]} to the most"


def _bar(ends: Sequence[int], marks: str) -> str:
    begins = (0, *ends)
    return "".join(mark * (end - begin) for mark, begin, end in zip(marks, begins, ends, strict=False))


def advice(grid: Grid, cells: Sequence[Cell], *, local: bool) -> Iterator[str]:
    """The best setting, how sure that is, and the lines to paste."""
    found = best(cells)
    if found is None:
        return
    setting, done = found.setting, sum(len(cell.runs) for cell in cells)
    if done < grid.uploads:
        yield f"Only {done} of {grid.uploads} uploads were measured. Of these:"
    yield f"Best: {setting}: {speed(found.median)} ({8 * found.median / 1e6:,.1f} Mbit/s)."
    yield f"That is the least in flight of all within {1 - AS_GOOD:.0%} of the highest median."
    if done == len(cells):
        yield "Each was tried once, so nobody knows how far chance goes: --repeat 3 shows it."
    elif (spread := max(cell.spread for cell in cells)) > 1 - AS_GOOD:
        yield f"One setting differed by {spread:.0%} between runs: smaller differences may be chance."
    if local:
        yield "Nothing went over a network: this shows the machine, not what a link needs."
    yield ""
    yield f"  uploader upload FILE {setting.options}"
    yield f"  uploader.upload(path, concurrency={setting.concurrency!r}, part_size={setting.part_size})"


def count(uploads: int) -> str:
    """How many uploads, in words."""
    return f"{uploads} upload{'s' * (uploads != 1)}"
