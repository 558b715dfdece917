"""The size of blocks follows the speed of the link."""

from __future__ import annotations

from uploader.io.connections import BLOCK, Pace


def test_blocks_grow_while_they_are_taken_quickly_and_shrink_when_they_are_not() -> None:
    pace, sizes = Pace(), []
    for _ in range(20):
        sizes.append(pace.block)
        pace.took(pace.block, 0.001, 30.0)
    assert sizes[:18] == [Pace.LEAST] * 16 + [2 * Pace.LEAST, 4 * Pace.LEAST]
    assert pace.block == BLOCK
    pace.took(BLOCK, 1.0, 30.0)
    assert pace.block == BLOCK
    for _ in range(6):
        pace.took(pace.block, 10.0, 30.0)
    assert pace.block == Pace.LEAST
