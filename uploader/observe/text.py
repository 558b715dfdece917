"""Text for a terminal."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence


def human_age(seconds: float) -> str:
    """A time span as people read it, in its largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def human_size(size: float) -> str:
    """A number of bytes as people read it, in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1023.95:  # what rounds up to 1024.0 is shown in the next unit
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def columns(head: Sequence[str], rows: Sequence[Sequence[str]], right: Container[str]) -> Iterator[str]:
    """The lines of a table, its heading first; the columns named in `right` are flush right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        cells = (
            cell.rjust(width) if name in right else cell.ljust(width)
            for name, cell, width in zip(head, row, widths, strict=True)
        )
        yield "  ".join(cells).rstrip()
