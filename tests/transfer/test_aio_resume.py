"""AsyncUploader.resume, uploads and forget: what a cancelled task leaves is gone on with."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.transfer.conftest import MiB
from tests.transfer.test_aio import make, turning, uploader_threads
from uploader import (
    AsyncUploader,
    InputError,
    SourceChangedError,
    StateError,
    UploadBusyError,
    Uploader,
    UploadResult,
)
from uploader.core.events import (
    Event,
    Finished,
    Listener,
    LockAwaited,
    PartStored,
    SourceChecked,
    UploadResumed,
)
from uploader.io.journal import FILE, Journal
from uploader.local import Service, serve

T = TypeVar("T")

PART, PARTS = 16 * MiB, 4096


@pytest.fixture
def copy(glb: Path, tmp_path: Path) -> Path:
    """A file of one's own."""
    path = tmp_path / glb.name
    path.write_bytes(glb.read_bytes())
    return path


def in_loop(service: Service, work: Callable[[AsyncUploader], Coroutine[Any, Any, None]]) -> None:
    """Runs `work` with an uploader; no thread is left afterwards."""

    async def main() -> None:
        async with asyncio.timeout(60), make(service) as uploader:
            await work(uploader)
        assert not uploader_threads()

    asyncio.run(main())


async def cancelled_at(
    uploader: AsyncUploader,
    start: Callable[[Listener], Coroutine[Any, Any, UploadResult]],
    kind: type[Event],
    *,
    alone: bool = True,
) -> None:
    """Cancels the task of what `start` starts at its first event of that kind.

    Where nothing else runs, no thread is left then.
    """

    def listener(event: Event) -> None:
        if isinstance(event, kind):
            task.cancel()

    task = asyncio.ensure_future(start(listener))
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert time.monotonic() - began < 5
    assert not (alone and uploader_threads())


async def interrupt(uploader: AsyncUploader, path: Path) -> str:
    """Cancels an upload when its first part is stored; its id."""
    await cancelled_at(
        uploader,
        lambda listener: uploader.upload(path, part_size=5 * MiB, concurrency=1, progress=listener),
        PartStored,
    )
    (left,) = [upload for upload in await uploader.uploads() if upload.path == str(path)]
    assert (left.state, left.reason) == ("interrupted", ""), "it was wanted"
    return left.upload_id


def test_a_cancelled_upload_is_listed_and_gone_on_with(glb: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        upload_id = await interrupt(uploader, glb)
        events: list[Event] = []
        threads: set[int] = set()

        def listener(event: Event) -> None:
            events.append(event)
            threads.add(threading.get_ident())

        result = await uploader.resume(upload_id, progress=listener)
        assert threads == {threading.get_ident()}
        assert result.upload_id == upload_id
        assert result.bytes_resumed >= 5 * MiB
        assert result.bytes_sent + result.bytes_resumed == glb.stat().st_size
        assert any(isinstance(event, UploadResumed) for event in events)
        assert isinstance(events[-1], Finished)
        assert await uploader.uploads() == []
        assert service.sha256(upload_id) == hashlib.sha256(glb.read_bytes()).hexdigest()

    with serve(stage_delay=0.02) as service:
        in_loop(service, work)


def test_upload_goes_on_by_itself_or_starts_anew_when_told_to(glb: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        upload_id = await interrupt(uploader, glb)
        anew = await uploader.upload(glb, resume=False, progress=False)
        assert (anew.upload_id != upload_id, anew.bytes_resumed) == (True, 0)
        upload_id = await interrupt(uploader, glb)
        result = await uploader.upload(glb, progress=False)
        assert (result.upload_id, result.bytes_resumed >= 5 * MiB) == (upload_id, True)

    with serve(stage_delay=0.02) as service:
        in_loop(service, work)


def test_several_are_gone_on_with_side_by_side(glb: Path, copy: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        ids = [await interrupt(uploader, path) for path in (glb, copy)]
        results = await asyncio.gather(*(uploader.resume(upload_id, progress=False) for upload_id in ids))
        assert [result.upload_id for result in results] == ids
        assert await uploader.uploads() == []

    with serve(stage_delay=0.02) as service:
        in_loop(service, work)


def test_what_is_forgotten_is_not_gone_on_with(glb: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        upload_id = await interrupt(uploader, glb)
        await uploader.forget(upload_id)
        assert await uploader.uploads() == []
        with pytest.raises(StateError):
            await uploader.resume(upload_id, progress=False)
        with pytest.raises(StateError):
            await uploader.forget(upload_id)
        result = await uploader.upload(glb, progress=False)
        assert (result.upload_id != upload_id, result.bytes_resumed) == (True, 0)

    with serve(stage_delay=0.02) as service:
        in_loop(service, work)


class Other:
    """Another run of the same, in a thread, which stands still with one part stored until let go."""

    def __init__(self, service: Service, path: Path) -> None:
        self.standing, self.go = threading.Event(), threading.Event()
        self._settings = {
            "base_url": service.base_url,
            "api_key": service.api_key,
            "api_secret": service.api_secret,
        }
        self.task = asyncio.ensure_future(asyncio.to_thread(self._upload, path))

    def _upload(self, path: Path) -> str:
        def listener(event: Event) -> None:
            if isinstance(event, PartStored) and not self.standing.is_set():
                self.standing.set()
                assert self.go.wait(60)

        with Uploader(**self._settings) as uploader:
            result = uploader.upload(path, part_size=5 * MiB, concurrency=1, wait_for=None, progress=listener)
        return result.upload_id

    async def __aenter__(self) -> Other:
        assert await asyncio.to_thread(self.standing.wait, 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.go.set()
        await self.task


def test_the_same_file_twice_at_once_is_refused_or_waited_for(glb: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        async with Other(service, glb) as other:
            (running,) = await uploader.uploads()
            assert running.state == "running"
            busy = await asyncio.gather(
                uploader.upload(glb, progress=False),
                uploader.forget(running.upload_id),
                return_exceptions=True,
            )
            assert [type(error) for error in busy] == [UploadBusyError] * 2
            assert "this process" in str(busy[0])

            def listener(event: Event) -> None:
                if isinstance(event, LockAwaited):
                    other.go.set()

            result = await uploader.upload(glb, wait_lock=True, progress=listener)
            assert other.go.is_set()
            assert result.upload_id != await other.task

    with serve(stage_delay=0.02) as service:
        in_loop(service, work)


def test_cancelling_the_wait_for_another_run_is_prompt(glb: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        async with Other(service, glb) as other:
            await cancelled_at(
                uploader,
                lambda listener: uploader.upload(glb, wait_lock=True, progress=listener),
                LockAwaited,
                alone=False,
            )
            assert not other.go.is_set()
            assert len({it.query["uploadId"] for it in service.requests if it.target == "part"}) == 1

    with serve() as service:
        in_loop(service, work)


def test_cancelling_the_check_of_what_was_sent_is_prompt_and_harmless(copy: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        upload_id = await interrupt(uploader, copy)
        await cancelled_at(
            uploader,
            lambda listener: uploader.resume(upload_id, verify_source="full", progress=listener),
            SourceChecked,
        )
        (left,) = await uploader.uploads()
        assert left.upload_id == upload_id
        assert left.parts_stored >= 1
        result = await uploader.resume(upload_id, verify_source="full", progress=False)
        assert result.bytes_resumed >= 5 * MiB

    with serve(stage_delay=0.02) as service:
        in_loop(service, work)


async def unless_it_blocks(state_dir: Path, call: Awaitable[T]) -> T:
    """What comes of a call while the journal is locked until the loop turns.

    One that reads it in the loop's own thread waits in vain, and fails when it has done so for as long as it
    waits for any other process (SQLite counts that by its own naps: a machine that stands still adds none).
    """
    with closing(sqlite3.connect(state_dir / FILE, isolation_level=None)) as lock:
        lock.execute("PRAGMA locking_mode = EXCLUSIVE")
        lock.execute("BEGIN IMMEDIATE")
        asyncio.get_running_loop().call_soon(lock.close)
        return await call


def test_resuming_and_listing_never_block_the_loop(glb: Path, state_dir: Path) -> None:
    async def main() -> None:
        async with turning(service) as front, make(service, front) as uploader:
            upload_id = await interrupt(uploader, glb)
            before = front.seen.copy()
            (left,) = await unless_it_blocks(state_dir, uploader.uploads())
            assert left.upload_id == upload_id
            resuming = uploader.resume(upload_id, verify_source="full", timeout=60, progress=False)
            result = await unless_it_blocks(state_dir, resuming)
            assert result.retries == 0
            assert set(front.seen - before) >= {"get", 4, "complete"}
            assert await uploader.uploads() == []

    with serve(stage_delay=0.05) as service:
        asyncio.run(main())


@pytest.fixture
def nearly_sent(tmp_path: Path, state_dir: Path) -> Iterator[tuple[Service, str]]:
    """A service, and an upload of 64 GiB of holes to it of which, says the journal, only the last part lacks.

    To read all that once more takes minutes.
    """
    path, troubles = tmp_path / "huge.mp4", list[str]()
    with path.open("wb") as file:
        file.truncate(PARTS * PART)
    zeros = hashlib.md5(bytes(PART), usedforsecurity=False).hexdigest()
    with serve() as service, Journal.open(state_dir, troubles.append) as journal:
        with Uploader(
            base_url=service.base_url, api_key=service.api_key, api_secret=service.api_secret
        ) as uploader:
            job = uploader.prepare(path, part_size=PART)
        source = job.cargo.source
        row = journal.begin(job.target, job.plan, source.identity, source.digest())
        journal.name(row, "upload_huge")
        journal.store(row, [(part, None, zeros) for part in range(1, PARTS)])
        yield service, "upload_huge"
    path.unlink()
    assert not troubles


def test_the_check_of_what_was_sent_does_not_block_the_loop(nearly_sent: tuple[Service, str]) -> None:
    """The loop ends it when it hears of the first part; else the call's time is up first."""

    async def work(uploader: AsyncUploader) -> None:
        await cancelled_at(
            uploader,
            lambda listener: uploader.resume(upload_id, verify_source="full", timeout=30, progress=listener),
            SourceChecked,
        )

    service, upload_id = nearly_sent
    in_loop(service, work)
    assert not service.requests


def test_a_file_that_is_another_now_is_told(copy: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        upload_id = await interrupt(uploader, copy)
        copy.write_bytes(copy.read_bytes()[::-1])
        with pytest.raises(SourceChangedError) as raised:
            await uploader.resume(upload_id, progress=False)
        assert raised.value.upload_id == upload_id
        (left,) = await uploader.uploads()
        assert left.state == "changed"

    with serve() as service:
        in_loop(service, work)


@pytest.mark.parametrize("options", [{"verify_source": "some"}, {"wait_lock": 1}])
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], glb: Path) -> None:
    async def work(uploader: AsyncUploader) -> None:
        with pytest.raises(InputError):
            await uploader.upload(glb, progress=False, **options)
        with pytest.raises(InputError):
            await uploader.resume("upload_1", progress=False, **options)

    with serve() as service:
        in_loop(service, work)
        assert not service.requests
