"""`uploader upload --dask`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cluster.conftest import Cluster, parts_seen, running, until
from tests.command.conftest import spawn, start_python
from tests.faults.cases import EXACT, case
from tests.sending import MiB, sum_of
from uploader.local import serve


@case(50, EXACT)
def test_after_the_coordinator_was_killed_the_same_command_goes_on(cluster: Cluster, file: Path) -> None:
    arguments = (
        "upload",
        file,
        "--part-size",
        "5MiB",
        "--dask",
        cluster.address,
        "--json",
        "--kind",
        "model",
    )
    with serve(rate=16 * MiB, stage_delay=0.02) as service:
        process = spawn(*arguments, **service.environment)
        until(lambda: sum(it.status == 200 for it in service.requests if it.target == "part") >= 4)
        process.kill()
        process.communicate()
        until(lambda: not service.under_way)  # what the workers were sending still arrives
        process = spawn(*arguments, **service.environment)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        result = json.loads(out)
        assert result["bytes_resumed"] >= 2 * 5 * MiB
        assert service.sha256(result["upload_id"]) == sum_of(file)
        assert len(parts_seen(service)) <= 8 + 4, "what was in flight is sent again, and no more"


def test_it_waits_for_a_cluster_to_get_workers(tmp_path: Path, file: Path) -> None:
    with serve(stage_delay=0.02) as service, running(tmp_path) as empty:
        process = spawn("upload", file, "--dask", empty.address, "--kind", "model", **service.environment)
        assert process.stderr is not None
        assert "has no workers: nothing is sent before one comes" in process.stderr.readline()
        empty.add_worker()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nowhere://x", "unknown address scheme"),
        ("host", "missing port number"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at"),
    ],
)
def test_where_no_scheduler_is_it_ends_before_anything_is_sent(address: str, said: str, file: Path) -> None:
    with serve() as service:
        process = spawn("upload", file, "--dask", address, "--kind", "model", **service.environment)
        _, err = process.communicate(timeout=60)
        assert not service.requests
    assert process.returncode == 2
    assert said in err
    assert address in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("address", "setting", "said"),
    [
        ("tls://127.0.0.1:1", {}, "needs DASK_DISTRIBUTED__COMM__TLS__CA_FILE"),
        ("tcp://127.0.0.1:1", {"DASK_DISTRIBUTED__COMM__REQUIRE_ENCRYPTION": "True"}, "encryption required"),
    ],
)
def test_what_is_missing_for_tls_is_told(
    address: str, setting: dict[str, str], said: str, file: Path
) -> None:
    with serve() as service:
        environment = service.environment | setting
        process = spawn("upload", file, "--dask", address, "--kind", "model", **environment)
        _, err = process.communicate(timeout=60)
        assert not service.requests
    assert process.returncode == 2
    assert said in err
    assert "report" not in err


def test_what_answers_but_is_no_scheduler_is_told(file: Path) -> None:
    with serve() as service:
        address = "tcp://" + service.base_url.split("/")[2]
        process = spawn("upload", file, "--dask", address, "--kind", "model", **service.environment)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert f"no Dask scheduler answers at {address}: nothing came within" in err


def test_without_dask_it_says_what_to_install(file: Path) -> None:
    script = (
        "import sys; sys.modules['distributed'] = None;"
        "from uploader.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    credentials = {"SCENARIO_SDK_API_KEY": "k", "SCENARIO_SDK_API_SECRET": "s"}
    process = start_python("-c", script, "upload", file, "--dask", "tcp://x:1", **credentials)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "pip install 'scenario-uploader[dask]'" in err
