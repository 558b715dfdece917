"""Nothing in the state directory lets anybody in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.secrets import forms, secrets_of
from tests.state.conftest import interrupt, make_uploader, send, stuck_at_part_two
from uploader import PartError
from uploader.core.events import Recreating
from uploader.io.journal import FILE
from uploader.local import Service, serve

KEY, SECRET = "key+of/the=API 1", "secret&of?the%API/2="


def contents(directory: Path) -> dict[Path, bytes]:
    files = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert FILE in {path.name for path in files}
    return files


def check_nothing_leaked(directory: Path, service: Service) -> None:
    for secret in secrets_of(service):
        for form in forms(secret):
            for path, content in contents(directory).items():
                assert form not in content, f"{secret} in {path.name}"
                assert form not in bytes(path)


def test_a_killed_run_leaves_no_credential_and_no_link(picture: Path, state_dir: Path) -> None:
    with serve(api_key=KEY, api_secret=SECRET, faults=["stall:part=2:at=10%"]) as service:
        with stuck_at_part_two(picture, service) as process:
            process.kill()
        assert len(contents(state_dir)) > 2, "with what SQLite keeps beside its file"
        check_nothing_leaked(state_dir, service)


@pytest.mark.parametrize(
    "fault", ["403:part=2:times=inf", "expire:part=2:times=inf", "etag:part=2:times=inf"]
)
def test_neither_does_one_that_ended_in_an_error(fault: str, picture: Path, state_dir: Path) -> None:
    with serve(api_key=KEY, api_secret=SECRET, faults=[fault]) as service:
        with pytest.raises(PartError):
            send(make_uploader(service), picture)
        assert make_uploader(service).uploads()[0].reason
        check_nothing_leaked(state_dir, service)


def test_neither_does_one_that_started_over(picture: Path, state_dir: Path) -> None:
    with serve(api_key=KEY, api_secret=SECRET, faults=["vanish:part=1"]) as service:
        ear = interrupt(make_uploader(service), picture)
        assert ear.heard(Recreating)
        assert [upload.state for upload in make_uploader(service).uploads()] == ["gone", "interrupted"]
        check_nothing_leaked(state_dir, service)
