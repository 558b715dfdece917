"""Parts on executors that somebody else set up: pools of threads and processes, sound, dying, shut down."""

from __future__ import annotations

import gc
import hashlib
import logging
import multiprocessing
import os
import pickle
import re
import signal
import socket
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.faults.cases import case
from tests.sending import send, sum_of, uploading_over
from tests.transfer.conftest import QUICK, MiB
from uploader import (
    InputError,
    PartError,
    SourceChangedError,
    SourceError,
    UploadCancelledError,
    Uploader,
)
from uploader.core.events import Event, PartRetrying, PartStored
from uploader.core.outcomes import Break, Broken, Response
from uploader.core.plan import Part
from uploader.core.policy import StoragePolicy
from uploader.io.connections import TRUST_VARIABLES
from uploader.io.errand import Errand, _connections, carry_out
from uploader.io.source import Source
from uploader.io.storage import PartResult, PartTask
from uploader.local import Service, serve
from uploader.models import PresignedUrl
from uploader.version import __version__

# Workers that inherit nothing: what they know is what the errand tells them.
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(2, SPAWN) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    if request.param == "processes":
        yield request.getfixturevalue("processes")
        return
    with ThreadPoolExecutor(2) as pool:
        yield pool


def uploading(service: Service, executor: Executor) -> AbstractContextManager[Uploader]:
    return uploading_over(service, executor, QUICK)


class Counting(Executor):
    """Passes everything on, and counts how many are out at once."""

    def __init__(self, pool: Executor) -> None:
        self._pool = pool
        self._lock = threading.Lock()
        self.out = 0
        self.most = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with self._lock:
            self.out += 1
            self.most = max(self.most, self.out)
        future = self._pool.submit(fn, *args, **kwargs)
        future.add_done_callback(self._done)
        return future

    def _done(self, _: Future[Any]) -> None:
        with self._lock:
            self.out -= 1


def test_exact_bytes_through_faults(executor: Executor, glb: Path) -> None:
    with serve(faults=["503:part=3", "drop:part=2:at=50%", "expire:part=4", "etag:part=1"]) as service:
        with uploading(service, executor) as uploader:
            result = send(uploader, glb)
        assert service.sha256(result.upload_id) == sum_of(glb)
    assert (result.retries, result.url_refreshes, result.recreated) == (4, 1, False)


def test_over_tls_that_the_workers_are_told_to_trust(
    trusted: tuple[Path, Path], glb: Path, executor: Executor
) -> None:
    if isinstance(executor, ProcessPoolExecutor):
        executor = ProcessPoolExecutor(1, SPAWN)  # one that is begun in this test's environment
    with executor, serve(certificate=trusted) as service, uploading(service, executor) as uploader:
        assert service.sha256(send(uploader, glb).upload_id) == sum_of(glb)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_no_more_than_asked_for_are_under_way(processes: Executor, glb: Path, concurrency: int) -> None:
    counting = Counting(processes)
    with serve() as service, uploading(service, counting) as uploader:
        send(uploader, glb, concurrency=concurrency)
    assert counting.most == concurrency


@case(48, "PartError")
def test_a_worker_that_dies_breaks_its_pool_and_the_next_run_goes_on(glb: Path) -> None:
    pool = ProcessPoolExecutor(1, SPAWN)

    def kill_the_worker() -> None:
        while not [record for record in service.requests if record.part == 2]:
            time.sleep(0.01)
        os.kill(next(iter(pool._processes)), signal.SIGKILL)

    with serve(faults=["stall:part=2:at=50%"]) as service, ThreadPoolExecutor(1) as killer:
        killer.submit(kill_the_worker)
        with pool, uploading(service, pool) as uploader, pytest.raises(PartError) as raised:
            send(uploader, glb, concurrency=1)
        assert "the executor could not take it: BrokenProcessPool" in str(raised.value)
        assert "parts need an executor that is open" in str(raised.value)
        assert (raised.value.resumable, raised.value.final) == (True, False)
        with ThreadPoolExecutor(1) as threads, uploading(service, threads) as uploader:
            result = send(uploader, glb)
        assert result.bytes_resumed == 5 * MiB
        assert service.sha256(result.upload_id) == sum_of(glb)


@case(48, "PartError")
def test_an_executor_that_is_shut_down_is_told_and_nothing_hangs(glb: Path) -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with serve() as service, uploading(service, pool) as uploader, pytest.raises(PartError) as raised:
        send(uploader, glb)
    assert "RuntimeError: cannot schedule new futures after shutdown" in str(raised.value)


class Losing(Executor):
    """An executor whose workers are lost with every part."""

    def __init__(self, error: BaseException | None) -> None:
        self._error = error

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        if self._error is None:
            future.cancel()
        else:
            future.set_exception(self._error)
        return future


@case(46, "PartError")
@pytest.mark.parametrize("error", [RuntimeError("worker w1 died"), None])
def test_a_part_that_loses_its_worker_is_sent_again_but_not_for_ever(
    glb: Path, error: BaseException | None
) -> None:
    told: list[Event] = []
    with (
        serve() as service,
        uploading(service, Losing(error)) as uploader,
        pytest.raises(PartError, match=r"the worker that sent it was lost: .* 3 times: see the workers'"),
    ):
        send(uploader, glb, told.append, concurrency=1)
    assert {event.cause for event in told if isinstance(event, PartRetrying)} == {"worker"}


@case(49, "PartError")
@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'uploader'"), pickle.PicklingError("x")]
)
def test_workers_that_cannot_run_it_are_told_at_once(glb: Path, error: Exception) -> None:
    expected = pytest.raises(PartError, match="the same version of this library")
    with serve() as service, uploading(service, Losing(error)) as uploader, expected as raised:
        send(uploader, glb)
    assert type(error).__name__ in str(raised.value)


class Otherwise(ThreadPoolExecutor):
    """An executor whose workers answer otherwise than they were asked."""

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__(1)
        self._answer = answer

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(lambda: self._answer(fn(*args, **kwargs)))


def test_an_answer_that_is_none_is_told(glb: Path) -> None:
    expected = pytest.raises(PartError, match="the executor could not take it: it answered str")
    with Otherwise(str) as odd, serve() as service, uploading(service, odd) as uploader, expected:
        send(uploader, glb)


def test_a_file_that_is_another_for_a_worker_did_not_change(glb: Path) -> None:
    def differ(done: PartResult) -> PartResult:
        return replace(done, answer=Broken(Break.CHANGED, "scene.glb was written to (on w1)"))

    expected = pytest.raises(
        SourceError, match=r"\(on w1\), but not here: is it on storage that every worker"
    )
    with Otherwise(differ) as odd, serve() as service, uploading(service, odd) as uploader:
        with expected as raised:
            send(uploader, glb)
        assert raised.value.resumable
        with ThreadPoolExecutor(1) as sound, uploading(service, sound) as other:
            assert service.sha256(send(other, glb).upload_id) == sum_of(glb)


def test_an_executor_that_seems_empty_is_one(glb: Path) -> None:
    class Sized(Counting):
        def __len__(self) -> int:
            return 0

    with ThreadPoolExecutor(1) as pool, serve() as service:
        sized = Sized(pool)
        with uploading(service, sized) as uploader:
            send(uploader, glb)
    assert sized.most


def test_what_was_sent_does_not_stay_in_memory(glb: Path) -> None:
    futures: list[weakref.ref[Future[Any]]] = []

    class Remembering(ThreadPoolExecutor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future = super().submit(fn, *args, **kwargs)
            futures.append(weakref.ref(future))
            return future

    gc.collect()
    gc.disable()
    try:
        with Remembering(1) as pool, serve() as service, uploading(service, pool) as uploader:
            send(uploader, glb)
        assert len(futures) == 4
        assert [future for future in futures if future() is not None] == []
    finally:
        gc.enable()


def test_a_cancelled_upload_does_not_wait_for_what_is_under_way(glb: Path) -> None:
    cancelled = threading.Event()

    def cancel(event: Event) -> None:
        if isinstance(event, PartStored):
            cancelled.set()

    pool = Counting(ThreadPoolExecutor(2))
    with serve(faults=["stall:part=2:at=50%"]) as service, uploading(service, pool) as uploader:
        job = uploader.prepare(glb, part_size=5 * MiB)
        with pytest.raises(UploadCancelledError):
            uploader.run(job, progress=cancel, cancelled=cancelled)
        assert pool.out, "it is still being sent, and will be for half a minute"


def test_what_is_no_executor_is_refused() -> None:
    with pytest.raises(InputError, match=r"executor is a concurrent\.futures\.Executor, not int"):
        Uploader(api_key="k", api_secret="s", executor=3)  # type: ignore[arg-type]


# In a worker


def errand(service: Service, source: Source, upload: dict[str, Any]) -> Errand:
    task = PartTask(source, Part(1, 0, source.size), PresignedUrl(upload["parts"][0]["url"]), "", md5=True)
    return Errand(task, StoragePolicy(loopback=True), "token")


@pytest.fixture
def created(glb: Path) -> Iterator[tuple[Service, dict[str, Any]]]:
    """An upload of the file in one part."""
    import httpx

    body = {
        "fileName": "a.glb",
        "contentType": "a/b",
        "fileSize": glb.stat().st_size,
        "kind": "3d",
        "parts": 1,
    }
    with serve() as service:
        auth = (service.api_key, service.api_secret)
        answer = httpx.post(f"{service.base_url}/uploads", json=body, auth=auth)
        yield service, answer.json()["upload"]


def test_of_shared_storage_each_machine_has_numbers_of_its_own(
    created: tuple[Service, dict[str, Any]], glb: Path
) -> None:
    source = Source.find(glb)
    mounted = replace(source.identity, device=source.identity.device + 1, inode=source.identity.inode + 1)
    done = carry_out(__version__, errand(created[0], Source(glb, mounted), created[1]))
    assert isinstance(done.answer, Response)
    assert (done.answer.status, done.md5) == (200, hashlib.md5(glb.read_bytes()).hexdigest())


@pytest.mark.parametrize("field", ["mtime_ns", "ctime_ns", "size"])
def test_but_a_file_that_differs_is_another(
    created: tuple[Service, dict[str, Any]], glb: Path, field: str
) -> None:
    source = Source.find(glb)
    other = replace(source.identity, device=0, **{field: getattr(source.identity, field) + 1})
    done = carry_out(__version__, errand(created[0], Source(glb, other), created[1]))
    assert isinstance(done.answer, Broken)
    assert done.answer.kind is Break.CHANGED
    assert done.sent == 0


def test_without_change_times_another_inode_is_another_file(
    created: tuple[Service, dict[str, Any]], glb: Path
) -> None:
    source = Source.find(glb)
    other = replace(source.identity, ctime_ns=0, inode=1)
    done = carry_out(__version__, errand(created[0], Source(glb, other), created[1]))
    assert isinstance(done.answer, Broken)
    assert done.answer.kind is Break.CHANGED


def test_a_file_that_is_not_there_is_told_with_the_machine(
    created: tuple[Service, dict[str, Any]], glb: Path
) -> None:
    source = Source(glb.with_name("elsewhere.glb"), Source.find(glb).identity)
    done = carry_out(__version__, errand(created[0], source, created[1]))
    assert isinstance(done.answer, Broken)
    assert done.answer.kind is Break.UNREADABLE
    said = f"No such file or directory: is it on storage that every worker sees? (on {socket.gethostname()})"
    assert done.answer.detail == said


@case(49, "SourceError", "SourceChangedError")
def test_a_file_that_goes_away_ends_the_upload(glb: Path, tmp_path: Path, processes: Executor) -> None:
    path = tmp_path / "scene.glb"
    path.write_bytes(glb.read_bytes())

    def remove(event: Event) -> None:
        if isinstance(event, PartStored):
            path.unlink(missing_ok=True)

    with serve() as service, uploading(service, processes) as uploader:
        with pytest.raises((SourceError, SourceChangedError)):
            send(uploader, path, remove, concurrency=1)
        assert not [record for record in service.requests if record.target == "complete"]


def test_a_worker_connects_only_where_it_may(created: tuple[Service, dict[str, Any]], glb: Path) -> None:
    public = replace(errand(created[0], Source.find(glb), created[1]), storage=StoragePolicy())
    done = carry_out(__version__, public)
    assert isinstance(done.answer, Broken)
    assert done.answer.kind is Break.REFUSED
    assert not [record for record in created[0].requests if record.target == "part"]


def test_a_worker_keeps_its_connection(created: tuple[Service, dict[str, Any]], glb: Path) -> None:
    it = errand(created[0], Source.find(glb), created[1])
    own = replace(it, storage=StoragePolicy(loopback=True, hosts=("of.this.test",)))
    trust = map(os.environ.get, TRUST_VARIABLES)
    connections = _connections(own.storage, *trust)
    for _ in range(3):
        carry_out(__version__, own)
        assert len(connections._idle) == 1


def test_a_worker_of_another_version_says_so(created: tuple[Service, dict[str, Any]], glb: Path) -> None:
    with pytest.raises(ImportError, match=f"is version 0.0 here and {re.escape(__version__)} there"):
        carry_out("0.0", errand(created[0], Source.find(glb), created[1]))


def test_a_worker_that_cannot_send_tells_what_is_wrong_with_it(
    created: tuple[Service, dict[str, Any]], glb: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent.pem")
    done = carry_out(__version__, errand(created[0], Source.find(glb), created[1]))
    assert isinstance(done.answer, Broken)
    assert done.answer.kind is Break.UNFIT
    assert "SSL_CERT_FILE or SSL_CERT_DIR cannot be used" in done.answer.detail
    assert f"(on {socket.gethostname()})" in done.answer.detail


def test_an_errand_shows_no_signature(
    created: tuple[Service, dict[str, Any]], glb: Path, caplog: pytest.LogCaptureFixture
) -> None:
    it = errand(created[0], Source.find(glb), created[1])
    box = it.pack()
    with caplog.at_level(logging.DEBUG):
        done = pickle.load(box)
    told = f"{it!r} {it} {box!r} {done!r} {caplog.text}"
    assert isinstance(done.answer, Response)
    assert "X-Amz" not in told
    assert it.task.url.reveal().partition("X-Amz-Signature=")[2] not in told
    assert pickle.loads(pickle.dumps(it)) == it


@pytest.mark.parametrize("count", [1, 3])
def test_what_travels_is_pythons_own_until_a_worker_opens_it(
    created: tuple[Service, dict[str, Any]], glb: Path, count: int
) -> None:
    box = errand(created[0], Source.find(glb), created[1]).pack()
    for _ in range(count):  # as often as it is passed on
        sent = pickle.dumps((pickle.load, (box,)))
        assert b"uploader" not in sent.replace(box.getvalue(), b"")
        _, (box,) = pickle.loads(sent)
    assert isinstance(pickle.load(box).answer, Response)
