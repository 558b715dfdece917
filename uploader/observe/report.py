"""Gathers how the uploads of one command went, and says it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from operator import itemgetter
from typing import Any

from uploader.core.events import Event, Listener
from uploader.errors import AnswerError, AuthError, InputError, UploaderError
from uploader.models import UploadResult
from uploader.observe import showing
from uploader.observe.attempt import Attempt
from uploader.observe.stops import STOPS, Terminated
from uploader.observe.text import human_size
from uploader.observe.together import Together
from uploader.saying import (
    DONE,
    FAILED,
    INTERRUPTED,
    RESUMABLE,
    TERMINATED,
    USAGE,
    error_fields,
    print_json,
    say,
    tell,
)

# Of files that are told of in one line so many are named.
_NAMED = 10

NOT_BEGUN = "NotBegun"


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
        self._numbers = itertools.count()
        self._outcomes: list[tuple[int, dict[str, Any]]] = []
        self._codes: set[int] = set()
        self._stop_code = DONE
        self._again: list[tuple[int, int]] = []
        self._together: Together | None = None

    def begin(self, name: str = "") -> Attempt:
        """Another upload is about to be tried."""
        return Attempt(name, next(self._numbers))

    @contextmanager
    def attempt(self, attempt: Attempt | None = None) -> Iterator[Attempt]:
        """What is tried inside; its errors end here, and become messages, as do stops.

        Stops come only where they are armed, which the caller does inside: one that was waiting is raised
        then, and could not be on entering this.
        """
        attempt = attempt or self.begin()
        try:
            yield attempt
        except UploaderError as error:
            with STOPS.deferred():
                self.failed(attempt, error)
        except KeyboardInterrupt as error:
            with STOPS.deferred():
                self.interrupted(attempt, error)

    @contextmanager
    def listening(self, attempt: Attempt, name: str, size: int | None) -> Iterator[Listener]:
        """A listener that shows progress, as a bar or in lines, and remembers how far it got."""
        with showing(name, size, wanted=not self._quiet) as shown:
            yield _both(attempt, shown)

    @contextmanager
    def listening_together(self, size: int, count: int) -> Iterator[Callable[[Attempt], Listener]]:
        """The same for `count` files at once, `size` bytes in all: a listener for each."""
        with showing(f"0 of {count} files", size, wanted=not self._quiet) as shown:
            together = self._together = Together(shown, count)
            try:
                yield lambda attempt: _both(attempt, together.listener(attempt.name))
            finally:
                self._together = None

    def done(self, attempt: Attempt, result: UploadResult) -> None:
        """One upload is done."""
        with STOPS.deferred():
            self._done(attempt, result)

    def _done(self, attempt: Attempt, result: UploadResult) -> None:
        attempt.told = True
        self._codes.add(DONE)
        self._outcomes.append((attempt.number, result.model_dump()))
        if self._as_json or self._quiet:
            return
        entity = f", {result.entity_id}" if result.entity_id else ""
        name = result.file_name or result.upload_id
        line = f"{name}: {result.status} (upload {result.upload_id}{entity})"
        with self._room():
            tell(line)
        if (result.bytes_sent or result.bytes_resumed) and not (self.several and result.parts == 1):
            say(f"{name}: {summary(result)}")

    def named_again(self, attempts: Mapping[Attempt, Attempt]) -> None:
        """Each of these is the file of another, and shares what comes of that."""
        self._again += [(attempt.number, first.number) for attempt, first in attempts.items()]
        if attempts and not self._quiet:
            names = sorted({attempt.name for attempt in attempts})
            say(f"named more than once, and sent once: {_listed(names)}")

    def close(self) -> int:
        """Print what is owed to stdout, and of several files how many were done; the exit code."""
        outcomes = dict(sorted(self._outcomes, key=itemgetter(0)))
        files = [outcome for outcome in outcomes.values() if outcome.get("file_name")]
        if self.several and len(files) > 1 and (self.stopped or not self._quiet):
            say(_count(files))
        if self._as_json:
            outcomes |= {number: outcomes[first] for number, first in self._again if first in outcomes}
            in_order = [outcomes[number] for number in sorted(outcomes)]
            print_json({"uploads": in_order} if self.several else in_order[-1])
        return self._exit_code()

    def _exit_code(self) -> int:
        """A stop's, or the one that is true of all that were tried."""
        failures = self._codes - {DONE}
        if self._stop_code or not failures:
            return self._stop_code
        if self._codes == {USAGE} or failures == {RESUMABLE}:
            return failures.pop()
        return FAILED  # some failed for good, or something was sent after all

    def failed(self, attempt: Attempt, error: UploaderError) -> None:
        """One upload ended in an error."""
        if self._together:
            self._together.failed()
        self._codes.add(exit_code(error))
        self._end(attempt, type(error).__name__, str(error), error.upload_id, resumable=error.resumable)

    def not_begun(self, attempts: Sequence[Attempt]) -> None:
        """These were to come after what was stopped, or cannot be used."""
        for attempt in attempts:
            fields = error_fields(NOT_BEGUN, "not begun", None, resumable=False)
            self._outcomes.append((attempt.number, fields | {"file_name": attempt.name}))

    def stop(self, error: KeyboardInterrupt) -> None:
        """Ctrl-C or SIGTERM came: nothing more is to be tried."""
        self.stopped = True
        self._stop_code = TERMINATED if isinstance(error, Terminated) else INTERRUPTED

    def interrupted(self, attempt: Attempt, error: KeyboardInterrupt) -> None:
        """One upload was stopped by Ctrl-C or SIGTERM."""
        self.stop(error)
        if attempt.result is not None:  # it came too late for this one
            if not attempt.told:
                self.done(attempt, attempt.result)
            return
        kind, upload_id = type(error).__name__, attempt.upload_id
        self._end(attempt, kind, attempt.how_far, upload_id, resumable=attempt.resumable)

    def _end(
        self, attempt: Attempt, kind: str, message: str, upload_id: str | None, *, resumable: bool
    ) -> None:
        name, outcome = attempt.name, error_fields(kind, message, upload_id, resumable=resumable)
        outcome |= {"file_name": name} if self.several and name else {}
        self._outcomes.append((attempt.number, outcome))
        named = f"{name}: {message}" if name and name not in message else message
        with self._room():
            say(f"{named}{attempt.hint(upload_id, resumable=resumable)}")

    def _room(self) -> AbstractContextManager[None]:
        return self._together.aside() if self._together else nullcontext()


def _both(attempt: Attempt, shown: Listener) -> Listener:
    def listener(event: Event) -> None:
        attempt(event)
        with suppress(OSError):  # an upload goes on when nobody can read of it any more
            shown(event)

    return listener


def _listed(names: Sequence[str]) -> str:
    """Names in one line, the first of them if there are many."""
    more = f" … and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{', '.join(names[:_NAMED])}{more}"


def _count(files: Sequence[Mapping[str, Any]]) -> str:
    """How many were uploaded, and which were not."""
    left = [it for it in files if "error" in it]
    failed = [it["file_name"] for it in left if it["error"]["type"] != NOT_BEGUN]
    not_begun = [it["file_name"] for it in left if it["error"]["type"] == NOT_BEGUN]
    said = f"{len(files) - len(left)} of {len(files)} uploaded"
    said += f"; not: {_listed(failed)}" if failed else ""
    return f"{said}; not begun: {_listed(not_begun)}" if not_begun else said


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
