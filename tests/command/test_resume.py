"""`uploader upload` after an interruption, `resume`, `list`, `forget`, and what `wait` does to the list."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.command.conftest import MiB, Run, interrupt, spawn, use
from tests.state.conftest import TARGET, record
from uploader import SourceChangedError, Uploader
from uploader.core.events import Event, PartStored, Phase, PhaseChanged, Recreating
from uploader.local import Service, serve
from uploader.pending import pending_uploads

# Whether the service likes the file is not the question here, and waiting for that takes half a second.
BRIEF = ("--json", "--wait-for", "none")

ALL_THERE = PhaseChanged(Phase.VALIDATING)

LIST_FIELDS = {
    "upload_id",
    "path",
    "file_name",
    "file_size",
    "kind",
    "base_url",
    "project_id",
    "parts",
    "parts_stored",
    "bytes_stored",
    "state",
    "reason",
    "created_at",
    "updated_at",
}


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def arrived(service: Service, upload_id: str) -> str:
    """The SHA-256 of what the service put together."""
    wait_for(lambda: service.upload(upload_id)["status"] in ("validated", "imported"))
    return service.sha256(upload_id)


def puts(service: Service) -> list[int | None]:
    """The part numbers that were stored, in order."""
    return [it.part for it in service.requests if it.target == "part" and it.status == 200]


def listed(command: Run) -> list[dict[str, Any]]:
    uploads = command("list", "--json").json["uploads"]
    assert isinstance(uploads, list)
    return uploads


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file that passes for a PNG, of two parts."""
    path = tmp_path / "picture.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + os.urandom(5 * MiB))
    return path


@pytest.fixture
def copies(picture: Path) -> list[Path]:
    """Three files."""
    return [Path(shutil.copy(picture, picture.with_name(f"copy-{number}.png"))) for number in range(3)]


def after_starting_over() -> Callable[[Event], bool]:
    """Means the first part stored after the upload was started over."""
    started_over = False

    def means(event: Event) -> bool:
        nonlocal started_over
        started_over |= isinstance(event, Recreating)
        return started_over and isinstance(event, PartStored)

    return means


# upload, again


def test_upload_goes_on_by_itself_with_what_was_interrupted(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture)
    said = command("upload", picture, *BRIEF)
    assert said.code == 0
    assert f"resuming upload {upload_id}: 1 of 2 parts (5.0 MiB) are there" in said.err
    assert said.json["upload_id"] == upload_id
    assert said.json["bytes_resumed"] == 5 * MiB
    assert said.json["bytes_sent"] == picture.stat().st_size - 5 * MiB
    assert not said.json["recreated"]
    assert puts(service) == [1, 2], "no part was sent twice"
    assert arrived(service, upload_id) == sha256(picture)


def test_the_summary_tells_what_was_there_already(command: Run, service: Service, picture: Path) -> None:
    interrupt(picture)
    said = command("upload", picture, "--wait-for", "none")
    assert "5.0 MiB were there already" in said.err
    assert "sent again" not in said.err


def test_no_resume_starts_anew_and_forgets_the_old(command: Run, service: Service, picture: Path) -> None:
    old = interrupt(picture)
    said = command("upload", picture, "--no-resume", *BRIEF)
    assert said.code == 0
    assert "resuming" not in said.err
    assert said.json["upload_id"] != old
    assert said.json["bytes_resumed"] == 0
    assert listed(command) == []


def test_an_interrupted_new_start_takes_the_place_of_the_old(
    command: Run, service: Service, picture: Path
) -> None:
    old = interrupt(picture)
    new = interrupt(picture, resume=False)
    assert new != old
    assert [upload["upload_id"] for upload in listed(command)] == [new]


def test_another_part_size_starts_anew_and_says_so(command: Run, service: Service, picture: Path) -> None:
    old = interrupt(picture)
    said = command("upload", picture, "--part-size", "6MiB", *BRIEF)
    assert said.code == 0
    assert "starting over under a new upload id" in said.err
    assert "parts of 5,242,880 bytes" in said.err
    assert said.json["upload_id"] != old
    assert (said.json["parts"], said.json["bytes_resumed"]) == (1, 0)
    assert listed(command) == []


@pytest.mark.parametrize("given", [[], ["--part-size", "5MiB"]])
def test_without_another_part_size_the_interrupted_uploads_is_kept(
    given: list[str], command: Run, service: Service, picture: Path
) -> None:
    interrupt(picture)
    said = command("upload", picture, *given, *BRIEF)
    assert (said.json["parts"], said.json["bytes_resumed"]) == (2, 5 * MiB)


def test_another_kind_is_another_upload(command: Run, service: Service, picture: Path) -> None:
    old = interrupt(picture)
    said = command("upload", picture, "--kind", "asset", *BRIEF)
    assert said.json["upload_id"] != old
    assert [upload["upload_id"] for upload in listed(command)] == [old]


def test_an_upload_that_is_all_there_is_only_waited_for(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture, lambda event: event == ALL_THERE)
    sent = len(puts(service))
    said = command("upload", picture, *BRIEF)
    assert said.code == 0
    assert (said.json["upload_id"], said.json["bytes_sent"]) == (upload_id, 0)
    assert len(puts(service)) == sent


def test_a_file_that_is_another_now_is_sent_from_its_start(
    command: Run, service: Service, picture: Path
) -> None:
    old = interrupt(picture)
    with picture.open("r+b") as file:
        file.seek(3 * MiB)
        file.write(b"another")
    said = command("upload", picture, *BRIEF)
    assert said.code == 0
    assert "picture.png was written to since its upload was interrupted" in said.err
    assert said.json["upload_id"] != old
    assert arrived(service, said.json["upload_id"]) == sha256(picture)


def test_a_file_that_was_only_touched_when_all_of_it_was_sent_is_gone_on_with(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture, lambda event: event == PhaseChanged(Phase.COMPLETING))
    picture.touch()
    said = command("upload", picture, *BRIEF)
    assert (said.json["upload_id"], said.json["bytes_sent"]) == (upload_id, 0)


def test_an_upload_the_service_forgot_is_started_over(
    command: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["vanish:on=get"], stage_delay=0.05) as service:
        use(service, monkeypatch)
        old = interrupt(picture)
        said = command("upload", picture, *BRIEF)
        assert said.code == 0
        assert "the service no longer knows it" in said.err
        assert said.json["upload_id"] != old
        assert said.json["recreated"]
    assert listed(command) == []


def test_one_of_several_files_is_gone_on_with(command: Run, service: Service, copies: list[Path]) -> None:
    upload_id = interrupt(copies[1])
    said = command("upload", *copies, *BRIEF)
    assert said.code == 0
    resumed = [(it["upload_id"] == upload_id, it["bytes_resumed"]) for it in said.json["uploads"]]
    assert resumed == [(False, 0), (True, 5 * MiB), (False, 0)]


def test_full_verification_needs_the_checksums_of_what_was_sent(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture, verify="none")
    said = command("resume", upload_id, "--verify-source", "full", *BRIEF)
    assert said.code == 2
    assert "verify='none'" in said.json["error"]["message"]
    assert listed(command)[0]["state"] != "changed", "who knows"
    assert [it["upload_id"] for it in command("resume", *BRIEF).json["uploads"]] == [upload_id]


def test_full_verification_reads_what_was_sent_and_goes_on(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture)
    said = command("upload", picture, "--verify-source", "full", *BRIEF)
    assert (said.json["upload_id"], said.json["bytes_resumed"]) == (upload_id, 5 * MiB)


def test_full_verification_finds_what_was_rewritten_under_the_same_times(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture, lambda event: event == PhaseChanged(Phase.COMPLETING))
    times = picture.stat()
    with picture.open("r+b") as file:
        file.seek(3 * MiB)
        file.write(b"another")
    os.utime(picture, ns=(times.st_atime_ns, times.st_mtime_ns))
    said = command("resume", upload_id, "--verify-source", "full", *BRIEF)
    assert said.code == 1
    assert said.json["error"]["type"] == "SourceChangedError"
    assert "part 1 is another now" in said.json["error"]["message"]


# Two runs of the same


class Held:
    """An upload in a thread of this process, which stands still with one part stored until let go."""

    def __init__(self, path: Path) -> None:
        self.standing, self._go = threading.Event(), threading.Event()
        self.upload_id = ""
        self._thread = threading.Thread(target=self._upload, args=(path,))

    def _upload(self, path: Path) -> None:
        def listener(event: Event) -> None:
            if isinstance(event, PartStored) and not self.standing.is_set():
                self.standing.set()
                assert self._go.wait(60)

        with Uploader() as uploader:
            result = uploader.upload(path, part_size=5 * MiB, concurrency=1, wait_for=None, progress=listener)
        self.upload_id = result.upload_id

    def __enter__(self) -> Held:
        self._thread.start()
        assert self.standing.wait(60)
        return self

    def go(self) -> None:
        self._go.set()
        self._thread.join(60)

    def __exit__(self, *_: object) -> None:
        self.go()


def test_an_upload_that_is_being_sent_is_not_waited_for(
    command: Run, service: Service, picture: Path
) -> None:
    with Held(picture) as held:
        (pending,) = command("list", "--json").json["uploads"]
        said = command("wait", pending["upload_id"], "--json")
        held.go()
        assert held.upload_id == pending["upload_id"]
    assert said.code == 3
    assert said.json["error"]["type"] == "UploadBusyError"
    assert "still being sent, 1 of " in said.json["error"]["message"]


def test_a_file_that_is_being_uploaded_is_left_to_that_run(
    command: Run, service: Service, picture: Path
) -> None:
    with Held(picture):
        said = command("upload", picture, *BRIEF)
        assert said.code == 3
        assert said.json["error"]["type"] == "UploadBusyError"
        assert said.json["error"]["resumable"]
        assert "picture.png is being uploaded by this process since " in said.err
        assert "--wait-lock" in said.err
        assert len({it.query["uploadId"] for it in service.requests if it.target == "part"}) == 1


def test_wait_lock_goes_on_with_what_the_other_run_left(picture: Path, state_dir: Path) -> None:
    with serve(faults=["stall:part=2:at=10%"], stage_delay=0.05) as service:
        first = spawn("upload", picture, "--part-size", "5MiB", **service.environment)
        wait_for(lambda: any(upload.parts_stored == 1 for upload in pending_uploads(state_dir)))
        second = spawn("upload", picture, "--wait-lock", "--json", **service.environment)
        assert second.stderr is not None
        who = (
            rf"picture.png is being uploaded by process {first.pid} on .* since .*; waiting until it is done"
        )
        assert re.search(who, second.stderr.readline())
        first.kill()
        first.communicate(timeout=60)
        out, err = second.communicate(timeout=60)
        assert second.returncode == 0, err
        assert "resuming upload" in err
        assert json.loads(out)["bytes_resumed"]
        assert service.sha256(json.loads(out)["upload_id"]) == sha256(picture)


def test_wait_lock_waits_no_longer_than_the_timeout(command: Run, service: Service, picture: Path) -> None:
    with Held(picture):
        said = command("upload", picture, "--wait-lock", "--timeout", "0.3", *BRIEF)
        assert said.json["error"]["type"] == "UploadTimeoutError"
        assert "time is up after 0.3 s while" in said.json["error"]["message"]
        assert "is being uploaded by this process" in said.json["error"]["message"]
        assert said.code in (1, 3)


# resume


def test_with_nothing_to_go_on_with_resume_says_so(command: Run, service: Service) -> None:
    said = command("resume")
    assert (said.code, said.out) == (0, "")
    assert "there is nothing to go on with" in said.err
    assert command("resume", "--json").json == {"uploads": []}


def test_resume_goes_on_with_all(command: Run, service: Service, copies: list[Path]) -> None:
    ids = [interrupt(path) for path in copies]
    said = command("resume", *BRIEF)
    assert said.code == 0
    assert [upload["upload_id"] for upload in said.json["uploads"]] == ids
    assert {upload["bytes_resumed"] for upload in said.json["uploads"]} == {5 * MiB}
    assert listed(command) == []


def test_what_is_named_is_one_object_and_all_are_a_list_however_many(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture)
    assert command("resume", upload_id, *BRIEF).json["upload_id"] == upload_id
    upload_id = interrupt(picture)
    assert [it["upload_id"] for it in command("resume", *BRIEF).json["uploads"]] == [upload_id]


def test_resume_takes_the_upload_id(command: Run, service: Service, copies: list[Path]) -> None:
    ids = [interrupt(path) for path in copies]
    said = command("resume", ids[1], "--wait-for", "none")
    assert said.code == 0
    assert f"resuming upload {ids[1]}: 1 of 2 parts" in said.err
    assert re.match(rf"copy-1.png: validating \(upload {ids[1]}\)", said.out)
    assert [upload["upload_id"] for upload in listed(command)] == [ids[0], ids[2]]


@pytest.mark.parametrize("how", ["relative", "symlink", "symlinked folder"])
def test_resume_takes_the_file(
    how: str,
    command: Run,
    service: Service,
    copies: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [interrupt(path) for path in copies[:2]]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(copies[1])
    (tmp_path / "folder").symlink_to(tmp_path, target_is_directory=True)
    name = {
        "relative": f"./{copies[1].name}",
        "symlink": "link",
        "symlinked folder": f"folder/{copies[1].name}",
    }[how]
    said = command("resume", name, *BRIEF)
    assert said.code == 0
    assert (said.json["upload_id"], said.json["bytes_resumed"]) == (ids[1], 5 * MiB)


def test_what_is_named_twice_is_sent_once(command: Run, service: Service, picture: Path) -> None:
    upload_id = interrupt(picture)
    said = command("resume", upload_id, picture, *BRIEF)
    assert said.code == 0
    assert [it["upload_id"] for it in said.json["uploads"]] == [upload_id]


@pytest.mark.parametrize("name", ["upload_unknown", "absent.png", "other.png"])
def test_what_is_not_known_is_exit_2_with_a_hint(
    name: str, command: Run, service: Service, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(picture)
    monkeypatch.chdir(picture.parent)
    Path("other.png").write_bytes(b"?")
    before = len(service.requests)
    said = command("resume", name, *BRIEF)
    assert said.code == 2
    assert said.json["error"]["type"] == "StateError"
    assert f"nothing is known of an unfinished upload {name}: see uploader list" in said.err
    assert len(service.requests) == before


def test_one_unknown_of_several_stops_all(command: Run, service: Service, picture: Path) -> None:
    upload_id = interrupt(picture)
    before = len(service.requests)
    said = command("resume", upload_id, "upload_unknown", *BRIEF)
    assert said.code == 2
    assert len(service.requests) == before


def test_an_upload_to_another_service_is_named_with_it(
    command: Run, service: Service, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = interrupt(picture)
    monkeypatch.setenv("SCENARIO_BASE_URL", "http://127.0.0.1:9/v1")
    said = command("resume", upload_id)
    assert said.code == 2
    assert service.base_url in said.err
    assert command("resume").code == 0, "without arguments, only this service's are meant"


def test_resume_takes_each_upload_to_its_own_project(
    command: Run, service: Service, copies: list[Path]
) -> None:
    projects = [None, "proj_1", "proj_2"]
    ids = [interrupt(path, project_id=project) for path, project in zip(copies, projects, strict=True)]
    before = len(service.requests)
    said = command("resume", *BRIEF)
    assert said.code == 0
    assert [upload["upload_id"] for upload in said.json["uploads"]] == ids
    asked = [(it.path, it.query) for it in service.requests[before:] if it.target == "complete"]
    assert asked == [
        (f"/v1/uploads/{upload_id}/action", {"projectId": project} if project else {})
        for upload_id, project in zip(ids, projects, strict=True)
    ]


def test_the_file_of_an_upload_that_was_started_over_means_the_new_one(
    command: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["vanish:part=2"]) as service:
        use(service, monkeypatch)
        new = interrupt(picture, after_starting_over())
        assert [upload["state"] for upload in listed(command)] == ["gone", "interrupted"]
        said = command("resume", picture, *BRIEF)
        assert said.code == 0
        assert (said.json["upload_id"], said.json["bytes_resumed"]) == (new, 5 * MiB)
    assert listed(command) == []


def test_an_upload_of_another_project_is_named_with_it(command: Run, service: Service, picture: Path) -> None:
    upload_id = interrupt(picture, project_id="proj_1")
    said = command("resume", upload_id, "--project-id", "proj_2")
    assert said.code == 2
    assert "proj_1" in said.err


def test_resume_with_a_project_means_only_its_uploads(
    command: Run, service: Service, copies: list[Path]
) -> None:
    ids = [interrupt(copies[0]), interrupt(copies[1], project_id="proj_1")]
    said = command("resume", "--project-id", "proj_1", *BRIEF)
    assert [it["upload_id"] for it in said.json["uploads"]] == ids[1:]
    assert [upload["upload_id"] for upload in listed(command)] == ids[:1]


def test_one_that_fails_does_not_stop_the_others(command: Run, service: Service, copies: list[Path]) -> None:
    ids = [interrupt(path) for path in copies]
    copies[0].unlink()
    with copies[1].open("r+b") as file:
        file.write(b"another")
    said = command("resume", *BRIEF)
    first, second, third = said.json["uploads"]
    assert first["error"]["type"] == "SourceError"
    assert first["file_name"] == "copy-0.png"
    assert first["error"]["upload_id"] == ids[0]
    assert second["error"]["type"] == "SourceChangedError"
    assert second["error"]["upload_id"] == ids[1]
    assert third["upload_id"] == ids[2]
    assert said.code == 1, "something was sent"


# list


def test_list_of_nothing(command: Run) -> None:
    said = command("list")
    assert (said.code, said.out) == (0, "")
    assert "no upload is unfinished" in said.err
    assert command("list", "--json").json == {"uploads": []}


def test_a_list_that_cannot_be_read_is_an_error_and_no_upload(command: Run, state_dir: Path) -> None:
    state_dir.write_bytes(b"no directory")
    said = command("list", "--json")
    assert said.code == 2
    assert said.json["error"]["type"] == "StateError"


def test_list_shows_a_line_for_each_upload(command: Run, service: Service, copies: list[Path]) -> None:
    ids = [interrupt(copies[0]), interrupt(copies[1], lambda event: event == ALL_THERE)]
    said = command("list")
    assert said.code == 0
    head, first, second = said.out.splitlines()
    assert re.split(r"\s{2,}", head) == ["UPLOAD", "SIZE", "SENT", "AGE", "STATE", "FILE"]
    for line, upload_id, percent, path in zip((first, second), ids, ("99%", "100%"), copies[:2], strict=True):
        cells = re.split(r"\s{2,}", line)
        assert re.fullmatch(r"\d+ s", cells.pop(3))
        assert cells == [upload_id, "5.0 MiB", percent, "interrupted", str(path)]


def test_list_json_has_the_fields_of_the_contract(command: Run, service: Service, picture: Path) -> None:
    upload_id = interrupt(picture, project_id="proj_1")
    (upload,) = listed(command)
    assert set(upload) == LIST_FIELDS
    for name, value in {
        "upload_id": upload_id,
        "path": str(picture),
        "file_name": "picture.png",
        "file_size": 5 * MiB + 8,
        "kind": "image",
        "base_url": service.base_url,
        "project_id": "proj_1",
        "parts": 2,
        "parts_stored": 1,
        "bytes_stored": 5 * MiB,
        "state": "interrupted",
        "reason": "",
    }.items():
        assert upload[name] == value, name
    assert upload["created_at"] <= upload["updated_at"]


def test_list_needs_no_credentials(
    command: Run, service: Service, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload_id = interrupt(picture)
    for name in service.environment:
        monkeypatch.delenv(name)
    assert [upload["upload_id"] for upload in listed(command)] == [upload_id]


def test_list_shows_what_is_running(command: Run, service: Service, picture: Path) -> None:
    with Held(picture):
        (upload,) = listed(command)
        assert (upload["state"], upload["parts_stored"]) == ("running", 1)
    assert listed(command) == []


def test_list_shows_what_stopped_with_its_reason(
    command: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["413:part=2"]) as service:
        use(service, monkeypatch)
        failed = command("upload", picture, "--part-size", "5MiB", "--concurrency", "1", *BRIEF)
    assert failed.code == 1
    (upload,) = listed(command)
    assert upload["state"] == "failed"
    assert upload["reason"] == failed.json["error"]["message"]
    lines = command("list").out.splitlines()
    assert "failed" in lines[1]
    assert lines[2] == f"  {upload['reason']}"


def test_list_shows_a_file_that_changed_while_it_was_sent(
    command: Run, service: Service, picture: Path
) -> None:
    def rewrite(event: Event) -> None:
        if isinstance(event, PartStored):
            picture.write_bytes(picture.read_bytes()[::-1])

    with Uploader() as uploader, pytest.raises(SourceChangedError) as raised:
        uploader.upload(picture, part_size=5 * MiB, concurrency=1, progress=rewrite)
    (upload,) = listed(command)
    assert (upload["state"], upload["reason"]) == ("changed", str(raised.value))
    assert "there is nothing to go on with" in command("resume").err


def test_list_shows_what_the_service_forgot(
    command: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["vanish:part=2"]) as service:
        use(service, monkeypatch)
        new = interrupt(picture, after_starting_over())
    gone, left = listed(command)
    assert (gone["state"], left["state"]) == ("gone", "interrupted")
    assert gone["reason"]
    assert left["upload_id"] == new


HOSTILE = "a\nUPLOAD  0\r\x1b[2J\x1b]0;owned\x07\u202egpj\u2066\u200b"


def test_hostile_names_cannot_drive_the_terminal_or_forge_a_line(
    command: Run, service: Service, picture: Path
) -> None:
    folder = picture.with_name(HOSTILE)  # the service takes no control character in the file's own name
    folder.mkdir()
    evil = picture.rename(folder / "\u202egnp.png")
    upload_id = interrupt(evil)
    said = command("list")
    assert all(character.isprintable() or character == "\n" for character in said.out)
    assert len(said.out.splitlines()) == 2
    assert r"/a\nUPLOAD  0\r\x1b[2J\x1b]0;owned\x07\u202egpj\u2066\u200b/\u202egnp.png" in said.out
    assert listed(command)[0]["path"] == str(evil)
    said = command("resume", evil, "--wait-for", "none")
    assert said.code == 0
    assert all(character.isprintable() or character == "\n" for character in said.out + said.err)
    assert f"(upload {upload_id}" in said.out


def test_hostile_reasons_are_escaped(command: Run, picture: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(faults=["413:part=2:code=Nope:message=\x1b[2J\u202ebad%0Aline"]) as service:
        use(service, monkeypatch)
        command("upload", picture, "--part-size", "5MiB", "--concurrency", "1")
    said = command("list")
    assert all(character.isprintable() or character == "\n" for character in said.out)
    assert len(said.out.splitlines()) == 3


# What leaves the list


def test_what_is_done_leaves_the_list(command: Run, service: Service, picture: Path) -> None:
    interrupt(picture)
    assert len(listed(command)) == 1
    assert command("upload", picture).code == 0
    assert listed(command) == []


def test_what_is_complete_leaves_the_list_though_nobody_waits(
    command: Run, service: Service, picture: Path
) -> None:
    assert command("upload", picture, "--wait-for", "none").code == 0
    assert listed(command) == []


def test_what_the_service_refuses_for_good_leaves_the_list(
    command: Run, service: Service, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing like it")
    assert command("upload", broken).code == 1
    assert listed(command) == []


def test_what_was_waited_for_leaves_the_list(command: Run, service: Service, picture: Path) -> None:
    upload_id = interrupt(picture, lambda event: event == ALL_THERE)
    assert [upload["upload_id"] for upload in listed(command)] == [upload_id]
    said = command("wait", upload_id, "--json")
    assert said.code == 0
    assert listed(command) == []


def test_what_was_waited_for_and_refused_leaves_the_list(
    command: Run, service: Service, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"nothing like it")
    upload_id = interrupt(broken, lambda event: event == ALL_THERE)
    assert command("wait", upload_id).code == 1
    assert listed(command) == []


def test_what_was_never_completed_stays_though_it_was_waited_for(
    command: Run, service: Service, picture: Path
) -> None:
    upload_id = interrupt(picture)
    assert command("wait", upload_id, "--timeout", "0.1").code != 0
    assert [upload["upload_id"] for upload in listed(command)] == [upload_id]


# forget


def test_forget_takes_ids_and_files(
    command: Run, service: Service, copies: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [interrupt(path) for path in copies]
    monkeypatch.chdir(copies[0].parent)
    for name in service.environment:
        monkeypatch.delenv(name)
    said = command("forget", ids[0], copies[1].name)
    assert (said.code, said.out) == (0, "")
    for upload_id, path in zip(ids[:2], copies[:2], strict=True):
        assert f"forgot {upload_id}, {path}" in said.err
    assert [upload["upload_id"] for upload in listed(command)] == [ids[2]]


def test_what_is_forgotten_is_sent_from_its_start(command: Run, service: Service, picture: Path) -> None:
    old = interrupt(picture)
    assert command("forget", old).code == 0
    said = command("upload", picture, *BRIEF)
    assert said.json["upload_id"] != old
    assert said.json["bytes_resumed"] == 0


def test_forget_takes_all_of_an_id_that_list_shows(command: Run, state_dir: Path) -> None:
    """Two services may give the same id: what is listed can be forgotten, whatever the environment says."""
    for base_url in ("https://one.example/v1", "https://two.example/v1"):
        record(state_dir, replace(TARGET, base_url=base_url))
    assert len(listed(command)) == 2
    assert command("forget", "upload_1").err.count("forgot upload_1") == 2
    assert listed(command) == []


def test_forget_all(command: Run, service: Service, copies: list[Path]) -> None:
    for path in copies:
        interrupt(path)
    assert command("forget", "--all").err.count("forgot") == 3
    assert listed(command) == []
    assert command("forget", "--all").code == 0


def test_forget_older_than_spares_what_is_younger(command: Run, service: Service, picture: Path) -> None:
    interrupt(picture)
    for age in ("30d", "12h", "45m", "90s"):
        assert command("forget", "--older-than", age).code == 0
    assert len(listed(command)) == 1
    assert command("forget", picture, "--older-than", "1h").code == 0
    assert len(listed(command)) == 1


def test_forget_older_than_0s_takes_all(command: Run, service: Service, picture: Path) -> None:
    interrupt(picture)
    said = command("forget", "--older-than", "0s")
    assert said.code == 0, said.err
    assert listed(command) == []


def test_forget_takes_any_age(command: Run, service: Service, picture: Path) -> None:
    interrupt(picture)
    said = command("forget", "--older-than", "999999d")
    assert said.code == 0, said.err
    assert len(listed(command)) == 1


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "--all"),
        (["--older-than", "soon"], "write 30d"),
        (["--older-than", "-5d"], "write 30d"),
        (["upload_unknown"], "uploader list"),
    ],
)
def test_forget_without_a_meaning_is_exit_2_and_forgets_nothing(
    arguments: list[str], hint: str, command: Run, service: Service, picture: Path
) -> None:
    interrupt(picture)
    said = command("forget", *arguments)
    assert said.code == 2
    assert hint in said.err
    assert len(listed(command)) == 1


def test_forget_leaves_alone_what_is_running(command: Run, service: Service, picture: Path) -> None:
    with Held(picture):
        for arguments in (["--all"], ["--older-than", "0s"]):
            said = command("forget", *arguments)
            assert said.code == 0
            assert said.err.splitlines() == [
                "uploader: nothing was forgotten",
                "uploader: 1 is being uploaded right now: left alone",
            ]
        assert command("forget", "--older-than", "1h").err == "uploader: nothing was forgotten\n"
        said = command("forget", picture)
        assert said.code != 0
        assert "picture.png is being uploaded right now" in said.err
        assert len(listed(command)) == 1
