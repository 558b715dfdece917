"""Ctrl-C and SIGTERM, at real processes: prompt, tidy, and the next run goes on.

Random moments come from a seed, which is in the test's name; UPLOADER_SIGNALS_SEED=N gives it, and
UPLOADER_SIGNALS=100 asks for more of them. How long each end took is logged:

    UPLOADER_SIGNALS=100 pytest --log-cli-level=INFO tests/command/test_signals.py -k any_moment
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.command.conftest import MiB, Run, interrupt, spawn, start_python, use
from uploader import Uploader
from uploader.batch import FILES, Item, upload_small
from uploader.core.events import Event, Finished, JournalKept, PartStored, Phase, PhaseChanged, UploadCreated
from uploader.io.journal import Journal
from uploader.io.state import is_held
from uploader.local import Service, serve
from uploader.models import PendingUpload, UploadResult
from uploader.observe.attempt import Attempt
from uploader.observe.report import Report
from uploader.observe.stops import STOPS, Stops, Terminated
from uploader.pending import pending_uploads

MOMENTS = int(os.environ.get("UPLOADER_SIGNALS") or 10)
SEED = int(os.environ.get("UPLOADER_SIGNALS_SEED") or random.SystemRandom().randrange(1, 2**32))

# About a second is the promise; a machine that has other things to do may take a little longer.
PROMPT = 5.0

LOGGER = logging.getLogger(__name__)

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
NAMES = {signal.SIGINT: "KeyboardInterrupt", signal.SIGTERM: "Terminated"}
both = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert process is None or process.poll() is None, "it ended on its own"
        assert time.monotonic() < deadline
        time.sleep(0.005)


@dataclass(frozen=True)
class Ended:
    """How a process ended after its signal; its exit code is the one a shell shows."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def error(self) -> dict[str, Any]:
        """The error in the one object on stdout."""
        assert self.out.count("\n") == 1, self.out
        error = json.loads(self.out)["error"]
        assert isinstance(error, dict)
        return error

    @property
    def said(self) -> list[str]:
        """What the command itself said on stderr, progress aside."""
        return re.findall(r"^uploader: (.*)$", self.err, re.MULTILINE)


def stop(process: subprocess.Popen[str], number: signal.Signals, again: float | None = None) -> Ended:
    """Sends the signal, if need be once more `again` seconds later, and waits for the end."""
    began = time.monotonic()
    process.send_signal(number)
    if again is not None:
        with suppress(subprocess.TimeoutExpired):
            process.wait(again)
        process.send_signal(number)
    out, err = process.communicate(timeout=60)
    seconds = time.monotonic() - began
    code = process.returncode if process.returncode >= 0 else 128 - process.returncode
    LOGGER.info("%s: exit %d after %.3f s", number.name, code, seconds)
    assert "Traceback" not in err
    assert "Exception ignored" not in err
    assert seconds < PROMPT
    return Ended(code, out, err, seconds)


def left(state_dir: Path) -> PendingUpload:
    """The one upload that is left; the journal can be opened, and nobody holds a lock."""
    troubles: list[str] = []
    with Journal.open(state_dir, troubles.append) as journal:
        (record,) = journal.all()
    assert not troubles
    assert not is_held(state_dir, record.target.key)
    (upload,) = pending_uploads(state_dir)
    assert upload.state == "interrupted"
    return upload


def arrived(service: Service, upload_id: str) -> str:
    """The SHA-256 of what the service put together."""
    wait_for(lambda: service.upload(upload_id)["status"] in ("validated", "imported"))
    return service.sha256(upload_id)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# While parts are on their way


@both
def test_a_signal_while_a_part_hangs_is_prompt_and_the_next_run_goes_on(
    number: signal.Signals,
    command: Run,
    picture: Path,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve(faults=["stall:part=1:at=10%"], stage_delay=0.02) as service:
        use(service, monkeypatch)
        process = spawn("upload", picture, "--part-size", "5MiB", "--json")
        wait_for(lambda: any(upload.parts_stored == 2 for upload in pending_uploads(state_dir)), process)
        ended = stop(process, number)
        assert ended.code == CODES[number]
        upload = left(state_dir)
        assert len(ended.said) == 1
        assert ended.said[0].endswith(f"go on with: uploader resume {upload.upload_id}")
        assert ended.error["type"] == NAMES[number]
        assert (ended.error["upload_id"], ended.error["resumable"]) == (upload.upload_id, True)
        said = command("upload", picture, "--json", "--wait-for", "none")
        assert said.code == 0
        assert f"resuming upload {upload.upload_id}: 2 of 3 parts (6.0 MiB) are there" in said.err
        assert said.json["bytes_sent"] == 5 * MiB
        assert arrived(service, upload.upload_id) == sha256(picture)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of which no more than a fraction fits into socket buffers."""
    path = tmp_path / "large.mp4"
    with path.open("wb") as file:
        file.truncate(128 * MiB)
    return path


def test_the_store_sees_every_connection_close(large: Path) -> None:
    with serve(rate=80 * MiB) as service:
        process = spawn("upload", large, "--part-size", "32MiB", **service.environment)
        wait_for(lambda: sum(it.target == "part" for it in service.under_way) == 4, process)
        stop(process, signal.SIGTERM)
        wait_for(lambda: not service.under_way)
        parts = [it for it in service.requests if it.target == "part"]
        assert [it.status for it in parts] == [None] * 4
        assert all(it.body_bytes < 32 * MiB for it in parts)


def test_nothing_is_left_open_in_a_process_that_goes_on_after_ctrl_c(large: Path, service: Service) -> None:
    with serve(rate=80 * MiB) as slow, Uploader(base_url=slow.base_url) as uploader:
        began = 0.0

        def listener(event: Event) -> None:
            nonlocal began
            if not began and sum(it.target == "part" for it in slow.under_way) == 4:
                began = time.monotonic()
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            uploader.upload(large, part_size=32 * MiB, progress=listener)
        assert time.monotonic() - began < PROMPT
        wait_for(lambda: not slow.under_way)
        assert not [it for it in slow.requests if it.target == "part" and it.status]
        (upload,) = uploader.uploads()
        assert upload.state == "interrupted"


def test_a_second_ctrl_c_changes_nothing(picture: Path, state_dir: Path) -> None:
    with serve(faults=["stall:part=1:at=10%"]) as service:
        process = spawn("upload", picture, "--part-size", "5MiB", "--json", **service.environment)
        wait_for(lambda: any(upload.parts_stored == 2 for upload in pending_uploads(state_dir)), process)
        ended = stop(process, signal.SIGINT, again=0.01)
        assert ended.code == 130
        assert ended.error["upload_id"] == left(state_dir).upload_id


def test_ctrl_c_stops_all_of_several_files(picture: Path, state_dir: Path) -> None:
    copies = [picture.with_name(f"copy-{number}.png") for number in range(FILES + 2)]
    for copy in copies:
        copy.write_bytes(picture.read_bytes()[: 1 * MiB])
    with serve(faults=["stall:part=1:at=10%:times=inf"]) as service:
        process = spawn("upload", *copies, "--json", **service.environment)
        wait_for(lambda: [it.target for it in service.requests].count("part") == FILES, process)
        ended = stop(process, signal.SIGINT)
        assert ended.code == 130
        assert [it.target for it in service.requests].count("create") == FILES, "so many at once"
    outcomes = json.loads(ended.out)["uploads"]
    assert [it["file_name"] for it in outcomes] == [copy.name for copy in copies]
    kept = {it.upload_id for it in pending_uploads(state_dir)}
    assert {it["error"]["upload_id"] for it in outcomes[:FILES]} == kept
    assert [it["error"]["type"] for it in outcomes[FILES:]] == ["NotBegun"] * 2
    assert ended.said[-1].startswith(f"0 of {len(copies)} uploaded; not: copy-0.png, ")
    assert ended.said[-1].endswith(f"; not begun: {copies[-2].name}, {copies[-1].name}")


def test_ctrl_c_stops_the_one_file_of_several_that_is_under_way(picture: Path, state_dir: Path) -> None:
    other = picture.with_name("other.png")
    other.write_bytes(picture.read_bytes())
    with serve(faults=["stall:part=1:at=10%"]) as service:
        process = spawn("upload", picture, other, "--part-size=5MiB", "--json", **service.environment)
        wait_for(lambda: any(it.target == "part" for it in service.requests), process)
        ended = stop(process, signal.SIGINT)
        assert ended.code == 130
        assert [it.target for it in service.requests].count("create") == 1
    outcome, not_begun = json.loads(ended.out)["uploads"]
    assert outcome["file_name"] == "picture.png"
    assert (not_begun["file_name"], not_begun["error"]["type"]) == ("other.png", "NotBegun")
    assert outcome["error"]["upload_id"] == left(state_dir).upload_id


def test_sigterm_while_the_service_hangs_leaves_what_is_kept_to_the_next_run(
    command: Run, picture: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["stall:on=get"]) as service:
        use(service, monkeypatch)
        upload_id = interrupt(picture)
        process = spawn("resume", upload_id, "--json")
        wait_for(lambda: any(it.target == "get" for it in service.requests), process)
        ended = stop(process, signal.SIGTERM)
        assert ended.code == 143
        assert left(state_dir).upload_id == upload_id
        assert ended.said[0].endswith(f"go on with: uploader resume {upload_id}")
        assert (ended.error["upload_id"], ended.error["resumable"]) == (upload_id, True)
        assert command("resume", upload_id, "--wait-for", "none").code == 0


def test_sigterm_while_waiting_for_the_verdict_says_how_to_wait_on(picture: Path) -> None:
    with serve(stage_delay=30) as service:
        with Uploader(
            base_url=service.base_url, api_key=service.api_key, api_secret=service.api_secret
        ) as uploader:
            upload_id = uploader.upload(picture, wait_for=None, progress=False).upload_id
        process = spawn("wait", upload_id, "--json", **service.environment)
        wait_for(lambda: any(it.target == "get" for it in service.requests), process)
        ended = stop(process, signal.SIGTERM)
        assert ended.code == 143
        assert ended.said[0].endswith(f"go on with: uploader wait {upload_id}")
        assert ended.error["resumable"]


# Before anything is sent


def test_ctrl_c_while_another_run_is_waited_for_is_prompt(service: Service, picture: Path) -> None:
    seconds = []

    def listener(event: Event) -> None:
        if isinstance(event, PartStored) and not seconds:
            process = spawn("upload", picture, "--wait-lock", "--json")
            assert process.stderr is not None
            assert "waiting until it is done" in process.stderr.readline()
            ended = stop(process, signal.SIGINT)
            assert ended.code == 130
            assert ended.error["type"] == "KeyboardInterrupt"
            seconds.append(ended.seconds)

    with Uploader() as uploader:
        result = uploader.upload(picture, part_size=5 * MiB, concurrency=1, progress=listener)
    assert seconds
    assert arrived(service, result.upload_id) == sha256(picture)


PART, PARTS = 64 * MiB, 64


@pytest.fixture
def nearly_sent(state_dir: Path, tmp_path: Path, service: Service) -> Iterator[Path]:
    """A sparse file of 4 GiB; the journal says that all of it but the last part was sent."""
    path = tmp_path / "huge.mp4"
    with path.open("wb") as file:
        file.truncate(PARTS * PART)
    zeros = hashlib.md5(bytes(PART), usedforsecurity=False).hexdigest()
    with Uploader() as uploader, Journal.open(state_dir, lambda _: None) as journal:
        job = uploader.prepare(path, part_size=PART)
        source = job.cargo.source
        row = journal.begin(job.target, job.plan, source.identity, source.digest())
        journal.name(row, "upload_huge")
        journal.store(row, [(part, None, zeros) for part in range(1, PARTS)])
    yield path
    path.unlink()


def test_ctrl_c_while_what_was_sent_is_checked_is_prompt(
    service: Service, nearly_sent: Path, state_dir: Path
) -> None:
    process = spawn("resume", nearly_sent, "--verify-source", "full", "--json")
    wait_for(lambda: pending_uploads(state_dir)[0].state == "running", process)
    with pytest.raises(subprocess.TimeoutExpired):  # it is at it for seconds
        process.wait(0.3)
    ended = stop(process, signal.SIGINT)
    assert ended.code == 130
    assert not service.requests, "it had not come to the service yet"
    assert left(state_dir).parts_stored == PARTS - 1
    assert ended.said[0].endswith("go on with: uploader resume upload_huge")
    assert (ended.error["upload_id"], ended.error["resumable"]) == ("upload_huge", True)


IMPORTS = """
import os, signal, sys

class Signaller:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            os.kill(os.getpid(), {number})

sys.meta_path.insert(0, Signaller())
from uploader.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("number", "module"),
    [
        (signal.SIGINT, "uploader.cli"),
        (signal.SIGTERM, "httpx"),
        (signal.SIGTERM, "uploader.cli"),
    ],
)
def test_a_signal_while_the_command_is_loaded_shows_no_traceback(
    number: signal.Signals, module: str, picture: Path, service: Service
) -> None:
    code = IMPORTS.format(module=module, number=int(number))
    # Without coverage's own start-up in every process, which imports sqlite3.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code, "upload", str(picture), "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode in (CODES[number], -number), "what a shell shows is the same"


# At the very end


def test_ctrl_c_when_all_is_done_does_not_say_that_it_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True)
    attempt = report.begin("picture.png")
    with report.attempt(attempt), report.listening(attempt, "picture.png", 1) as listener:
        for event in (
            UploadCreated("upload_1", 1, 1, 1),
            JournalKept("upload_1"),
            PhaseChanged(Phase.VALIDATING),
            PhaseChanged(Phase.DONE),
            Finished(UploadResult(upload_id="upload_1", status="validated")),
        ):
            listener(event)
        raise KeyboardInterrupt  # while the journal is closed
    assert report.close() in (0, 130)
    out, err = capsys.readouterr()
    assert "not completed" not in err
    assert "resume" not in err, "the journal knows nothing of it any more"
    assert json.loads(out)["status"] == "validated"


def test_ctrl_c_when_all_is_told_tells_nothing_more(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(as_json=True)
    attempt = report.begin("picture.png")
    result = UploadResult(upload_id="upload_1", status="validated")
    with STOPS.heeded(), report.attempt(attempt), STOPS.armed():
        attempt(Finished(result))
        report.done(attempt, result)
        signal.raise_signal(signal.SIGINT)
    assert report.close() == 130
    out, err = capsys.readouterr()
    assert json.loads(out)["status"] == "validated"
    assert err == ""


class Struck(Report):
    """Ctrl-C comes while the first outcome is told."""

    def done(self, attempt: Attempt, result: UploadResult) -> None:
        if not self._outcomes:
            signal.raise_signal(signal.SIGINT)
        super().done(attempt, result)


def test_ctrl_c_while_one_of_several_small_files_is_told_loses_none(
    picture: Path, state_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = [picture.with_name(f"copy-{number}.png") for number in range(2 * FILES)]
    for copy in copies:
        copy.write_bytes(picture.read_bytes()[: 1 * MiB])
    report = Struck(as_json=True, quiet=True, several=True)
    with serve(stage_delay=0.02) as service, STOPS.heeded():
        uploader = Uploader(
            base_url=service.base_url,
            api_key=service.api_key,
            api_secret=service.api_secret,
            state_dir=state_dir,
        )
        with uploader:
            looks = [partial(uploader.prepare, copy) for copy in copies]
            items = [
                Item(report.begin(copy.name), look(), look) for copy, look in zip(copies, looks, strict=True)
            ]
            not_begun = upload_small(report, uploader, items)
    assert report.stopped
    assert report.close() == 130
    outcomes = json.loads(capsys.readouterr().out)["uploads"]
    assert not_begun == items[len(outcomes) :]
    assert any("status" in outcome for outcome in outcomes)


def test_a_stop_while_nothing_is_tried_waits_for_the_next_attempt() -> None:
    stops, reached = Stops(), []
    with stops.heeded():
        signal.raise_signal(signal.SIGTERM)
        reached.append("arguments were read")
        with pytest.raises(Terminated), stops.armed():
            reached.append("tried")
        signal.raise_signal(signal.SIGINT)  # the first one counts
    assert reached == ["arguments were read"]


def test_an_outcome_is_told_whole_though_another_file_is_to_come() -> None:
    stops, reached = Stops(), []
    with stops.heeded():
        with stops.armed(), stops.deferred():
            signal.raise_signal(signal.SIGINT)
            reached.append("told")
        with pytest.raises(KeyboardInterrupt), stops.armed():
            reached.append("tried")
    assert reached == ["told"]


def test_a_second_one_does_not_wait() -> None:
    stops = Stops()
    with stops.heeded():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_that_hits_a_destructor_is_not_lost(
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    class Dropped:
        def __del__(self) -> None:
            signal.raise_signal(number)
            reached.append("its end")

    stops, reached = Stops(), list[str]()

    def drop() -> None:
        Dropped()
        reached.append("what comes next")
        wait_for(lambda: False)

    with stops.heeded(), pytest.raises(KeyboardInterrupt) as caught, stops.armed():
        drop()
    assert caught.type is (Terminated if number == signal.SIGTERM else KeyboardInterrupt)
    assert reached == ["its end", "what comes next"]
    assert capfd.readouterr().err == ""


# At any moment

# As the command that is installed, but telling when it heeds signals: what comes before is Python's.
READY = """
import sys
from contextlib import contextmanager
from uploader.__main__ import main
from uploader.observe.stops import STOPS

heeded = STOPS.heeded

@contextmanager
def telling():
    with heeded():
        print("ready", file=sys.stderr, flush=True)
        yield

STOPS.heeded = telling
main()
"""


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    """Starts the command, and returns when it heeds signals."""
    process = start_python("-c", READY, *arguments)
    assert process.stderr is not None
    assert process.stderr.readline() == "ready\n"
    return process


# At this many bytes per second, an upload without its verdict takes about a third of a second.
RATE = 60 * MiB


@pytest.fixture(scope="module")
def usual() -> list[float]:
    """How long an upload takes undisturbed, once that is known (seconds)."""
    return []


@pytest.mark.parametrize("seed", [f"{SEED}-{moment}" for moment in range(MOMENTS)])
def test_a_signal_at_any_moment_ends_it_well_and_the_next_run_goes_on(
    seed: str,
    usual: list[float],
    command: Run,
    picture: Path,
    state_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(seed)
    number = chance.choice([signal.SIGINT, signal.SIGTERM])
    verdict = chance.random() < 0.15
    with serve(rate=RATE, stage_delay=0.02) as service:
        use(service, monkeypatch)
        brief = ("--part-size", "5MiB", "--json", "--wait-for", "none")
        if not usual:
            process, began = start("upload", picture, *brief), time.monotonic()
            process.communicate(timeout=60)
            usual.append(time.monotonic() - began)
        old = interrupt(picture) if chance.random() < 0.3 else ""
        process = start("upload", picture, *brief[: 3 if verdict else None])
        moment = chance.uniform(0, usual[0] + 0.5 * verdict)
        with suppress(subprocess.TimeoutExpired):
            process.wait(moment)
        ended = stop(process, number)
        LOGGER.info("at %.3f s: %s", moment, ended.said or "done")
        kept = [upload.upload_id for upload in pending_uploads(state_dir)]
        assert ended.out.count("\n") == 1
        outcome = json.loads(ended.out)
        if "error" in outcome:
            assert ended.code == CODES[number]
            assert outcome["error"]["type"] == NAMES[number]
            (line,) = ended.said
            assert outcome["error"]["resumable"] == ("go on with: uploader resume" in line)
            if outcome["error"]["resumable"]:
                assert kept == [outcome["error"]["upload_id"]]
        else:
            assert ended.code in (0, CODES[number]), "it may strike when all is said"
            # It is forgotten last of all: whoever is stopped just before finds the result again, below.
            assert kept in ([], [outcome["upload_id"]])
            assert not old or outcome["upload_id"] == old
        said = command("upload", picture, *brief)
        assert said.code == 0
        assert kept in ([], [said.json["upload_id"]])
        assert arrived(service, said.json["upload_id"]) == sha256(picture)
    assert pending_uploads(state_dir) == []
