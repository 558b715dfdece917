"""AsyncUploader: the loop stays alive, cancelling is prompt, nothing is left."""

from __future__ import annotations

import asyncio
import shutil
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.peer import Exchange, Peer, pass_on, peer
from tests.transfer.conftest import MiB
from uploader import AsyncUploader, RetryPolicy, SourceError, UploadResult
from uploader.core.events import Event, Finished, PartStored
from uploader.local import Service, serve


def make(service: Service, front: Peer | None = None) -> AsyncUploader:
    return AsyncUploader(
        base_url=f"{front.origin}/v1" if front else service.base_url,
        api_key=service.api_key,
        api_secret=service.api_secret,
        retry=RetryPolicy(poll_first=0.02),
    )


def uploader_threads() -> list[str]:
    return [
        t.name
        for t in threading.enumerate()
        if t.name.startswith(("uploader_", "uploader-part", "uploader-call"))
    ]


@asynccontextmanager
async def turning(service: Service) -> AsyncIterator[Peer]:
    """A peer that passes a request on once the loop has turned: a call that blocks it waits in vain."""
    loop = asyncio.get_running_loop()

    def once_it_turned(exchange: Exchange) -> None:
        turned = threading.Event()
        loop.call_soon_threadsafe(turned.set)
        assert turned.wait(60), f"the loop stood still during {exchange.target}"
        pass_on(exchange)

    stack = ExitStack()
    front = stack.enter_context(peer(service.base_url, {}, otherwise=once_it_turned))
    try:
        yield front
    finally:
        await asyncio.to_thread(stack.close)  # meanwhile the loop turns for what an abandoned attempt sent


def test_awaiting_never_blocks_the_loop(glb: Path) -> None:
    async def main() -> tuple[UploadResult, set[int | str]]:
        async with turning(service) as front, make(service, front) as uploader:
            result = await uploader.upload(glb, part_size=5 * MiB, timeout=60, progress=False)
        return result, set(front.seen)

    with serve(stage_delay=0.1) as service:
        result, seen = asyncio.run(main())
    assert result.status in ("validated", "imported")
    assert result.retries == 0
    assert seen == {"create", 1, 2, 3, 4, "complete", "get"}
    assert not uploader_threads()


@pytest.mark.parametrize("fault", ["stall:part=1:at=25%", "stall:on=create"])
def test_cancelling_the_task_stops_the_transfer_and_leaves_no_thread(fault: str, glb: Path) -> None:
    async def main() -> float:
        async with make(service) as uploader:
            task = asyncio.create_task(uploader.upload(glb, part_size=5 * MiB, progress=False))
            while not any(r.status is None for r in service.requests):
                await asyncio.sleep(0.01)
            began = time.monotonic()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not uploader_threads()
            return time.monotonic() - began

    with serve(faults=[fault]) as service:
        assert asyncio.run(main()) < 5


def test_cancelling_twice_still_waits_for_the_thread(glb: Path) -> None:
    async def main() -> None:
        async with make(service) as uploader:
            task = asyncio.create_task(uploader.upload(glb, progress=False))
            while not any(r.status is None for r in service.requests):
                await asyncio.sleep(0.01)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not uploader_threads()

    with serve(faults=["stall:part=1:at=25%"]) as service:
        asyncio.run(main())


def test_side_by_side_with_events_in_the_loops_thread(glb: Path, tmp_path: Path) -> None:
    async def main() -> tuple[list[Event], set[int], list[str]]:
        events: list[Event] = []
        seen: set[int] = set()

        def listener(event: Event) -> None:
            seen.add(threading.get_ident())
            events.append(event)

        async with make(service) as uploader:
            uploads = [uploader.upload(path, part_size=5 * MiB, progress=listener) for path in paths]
            results = await asyncio.gather(*uploads)
            waited = await uploader.wait(results[0].upload_id, wait_for="imported", progress=False)
        return events, seen, [waited.status, *(r.upload_id for r in results)]

    paths = [shutil.copy(glb, tmp_path / f"scene-{number}.glb") for number in range(3)]
    with serve() as service:
        events, seen, (status, *ids) = asyncio.run(main())
    assert seen == {threading.get_ident()}
    assert sum(isinstance(event, PartStored) for event in events) == 12
    assert sum(isinstance(event, Finished) for event in events) == 3
    assert status == "imported"
    assert len(set(ids)) == 3


def test_errors_come_through(tmp_path: Path) -> None:
    async def main() -> None:
        async with make(service) as uploader:
            await uploader.upload(tmp_path / "absent.png", progress=False)

    with serve() as service, pytest.raises(SourceError):
        asyncio.run(main())


@pytest.mark.parametrize("kind", [PartStored, Finished])
def test_a_listener_that_raises_is_heard(kind: type[Event], glb: Path) -> None:
    def listener(event: Event) -> None:
        if isinstance(event, kind):
            raise ZeroDivisionError

    async def main() -> None:
        async with make(service) as uploader:
            await uploader.upload(glb, part_size=5 * MiB, concurrency=1, progress=listener)

    with serve() as service, pytest.raises(ZeroDivisionError):
        asyncio.run(main())
    assert not uploader_threads()


def test_closing_a_coroutine_midway_stops_its_transfer(glb: Path) -> None:
    async def main() -> float:
        async with make(service) as uploader:
            coroutine = uploader.upload(glb, part_size=5 * MiB, progress=False)
            coroutine.send(None)  # it is under way now
            while not any(record.status is None for record in service.requests):
                await asyncio.sleep(0.01)
            began = time.monotonic()
            coroutine.close()
            return time.monotonic() - began

    with serve(faults=["stall:part=1:at=25%"]) as service:
        assert asyncio.run(main()) < 5
    assert not uploader_threads()
