"""Uploads nobody goes on with do not stay for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from uploader.local.depot import Depot
from uploader.local.records import Upload
from uploader.local.store import Store

_MOST_SECONDS = 3600.0  # between two sweeps


async def drop(depot: Depot, store: Store, upload: Upload) -> None:
    """Forget an upload, with all the store has of it. Raises OSError; a sweep then does the rest."""
    depot.withdraw(upload.id)
    await store.run(partial(store.discard, upload))
    depot.delete(upload.id)


class Sweeper:
    """Drops a pending upload that nobody asked for for `abandon_after` seconds of the service's clock."""

    def __init__(self, depot: Depot, store: Store, clock: Callable[[], float], abandon_after: float) -> None:
        self._depot, self._store, self._clock, self._after = depot, store, clock, abandon_after

    async def run(self) -> None:
        """Sweep now, and again and again."""
        while True:
            await self._sweep()
            await asyncio.sleep(min(self._after / 10, _MOST_SECONDS))

    async def _sweep(self) -> None:
        self._withdraw_abandoned()
        for upload in self._depot.withdrawn():
            with suppress(OSError):  # the next sweep tries again
                await drop(self._depot, self._store, upload)

    def _withdraw_abandoned(self) -> None:
        """All in one turn of the event loop: what is asked for or completed while the store waits is kept."""
        for upload in self._depot.uploads():
            if self._is_abandoned(upload):
                self._depot.withdraw(upload.id)

    def _is_abandoned(self, upload: Upload) -> bool:
        idle = self._clock() - max(upload.created_at, upload.asked_at)
        return upload.status == "pending" and idle >= self._after
