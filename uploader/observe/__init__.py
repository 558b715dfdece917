"""Listeners on events: what a person or a program sees of an upload. The engine knows none of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from uploader.core.events import Event, Listener

# None: a bar if stderr is a terminal. True: a bar, or lines where it is none. False: nothing. A function:
# every event.
ProgressOption: TypeAlias = "bool | Listener | None"


class Shown(Protocol):
    """What a person sees of an upload, or of several at once."""

    def __call__(self, event: Event) -> None:
        """Show an event."""

    def rename(self, name: str, doing: str = "") -> None:
        """What is shown beside the progress is another now: a name, and what is to be known of it."""

    def note(self, text: str) -> None:
        """Show a line."""

    def aside(self) -> AbstractContextManager[None]:
        """Make room for what somebody else prints."""

    def close(self) -> None:
        """Leave it as it stands."""


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
    with showing(name, size, wanted=terminal if progress is None else progress) as shown:
        yield shown


@contextmanager
def showing(name: str, size: int | None, *, wanted: bool) -> Iterator[Shown]:
    """A bar on a terminal, else lines; nothing where that is not wanted or stderr is closed."""
    if not wanted or sys.stderr is None:
        yield _Nothing()
        return
    # Imported only where it is used: a library user who shows nothing does not pay for tqdm.
    from uploader.observe.progress import Bar, Lines

    shown: Shown = Bar(name, size) if sys.stderr.isatty() else Lines(name, size)
    try:
        yield shown
    finally:
        with suppress(OSError):  # nobody reads it; that changes nothing about the upload
            shown.close()


class _Nothing:
    """Shows nothing."""

    def __call__(self, event: Event) -> None:
        pass

    def rename(self, name: str, doing: str = "") -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def aside(self) -> AbstractContextManager[None]:
        return nullcontext()

    def close(self) -> None:
        pass
