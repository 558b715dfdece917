"""Keeps the journal of one run: it hears every event before anyone else does, and writes down what counts.

An upload never fails for its journal. What cannot be written is told once, and tried again with what comes
next: a disk that was full for a while costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from uploader.core.events import (
    Event,
    Failed,
    Finished,
    JournalKept,
    JournalTrouble,
    Listener,
    PartStored,
    Phase,
    PhaseChanged,
    Recreating,
    UploadCreated,
)
from uploader.core.plan import Plan
from uploader.errors import (
    SourceChangedError,
    UploadCancelledError,
    UploadConflictError,
    UploaderError,
    UploadFailedError,
)
from uploader.io.journal import Journal, JournalError, Record, State, Target
from uploader.io.source import Source


class Keeper:
    """A listener that stands before another.

    Args:
        journal: None where there is none: then it only passes events on.
        target: what is uploaded where.
        listener: who hears of everything after it is written down.
    """

    def __init__(self, journal: Journal | None, target: Target, listener: Listener) -> None:
        self.journal = journal
        self.target = target
        self.listener = listener
        self._begun: Callable[[Journal], int] | None = None
        self._row: int | None = None
        self._left: int | None = None
        self._upload_id: str | None = None
        self._named = False
        self._parts: list[tuple[int, str | None, str | None]] = []
        self._troubled = False

    def begin(self, plan: Plan, source: Source, digest: str, record: Record | None) -> None:
        """What the run is about; `record` is what it goes on with."""
        self._begun = lambda journal: journal.begin(self.target, plan, source.identity, digest)
        if record is not None:
            self._row, self._upload_id, self._named = record.row, record.upload_id, True

    def take(self, record: Record) -> None:
        """This run is about to go on with `record`, if its file is still the same."""
        self.attempt(lambda journal: journal.take(record.row))
        if record.upload_id is not None:
            self.listener(JournalKept(record.upload_id))

    @property
    def kept(self) -> bool:
        """Whether a later run can go on with the upload."""
        return self._named

    def __call__(self, event: Event) -> None:
        """Write it down, then pass it on."""
        was_kept = self._named
        self._note(event)
        self.attempt(lambda journal: self._write(journal, event))
        news: list[Event] = [JournalKept(self._upload_id or "")] if self._named and not was_kept else []
        match event:
            case Failed():
                event.error.resumable = event.error.resumable or (self.kept and not event.error.final)
                self._tell(*news, event)  # nothing is told after the end
            case Finished():
                self._tell(event)
                # Last of all: whoever is killed before finds the result again.
                self.attempt(lambda journal: journal.finish(self.target.key))
            case _:
                self._tell(event, *news)

    def _tell(self, *events: Event) -> None:
        for event in events:
            self.listener(event)

    def attempt(self, work: Callable[[Journal], None]) -> None:
        """Do something with the journal, if there is one; that it failed is told once."""
        if self.journal is None:
            return
        try:
            work(self.journal)
        except JournalError as error:
            self.do_without(self.journal, error)

    def do_without(self, journal: Journal, error: JournalError) -> None:
        """Go on although the journal cannot be used, and tell of that, once."""
        journal.hurry()
        self.trouble(
            f"the journal cannot be used: {error}; the upload goes on, but what is sent meanwhile"
            " a later run would send again"
        )

    def trouble(self, detail: str) -> None:
        """Tell of trouble with the journal, once."""
        if not self._troubled:
            self._troubled = True
            self.listener(JournalTrouble(detail))

    def _note(self, event: Event) -> None:
        """What holds whether or not it can be written."""
        match event:
            case UploadCreated():
                self._upload_id = event.upload_id
            case PartStored():
                self._parts.append((event.part.number, event.etag, event.md5))
            case Recreating():
                # From here on no part belongs to the old upload, even if the journal cannot be told.
                self._left, self._row, self._upload_id, self._named = self._row, None, None, False
                self._parts.clear()

    def _write(self, journal: Journal, event: Event) -> None:
        match event:
            case PhaseChanged(phase=Phase.CREATING | Phase.COMPLETING | Phase.VALIDATING):
                self._flush(journal)
            case UploadCreated() | PartStored():
                self._flush(journal)
            case Recreating() if self._left is not None:
                journal.mark(self._left, State.GONE, event.reason)
            case Failed():
                self._failed(journal, event.error)

    def _flush(self, journal: Journal) -> None:
        """Write what is not written yet."""
        if self._row is None and self._begun is not None:
            self._row = self._begun(journal)
        if self._row is None:
            return
        if not self._named and self._upload_id is not None:
            journal.name(self._row, self._upload_id)
            self._named = True
        if self._parts:
            journal.store(self._row, self._parts)
            self._parts.clear()

    def _failed(self, journal: Journal, error: UploaderError) -> None:
        self._flush(journal)
        if self._row is None:
            return
        if self._upload_id is None or isinstance(error, UploadFailedError | UploadConflictError):
            journal.remove(self._row)  # there is nothing to go on with
        elif not error.final:
            cancelled = isinstance(error, UploadCancelledError)  # somebody wanted that: no trouble to tell of
            journal.mark(self._row, State.OPEN, "" if cancelled else str(error))
        elif isinstance(error, SourceChangedError):
            journal.mark(self._row, State.CHANGED, str(error))
        else:
            journal.mark(self._row, State.FAILED, str(error))
