"""The table of unfinished uploads, and the spans of time that commands take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.models import PendingUpload
from uploader.observe.table import table
from uploader.parameters import age, seconds

NOW = datetime(2026, 11, 21, tzinfo=UTC)
MiB = 1024 * 1024


def pending(upload_id: str = "upload_1", **fields: object) -> PendingUpload:
    values = {
        "path": "/data/scene.glb",
        "file_name": "scene.glb",
        "file_size": 100 * MiB,
        "kind": "3d",
        "base_url": "https://api.cloud.scenario.com/v1",
        "project_id": None,
        "parts": 7,
        "parts_stored": 3,
        "bytes_stored": 48 * MiB,
        "state": "interrupted",
        "reason": "",
        "created_at": NOW - timedelta(hours=3),
        "updated_at": NOW - timedelta(minutes=5),
    }
    return PendingUpload.model_validate(values | fields | {"upload_id": upload_id})


def test_columns_stand_below_their_headings() -> None:
    uploads = [
        pending(),
        pending(
            "upload_longer",
            file_size=5 * 1024**4,
            bytes_stored=5 * 1024**4,
            state="running",
            updated_at=NOW - timedelta(seconds=2),
        ),
    ]
    assert list(table(uploads, NOW)) == [
        "UPLOAD              SIZE  SENT    AGE  STATE        FILE",
        "upload_1       100.0 MiB   48%  5 min  interrupted  /data/scene.glb",
        "upload_longer    5.0 TiB  100%    2 s  running      /data/scene.glb",
    ]


def test_where_they_go_is_told_if_not_all_go_to_the_same_place() -> None:
    uploads = [pending("a"), pending("b", project_id="proj_1", reason="time is up")]
    lines = list(table(uploads, NOW))
    assert lines[2] == "  to https://api.cloud.scenario.com/v1"
    assert lines[4:] == ["  to https://api.cloud.scenario.com/v1, project proj_1", "  time is up"]
    assert len(list(table(uploads[:1] * 2, NOW))) == 3


def test_a_reason_has_its_own_line_below() -> None:
    uploads = [
        pending("a", state="stopped", reason="part 2 of 7: the store answered 413"),
        pending("b", state="gone", reason="the service no longer knows it"),
    ]
    lines = list(table(uploads, NOW))
    assert lines[2] == "  part 2 of 7: the store answered 413"
    assert lines[4] == "  the service no longer knows it"
    assert len(lines) == 5


@pytest.mark.parametrize(
    ("stored", "shown"), [(0, "0%"), (1, "0%"), (100 * MiB - 1, "99%"), (100 * MiB, "100%")]
)
def test_only_what_is_all_there_shows_as_100_percent(stored: int, shown: str) -> None:
    assert shown in list(table([pending(bytes_stored=stored)], NOW))[1].split()


def test_a_clock_that_was_put_back_shows_no_negative_age() -> None:
    assert " 0 s " in list(table([pending(updated_at=NOW + timedelta(days=1))], NOW))[1]


@given(upload_id=st.text(), path=st.text(), reason=st.text())
def test_what_others_wrote_makes_no_line_of_its_own(upload_id: str, path: str, reason: str) -> None:
    lines = list(table([pending(upload_id, path=path, reason=reason)], NOW))
    assert len(lines) == 2 + bool(reason)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("0s", timedelta(0)),
        ("90s", timedelta(seconds=90)),
        ("45m", timedelta(minutes=45)),
        ("12h", timedelta(hours=12)),
        ("30d", timedelta(days=30)),
        (" 30 D ", timedelta(days=30)),
    ],
)
def test_ages_are_read_as_people_write_them(text: str, span: timedelta) -> None:
    assert age(text) == span


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "1.5h", "1w", "30 days", "1e3s", "nand"])
def test_what_is_no_age_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(click.BadParameter, match="write 30d"):
        age(text)


@pytest.mark.parametrize(
    ("text", "span"),
    [("600", 600.0), ("1.5", 1.5), ("-1", -1.0), ("90s", 90.0), ("10m", 600.0), (" 2 H ", 7200.0)],
)
def test_a_timeout_is_in_seconds_unless_it_says(text: str, span: float) -> None:
    assert seconds(text) == span


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "1.5h"])
def test_what_is_no_timeout_is_refused_with_the_way_to_write_it(text: str) -> None:
    with pytest.raises(click.BadParameter, match="45m or 90s"):
        seconds(text)
