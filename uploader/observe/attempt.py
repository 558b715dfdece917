"""How far one upload got, for whoever has to say how to go on with it."""

from __future__ import annotations

from uploader.core.events import (
    Event,
    Finished,
    JournalKept,
    PartStored,
    Phase,
    PhaseChanged,
    Recreating,
    UploadCreated,
    UploadResumed,
)
from uploader.models import UploadResult


class Attempt:
    """A listener that remembers.

    Attributes:
        name: of the file; "" where there is none.
        number: its place among the others of one command.
        upload_id: None until the service named it.
        result: once there is one.
        told: whether what came of it was told.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.upload_id: str | None = None
        self.result: UploadResult | None = None
        self.told = False
        self._all_there = False
        self._kept = False
        self._parts = self._stored = 0

    def waits_for(self, upload_id: str) -> None:
        """The upload is all there already."""
        self.upload_id, self._all_there = upload_id, True

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case UploadCreated():
                self.upload_id, self._kept = event.upload_id, False
                self._parts, self._stored = event.parts, 0
            case UploadResumed():
                self._parts, self._stored = event.parts, event.parts_stored
            case PartStored():
                self._stored += 1
            case Recreating():
                self._kept = False
            case Finished():
                self.result = event.result
            case JournalKept():
                self.upload_id, self._kept = event.upload_id, True
            case PhaseChanged():
                self._all_there = event.phase in (Phase.COMPLETING, Phase.VALIDATING)

    @property
    def resumable(self) -> bool:
        """Whether a later run can go on with it, if it ends here."""
        return self._all_there or self._kept

    @property
    def how_far(self) -> str:
        """Where it was stopped."""
        if self._all_there:
            return "stopped; every part is there" if self._parts else "stopped waiting"
        if self.upload_id is None:
            return "stopped; nothing was sent"
        return f"stopped; the upload was not completed, {self._stored} of {self._parts} parts are there"

    def hint(self, upload_id: str | None, *, resumable: bool) -> str:
        """How to go on, or which upload it was."""
        if not upload_id:
            return ""
        if resumable and self.resumable:
            return f"; go on with: uploader {'resume' if self._kept else 'wait'} {upload_id}"
        return f" (upload {upload_id})"
