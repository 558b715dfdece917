"""Parts on a Dask cluster of real processes, by `Client.get_executor()`."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from distributed import Client

from tests.cluster.conftest import Cluster, Connect, parts_seen, until, uploading
from tests.faults.cases import EXACT, case
from tests.sending import MiB, send, sum_of
from uploader import PartError, Uploader, UploadResult
from uploader.core.events import Event, PartStored, UploadCreated
from uploader.io.dask import Watch
from uploader.local import serve


def test_exact_bytes_through_faults(cluster: Cluster, connect: Connect, file: Path) -> None:
    with serve(faults=["503:part=3", "drop:part=2:at=50%", "expire:part=4", "etag:part=1"]) as service:
        with uploading(service, connect(cluster)) as uploader:
            result = send(uploader, file)
        assert service.sha256(result.upload_id) == sum_of(file)
    assert (result.retries, result.url_refreshes, result.recreated) == (4, 1, False)


@case(46, EXACT)
def test_a_worker_that_is_killed_in_mid_part_is_outlived(
    own_cluster: Cluster, connect: Connect, file: Path
) -> None:
    client = connect(own_cluster)

    def kill_who_sends_part_3() -> str:
        until(lambda: any(it.part == 3 for it in service.requests))
        [address] = [who for who, tasks in client.processing().items() if tasks]
        name = client.scheduler_info()["workers"][address]["name"]
        own_cluster.workers[int(name[1:])].kill()
        return str(name)

    with serve(faults=["stall:part=3:at=50%"]) as service, ThreadPoolExecutor(1) as pool:
        killing = pool.submit(kill_who_sends_part_3)
        with uploading(service, client) as uploader:
            result = send(uploader, file, concurrency=1)
        assert killing.result() in ("w0", "w1")
        assert service.sha256(result.upload_id) == sum_of(file)
        assert parts_seen(service).count(3) == 2


@case(47, EXACT)
def test_urls_that_expired_while_their_parts_waited_for_a_worker_are_renewed(
    cluster: Cluster, connect: Connect, file: Path, tmp_path: Path
) -> None:
    client, gate, created = connect(cluster), tmp_path / "gate", 0.0

    def wait_for_the_gate(_: int, path: str) -> None:
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)

    def note(event: Event) -> None:
        nonlocal created
        if isinstance(event, UploadCreated):
            created = time.time()

    def upload() -> UploadResult:
        with uploading(first, client) as uploader:
            return send(uploader, file, note)

    place = tmp_path / "service"
    with ThreadPoolExecutor(1) as pool:
        with serve(place, ttl=1) as first:
            busy = client.map(wait_for_the_gate, range(2), path=str(gate), pure=False)
            until(lambda: sum(map(len, client.processing().values())) == 2)
            sending = pool.submit(upload)
            until(lambda: created and time.time() > created + 3)  # a URL lives at most two seconds longer
        # However slow the machine is, the links that are asked for anew last.
        with serve(place, port=urlsplit(first.base_url).port) as service:
            gate.touch()
            result = sending.result()
            refused = [it for it in service.requests if it.target == "part" and it.status == 403]
            assert refused, "a worker met the store's word for it"
            assert service.sha256(result.upload_id) == sum_of(file)
            client.gather(busy)
    assert result.url_refreshes >= 1
    assert not result.recreated


def test_no_more_are_under_way_than_asked_for_however_many_workers(
    own_cluster: Cluster, connect: Connect, file: Path
) -> None:
    own_cluster.add_worker(threads=4)
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, sum(it.target == "part" for it in service.under_way))

    # So slow that parts sent at once are seen at once.
    with serve(rate=32 * MiB) as service, ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        with uploading(service, connect(own_cluster)) as uploader:
            send(uploader, file, concurrency=2)
        done.set()
        watching.result()
    assert most == 2


@case(48, "PartError")
def test_a_scheduler_that_is_lost_ends_the_upload_and_it_can_be_gone_on_with(
    own_cluster: Cluster, file: Path
) -> None:
    def lose(event: Event) -> None:
        if isinstance(event, PartStored):
            own_cluster.scheduler.kill()

    with serve(rate=16 * MiB) as service:
        with (
            Client(own_cluster.address, timeout=2, set_as_default=False) as client,
            uploading(service, client) as uploader,
            pytest.raises(PartError, match="the executor could not take it") as raised,
        ):
            send(uploader, file, lose)
        assert (raised.value.resumable, raised.value.final) == (True, False)
        with Uploader(
            base_url=service.base_url, api_key=service.api_key, api_secret=service.api_secret
        ) as uploader:
            result = send(uploader, file)
        assert result.bytes_resumed >= 5 * MiB
        assert service.sha256(result.upload_id) == sum_of(file)


def test_dasks_client_shows_what_is_looked_at(cluster: Cluster, connect: Connect, tmp_path: Path) -> None:
    def wait(path: str) -> None:
        import os
        import time

        while not os.path.exists(path):
            time.sleep(0.01)

    client = connect(cluster)
    executor = client.get_executor()
    watch = Watch.over(executor)
    assert watch is not None
    future = executor.submit(wait, str(tmp_path / "gate"), key="waits")
    assert not watch.is_closed
    assert [watch.loss("waits", now) for now in (0.0, 100.0)] == [None, None]
    (tmp_path / "gate").touch()
    future.result()
    watch.loss("waits", 200.0)
    assert watch.loss("waits", 300.0) is not None
    client.close()
    assert watch.is_closed
