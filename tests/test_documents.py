"""What the README and the examples show is run."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from uploader.cli import cli
from uploader.local import Service, serve
from uploader.local.faultspec import parse

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = "\n".join(re.findall(r"```sh\n(.*?)```", README, re.DOTALL))


@pytest.fixture
def service() -> Iterator[Service]:
    with serve(stage_delay=0.02) as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The files the README speaks of, each a valid one."""
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(1000))
    header = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(8))
    text = json.dumps({"asset": {"version": "2.0"}}).encode().ljust(28)
    glb = struct.pack("<4sII", b"glTF", 2, 20 + len(text)) + struct.pack("<I4s", len(text), b"JSON") + text
    (tmp_path / "scene.glb").write_bytes(glb)
    return tmp_path


def run(arguments: list[str], folder: Path, service: Service) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=os.environ | service.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_in_the_readme_runs(block: str, folder: Path, service: Service) -> None:
    (folder / "script.py").write_text(block, encoding="utf-8")
    assert run(["script.py"], folder, service)


def test_the_commands_in_the_readme_exist_with_their_options() -> None:
    for line in SHELL.splitlines():
        found = re.search(r"uploader (\w+)(.*)", line)
        if found:
            known = {option for parameter in cli.commands[found.group(1)].params for option in parameter.opts}
            assert set(re.findall(r"--[\w-]+", found.group(2))) <= known
            for fault in re.findall(r"--fault (\S+)", line):
                parse(fault)


def test_the_readmes_option_tables_name_every_option_of_upload() -> None:
    for parameter in cli.commands["upload"].params:
        for option in parameter.opts:
            assert not option.startswith("--") or option in README, option


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["upload_file.py", "scene.glb"], "is imported: "),
        (["upload_folder_async.py", "."], "picture.png: "),
        (["own_progress.py", "scene.glb"], "part 1 stored"),
        (["dask_file.py", "scene.glb"], "over the cluster: 1"),
        (["dask_folder.py", "."], "model.safetensors: "),
        (["stop_and_resume.py", "scene.glb"], "bytes were there already"),
    ],
)
def test_examples_run(arguments: list[str], said: str, folder: Path, service: Service) -> None:
    script, *rest = arguments
    assert said in run([str(ROOT / "examples" / script), *rest], folder, service)


def test_every_example_is_run_here() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    assert all(path.name in source for path in (ROOT / "examples").glob("*.py"))
