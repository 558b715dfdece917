"""What is seen of parts on a Dask cluster: in logs, on dashboards, in the scheduler's own records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
import pytest
from distributed import Client

from tests.cluster.conftest import Cluster, Connect, running, until, uploading
from tests.faults.cases import EXACT, case
from tests.secrets import SHORTEST, leaks
from tests.sending import send, sum_of
from uploader import PartError
from uploader.local import Service, serve


@case(51, EXACT)
def test_no_credential_and_no_query_of_a_url_is_logged_or_shown(
    own_cluster: Cluster, connect: Connect, file: Path
) -> None:
    client, shown = connect(own_cluster), dict[str, bytes]()

    def look_and_kill() -> None:
        until(lambda: any(it.part == 3 for it in service.requests))
        [address] = [who for who, tasks in client.processing().items() if tasks]
        name = client.scheduler_info()["workers"][address]["name"]
        try:
            shown.update(pages_of(client, own_cluster))
            shown["tasks"] = client.run_on_scheduler(_describe_tasks).encode()
        finally:
            own_cluster.workers[int(name[1:])].kill()

    with serve(faults=["stall:part=3:at=50%", "expire:part=2", "403:part=5"]) as service:
        with ThreadPoolExecutor(1) as pool, uploading(service, client) as uploader:
            looking = pool.submit(look_and_kill)
            result = send(uploader, file, concurrency=1)
            looking.result()
        assert service.sha256(result.upload_id) == sum_of(file)
        secrets = {service.api_key, service.api_secret} | queries_of(service)
    shown |= {
        "events": repr(client.get_events()).encode(),
        "logs": repr(client.get_scheduler_logs()).encode(),
    }
    shown |= {path.name: path.read_bytes() for path in own_cluster.logs.glob("*.log")}
    assert b"part-3-" in shown["tasks"], "a task under way was seen"
    assert any("/info/task/part-3-" in where for where in shown), "and its page"
    assert b"part-3-" in shown["scheduler.log"], "the scheduler logs at DEBUG"
    assert leaks(shown, secrets) == []


@pytest.fixture
def without(tmp_path: Path) -> dict[str, str]:
    """An environment of a Python that lacks this library."""
    (tmp_path / "lacking" / "uploader").mkdir(parents=True)
    missing = "raise ModuleNotFoundError(\"No module named 'uploader'\")"
    (tmp_path / "lacking" / "uploader" / "__init__.py").write_text(missing)
    return {"PYTHONPATH": str(tmp_path / "lacking")}


@case(49, "PartError")
def test_a_worker_without_the_library_outlives_it_and_tells_no_more(
    without: dict[str, str], connect: Connect, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path_factory.mktemp("cluster"), **without) as lacking, serve() as service:
        worker = lacking.add_worker(**without)
        with uploading(service, connect(lacking)) as uploader, pytest.raises(PartError) as raised:
            send(uploader, file)
        assert "ModuleNotFoundError: No module named 'uploader'" in str(raised.value)
        assert "the same version of this library" in str(raised.value)
        assert worker.poll() is None, "who else uses it has it still"
        shown = {path.name: path.read_bytes() for path in lacking.logs.glob("*.log")}
    assert b"No module named" in shown["w0.log"]
    assert not [name for name, log in shown.items() if b"X-Amz" in log]


def test_a_scheduler_needs_no_library(
    without: dict[str, str], connect: Connect, file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(tmp_path_factory.mktemp("cluster"), **without) as bare, serve() as service:
        bare.add_worker()
        with uploading(service, connect(bare)) as uploader:
            assert service.sha256(send(uploader, file).upload_id) == sum_of(file)


def queries_of(service: Service) -> set[str]:
    """Every value of a query that a part was sent with."""
    parts = [record for record in service.requests if record.target == "part"]
    return {
        value
        for record in parts
        for name, value in record.query.items()
        if len(value) >= SHORTEST and name != "uploadId"
    }


def _describe_tasks(dask_scheduler: Any) -> str:
    return repr([(key, str(task), repr(task.run_spec)) for key, task in dask_scheduler.tasks.items()])


# Where a dashboard begins, with and without what draws its plots.
_DOORS = ("/", "/status", "/sitemap.json", "/info/main/workers.html", "/json/index.html", "/metrics")


def pages_of(client: Client, cluster: Cluster) -> Mapping[str, bytes]:
    """Every page that a dashboard leads to, the scheduler's and each worker's."""
    workers = client.scheduler_info()["workers"].values()
    roots = [cluster.pages, *(f"http://{it['host']}:{it['services']['dashboard']}" for it in workers)]
    found: dict[str, bytes] = {}
    with httpx.Client(follow_redirects=True, timeout=60) as http:
        left = {f"{root}{door}" for root in roots for door in _DOORS}
        while left:
            url = left.pop()
            page = http.get(url)
            found[url] = page.content
            named = re.findall(r'"([\w./%?=&-]+\.(?:html|json)|/[\w./%?=&-]+)"', page.text)
            seen = {urljoin(str(page.url), name).partition("#")[0] for name in named}
            left |= {it for it in seen - found.keys() if it.startswith(tuple(roots))}
    return found
