"""How a bench ends, if not well."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from uploader.errors import UploaderError
from uploader.observe.report import exit_code
from uploader.observe.stops import Terminated
from uploader.saying import DONE, FAILED, INTERRUPTED, TERMINATED, USAGE, error_fields, say


class Ending:
    """How it ended: an exit code, and the error if it was one."""

    def __init__(self) -> None:
        self.code = DONE
        self.error: dict[str, Any] = {}

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Errors and stops end here, and become messages; stops come only where they are armed, inside."""
        try:
            yield
        except UploaderError as error:
            self._end(USAGE if exit_code(error) == USAGE else FAILED, error, str(error))
        except OSError as error:  # no upload raises one: the temporary directory is full, or read-only
            self._end(FAILED, error, f"{error.strerror or error}: {error.filename or tempfile.gettempdir()}")
        except KeyboardInterrupt as error:
            self._end(TERMINATED if isinstance(error, Terminated) else INTERRUPTED, error, "stopped")

    def _end(self, code: int, error: BaseException, message: str) -> None:
        self.code = code
        upload_id = error.upload_id if isinstance(error, UploaderError) else None
        self.error = error_fields(type(error).__name__, message, upload_id, resumable=False)
        say(message)
