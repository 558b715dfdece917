"""`uploader upload` and `uploader wait`: what they print, and their exit codes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.command.conftest import MiB, Run, use
from uploader.batch import FILES
from uploader.errors import InputError, UnreachableError, UploadFailedError
from uploader.local import Service, serve
from uploader.models import UploadResult
from uploader.observe.report import Report
from uploader.observe.stops import Terminated

FIELDS = {
    "upload_id",
    "status",
    "entity_id",
    "file_name",
    "file_size",
    "parts",
    "bytes_sent",
    "bytes_resumed",
    "retries",
    "url_refreshes",
    "recreated",
    "elapsed_seconds",
}


def test_one_file_is_told_in_a_line(command: Run, service: Service, picture: Path) -> None:
    said = command("upload", picture, "--part-size", "5MiB")
    assert said.code == 0
    assert said.out.startswith("picture.png: ")
    assert "uploader: picture.png: 3 parts, 11.0 MiB" in said.err
    assert "picture.png: sending" in said.err


def test_json_is_one_object_with_the_fields_of_the_contract(
    command: Run, service: Service, picture: Path
) -> None:
    said = command(
        "upload", picture, "--json", "--wait-for", "imported", "--concurrency", "2", "--verify", "none"
    )
    assert said.code == 0
    assert set(said.json) == FIELDS
    assert said.json["status"] == "imported"
    assert said.json["entity_id"]
    assert service.sha256(said.json["upload_id"]) == hashlib.sha256(picture.read_bytes()).hexdigest()


def test_quiet_says_nothing(command: Run, service: Service, picture: Path) -> None:
    said = command("upload", picture, "--quiet")
    assert (said.code, said.out, said.err) == (0, "", "")


def test_wait_for_none_and_then_wait(command: Run, service: Service, picture: Path) -> None:
    sent = command("upload", picture, "--json", "--wait-for", "none")
    assert sent.json["status"] == "validating"
    waited = command("wait", sent.json["upload_id"], "--json", "--wait-for", "imported")
    assert waited.code == 0
    assert set(waited.json) == FIELDS
    assert (waited.json["status"], waited.json["file_name"]) == ("imported", "picture.png")


FINAL, USED, LATER = UploadFailedError("no"), InputError("no such kind"), UnreachableError("not there")
USED.nothing_sent = LATER.resumable = True


@pytest.mark.parametrize(
    ("came", "code"),
    [
        ([], 0),
        ([None], 0),
        ([USED], 2),
        ([USED, USED], 2),
        ([None, USED], 1),
        ([LATER], 3),
        ([None, LATER], 3),
        ([USED, LATER], 1),
        ([LATER, FINAL], 1),
        ([FINAL, LATER], 1),
        ([USED, KeyboardInterrupt()], 130),
        ([FINAL, KeyboardInterrupt()], 130),
        ([LATER, Terminated()], 143),
    ],
    ids=str,
)
def test_the_exit_code_of_several_files_is_true_of_all(
    came: list[BaseException | None], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(as_json=True, several=True)
    for error in came:
        with report.attempt(report.begin("a.png")) as attempt:
            if error is not None:
                raise error
            report.done(attempt, UploadResult(upload_id="upload_1", status="validated"))
    assert report.close() == code
    assert len(json.loads(capsys.readouterr().out)["uploads"]) == len(came)


def test_several_files_are_all_checked_before_any_is_sent(
    command: Run, service: Service, picture: Path, tmp_path: Path
) -> None:
    said = command("upload", picture, tmp_path / "absent.png", "--json")
    assert said.code == 2
    good, bad = said.json["uploads"]
    assert (good["file_name"], good["error"]["type"]) == (picture.name, "NotBegun")
    assert (bad["file_name"], bad["error"]["type"]) == ("absent.png", "SourceError")
    assert not service.requests


def test_of_several_files_each_is_sent_once_and_told_in_its_place(
    command: Run, service: Service, picture: Path
) -> None:
    """Small ones are sent at once, before the others."""
    files = [picture]
    for number in range(2 * FILES):
        files.append(picture.with_name(f"small-{number}.png"))
        files[-1].write_bytes(picture.read_bytes()[: 1 * MiB + number])
    said = command("upload", *files, "--part-size=5MiB", "--json")
    assert said.code == 0
    uploads = said.json["uploads"]
    assert [it["file_name"] for it in uploads] == [file.name for file in files]
    for file, outcome in zip(files, uploads, strict=True):
        assert service.sha256(outcome["upload_id"]) == hashlib.sha256(file.read_bytes()).hexdigest()
    assert len({it["upload_id"] for it in uploads}) == len(uploads)
    assert said.err.splitlines()[-1] == f"uploader: {len(files)} of {len(files)} uploaded"


def test_a_file_that_is_named_twice_is_sent_once_and_told_in_both_places(
    command: Run, service: Service, picture: Path
) -> None:
    """Whether it is sent alone or with others at once; a symbolic link to it has a name of its own."""
    small = picture.with_name("small.png")
    small.write_bytes(picture.read_bytes()[:MiB])
    link = picture.with_name("link.png")
    link.symlink_to(small)
    roundabout = picture.parent / ".." / picture.parent.name / picture.name
    said = command("upload", small, small, small, link, picture, roundabout, "--part-size=5MiB", "--json")
    assert said.code == 0
    assert [it.target for it in service.requests].count("create") == 3
    uploads = said.json["uploads"]
    assert [it["file_name"] for it in uploads] == ["small.png"] * 3 + ["link.png"] + ["picture.png"] * 2
    assert len({it["upload_id"] for it in uploads}) == 3
    sent_once = "uploader: named more than once, and sent once: picture.png, small.png"
    assert sent_once in said.err.splitlines()
    assert said.err.splitlines()[-1] == "uploader: 3 of 3 uploaded"


def test_one_file_under_two_names_of_another_kind_is_two_uploads(
    command: Run, service: Service, picture: Path
) -> None:
    link = picture.with_name("link.jpg")
    link.symlink_to(picture)
    assert command("upload", picture, link, "--wait-for=none", "--quiet").err == ""
    assert [it.target for it in service.requests].count("create") == 2


def test_many_files_end_in_a_line_that_names_what_was_not_uploaded(
    command: Run, service: Service, picture: Path
) -> None:
    files = [picture.with_name(f"p{number}.png") for number in range(14)]
    for number, file in enumerate(files):
        file.write_bytes(b"nothing like it" if number else picture.read_bytes()[:MiB])
    said = command("upload", *files[:4])
    assert said.err.splitlines()[-1] == "uploader: 1 of 4 uploaded; not: p1.png, p2.png, p3.png"
    said = command("upload", *files, "--json")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("uploader: 1 of 14 uploaded; not: p1.png, p2.png, ")
    assert said.err.splitlines()[-1].endswith(", p10.png … and 3 more")
    assert "uploaded; not" not in command("upload", *files[:4], "--quiet").err


def test_a_file_that_cannot_be_used_is_told_with_what_was_left_for_it(
    command: Run, service: Service, picture: Path
) -> None:
    said = command("upload", picture, picture.with_name("absent.png"))
    assert said.err.splitlines()[-1] == "uploader: 0 of 2 uploaded; not: absent.png; not begun: picture.png"


def test_one_bad_file_of_several_small_ones_does_not_stop_the_others(
    command: Run, service: Service, picture: Path
) -> None:
    broken = picture.with_name("broken.png")
    broken.write_bytes(b"nothing like it")
    said = command("upload", broken, picture)
    assert said.code == 1
    assert "broken.png" in said.err
    assert "0 of 2 files: sending" in said.err
    assert said.out.startswith("picture.png: imported (upload ")


def test_one_bad_file_of_several_does_not_stop_the_others(
    command: Run, service: Service, picture: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing like it")
    said = command("upload", broken, picture, "--json")
    assert said.code == 1
    first, second = said.json["uploads"]
    assert first["error"]["type"] == "UploadFailedError"
    assert first["error"]["upload_id"]
    assert second["file_name"] == "picture.png"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["absent.png"], "SourceError"),
        (["."], "SourceError"),
        (["empty.png"], "SourceError"),
        (["picture.xyz"], "InputError"),
        (["picture.png", "--kind", "sculpture"], "InputError"),
        (["picture.png", "--part-size", "1MiB"], "InputError"),
        (["picture.png", "--part-size", "large"], "UsageError"),
        (["picture.png", "--concurrency", "0"], "InputError"),
        (["picture.png", "--concurrency", "lots"], "UsageError"),
        (["picture.png", "--timeout", "-1"], "InputError"),
        (["picture.png", "--bogus"], "UsageError"),
        (["picture.png", "--content-type", "png"], "InputError"),
        ([], "UsageError"),
    ],
)
def test_bad_input_is_exit_2_and_nothing_is_sent(
    arguments: list[str],
    kind: str,
    command: Run,
    service: Service,
    picture: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(picture.parent)
    Path("empty.png").touch()
    Path("picture.xyz").write_bytes(b"?")
    said = command("upload", *arguments, "--json")
    assert said.code == 2
    assert said.json["error"]["type"] == kind
    assert said.json["error"]["message"]
    assert said.err
    assert not service.requests


@pytest.mark.parametrize("variable", ["SCENARIO_SDK_API_KEY", "SCENARIO_SDK_API_SECRET"])
def test_missing_credentials_name_the_variable(
    variable: str, command: Run, service: Service, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable)
    said = command("upload", picture)
    assert said.code == 2
    assert variable in said.err
    assert not service.requests


def test_refused_credentials_are_exit_2(
    command: Run, service: Service, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENARIO_SDK_API_SECRET", "not-the-secret")
    said = command("upload", picture, "--json")
    assert said.code == 2
    assert said.json["error"]["type"] == "AuthError"
    assert "SCENARIO_SDK_API_SECRET" in said.json["error"]["message"]
    assert "not-the-secret" not in said.out + said.err


@pytest.mark.parametrize(
    "url", ["http://api.example.com/v1", "ftp://127.0.0.1/v1", "nonsense", "https://u:p@h/v1"]
)
def test_a_base_url_that_is_not_https_nor_loopback_is_exit_2(
    url: str, command: Run, service: Service, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENARIO_BASE_URL", url)
    said = command("upload", picture)
    assert said.code == 2
    assert "SCENARIO_BASE_URL" in said.err or "https" in said.err


def test_an_unreadable_file_is_exit_2(command: Run, service: Service, picture: Path) -> None:
    picture.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        said = command("upload", picture, "--json")
    finally:
        if root:
            os.seteuid(0)
    assert said.code == 2
    assert "Permission denied" in said.json["error"]["message"]


def test_time_up_while_validating_is_exit_3_and_says_how_to_go_on(
    command: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small.png"
    small.write_bytes(b"\x89PNG\r\n\x1a\n")  # sent before the time is up
    with serve(stage_delay=60) as service:
        use(service, monkeypatch)
        said = command("upload", small, "--json", "--timeout", "5s")
    assert said.code == 3
    assert "while validating" in said.json["error"]["message"]
    assert said.json["error"]["resumable"]
    assert f"uploader resume {said.json['error']['upload_id']}" in said.err


def test_a_part_that_cannot_be_stored_is_exit_1(
    command: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["413:part=1"]) as service:
        use(service, monkeypatch)
        said = command("upload", picture, "--json")
    assert said.code == 1
    assert said.json["error"]["type"] == "PartError"


def test_wait_for_an_unknown_upload_is_exit_1(command: Run, service: Service) -> None:
    said = command("wait", "upload_of_somebody_else_entirely", "--json", "-q")
    assert said.code == 1
    assert said.json["error"]["type"] == "NotFoundError"
    assert "there is no upload upload_of_somebody_else_entirely in" in said.json["error"]["message"]


@pytest.mark.parametrize(
    ("text", "size"),
    [("5242880", 5242880), ("5MiB", 5242880), ("5mib", 5242880), ("6MB", 6000000), ("5.5 MiB", 5767168)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    from uploader.parameters import size as read

    assert read(text) == size


def test_help_and_version(command: Run) -> None:
    assert "upload" in command("--help").out
    assert "SCENARIO_SDK_API_KEY" in command("--help").out
    assert command("--version").out.startswith("uploader, version ")
    assert command("upload", "-h").code == 0


def test_json_is_plain_ascii(command: Run, service: Service, picture: Path) -> None:
    picture = picture.rename(picture.with_name("snö.png"))
    said = command("upload", picture, "--json")
    assert said.out.isascii()
    assert json.loads(said.out)["file_name"] == "snö.png"


def test_exit_2_means_that_nothing_at_all_was_sent(
    command: Run, picture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["403:on=create"], stage_delay=0.05) as service:
        use(service, monkeypatch)
        other = Path(shutil.copy(picture, tmp_path / "other.png"))
        said = command("upload", picture, other, "--part-size=5MiB", "--json")
    first, second = said.json["uploads"]
    assert first["error"]["type"] == "AuthError"
    assert first["file_name"] == "picture.png"
    assert second["upload_id"]
    assert said.code == 1


def test_waiting_with_refused_credentials_is_exit_2(
    command: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENARIO_SDK_API_KEY", "wrong")
    assert command("wait", "upload_1", "-q").code == 2
