"""Listeners on events: what a person or a program sees of an upload. The engine knows none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from uploader.core.events import Event, Listener

# None: a bar if stderr is a terminal. True: a bar, or lines where it is none. False: nothing. A function:
# every event.
ProgressOption = bool | Listener | None


@contextmanager
def listening(progress: ProgressOption, name: str, size: int | None) -> Iterator[Listener]:
    """The listener for a `progress` argument, put away at the end.

    Args:
        progress: see `ProgressOption`.
        name: what is shown beside the bar.
        size: bytes of the file; None where only the verdict is waited for.
    """
    if callable(progress):
        yield progress
        return
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if progress is False or sys.stderr is None or (progress is None and not terminal):
        yield _ignore
        return
    # Imported only where it is used: a library user who shows nothing does not pay for tqdm.
    from uploader.observe.progress import Bar, Lines

    shown: Bar | Lines = Bar(name, size) if terminal else Lines(name, size)
    try:
        yield shown
    finally:
        with suppress(OSError):  # nobody reads it; that changes nothing about the upload
            shown.close()


def _ignore(event: Event) -> None:
    pass
