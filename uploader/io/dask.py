"""What Dask's client knows of a task, beyond what the futures of its executor tell.

These are never told of an end where the scheduler is lost, or restarts, at a bad moment.
"""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from uploader.core.outcomes import Break, Broken

# Seconds that a result which is there may take to come.
PATIENCE = 10.0


class Watch:
    """Notices tasks whose end will never be told.

    Args:
        client: Dask's.
    """

    def __init__(self, client: Any) -> None:
        self._client = client
        self._over_since: dict[str, float] = {}

    @classmethod
    def over(cls, executor: Executor) -> Watch | None:
        """Over an executor of Dask's, which has no public way to its client; None for any other."""
        if not type(executor).__module__.startswith("distributed."):
            return None
        client = getattr(executor, "_client", None)
        return None if client is None else cls(client)

    @property
    def is_closed(self) -> bool:
        """Whether the client is, as it is some seconds after its scheduler is lost.

        What was submitted just then may never end, and nothing can be cancelled any more.
        """
        return bool(self._client.status == "closed")

    def loss(self, key: str, now: float) -> Broken | None:
        """Why the end of a task will never be told; None while it may be.

        Args:
            key: the task's.
            now: seconds.
        """
        if self.is_closed:
            return Broken(Break.EXECUTOR, "its scheduler is gone")
        state = self._client.futures.get(key)
        if state is not None and state.status == "pending":
            self._over_since.pop(key, None)
            return None
        # It ended, or the scheduler is another since and does not know of it; the result may be on its way.
        late = now - self._over_since.setdefault(key, now) > PATIENCE
        return Broken(Break.LOST, "its result never came") if late else None

    def forget(self, key: str) -> None:
        """Its end was told."""
        self._over_since.pop(key, None)
