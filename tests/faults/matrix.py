"""The matrix: each case with its outcome, how many tests show it, and how long they took.

`python -m tests.faults.matrix` writes it into the README.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.faults.cases import CASES

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- fault matrix: begin -->", "<!-- fault matrix: end -->"


@dataclass
class Row:
    """One case.

    Attributes:
        outcomes: what its tests end in, in the order they name it.
        tests: how many there are.
        failed: how many of them failed.
        seconds: how long those that ran took together.
    """

    outcomes: list[str] = field(default_factory=list)
    tests: int = 0
    ran: int = 0
    failed: int = 0
    seconds: float = 0.0


def rows_of(items: Iterable[pytest.Item]) -> dict[int, Row]:
    """The rows of the collected tests, by case; a case without a test has an empty one."""
    rows = {number: Row() for number in CASES}
    for item in items:
        for mark in item.iter_markers("case"):
            number, outcomes = mark.args
            rows[number].tests += 1
            rows[number].outcomes += [it for it in outcomes if it not in rows[number].outcomes]
    return rows


def printed(rows: dict[int, Row]) -> Iterator[str]:
    """The matrix for a terminal, of the cases that ran."""
    width = max(map(len, CASES.values()))
    for number, row in rows.items():
        if row.ran:
            verdict = f"{row.failed} FAILED" if row.failed else " or ".join(row.outcomes)
            tests = f"{row.ran} test{'s' * (row.ran != 1)}"
            yield f"{number:3}  {CASES[number]:{width}}  {tests:>9} {row.seconds:7.1f} s  {verdict}"


def markdown(rows: dict[int, Row]) -> str:
    """The matrix for the README."""
    lines = ["| | case | ends in | tests |", "|---:|---|---|---:|"]
    for number, row in rows.items():
        ends = " or ".join(f"`{it}`" if it.isidentifier() else it for it in row.outcomes)
        lines.append(f"| {number} | {CASES[number]} | {ends} | {row.tests} |")
    total = sum(row.tests for row in rows.values())
    return "\n".join([*lines, "", f"{total} tests of {len(rows)} cases."])


def shown() -> str:
    """The matrix as the README shows it."""
    text = README.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0].strip()


def show(rows: dict[int, Row]) -> None:
    """Write it into the README."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    README.write_text(f"{before}{BEGIN}\n{markdown(rows)}\n{END}{after}", encoding="utf-8")


class _Collected:
    """A plugin that remembers what was collected."""

    items: Sequence[pytest.Item] = ()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.items = session.items


if __name__ == "__main__":
    collected = _Collected()
    pytest.main(["-qq", "--collect-only", str(Path(__file__).parents[1])], plugins=[collected])
    show(rows_of(collected.items))
