"""Uploads nobody goes on with do not stay for ever."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from uploader.local.depot import Depot
from uploader.local.records import Upload
from uploader.local.store import Store

_LOGGER = logging.getLogger("uploader.local")

_MOST_SECONDS = 3600.0  # between two sweeps


async def drop(depot: Depot, store: Store, upload: Upload) -> None:
    """Forget an upload, with all the store has of it. Raises OSError; a sweep then does the rest."""
    depot.withdraw(upload.id)
    await store.run(partial(store.discard, upload))
    depot.delete(upload.id)


class Sweeper:
    """Drops a pending upload that nobody asked for for `patience` seconds of the service's clock.

    Of those that are done, it drops the parts.
    """

    def __init__(self, depot: Depot, store: Store, clock: Callable[[], float], patience: float) -> None:
        self._depot, self._store, self._clock, self._patience = depot, store, clock, patience

    async def run(self) -> None:
        """Sweep now, and again and again."""
        while True:
            await self._sweep()
            await asyncio.sleep(min(self._patience / 10, _MOST_SECONDS))

    async def drop_parts(self, upload_id: str) -> None:
        """Let the store remove what is left of the parts of an upload that is done; if it cannot, later."""
        if upload := self._depot.find(upload_id):
            with _told():
                await self._store.run(partial(self._store.drop_parts, upload))
                self._note(upload_id)

    def _note(self, upload_id: str) -> None:
        if upload := self._depot.find(upload_id):  # it can have vanished in the meantime
            self._depot.save(replace(upload, parts_dropped=True))

    async def _sweep(self) -> None:
        self._withdraw_abandoned()
        for upload in self._depot.withdrawn():
            with _told():
                await drop(self._depot, self._store, upload)
        for upload in self._depot.uploads():
            if upload.status in ("imported", "failed") and not upload.parts_dropped:
                await self.drop_parts(upload.id)

    def _withdraw_abandoned(self) -> None:
        """All in one turn of the event loop: none is completed while the store drops another."""
        for upload in self._depot.uploads():
            if self._is_abandoned(upload):
                self._depot.withdraw(upload.id)

    def _is_abandoned(self, upload: Upload) -> bool:
        idle = self._clock() - max(upload.created_at, upload.asked_at)
        return upload.status == "pending" and idle >= self._patience


@contextmanager
def _told() -> Iterator[None]:
    """The next sweep tries again what failed."""
    try:
        yield
    except OSError as error:
        _LOGGER.warning("what is left of an upload stays for now: %s", error.strerror or error)
