"""What is seen of parts on a Dask cluster: in logs, on dashboards, in the scheduler's own records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import httpx
from distributed import Client

from tests.cluster.conftest import Cluster, Connect, send, sum_of, until, uploading
from tests.secrets import SHORTEST, leaks
from uploader.local import Service, serve


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
    assert b"carry_out" in shown["tasks"], "a task under way was seen"
    assert any("/info/task/carry_out" in where for where in shown), "and its page"
    assert b"carry_out" in shown["scheduler.log"], "the scheduler logs at DEBUG"
    assert leaks(shown, secrets) == []


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
    with httpx.Client(follow_redirects=True, timeout=20) as http:
        left = {f"{root}{door}" for root in roots for door in _DOORS}
        while left:
            url = left.pop()
            page = http.get(url)
            found[url] = page.content
            named = re.findall(r'"([\w./%?=&-]+\.(?:html|json)|/[\w./%?=&-]+)"', page.text)
            seen = {urljoin(str(page.url), name).partition("#")[0] for name in named}
            left |= {it for it in seen - found.keys() if it.startswith(tuple(roots))}
    return found
