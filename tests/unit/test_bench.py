"""`uploader bench` without uploads: what is tried, in which order, and what is made of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.bench.grid import Grid, Setting, make_grid, size_text
from uploader.bench.measuring import Stopwatch
from uploader.bench.results import Cell, Measured, best, fields, gather
from uploader.bench.table import ASCII, advice, bars, table
from uploader.core.events import PartRetrying, PartStored, Phase, PhaseChanged, Recreating
from uploader.core.outcomes import Cause
from uploader.core.plan import Part
from uploader.errors import InputError
from uploader.options import Concurrency
from uploader.parameters import size

MiB = 1024 * 1024
GiB = 1024 * MiB


def measured(concurrency: Concurrency, goodput: float, part_size: int = 8 * MiB) -> Measured:
    """An upload of 64 MiB, with a goodput in MiB/s."""
    return Measured(Setting(concurrency, part_size), 64 * MiB, 64 / goodput, 0)


def cell(concurrency: Concurrency, *goodputs: float, part_size: int = 8 * MiB) -> Cell:
    runs = tuple(measured(concurrency, goodput, part_size) for goodput in goodputs)
    return Cell(Setting(concurrency, part_size), runs)


# What is tried


def test_every_concurrency_is_tried_with_every_part_size_once_and_auto_stands_last() -> None:
    grid = make_grid(256 * MiB, ["auto", 4, 1, 4], [16 * MiB, 8 * MiB, 16 * MiB], 1)
    assert [(it.part_size // MiB, it.concurrency) for it in grid.settings] == [
        (8, 1),
        (8, 4),
        (8, "auto"),
        (16, 1),
        (16, 4),
        (16, "auto"),
    ]


def test_what_the_file_has_too_few_parts_for_is_left_out() -> None:
    grid = make_grid(64 * MiB, [4, 5, "auto"], [16 * MiB, 64 * MiB], 1)
    assert [str(it) for it in grid.left_out] == [
        "concurrency 5, parts of 16MiB",
        "concurrency 4, parts of 64MiB",
        "concurrency 5, parts of 64MiB",
    ]
    assert not set(grid.left_out) & set(grid.settings)


def test_rounds_go_there_and_back() -> None:
    grid = make_grid(64 * MiB, [1, 2, 4], [8 * MiB], 3)
    assert [it.concurrency for it in grid.order()] == [1, 2, 4, 4, 2, 1, 1, 2, 4]
    assert grid.uploads == 9


@pytest.mark.parametrize(
    ("file_size", "concurrency", "part_size", "repeat", "said"),
    [
        (0, 1, 8 * MiB, 1, "0 bytes is too small"),
        (264, 1, 8 * MiB, 1, "264 bytes is too small"),
        (64 * MiB, 0, 8 * MiB, 1, "not 0"),
        (64 * MiB, 65, 8 * MiB, 1, "not 65"),
        (64 * MiB, 1, 5 * MiB - 1, 1, "at least 5 MiB"),
        (MiB, 1, MiB, 1, "at least 5 MiB"),
        (64 * MiB, 1, 6 * GiB, 1, "at most"),
        (60 * GiB, 1, 5 * MiB, 1, "10,000 are the most"),
        (6 * 10**12, 1, 5 * GiB, 1, "at most"),
        (64 * MiB, 1, 8 * MiB, 0, "at least once"),
        (64 * MiB, 16, 8 * MiB, 1, "too few parts"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    file_size: int, concurrency: int, part_size: int, repeat: int, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        make_grid(file_size, [concurrency], [part_size], repeat)


@given(st.integers(0, 10**13))
def test_sizes_are_told_as_the_command_takes_them(number: int) -> None:
    assert size(size_text(number)) == number


# The stopwatch


def test_it_runs_from_the_first_put_to_the_last_acknowledgement() -> None:
    now = [0.0]
    watch = Stopwatch(lambda: now[0])
    part = Part(1, 0, 8 * MiB)
    for now[0], event in [
        (1.0, PhaseChanged(Phase.CREATING)),
        (2.0, PhaseChanged(Phase.SENDING)),
        (3.0, PartStored(part, None, None, 1.0)),
        (4.0, PartRetrying(part, Cause.SERVER, "503", 0.0)),
        (5.0, Recreating("a", "gone")),
        (6.0, PhaseChanged(Phase.SENDING)),
        (9.5, PartStored(part, None, None, 1.0)),
        (20.0, PhaseChanged(Phase.VALIDATING)),
    ]:
        watch(event)
    assert (watch.seconds, watch.retries) == (7.5, 1)


# What is made of it


def test_uploads_are_gathered_by_setting_in_the_grids_order() -> None:
    grid = make_grid(64 * MiB, [1, 2, 4], [8 * MiB], 2)
    cells = gather(grid, [measured(2, 20), measured(1, 10), measured(1, 30)])
    assert [(it.setting.concurrency, len(it.runs)) for it in cells] == [(1, 2), (2, 1)]
    assert [it / MiB for it in (cells[0].least, cells[0].median, cells[0].most)] == [10, 20, 30]
    assert cells[0].spread == 1


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([cell(1, 50), cell(2, 96), cell(4, 100)], 2),
        ([cell(1, 50), cell(2, 94), cell(4, 100)], 4),
        ([cell(1, 10, 50, 500), cell(2, 90, 100, 110)], 2),  # the median counts
        ([cell(1, 50), cell(2, 100), cell("auto", 96)], "auto"),  # one setting less
        ([cell(1, 50), cell(2, 100), cell("auto", 94)], 2),
    ],
)
def test_the_best_is_the_least_in_flight_within_five_percent(
    cells: list[Cell], expected: Concurrency
) -> None:
    found = best(cells)
    assert found is not None
    assert found.setting.concurrency == expected
    assert best(reversed(cells)) is found


def test_of_equal_concurrency_the_smaller_parts_are_best() -> None:
    found = best([cell(2, 100, part_size=16 * MiB), cell(2, 96), cell(4, 100, part_size=5 * MiB)])
    assert found is not None
    assert found.setting == Setting(2, 8 * MiB)


def test_nothing_is_best_of_nothing() -> None:
    grid = make_grid(64 * MiB, [1], [8 * MiB], 1)
    assert best([]) is None
    assert list(advice(grid, [], local=False)) == []
    assert fields(grid, []) == {"size": 64 * MiB, "repeat": 1, "settings": [], "best": None}


# What is said of it


def test_columns_stand_below_their_headings() -> None:
    assert list(table([cell(1, 50), cell("auto", 90, 100, 120, part_size=16 * MiB)])) == [
        "PART SIZE  CONCURRENCY       MEDIAN       LEAST         MOST  RUNS  RETRIES",
        "8MiB                 1   50.0 MiB/s  50.0 MiB/s   50.0 MiB/s     1        0",
        "16MiB             auto  100.0 MiB/s  90.0 MiB/s  120.0 MiB/s     3        0  best",
    ]


def test_bars_are_as_long_as_the_goodput_and_show_the_spread() -> None:
    cells = [cell(1, 10), cell("auto", 10, 20, 40), cell(2, 40, part_size=16 * MiB)]
    assert list(bars(cells, 64, ASCII)) == [
        "parts of 8MiB",
        f"     1  {'#' * 10} 10.0 MiB/s",
        f"  auto  {'#' * 10}{'=' * 10}{'-' * 20} 20.0 MiB/s",
        "parts of 16MiB",
        f"     2  {'#' * 40} 40.0 MiB/s",
        "  # least, = to the median, - to the most",
    ]


@given(
    st.lists(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=3), min_size=1, max_size=6),
    st.integers(34, 200),
)
def test_bars_fit_the_terminal(goodputs: list[list[float]], width: int) -> None:
    cells = [cell(number, *some) for number, some in enumerate(goodputs, 1)]
    assert all(len(line) <= max(width, 42) for line in bars(cells, width, ASCII))


def grid_of(repeat: int) -> Grid:
    return make_grid(64 * MiB, [1, 2], [8 * MiB], repeat)


def test_the_advice_can_be_pasted() -> None:
    lines = list(advice(grid_of(1), [cell(1, 50), cell(2, 100)], local=False))
    assert lines[0] == "Best: concurrency 2, parts of 8MiB: 100.0 MiB/s (838.9 Mbit/s)."
    assert "  uploader upload FILE --concurrency 2 --part-size 8MiB" in lines
    assert "  uploader.upload(path, concurrency=2, part_size=8388608)" in lines


@pytest.mark.parametrize(
    ("repeat", "cells", "local", "said"),
    [
        (1, [cell(1, 50), cell(2, 100)], False, "Each was tried once"),
        (2, [cell(1, 50, 56), cell(2, 100, 100)], False, "One setting differed by 11%"),
        (1, [cell(1, 50)], False, "Only 1 of 2 uploads were measured"),
        (1, [cell(1, 50), cell(2, 100)], True, "Nothing went over a network"),
    ],
)
def test_the_advice_says_how_far_to_trust_it(repeat: int, cells: list[Cell], local: bool, said: str) -> None:
    assert any(said in line for line in advice(grid_of(repeat), cells, local=local))


def test_a_steady_link_needs_no_caution() -> None:
    lines = list(advice(grid_of(2), [cell(1, 50, 51), cell(2, 100, 101)], local=False))
    assert len(lines) == 5
