"""`uploader bench`: what it sends, asks, prints and leaves behind."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.command.conftest import MiB, Run, Said, spawn, start_python, use
from uploader.local import Service, serve

SMALL = ("--size", "10MiB", "--part-size", "5MiB", "--concurrency", "1,2")
NAME = "uploader-bench.safetensors"

stops = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])


def created(service: Service) -> int:
    return [request.target for request in service.requests].count("create")


def end(process: subprocess.Popen[str]) -> Said:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return Said(process.returncode, out, err)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where processes started from here make their temporary files."""
    path = tmp_path / "temporary"
    path.mkdir()
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(path))
    return path


# Against an account


def test_one_upload_for_each_setting_and_then_the_line_to_paste(command: Run, service: Service) -> None:
    said = command("bench", *SMALL, "--yes")
    assert said.code == 0
    assert created(service) == 2
    assert {request.target for request in service.requests} == {"create", "part", "complete"}, "no waiting"
    assert "2 uploads of 10.0 MiB, 20.0 MiB in all, of random bytes, to http://127.0.0.1" in said.err
    assert f"2 uploads remain in the account, as models named {NAME}" in said.err
    assert "2 of 2, concurrency 2, parts of 5MiB: " in said.err
    assert said.out.startswith("PART SIZE  CONCURRENCY")
    assert "\n  uploader upload FILE --concurrency " in said.out


def test_what_is_uploaded_is_a_valid_model_of_that_size(command: Run, service: Service) -> None:
    command("bench", "--size", "10MiB", "--part-size", "5MiB", "--concurrency", "auto", "--yes")
    (completed,) = [request for request in service.requests if request.target == "complete"]
    upload = decided(service, completed.path.split("/")[-2])
    assert (upload["fileName"], upload["fileSize"], upload["kind"]) == (NAME, 10 * MiB, "model")
    assert upload["status"] in ("validated", "imported")


def decided(service: Service, upload_id: str) -> dict[str, Any]:
    wait_for(lambda: service.upload(upload_id)["status"] not in ("pending", "validating"))
    return service.upload(upload_id)


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_json_is_one_object_with_every_upload(command: Run, service: Service) -> None:
    said = command("bench", *SMALL, "--yes", "--json", "--repeat", "2")
    assert said.code == 0
    value = said.json
    assert (value["uploads"], value["size"], value["repeat"]) == (4, 10 * MiB, 2)
    assert [(it["concurrency"], len(it["runs"])) for it in value["settings"]] == [(1, 2), (2, 2)]
    for setting in value["settings"]:
        for run in setting["runs"]:
            assert run["goodput"] == pytest.approx(10 * MiB / run["seconds"], rel=0.01)
            assert run["retries"] == 0
    assert value["best"]["part_size"] == 5 * MiB
    assert "error" not in value


def test_failed_attempts_are_counted(command: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(faults=["503:part=2"]) as service:
        use(service, monkeypatch)
        said = command("bench", *SMALL, "--yes", "--json")
    assert [it["runs"][0]["retries"] for it in said.json["settings"]] == [1, 0]
    assert "part 2: the store answered 503" in said.err


def test_nothing_is_recorded_and_no_file_is_left(service: Service, state_dir: Path, temporary: Path) -> None:
    said = end(spawn("bench", *SMALL, "--yes"))
    assert said.code == 0
    assert not list(temporary.iterdir())
    assert not state_dir.exists()


def test_settings_that_differ_in_nothing_are_left_out(command: Run, service: Service) -> None:
    said = command(
        "bench", "--size", "10MiB", "--part-size", "5MiB,10MiB", "--concurrency", "1,2", "--yes", "--json"
    )
    assert created(service) == 3
    assert "left out, 10MiB has too few parts: concurrency 2, parts of 10MiB" in said.err
    assert len(said.json["settings"]) == 3


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["--size", "0"], "InputError"),
        (["--size", "large"], "UsageError"),
        (["--part-size", "4MiB"], "InputError"),
        (["--part-size", "8MiB,"], "UsageError"),
        (["--part-size", "5MiB", "--size", "60GiB"], "InputError"),
        (["--concurrency", "1,65"], "InputError"),
        (["--concurrency", "0"], "InputError"),
        (["--concurrency", "1,lots"], "UsageError"),
        (["--concurrency", "64"], "InputError"),
        (["--repeat", "0"], "InputError"),
        (["--plot", "plot.exe"], "InputError"),
        (["--plot", "no/such/plot.png"], "InputError"),
        (["--plot", "directory.png"], "InputError"),
        (["plot.png"], "UsageError"),
    ],
)
def test_bad_input_is_exit_2_and_nothing_is_sent(
    arguments: list[str],
    kind: str,
    command: Run,
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "directory.png").mkdir()
    said = command("bench", *arguments, "--yes", "--json")
    assert (said.code, said.json["error"]["type"]) == (2, kind)
    assert said.json["error"]["message"]
    assert not service.requests


def test_refused_credentials_are_exit_2(
    command: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENARIO_SDK_API_SECRET", "not-the-secret")
    said = command("bench", *SMALL, "--yes", "--json")
    assert (said.code, said.json["error"]["type"]) == (2, "AuthError")


def test_without_anybody_to_ask_it_wants_yes(service: Service) -> None:
    process = subprocess.run(
        [sys.executable, "-m", "uploader", "bench", *SMALL, "--json"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert "--yes" in json.loads(process.stdout)["error"]["message"]
    assert not service.requests


# When it does not come to an end


def test_an_upload_that_fails_ends_it_and_what_was_measured_is_told(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["413:part=1:skip=1"]) as service:
        use(service, monkeypatch)
        said = command("bench", *SMALL, "--yes")
    assert said.code == 1
    assert "part 1" in said.err
    assert "Only 1 of 2 uploads were measured. Of these:" in said.out
    assert "1 upload remains in the account" in said.err
    assert "; 1 more begun, and not completed" in said.err


def test_refused_credentials_are_exit_2_as_nothing_is_sent(
    command: Run, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCENARIO_SDK_API_SECRET", "not-the-secret")
    said = command("bench", *SMALL, "--yes", "--json")
    assert said.code == 2
    assert said.json["error"]["type"] == "AuthError"


def test_an_error_is_in_the_one_object_beside_what_was_measured(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["413:part=1:skip=1"]) as service:
        use(service, monkeypatch)
        said = command("bench", *SMALL, "--yes", "--json")
    assert said.code == 1
    assert said.json["error"]["type"] == "PartError"
    assert said.json["error"]["upload_id"]
    assert not said.json["error"]["resumable"]
    assert [it["concurrency"] for it in said.json["settings"]] == [1]
    assert said.json["uploads"] == 2


def test_exit_2_is_kept_for_where_nothing_at_all_was_sent(
    command: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(faults=["401:on=create:skip=1"]) as service:
        use(service, monkeypatch)
        said = command("bench", *SMALL, "--yes", "--json")
    assert (said.code, said.json["error"]["type"]) == (1, "AuthError")


@stops
def test_a_stop_tells_what_was_measured(
    number: signal.Signals, code: int, temporary: Path, state_dir: Path
) -> None:
    with serve(faults=["stall:part=1:at=10%:skip=1"]) as service:
        process = spawn("bench", *SMALL, "--yes", "--json", **service.environment)
        wait_for(lambda: created(service) == 2 and any(it.target == "part" for it in service.under_way))
        process.send_signal(number)
        said = end(process)
        wait_for(lambda: not service.under_way)
    assert said.code == code
    assert said.json["uploads"] == 2
    assert [it["concurrency"] for it in said.json["settings"]] == [1]
    assert said.json["error"]["message"] == "stopped"
    assert "1 upload remains in the account" in said.err
    assert not list(temporary.iterdir())
    assert not state_dir.exists()


def test_a_file_that_cannot_be_made_is_told(temporary: Path) -> None:
    resource = pytest.importorskip("resource")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))"
    code = f"{limit}; import sys; from uploader.cli import main; sys.exit(main(sys.argv[1:]))"
    said = end(start_python("-c", code, "bench", "--local", *SMALL, "--json"))
    assert resource
    assert said.code == 1
    assert said.json["error"]["type"] == "OSError"
    assert str(temporary) in said.err
    assert not list(temporary.iterdir())


# The embedded service


def test_local_needs_no_account_and_tries_three_times(temporary: Path, state_dir: Path) -> None:
    environment = {"SCENARIO_SDK_API_KEY": "", "UPLOADER_STORAGE_HOSTS": "store.example"}
    said = end(spawn("bench", "--local", *SMALL, "--json", **environment))
    assert said.code == 0
    assert [len(it["runs"]) for it in said.json["settings"]] == [3, 3]
    assert "remain" not in said.err
    assert not list(temporary.iterdir())
    assert not state_dir.exists()


def test_ascii_where_the_encoding_has_no_blocks() -> None:
    said = end(spawn("bench", "--local", *SMALL, "--repeat", "1", PYTHONIOENCODING="cp1252"))
    assert said.code == 0
    assert "  1  ###" in said.out
    assert "\\u" not in said.out


# On a terminal


def on_a_terminal(answer: str | signal.Signals, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Runs bench with a terminal of 80 columns for stdin and stderr, and answers its question.

    The exit code, stdout, and what the terminal showed.
    """
    pty = pytest.importorskip("pty")
    import fcntl
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "uploader", "bench", *arguments],
        env=os.environ | environment,
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
    )
    os.close(theirs)
    shown = b""
    try:
        while data := os.read(ours, 65536):
            shown += data
            if shown.endswith(b"[y/N] ") and isinstance(answer, str):
                os.write(ours, answer.encode())
            elif shown.endswith(b"[y/N] "):
                process.send_signal(answer)
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    out, _ = process.communicate(timeout=60)
    return process.returncode, out, shown.decode()


def test_a_terminal_is_asked_and_shows_the_table_as_it_grows(service: Service) -> None:
    code, out, shown = on_a_terminal("y\n", *SMALL)
    assert code == 0
    assert "Go on? [y/N]" in shown
    assert "2 of 2, concurrency 2, parts of 5MiB" in shown
    assert shown.count("PART SIZE  CONCURRENCY") == 2, "once for each upload"
    assert out.count("PART SIZE  CONCURRENCY") == 1
    assert "\x1b" not in out


@pytest.mark.parametrize("typed", ["n\n", "\n", "\x04"])
def test_anything_but_yes_sends_nothing(typed: str, service: Service) -> None:
    code, out, shown = on_a_terminal(typed, *SMALL)
    assert (code, out) == (2, "")
    assert "nothing was sent" in shown
    assert not service.requests


@stops
def test_a_stop_at_the_question_sends_nothing(number: signal.Signals, code: int, service: Service) -> None:
    ended, out, _ = on_a_terminal(number, *SMALL, "--json")
    assert ended == code
    assert json.loads(out)["error"]["message"] == "stopped"
    assert not service.requests


# Plots in files


def test_the_plot_is_a_picture(command: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "plot.png"
    said = command("bench", "--local", *SMALL, "--plot", path)
    assert said.code == 0
    assert f"the plot is in {path}" in said.err
    data = path.read_bytes()
    assert data.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", data[16:24])
    assert (width, height) == (1125, 675)


def test_a_plot_that_cannot_be_written_is_told_after_the_results(command: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    if not os.path.exists("/dev/full"):
        pytest.skip("no device here is always full")
    path = tmp_path / "plot.png"
    path.symlink_to("/dev/full")
    said = command("bench", "--local", *SMALL, "--repeat", "1", "--plot", path)
    assert said.code == 1
    assert "the plot cannot be written" in said.err
    assert "Best: " in said.out


def test_a_plot_without_matplotlib_says_what_to_install() -> None:
    arguments = ["bench", "--local", *SMALL, "--plot", "plot.png"]
    absent = "sys.modules['matplotlib'] = None"
    code = f"import sys; {absent}; from uploader.cli import main; sys.exit(main({arguments}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'scenario-uploader[plot]'" in done.stderr
