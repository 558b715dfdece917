"""The command as a real process: Ctrl-C, `serve`, `demo`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.command.conftest import MiB, spawn
from uploader import Uploader
from uploader.local import serve


@pytest.mark.parametrize("fault", ["stall:part=1:at=10%", "stall:on=create", "503:part=1:after=60"])
def test_ctrl_c_is_prompt_and_exit_130(fault: str, picture: Path) -> None:
    with serve(faults=[fault]) as service:
        process = spawn("upload", picture, "--json", **service.environment)
        while not service.requests:
            time.sleep(0.01)
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        out, err = process.communicate(timeout=60)
        assert time.monotonic() - began < 5, "the stall would last 30 s or more"
        assert not [record for record in service.requests if record.target == "complete"]
    assert process.returncode == 130
    assert "Traceback" not in err
    assert json.loads(out)["error"]["type"] == "KeyboardInterrupt"


def test_ctrl_c_while_validating_says_how_to_go_on(picture: Path) -> None:
    with serve(stage_delay=30) as service:
        process = spawn("upload", picture, **service.environment)
        while not any(record.target == "complete" for record in service.requests):
            time.sleep(0.01)
        time.sleep(0.5)  # the answer to complete is on its way
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.search(r"go on with: uploader resume upload_\w+", err)


def test_serve_serves_until_it_is_told_to_stop_and_goes_on_later(picture: Path, tmp_path: Path) -> None:
    ids = []
    for _ in range(2):
        process = spawn("serve", "--port", "0", "--dir", tmp_path / "state")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        environment = dict(re.findall(r"export (\w+)=(\S+)", "".join(lines)))
        with Uploader(
            base_url=environment["SCENARIO_BASE_URL"],
            api_key=environment["SCENARIO_SDK_API_KEY"],
            api_secret=environment["SCENARIO_SDK_API_SECRET"],
        ) as uploader:
            ids.append(uploader.upload(picture, wait_for="imported", progress=False).upload_id)
            for upload_id in ids:
                assert uploader.wait(upload_id, wait_for="imported", progress=False).entity_id
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--fault", "explode"], "explode"), (["--host", "0.0.0.0"], "loopback"), (["--ttl", "0"], "ttl")],
)
def test_serve_refuses_what_it_cannot_do(arguments: list[str], said: str) -> None:
    process = spawn("serve", "--port", "0", *arguments)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said in err
    assert "Traceback" not in err


def test_the_demo_goes_through_its_three_faults_to_equal_bytes() -> None:
    process = spawn("demo")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert re.search(r"SHA-256 equals the file's: [0-9a-f]{64}", out)
    assert "16 parts, 256.0 MiB" in out
    assert "3 retries, 1 URL refresh" in out
    assert "import uploader" in out
    for trouble in ("expired", "503", "connection broke"):
        assert trouble in err


@pytest.mark.parametrize("size", [1, 6 * 1024 * 1024])
def test_the_demo_takes_a_file_of_ones_own(size: int, tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(os.urandom(size))
    process = spawn("demo", path)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert hashlib.sha256(path.read_bytes()).hexdigest() in out


def test_the_demo_refuses_a_file_that_is_none(tmp_path: Path) -> None:
    process = spawn("demo", tmp_path / "absent")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "No such file" in err


@pytest.mark.parametrize("module", ["uploader", "uploader.cli"])
def test_nothing_is_imported_that_is_not_used(module: str) -> None:
    unwanted = {"tqdm", "uvicorn", "starlette", "sqlite3", "pydantic", "httpx", "asyncio", "uploader.bench"}
    code = f"import sys, {module}; print(sorted({unwanted} & sys.modules.keys()))"
    # Without coverage's own start-up in every process, which imports sqlite3.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("arguments", [["serve"], ["demo"], ["bench", "--local"]], ids=" ".join)
def test_without_the_extra_the_service_says_what_to_install(arguments: list[str]) -> None:
    absent = "sys.modules['starlette'] = None"
    code = f"import sys; {absent}; from uploader.cli import main; sys.exit(main({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'scenario-uploader[local]'" in done.stderr


def test_an_upload_is_done_though_nobody_can_read_of_it(picture: Path) -> None:
    with serve() as service:
        shell = f'"{sys.executable}" -m uploader upload "{picture}" --json'
        for streams in ("2>&-", "2>/dev/full", "2> >(:)"):
            done = subprocess.run(
                ["bash", "-c", f"{shell} {streams}"],
                env=os.environ | service.environment,
                stdout=subprocess.PIPE,
                text=True,
                check=False,
            )
            assert done.returncode == 0
            assert json.loads(done.stdout)["file_name"] == "picture.png"


def test_a_file_that_waits_its_turn_may_still_be_written_to(picture: Path) -> None:
    """It is looked at again then."""
    second = picture.with_name("second.png")
    second.write_bytes(picture.read_bytes())
    with serve(rate=6 * MiB, stage_delay=0.02) as service:
        process = spawn("upload", picture, second, "--part-size=5MiB", "--json", **service.environment)
        while "create" not in [it.target for it in service.requests]:
            assert process.poll() is None
            time.sleep(0.01)
        second.write_bytes(picture.read_bytes() + b"more")
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        outcome = json.loads(out)["uploads"][1]
        assert service.sha256(outcome["upload_id"]) == hashlib.sha256(second.read_bytes()).hexdigest()


@pytest.mark.parametrize("stream", ["| true", "> /dev/full", ">&-"])
@pytest.mark.parametrize("as_json", ["", "--json"])
def test_all_uploads_are_done_though_nobody_can_read_what_came_of_them(
    stream: str, as_json: str, picture: Path
) -> None:
    """A large file and several small ones; stdout breaks with the first word."""
    others = [picture.with_name(f"small-{number}.png") for number in range(3)]
    for other in others:
        other.write_bytes(picture.read_bytes()[: 1 * MiB])
    files = " ".join(f'"{file}"' for file in (picture, *others))
    with serve(stage_delay=0.02) as service:
        shell = f'"{sys.executable}" -m uploader upload --quiet --part-size 5MiB {as_json} {files} {stream}'
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {shell}"],
            env=os.environ | service.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        completed = [it for it in service.requests if it.target == "complete"]
    assert (done.returncode, len(completed)) == (0, 4)
    told = [line for line in done.stderr.splitlines() if "stdout cannot be written" in line]
    assert done.stderr.splitlines() == told
    assert len(told) <= 1, "where it is closed, or nobody looks before the end, there is nothing to tell"
    assert told or stream != "> /dev/full" or not as_json


@pytest.mark.parametrize("arguments", ["--help", "list", "upload --no-such-option --json"])
def test_nobody_has_to_read_what_it_says(arguments: str) -> None:
    shell = f'"{sys.executable}" -m uploader {arguments}'
    for streams in ("> /dev/full", ">&-", "2>&- >&-"):
        done = subprocess.run(
            ["bash", "-c", f"{shell} {streams}"], capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        assert "fault of the uploader" not in done.stderr
        assert "Exception ignored" not in done.stderr


def test_without_stderr_only_json_goes_to_stdout() -> None:
    shell = f'"{sys.executable}" -m uploader upload --json --no-such-option 2>&-'
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["error"]["type"] == "UsageError"


def test_a_name_the_terminal_cannot_show_does_not_fail_an_upload(picture: Path) -> None:
    picture = picture.rename(picture.with_name("日本.png"))
    with serve() as service:
        process = spawn("upload", picture, PYTHONIOENCODING="cp1252", **service.environment)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("\\u65e5")
