"""What a person should know of while an upload goes on."""

from __future__ import annotations

from uploader.core.events import (
    CallRetrying,
    Event,
    JournalTrouble,
    LockAwaited,
    PartRetrying,
    Recreating,
    UploadResumed,
)
from uploader.observe.text import human_size
from uploader.printable import printable


def trouble(event: Event) -> str:
    """One line for an event that a person should know of; "" for any other."""
    match event:
        case PartRetrying():
            when = f" in {event.delay:.1f} s" if event.delay >= 0.1 else ""
            return printable(f"part {event.part.number}: {event.detail}; trying again{when}")
        case CallRetrying():
            return printable(f"{event.detail}; trying again in {event.delay:.1f} s")
        case Recreating(old_upload_id=""):
            return printable(f"starting anew: {event.reason}")
        case Recreating():
            return printable(f"starting over under a new upload id, every part is sent again: {event.reason}")
        case UploadResumed():
            there = (
                f"{event.parts_stored} of {event.parts} parts ({human_size(event.bytes_stored)}) are there"
            )
            return printable(f"resuming upload {event.upload_id}: {there}")
        case JournalTrouble() | LockAwaited():
            return printable(event.detail)
        case _:
            return ""
