"""What happens to an upload after `complete`: validating, validated, imported, or failed."""

from __future__ import annotations

import asyncio
import logging
import secrets
import threading
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from itertools import chain, repeat

from uploader.local.depot import Depot
from uploader.local.records import Status, Upload
from uploader.local.store import AssemblyError, StoppedError, Store, StoreDownError
from uploader.local.sweeping import Sweeper
from uploader.local.threads import Threads
from uploader.local.validation import UnsoundError, check_object

_LOGGER = logging.getLogger("uploader.local")

_WAITS = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds until what failed is tried again,
_LONGEST_WAIT = 30.0  # and all the times after these


class Lifecycle:
    """Walks uploads on, in background tasks of one event loop, `stage_delay` seconds before each step.

    `sweeper` works beside it, what blocks is done in `threads`.
    """

    def __init__(
        self,
        depot: Depot,
        store: Store,
        sweeper: Sweeper,
        threads: Threads,
        clock: Callable[[], float],
        stage_delay: float,
    ) -> None:
        self._depot, self._store, self._sweeper, self._threads = depot, store, sweeper, threads
        self._clock, self._delay = clock, stage_delay
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = threading.Event()

    def resume(self) -> None:
        """Go on with the uploads an earlier service left under way, and drop those nobody goes on with."""
        self._spawn(self._sweeper.run())
        for upload in self._depot.uploads():
            if upload.status in ("validating", "validated"):
                self.start(upload.id)

    def start(self, upload_id: str) -> None:
        """Walk an upload on from the status it has."""
        self._spawn(self._walk(upload_id))

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Give up what is under way, but for the calls in `threads`; `resume` takes it up again."""
        self._stopped.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _walk(self, upload_id: str) -> None:
        if self._status(upload_id) == "validating":
            await asyncio.sleep(self._delay)
            await self._outlast(partial(self._examine, upload_id))
        if self._status(upload_id) == "validated":
            await asyncio.sleep(self._delay)
            await self._outlast(partial(self._import, upload_id))
        await self._sweeper.drop_parts(upload_id)  # which nobody has to wait for

    def _status(self, upload_id: str) -> Status | None:
        upload = self._depot.find(upload_id)
        return upload.status if upload else None

    async def _examine(self, upload_id: str) -> None:
        if upload := self._depot.find(upload_id):  # it can vanish at any time
            changes = await self._threads.run(partial(self._verdict, upload))
            self._move(upload_id, "failed" if "error_message" in changes else "validated", **changes)

    async def _outlast(self, step: Callable[[], Awaitable[None]]) -> None:
        """Take a step again until the store, and the disk with the records, are there for it."""
        waits = chain(_WAITS, repeat(_LONGEST_WAIT))
        while True:
            try:
                return await step()
            except OSError as error:
                _LOGGER.warning("an upload waits, and is tried again: %s", error.strerror or error)
            await asyncio.sleep(next(waits))

    def _verdict(self, upload: Upload) -> dict[str, str | None]:
        """Assemble and check the object, in a worker thread; returns what is to change in the record."""
        try:
            digest = self._store.assemble(upload, self._stopped.is_set)
            with self._store.open(upload) as file:
                check_object(file, upload.file_name)
        except UnsoundError as error:
            return {"sha256": digest, "error_message": f"validation failed: {error}"}
        except AssemblyError as error:
            return {"error_message": str(error)}
        except StoppedError:
            return {}  # the task that asked has been cancelled
        except StoreDownError:
            raise
        except OSError as error:
            return {"error_message": f"the object could not be stored: {error.strerror}"}
        return {"sha256": digest}

    async def _import(self, upload_id: str) -> None:
        upload = self._depot.find(upload_id)
        if upload:
            kind = "model" if upload.kind == "model" else "asset"
            self._move(upload_id, "imported", entity_id=f"{kind}_{secrets.token_hex(12)}")

    def _move(self, upload_id: str, status: Status, **changes: str | None) -> None:
        # The upload can have vanished in the meantime.
        if upload := self._depot.find(upload_id):
            self._depot.save(upload.moved(status, self._clock(), **changes))
