"""A file is split into parts that cover it exactly once, in order, within the store's limits."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from uploader.core.plan import GiB, Limits, MiB, Part, Plan, make_plan
from uploader.errors import InputError

TB = 10**12


def lengths(plan: Plan) -> list[int]:
    return [part.length for part in plan]


@pytest.mark.parametrize(
    ("size", "part_size", "expected"),
    [
        (1, None, [1]),
        (1, 5 * MiB, [1]),
        (1, 1, [1]),
        (5 * MiB - 1, 5 * MiB - 1, [5 * MiB - 1]),
        (5 * MiB, 5 * MiB, [5 * MiB]),
        (5 * MiB + 1, 5 * MiB, [5 * MiB, 1]),
        (15 * MiB, 5 * MiB, [5 * MiB] * 3),
        (15 * MiB + 1, 5 * MiB, [*[5 * MiB] * 3, 1]),
        (15 * MiB - 1, 5 * MiB, [*[5 * MiB] * 2, 5 * MiB - 1]),
        (16 * MiB, None, [16 * MiB]),
        (16 * MiB + 1, None, [16 * MiB, 1]),
        (5 * GiB + 1, 5 * GiB, [5 * GiB, 1]),
    ],
)
def test_the_split(size: int, part_size: int | None, expected: list[int]) -> None:
    plan = make_plan(size, part_size)
    assert lengths(plan) == expected
    assert plan.count == len(expected)


def test_parts_are_numbered_from_one() -> None:
    assert list(make_plan(5 * MiB + 1, 5 * MiB)) == [Part(1, 0, 5 * MiB), Part(2, 5 * MiB, 1)]


@pytest.mark.parametrize("size", [1000 * 16 * MiB + 1, 100 * 10**9, TB, 5 * TB - 1, 5 * TB])
def test_by_default_parts_grow_instead_of_becoming_more_than_a_thousand(size: int) -> None:
    plan = make_plan(size)
    assert 900 < plan.count <= 1000
    assert plan.part_size % MiB == 0
    assert sum(lengths(plan)) == size


def test_a_thousand_parts_are_not_too_many_yet() -> None:
    assert make_plan(1000 * 16 * MiB) == Plan(1000 * 16 * MiB, 16 * MiB)
    assert make_plan(1000 * 16 * MiB + 1) == Plan(1000 * 16 * MiB + 1, 17 * MiB)


def test_ten_thousand_parts_of_5_mib_are_the_most() -> None:
    assert make_plan(10_000 * 5 * MiB, 5 * MiB).count == 10_000
    with pytest.raises(InputError, match=r"10,001 parts.*10,000.*at least 6 MiB"):
        make_plan(10_001 * 5 * MiB, 5 * MiB)
    assert make_plan(10_001 * 5 * MiB, 6 * MiB).count <= 10_000
    assert make_plan(10_001 * 5 * MiB).count <= 1000


@pytest.mark.parametrize("size", [0, -1])
def test_an_empty_file_is_refused(size: int) -> None:
    with pytest.raises(InputError, match="empty"):
        make_plan(size)


def test_more_than_5_tb_is_refused_with_the_limit() -> None:
    with pytest.raises(InputError, match="5,000,000,000,000"):
        make_plan(5 * TB + 1)


@pytest.mark.parametrize(
    ("size", "part_size", "named"),
    [
        (GiB, 5 * MiB - 1, "5,242,880"),
        (GiB, 1, "5,242,880"),
        (GiB, 5 * GiB + 1, "5,368,709,120"),
        (GiB, 0, "part size"),
        (GiB, -1, "part size"),
        (1, 0, "part size"),
        (1, -1, "part size"),
        (2, 1, "5,242,880"),
        (3 * MiB, 2 * MiB, "5,242,880"),
    ],
)
def test_a_part_size_that_breaks_a_limit_is_refused_with_the_limit(
    size: int, part_size: int, named: str
) -> None:
    with pytest.raises(InputError, match=named):
        make_plan(size, part_size)


@pytest.mark.parametrize("part_size", [16.0 * MiB, True, "16777216"])
def test_a_part_size_that_is_no_whole_number_is_refused(part_size: Any) -> None:
    with pytest.raises(InputError, match="whole number"):
        make_plan(GiB, part_size)


@given(st.integers(5 * MiB, 5 * TB), st.integers(1, 6 * GiB))
def test_a_refusal_names_a_part_size_that_would_do(size: int, part_size: int) -> None:
    """make_plan: the message names the nearest size that breaks no limit."""
    try:
        make_plan(size, part_size)
    except InputError as error:
        named = [int(n.replace(",", "")) for n in re.findall(r"\b\d[\d,]*\d\b|\b\d\b", str(error))]
        assert any(_accepted(size, scale * n) for n in named for scale in (1, MiB) if scale * n != part_size)


def _accepted(size: int, part_size: int) -> bool:
    try:
        make_plan(size, part_size)
    except InputError:
        return False
    return True


limits = st.builds(
    Limits,
    min_part=st.integers(1, 20 * MiB),
    max_part=st.integers(20 * MiB, 5 * GiB),
    max_parts=st.integers(1, 10_000),
    max_file=st.just(5 * TB),
)


def hold(plan: Plan, size: int, bounds: Limits) -> None:
    """The parts cover the file exactly once, in order, and no limit is broken."""
    assert 1 <= plan.count <= bounds.max_parts
    assert plan.part_size <= bounds.max_part
    assert plan.count == 1 or plan.part_size >= bounds.min_part
    end = 0
    for number, part in enumerate(plan, 1):
        assert (part.number, part.offset) == (number, end)
        assert part.length == plan.part_size or (number == plan.count and 0 < part.length < plan.part_size)
        assert part == plan.part(number)
        end += part.length
    assert end == size


@given(st.integers(1, 5 * TB))
def test_any_size_is_split_within_the_default_limits(size: int) -> None:
    hold(make_plan(size), size, Limits())


@given(st.integers(1, 5 * TB), st.integers(1, 5 * GiB), limits)
def test_any_part_size_is_within_any_limits_or_refused(size: int, part_size: int, bounds: Limits) -> None:
    try:
        plan = make_plan(size, part_size, bounds)
    except InputError:
        assert (
            part_size > bounds.max_part
            or (part_size < bounds.min_part and size > part_size)
            or -(-size // part_size) > bounds.max_parts
        )
    else:
        hold(plan, size, bounds)


@given(st.integers(1, 5 * TB), limits)
def test_any_size_is_split_within_any_limits(size: int, bounds: Limits) -> None:
    """protocol.md: the store's limits hold, whatever they are; the part size grows as it must."""
    assume(size <= bounds.max_part * bounds.max_parts)
    hold(make_plan(size, None, bounds), size, bounds)


@pytest.mark.parametrize(
    "bounds", [Limits(max_parts=10), Limits(min_part=20 * MiB), Limits(max_part=5 * MiB, max_parts=200)]
)
def test_other_limits_than_amazons_hold_by_default_too(bounds: Limits) -> None:
    hold(make_plan(GiB - 24 * MiB, None, bounds), GiB - 24 * MiB, bounds)


def test_ranges_are_computed_and_not_stored() -> None:
    plan = make_plan(5 * TB)
    assert list(islice(plan, 2))[1].offset == plan.part_size
    assert plan == make_plan(5 * TB)
