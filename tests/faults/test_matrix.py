"""The matrix is whole, and the README shows it as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.matrix import markdown, rows_of, shown
from tests.stores.plugin import asked_for

TESTS = Path(__file__).parents[1]


def test_every_case_is_proved_and_the_readme_tells_of_each(request: pytest.FixtureRequest) -> None:
    if {item.path for item in request.session.items} != set(TESTS.rglob("test_*.py")):
        pytest.skip("only some of the cases were collected")
    if asked_for() != ["seaweedfs"]:
        pytest.skip("the README counts the tests of one store")
    rows = rows_of(request.session.items)
    assert [number for number, row in rows.items() if not row.tests] == []
    assert shown() == markdown(rows), "`python -m tests.faults.matrix` brings it up to date"
