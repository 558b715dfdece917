"""Gathers the fault matrix while tests run, wherever they are, and prints it at the end."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faults.cases import CASES
from tests.faults.matrix import Row, printed

ROWS = {number: Row() for number in CASES}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    for mark in item.iter_markers("case"):
        number, outcomes = mark.args
        row = ROWS[number]
        row.seconds += report.duration
        row.failed += report.failed
        if report.when == "call" and not report.skipped:
            row.ran += 1
            row.outcomes += [it for it in outcomes if it not in row.outcomes]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = list(printed(ROWS))
    if lines:
        terminalreporter.section("fault matrix")
        for line in lines:
            terminalreporter.write_line(line)
    told = [
        str(text)
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, text in getattr(report, "user_properties", ())
        if name == "told"
    ]
    if told:
        terminalreporter.section("random faults")
        for line in dict.fromkeys(told):
            terminalreporter.write_line(line)
