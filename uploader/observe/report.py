"""What the command says of uploads, on stdout and stderr, and the exit code it comes to."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from uploader.core.events import (
    Event,
    Finished,
    JournalKept,
    Listener,
    PartStored,
    Phase,
    PhaseChanged,
    Recreating,
    UploadCreated,
    UploadResumed,
)
from uploader.errors import AnswerError, AuthError, InputError, UploaderError
from uploader.models import UploadResult
from uploader.observe import listening
from uploader.observe.stops import STOPS, Terminated
from uploader.observe.text import human_size
from uploader.printable import printable

DONE, FAILED, USAGE, RESUMABLE, INTERRUPTED, TERMINATED = 0, 1, 2, 3, 130, 143


def say(text: str) -> None:
    """A line on stderr, from the command; none where stderr is closed."""
    if sys.stderr is None:
        return
    with suppress(OSError):  # nobody reads it; that changes nothing about the upload
        print(f"uploader: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201


def exit_code(error: UploaderError) -> int:
    """The exit code that tells of `error`."""
    if error.nothing_sent and isinstance(error, InputError | AuthError | AnswerError):
        return USAGE
    return RESUMABLE if error.resumable else FAILED


class Report:
    """Gathers how one or several uploads went. With `as_json`, stdout gets one object, at the end.

    Attributes:
        several: whether stdout gets a list, however many uploads there were.
        stopped: whether Ctrl-C or SIGTERM came: nothing more is to be tried.
    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False, several: bool = False) -> None:
        self.several = several
        self.stopped = False
        self._as_json = as_json
        self._quiet = quiet
        self._outcomes: list[dict[str, Any]] = []
        self._code = DONE
        self._upload_id: str | None = None
        self._all_there = False
        self._kept = False
        self._result: UploadResult | None = None
        self._parts = self._stored = 0

    @contextmanager
    def attempt(self, name: str = "") -> Iterator[None]:
        """What is tried inside, for the file `name`; its errors end here, and become messages."""
        self._upload_id, self._all_there, self._kept, self._result = None, False, False, None
        self._parts = self._stored = 0
        try:
            with STOPS.armed():
                yield
        except UploaderError as error:
            with STOPS.deferred():
                self._failed(error, name)
        except KeyboardInterrupt as error:
            with STOPS.deferred():
                self._interrupted(error, name)

    @contextmanager
    def listening(self, name: str, size: int | None) -> Iterator[Listener]:
        """A listener that shows progress, as a bar or in lines, and remembers the upload id."""
        with listening(not self._quiet, name, size) as shown:

            def listener(event: Event) -> None:
                self._note(event)
                with suppress(OSError):  # an upload goes on when nobody can read of it any more
                    shown(event)

            yield listener

    def waiting_for(self, upload_id: str) -> None:
        """The upload is all there already."""
        self._upload_id, self._all_there = upload_id, True

    def done(self, result: UploadResult) -> None:
        """One upload is done."""
        with STOPS.deferred():
            self._done(result)

    def _done(self, result: UploadResult) -> None:
        self._result = None
        self._outcomes.append(result.model_dump())
        if self._as_json or self._quiet:
            return
        entity = f", {result.entity_id}" if result.entity_id else ""
        line = f"{result.file_name or result.upload_id}: {result.status} (upload {result.upload_id}{entity})"
        print(printable(line), flush=True)  # noqa: T201
        if result.bytes_sent or result.bytes_resumed:
            say(summary(result))

    def close(self) -> int:
        """Print what is owed to stdout; the exit code."""
        if self._as_json:
            print_json({"uploads": self._outcomes} if self.several else self._outcomes[-1])
        if self._code == USAGE and any("status" in outcome for outcome in self._outcomes):
            return FAILED  # something was sent after all
        return self._code

    def _note(self, event: Event) -> None:
        if isinstance(event, UploadCreated):
            self._upload_id, self._kept = event.upload_id, False
            self._parts, self._stored = event.parts, 0
        elif isinstance(event, UploadResumed):
            self._parts, self._stored = event.parts, event.parts_stored
        elif isinstance(event, PartStored):
            self._stored += 1
        elif isinstance(event, Recreating):
            self._kept = False
        elif isinstance(event, Finished):
            self._result = event.result
        elif isinstance(event, JournalKept):
            self._upload_id, self._kept = event.upload_id, True
        elif isinstance(event, PhaseChanged):
            self._all_there = event.phase in (Phase.COMPLETING, Phase.VALIDATING)

    def _failed(self, error: UploaderError, name: str) -> None:
        self._end(
            type(error).__name__,
            str(error),
            error.upload_id,
            exit_code(error),
            name,
            resumable=error.resumable,
        )

    def not_begun(self, names: Sequence[str]) -> None:
        """These were to come after the one that was stopped."""
        if names:
            say(f"not begun: {', '.join(names)}")

    def _interrupted(self, error: KeyboardInterrupt, name: str) -> None:
        self.stopped = True
        code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED
        if self._result is not None:  # it came too late for this one
            self._code = self._code or code
            self.done(self._result)
            return
        resumable = self._all_there or self._kept
        self._end(type(error).__name__, self._how_far(), self._upload_id, code, name, resumable=resumable)

    def _end(
        self, kind: str, message: str, upload_id: str | None, code: int, name: str, *, resumable: bool
    ) -> None:
        self._code = self._code or code
        outcome = error_fields(kind, message, upload_id, resumable=resumable)
        self._outcomes.append(outcome | {"file_name": name} if self.several and name else outcome)
        named = f"{name}: {message}" if name and name not in message else message
        say(f"{named}{self._hint(upload_id, resumable=resumable)}")

    def _how_far(self) -> str:
        """Where it was stopped."""
        if self._all_there:
            return "stopped; every part is there" if self._parts else "stopped waiting"
        if self._upload_id is None:
            return "stopped; nothing was sent"
        return f"stopped; the upload was not completed, {self._stored} of {self._parts} parts are there"

    def _hint(self, upload_id: str | None, *, resumable: bool) -> str:
        """How to go on, or which upload it was."""
        if not upload_id:
            return ""
        if resumable and (self._kept or self._all_there):
            return f"; go on with: uploader {'resume' if self._kept else 'wait'} {upload_id}"
        return f" (upload {upload_id})"


def error_fields(kind: str, message: str, upload_id: str | None, *, resumable: bool) -> dict[str, Any]:
    """An error as `--json` shows it."""
    fields = {"type": kind, "message": message, "upload_id": upload_id, "resumable": resumable}
    return {"error": fields}


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, on a line of stdout: ASCII, so that no terminal or encoding can trip over it."""
    print(json.dumps(value), flush=True)  # noqa: T201


def summary(result: UploadResult) -> str:
    """Parts, bytes, time and trouble in one line."""
    seconds = result.elapsed_seconds
    again = result.bytes_sent + result.bytes_resumed - (result.file_size or 0)
    said = [
        f"{result.parts} part{'s' * (result.parts != 1)}",
        f"{human_size(result.file_size or 0)} in {seconds:.1f} s",
        f"{result.retries} retr{'ies' if result.retries != 1 else 'y'}",
        f"{result.url_refreshes} URL refresh{'es' * (result.url_refreshes != 1)}",
    ]
    if result.bytes_resumed:
        said.append(f"{human_size(result.bytes_resumed)} were there already")
    if again > 0:
        said.append(f"{human_size(again)} sent again")
    if result.recreated:
        said.append("started over once")
    return ", ".join(said)
