"""The matrix is whole, and the README shows it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.matrix import markdown, rows_of, shown

HERE = Path(__file__).parent


def test_every_case_is_proved_and_the_readme_tells_of_each(request: pytest.FixtureRequest) -> None:
    here = [item for item in request.session.items if HERE in item.path.parents]
    if {item.path for item in here} != set(HERE.glob("test_*.py")):
        pytest.skip("only some of the cases were collected")
    rows = rows_of(here)
    assert [number for number, row in rows.items() if not row.tests] == []
    assert shown() == markdown(rows), "`python -m tests.faults.matrix` brings it up to date"
