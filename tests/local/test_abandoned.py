"""Uploads that nobody goes on with are dropped, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from uploader.local import serve

HOUR, DAY = 3600.0, 86400.0


def test_an_upload_whose_links_ended_a_week_ago_is_dropped_with_its_parts(
    session: Any, refused: Any, eventually: Any, tmp_path: Path
) -> None:
    with session(tmp_path) as api:
        upload = api.create()
        api.put(upload, 1, b"abc")
        assert list(tmp_path.rglob("*.part"))
    with session(tmp_path, clock_offset=7 * DAY) as api:
        assert set(api.service.stored_parts(upload["id"])) == {1}
    with session(tmp_path, clock_offset=7 * DAY + 2 * HOUR) as api:
        eventually(lambda: api.get(upload).status_code == 404)
        assert refused(api.complete(upload))[:2] == (404, "NotFound")
        eventually(lambda: not list(tmp_path.rglob(f"*{upload['id']}*")))


def test_who_asks_for_an_upload_keeps_it(session: Any, tmp_path: Path) -> None:
    with session(tmp_path) as api:
        upload = api.create()
    for days in (6, 12, 18):
        with session(tmp_path, clock_offset=days * DAY) as api:
            shown = api.show(upload)
            assert (shown["status"], shown["updatedAt"]) == ("pending", upload["updatedAt"])


@pytest.mark.any_store
def test_what_is_done_stays(session: Any, eventually: Any, tmp_path: Path) -> None:
    with session(tmp_path, stage_delay=0) as api:
        done, pending = api.send(b"abc"), api.create()
    with session(tmp_path, ttl=1, abandon_after=0) as api:
        eventually(lambda: not (tmp_path / "uploads" / f"{pending['id']}.json").exists())
        assert api.show(done)["status"] == "imported"
        with api.service.open(done["id"]) as file:
            assert file.read() == b"abc"


def test_a_service_that_runs_for_long_sweeps_again(start: Any, eventually: Any, tmp_path: Path) -> None:
    api = start(tmp_path, ttl=0.1, abandon_after=0.1)
    for _ in range(2):
        upload = api.create()
        eventually(lambda upload=upload: not list(tmp_path.rglob(f"*{upload['id']}*")))


def test_a_link_of_a_dropped_upload_is_told_so(
    session: Any, refused: Any, tmp_path: Path, eventually: Any
) -> None:
    with session(tmp_path, ttl=7 * DAY) as api:
        upload, port = api.create(), urlsplit(api.service.base_url).port
    with session(tmp_path, port=port, ttl=HOUR, abandon_after=HOUR, clock_offset=2 * HOUR) as api:
        eventually(lambda: api.get(upload).status_code == 404)
        assert refused(api.put(upload, 1, b"abc"))[:2] == (404, "NoSuchUpload")


def test_who_has_links_that_hold_keeps_the_upload(session: Any, eventually: Any, tmp_path: Path) -> None:
    with session(tmp_path, abandon_after=0) as api:
        upload = api.create()
    with session(tmp_path, abandon_after=0, clock_offset=HOUR - 60) as api:
        assert api.show(upload)["status"] == "pending"  # new links, for another hour
    with session(tmp_path, abandon_after=0, clock_offset=2 * HOUR - 180) as api:
        assert api.service.upload(upload["id"])["status"] == "pending"  # asked without asking for links
    with session(tmp_path, abandon_after=0, clock_offset=2 * HOUR) as api:
        eventually(lambda: api.get(upload).status_code == 404)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_what_is_no_time_to_wait_is_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="abandon_after must be 0"), serve(abandon_after=seconds):
        pass
