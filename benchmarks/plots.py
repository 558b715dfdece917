"""The benchmarks' figures as PNG. matplotlib is imported only here, and only where one is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

S = TypeVar("S")

# Panels beside one another.
ACROSS = 5

OURS, OTHERS, PLAIN, LIMIT = "#1f6feb", "#b6bec9", "#6e7781", "#24292f"


@dataclass(frozen=True, slots=True)
class Panel:
    """One value of each contender: a bar for the figure, a dot for each time it was measured."""

    title: str
    bars: Mapping[str, float]
    dots: Mapping[str, Sequence[float]]
    form: str = ".2f"


def panels_of(
    rows: Sequence[Mapping[str, Any]],
    samples: Mapping[str, Sequence[S]],
    columns: Sequence[tuple[str, str, str, Callable[[S], float]]],
) -> list[Panel]:
    """A panel for each column: its title, the row's key, a format, and what a sample's dot is."""
    return [
        Panel(
            title,
            {row["contender"]: row[key] for row in rows},
            {name: [value(it) for it in taken] for name, taken in samples.items()},
            form,
        )
        for title, key, form, value in columns
    ]


def bars(path: Path, title: str, panels: Sequence[Panel]) -> None:
    """Horizontal bars, side by side, the contenders from the top in the order given."""
    figure, axes = _figure(title, len(panels), rows=len(panels[0].bars))
    for number, (axis, panel) in enumerate(zip(axes, panels, strict=True)):
        _bars(axis, panel)
        if number % ACROSS:
            axis.set_yticklabels([])
    _save(figure, path)


def _bars(axis: Any, panel: Panel) -> None:
    names = list(panel.bars)
    axis.barh(names, list(panel.bars.values()), color=[_color(name) for name in names], height=0.62)
    for name, values in panel.dots.items():
        axis.plot(values, [name] * len(values), "o", color="black", markersize=2.2, alpha=0.55)
    for name, value in panel.bars.items():
        beyond, text = max([value, *panel.dots.get(name, ())]), format(value, panel.form)
        axis.annotate(text, (beyond, name), (6, 0), textcoords="offset points", va="center", size=8)
    axis.invert_yaxis()
    axis.set_title(panel.title, fontsize=9, loc="left")
    axis.margins(x=0.16)
    _tidy(axis)


def _color(name: str) -> str:
    if "uploader" in name or name == "auto":
        return OURS
    return PLAIN if name.startswith("floor") else OTHERS


def stacked(
    path: Path, title: str, unit: str, name: str, parts: Mapping[str, str], rows: Sequence[dict[str, Any]]
) -> None:
    """One bar a row, put together from the columns in `parts` (key and title); `name` is the row's key."""
    figure, (axis,) = _figure(title, 1, rows=len(rows) + 1)
    names, left = [row[name] for row in rows], [0.0] * len(rows)
    for key, text in parts.items():
        values = [row[key] for row in rows]
        axis.barh(names, values, left=left, label=text, height=0.62)
        left = [sofar + value for sofar, value in zip(left, values, strict=True)]
    axis.invert_yaxis()
    axis.set_xlabel(unit, fontsize=9)
    axis.legend(fontsize=8, ncols=len(parts), loc="upper center", bbox_to_anchor=(0.45, -0.22), frameon=False)
    _tidy(axis)
    _save(figure, path)


@dataclass(frozen=True, slots=True)
class Line:
    """A course: points of x and y."""

    name: str
    points: Sequence[tuple[float, float]]


def lines(
    path: Path, title: str, x: str, y: str, courses: Sequence[Line], limits: Mapping[str, float]
) -> None:
    """Courses over a logarithmic axis, and the limits they should stay under."""
    figure, (axis,) = _figure(title, 1, rows=9)
    axis.set_xscale("log")
    for course in courses:
        axis.plot(*zip(*course.points, strict=True), label=course.name, linewidth=1.6)
    for text, value in limits.items():
        axis.axhline(value, color=LIMIT, linewidth=1, linestyle="--")
        axis.annotate(text, (1, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", size=8)
    axis.set_ylim(bottom=0)
    axis.set_xlabel(x, fontsize=9)
    axis.set_ylabel(y, fontsize=9)
    axis.legend(fontsize=8, frameon=False, loc="lower right")
    _tidy(axis)
    _save(figure, path)


@dataclass(frozen=True, slots=True)
class Curves:
    """A panel of courses over a logarithmic axis."""

    title: str
    x: str
    courses: Sequence[Line]


def curves(path: Path, title: str, panels: Sequence[Curves]) -> None:
    """The panels side by side; what has one name in several has one colour, and is named once."""
    figure, axes = _figure(title, len(panels), rows=8)
    named: tuple[str, ...] = ()
    for axis, panel in zip(axes, panels, strict=True):
        for course in panel.courses:
            axis.plot(*zip(*course.points, strict=True), marker="o", markersize=4, label=course.name)
        names = tuple(course.name for course in panel.courses)
        if names != named:
            axis.legend(fontsize=8, frameon=False)
            named = names
        axis.set_xscale("log")
        axis.set_ylim(bottom=0)
        axis.set_title(panel.title, fontsize=9, loc="left")
        axis.set_xlabel(panel.x, fontsize=9)
        _tidy(axis)
    _save(figure, path)


def _figure(title: str, columns: int, rows: int) -> tuple[Any, Sequence[Any]]:
    import matplotlib as mpl

    mpl.use("Agg")  # draws into a file, wherever there is no screen
    from matplotlib import pyplot

    across, down = min(columns, ACROSS), -(-columns // ACROSS)
    size = (max(9.0, 3.6 * across), 0.4 + down * (0.9 + 0.34 * rows))
    figure, axes = pyplot.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
    figure.suptitle(title, fontsize=10, x=0.01, horizontalalignment="left")
    for spare in axes.flat[columns:]:
        spare.axis("off")
    return figure, axes.flat[:columns]


def _tidy(axis: Any) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
