"""One run at a time uploads a file to a place: the others refuse, wait, or take over from the dead."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tests.command.conftest import spawn
from tests.state.conftest import (
    PART,
    TARGET,
    Ear,
    at_part,
    count_of,
    holding,
    interrupt,
    make_uploader,
    record,
    send,
    sha256,
    stop,
    until,
)
from uploader import StateError, UploadBusyError, UploadCancelledError, Uploader, UploadTimeoutError
from uploader.core.events import Event, JournalTrouble, LockAwaited, UploadCreated
from uploader.local import Service, serve
from uploader.observe.report import exit_code
from uploader.pending import pending_uploads
from uploader.saying import RESUMABLE

RACES, AT_ONCE = 20, 7

# Forks two runs of the command for each file, of a process that has imported all of it: they begin within a
# millisecond of each other, where two fresh interpreters may be a whole upload apart.
RACE = """
import json, os, sys
from uploader.cli import main
import filelock, httpx, sqlite3, uploader.io.journal
folder, at_once, *files = sys.argv[1:]
racers = {}

def reap(count):
    for _ in range(count):
        pid, status = os.wait()
        print(json.dumps([racers.pop(pid), pid, os.waitstatus_to_exitcode(status)]), flush=True)

def race(files):
    here, there = os.pipe()
    for file in files + files:
        pid = os.fork()
        if pid:
            racers[pid] = file
            continue
        for stream, name in ((1, "out"), (2, "err")):
            os.dup2(os.open(f"{folder}/{os.getpid()}.{name}", os.O_WRONLY | os.O_CREAT), stream)
        os.close(there)
        os.read(here, 1)
        sys.exit(main(["upload", file, "--json"]))
    os.close(here)
    os.close(there)
    reap(len(files))  # about as many as lose

while files:
    race(files[:int(at_once)])
    del files[:int(at_once)]
reap(len(racers))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_of_two_that_race_for_a_file_one_uploads_and_the_other_names_it(
    tmp_path: Path, icon: Path, state_dir: Path
) -> None:
    files = [tmp_path / f"icon-{number}.png" for number in range(RACES)]
    for file in files:
        file.write_bytes(icon.read_bytes())
    with serve(stage_delay=1.5) as service:  # the losers have given up long before
        race = subprocess.run(
            [sys.executable, "-c", RACE, tmp_path, str(AT_ONCE), *files],
            env=os.environ | service.environment,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        created = Counter(
            json.loads(request.body)["fileName"] for request in service.requests if request.target == "create"
        )
    ends = [json.loads(line) for line in race.stdout.splitlines()]
    assert Counter(code for _, _, code in ends) == {0: RACES, 3: RACES}
    assert created == {file.name: 1 for file in files}
    holders = {file: pid for file, pid, code in ends if code == 0}
    assert len(holders) == RACES
    named = 0
    for file, pid, _ in (end for end in ends if end[2] == 3):
        refusal = json.loads((tmp_path / f"{pid}.out").read_text())["error"]
        assert (refusal["type"], refusal["resumable"]) == ("UploadBusyError", True)
        told = re.search(r"uploaded by (another process|process (\d+) on)", refusal["message"])
        assert told is not None
        assert told[2] in (None, str(holders[file])), "it names the other one, or nobody"
        assert told[0] in (tmp_path / f"{pid}.err").read_text()
        named += told[2] is not None
    assert named >= RACES // 2, "nobody is named only where the other one had no time yet to say who it is"
    assert list((state_dir / "locks").iterdir()) == []


def test_two_commands_started_at_once_upload_once(picture: Path, service: Service) -> None:
    with serve(stage_delay=0.8) as slow:
        runs = [spawn("upload", picture, "--json", **slow.environment) for _ in range(2)]
        ends = {run.pid: (run.communicate(timeout=60), run.returncode) for run in runs}
        assert count_of(slow, "create") == 1
    codes = {code: pid for pid, (_, code) in ends.items()}
    assert set(codes) == {0, 3}, ends
    assert f"process {codes[0]}" in ends[codes[3]][0][1]


def test_the_same_file_in_two_threads_is_refused_and_said_to_be_this_process(
    icon: Path, service: Service, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path) -> None:
        with pytest.raises(UploadBusyError, match="this process") as caught:
            send(make_uploader(service), path, ear)
        assert caught.value.nothing_sent
        assert caught.value.resumable

    monkeypatch.chdir(icon.parent)
    ear = Ear()
    with holding(make_uploader(service), icon), ThreadPoolExecutor() as pool:
        requests = len(service.requests)
        list(pool.map(refused, [icon, Path(icon.name), Path("..") / icon.parent.name / icon.name]))
        assert len(service.requests) == requests
    assert not ear.troubles
    assert list((state_dir / "locks").iterdir()) == []


def test_other_files_kinds_projects_and_services_do_not_block_each_other(
    picture: Path, icon: Path, service: Service
) -> None:
    with serve(stage_delay=0.01) as other, holding(make_uploader(service), icon):
        send(make_uploader(service), picture)
        send(make_uploader(service), icon, kind="asset")
        send(make_uploader(service), icon, content_type="application/octet-stream")
        send(make_uploader(service), icon, asset_options={"hide": True})
        send(make_uploader(service, project_id="proj_2"), icon)
        send(make_uploader(other), icon)
    assert count_of(service, "create") == 6


# Waiting


def test_whoever_waits_is_told_so_and_goes_on_when_the_other_is_done(icon: Path, service: Service) -> None:
    with holding(make_uploader(service), icon) as go_on:
        ear = Ear(lambda event: go_on.set() if isinstance(event, LockAwaited) else None)
        result = send(make_uploader(service), icon, ear, wait_lock=True)
    waiting = ear.heard(LockAwaited)
    assert len(waiting) == 1
    assert ear.events[0] == waiting[0]
    assert "this process" in waiting[0].detail
    assert not ear.troubles
    assert service.sha256(result.upload_id) == sha256(icon)
    assert count_of(service, "create") == 2, "the other's was finished: this is an upload of its own"


def test_whoever_waited_for_one_that_was_interrupted_goes_on_with_it(picture: Path, service: Service) -> None:
    there, waits = threading.Event(), threading.Event()

    def die() -> None:
        there.set()
        assert waits.wait(60)
        raise ZeroDivisionError

    def run() -> None:
        with pytest.raises(ZeroDivisionError):
            send(make_uploader(service), picture, Ear(at_part(1, die)))

    thread = threading.Thread(target=run)
    thread.start()
    assert there.wait(60)
    ear = Ear(lambda event: waits.set() if isinstance(event, LockAwaited) else None)
    result = send(make_uploader(service), picture, ear, wait_lock=True)
    thread.join()
    assert result.bytes_resumed == PART
    assert count_of(service, "create") == 1


def test_nobody_waits_for_a_file_that_is_free(icon: Path, service: Service) -> None:
    ear = Ear()
    send(make_uploader(service), icon, ear, wait_lock=True)
    assert not ear.heard(LockAwaited)


def test_a_timeout_bounds_the_wait(icon: Path, service: Service) -> None:
    with holding(make_uploader(service), icon):
        requests, began = len(service.requests), time.monotonic()
        with pytest.raises(UploadTimeoutError, match="this process") as caught:
            send(make_uploader(service), icon, wait_lock=True, timeout=0.2)
        assert time.monotonic() - began < 30
        assert len(service.requests) == requests
    assert caught.value.nothing_sent, "no byte of the file left this machine"
    assert caught.value.resumable, "the same call again goes on with it, as after UploadBusyError"
    assert exit_code(caught.value) == RESUMABLE


def test_a_timeout_is_for_the_whole_call_and_not_for_the_wait_alone(picture: Path, service: Service) -> None:
    """`timeout`: seconds the whole call may take. Counted from its turn, enough would be left."""

    def spend(event: Event) -> None:
        if isinstance(event, LockAwaited):
            awaited.append(time.monotonic())
            until(lambda: time.monotonic() - awaited[0] > 1)
            go_on.set()
        if isinstance(event, UploadCreated):
            until(lambda: time.monotonic() - awaited[0] > 4)  # the call began before

    ear, awaited = Ear(spend), list[float]()
    with holding(make_uploader(service), picture) as go_on, pytest.raises(UploadTimeoutError):
        send(make_uploader(service), picture, ear, wait_lock=True, timeout=4)
    assert ear.heard(UploadCreated), "it was its turn"


def test_the_time_spent_waiting_is_not_given_again_to_the_proof_of_what_was_sent(
    picture: Path, service: Service
) -> None:
    def wait_until_time_is_up(event: Event) -> None:
        if isinstance(event, LockAwaited):
            heard = time.monotonic()
            until(lambda: time.monotonic() - heard > 1)
            leave.set()
            holder.join()

    there, leave = threading.Event(), threading.Event()

    def die() -> None:
        there.set()
        assert leave.wait(60)
        stop()

    ear = Ear(at_part(1, die))
    holder = threading.Thread(target=interrupt, args=(make_uploader(service), picture, ear))
    holder.start()
    assert there.wait(60)
    options = {"wait_lock": True, "verify_source": "full", "timeout": 1}
    with pytest.raises(UploadTimeoutError, match="after 1 s while what was sent was checked") as caught:
        send(make_uploader(service), picture, Ear(wait_until_time_is_up), **options)
    assert caught.value.resumable


def test_cancelling_ends_the_wait_at_once(icon: Path, service: Service) -> None:
    cancelled = threading.Event()
    with holding(make_uploader(service), icon):
        ear = Ear(lambda event: cancelled.set() if isinstance(event, LockAwaited) else None)
        with make_uploader(service) as uploader:
            job = uploader.prepare(icon, wait_lock=True)
            began = time.monotonic()
            with pytest.raises(UploadCancelledError) as caught:
                uploader.run(job, progress=ear, cancelled=cancelled)
        assert time.monotonic() - began < 30
        assert caught.value.nothing_sent
        assert count_of(service, "create") == 1


def test_a_listener_that_fails_while_waiting_stops_the_run_and_nothing_is_uploaded_twice(
    icon: Path, service: Service
) -> None:
    """A listener that prints may find its pipe closed: that is no trouble with the journal."""

    def print_it(event: Event) -> None:
        if isinstance(event, LockAwaited):
            raise BrokenPipeError(32, "Broken pipe")

    ear = Ear(print_it)
    with holding(make_uploader(service), icon):
        with pytest.raises(BrokenPipeError):
            send(make_uploader(service), icon, ear, wait_lock=True)
        assert count_of(service, "create") == 1
    assert not ear.heard(JournalTrouble)


# Forgetting


def test_what_is_running_cannot_be_forgotten(icon: Path, service: Service, state_dir: Path) -> None:
    with holding(make_uploader(service), icon):
        uploader = make_uploader(service)
        (pending,) = uploader.uploads()
        assert pending.state == "running"
        with pytest.raises(UploadBusyError) as caught:
            uploader.forget(pending.upload_id)
        assert caught.value.upload_id == pending.upload_id
        assert len(uploader.uploads()) == 1
    assert make_uploader(service).uploads() == []


def test_what_is_of_another_project_or_api_is_not_forgotten(state_dir: Path, service: Service) -> None:
    """As it is neither listed nor gone on with: its id may be another upload's there."""
    for target in (TARGET, replace(TARGET, project_id=""), replace(TARGET, base_url=service.base_url)):
        record(state_dir, target)
    here = make_uploader(service, project_id=TARGET.project_id)
    for stranger, said in (
        (make_uploader(service), "belongs to project proj_1"),
        (Uploader(base_url="https://other.example", api_key="k", api_secret="s"), "not to https://other"),
    ):
        with pytest.raises(StateError, match=said):
            stranger.forget("upload_1")
        with pytest.raises(StateError, match=said):
            stranger.resume("upload_1")
    assert len(pending_uploads(state_dir)) == 3
    here.forget("upload_1")
    assert here.uploads() == []
    left = [(it.base_url, it.project_id) for it in pending_uploads(state_dir)]
    assert left == [(TARGET.base_url, "proj_1"), (TARGET.base_url, None)]


def test_what_was_interrupted_can_be_forgotten(picture: Path, service: Service, state_dir: Path) -> None:
    interrupt(make_uploader(service), picture)
    uploader = make_uploader(service)
    (pending,) = uploader.uploads()
    assert pending.state == "interrupted"
    uploader.forget(pending.upload_id)
    assert uploader.uploads() == []
    assert send(make_uploader(service), picture).bytes_resumed == 0
    assert list((state_dir / "locks").iterdir()) == []


def test_looking_never_gets_in_the_way_of_an_upload(icon: Path, service: Service) -> None:
    done = threading.Event()

    def look() -> None:
        uploader: Uploader = make_uploader(service)
        while not done.is_set():
            uploader.uploads()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    try:
        for _ in range(3):
            ear = Ear()
            send(make_uploader(service), icon, ear, wait_for=None)
            assert not ear.troubles
    finally:
        done.set()
        for looker in lookers:
            looker.join()
