"""`uploader serve`: the embedded service, until the command is told to stop."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

from uploader import local
from uploader.local.credentials import KNOWN_SECRET
from uploader.observe.stops import STOPS
from uploader.options import JWT_VARIABLE, SECRET_VARIABLE, is_header_safe
from uploader.saying import DONE, USAGE, say, tell

# The API secret to ask for, instead of the known one. A command's options can be seen by everybody.
OWN_SECRET_VARIABLE = "UPLOADER_SERVE_SECRET"  # noqa: S105 - a variable's name


def run(
    host: str,
    port: int,
    directory: Path | None,
    *,
    ttl: float,
    faults: Sequence[str],
    no_resign: bool,
    rate: int | None,
    abandon_after: timedelta,
    s3_endpoint: str | None,
    s3_bucket: str | None,
) -> int:
    """Serve until Ctrl-C or SIGTERM; a second one ends the process at once."""
    where = f", parts go to bucket {s3_bucket} at {s3_endpoint}" if s3_bucket else ""
    try:
        secret = _own_secret(os.environ)
        serving = local.serve(
            directory,
            host=host,
            port=port,
            ttl=ttl,
            resign=not no_resign,
            faults=faults,
            rate=rate,
            abandon_after=abandon_after.total_seconds(),
            s3_endpoint=s3_endpoint,
            s3_bucket=s3_bucket,
            api_secret=secret or KNOWN_SECRET,
        )
        with warnings_said(), ExitStack() as stack:
            with STOPS.armed():  # a store that does not answer can be given up
                service = stack.enter_context(serving)
                stop = _stopped_by_signals()
            tell(f"# serving {service.base_url}{where}; use it with")
            for line in _lines_to_type(service.environment, own_secret=secret is not None):
                tell(line)
            while not stop.wait(0.5):  # a wait without end cannot be interrupted on Windows
                pass
    except (ValueError, OSError, ModuleNotFoundError) as error:
        say(error.strerror or str(error) if isinstance(error, OSError) else str(error))
        return USAGE
    return DONE


def _own_secret(environment: Mapping[str, str]) -> str | None:
    """The secret to ask for, or None for the known one: only where the variable is not set at all.

    Raises:
        ValueError: it is set, but not to a secret. What was to keep others out would let them in.
    """
    given = environment.get(OWN_SECRET_VARIABLE)
    if given is None:
        return None
    secret = given.strip()
    if not secret:
        raise ValueError(f"{OWN_SECRET_VARIABLE} is set, but blank: set it to a secret, or not at all")
    if not is_header_safe(secret):
        raise ValueError(f"{OWN_SECRET_VARIABLE} has characters no credential has: use printable ASCII")
    return secret


def _stopped_by_signals() -> threading.Event:
    """What the next signal sets. The one after that does what it does to any process."""
    stop, numbers = threading.Event(), (signal.SIGINT, signal.SIGTERM)

    def heed(*_: object) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    for number in numbers:
        signal.signal(number, heed)
    return stop


class _Sayer(logging.Handler):
    """Says each message once: what waits for a store has the same to say again and again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said = set[str]()

    def emit(self, record: logging.LogRecord) -> None:
        """Called by logging."""
        text = _in_a_line(record)
        if text not in self._said:
            self._said.add(text)
            say(text)


def _in_a_line(record: logging.LogRecord) -> str:
    """A message, and of an error the request, type and text. No query of a URL: it may be a signature."""
    told = [record.getMessage()]
    if error := record.exc_info and record.exc_info[1]:
        told += [*getattr(error, "__notes__", ()), f"{type(error).__name__}: {error}"]
    return re.sub(r"\?\S+", "?…", ": ".join(" ".join(text.split()) for text in told))


@contextmanager
def warnings_said() -> Iterator[None]:
    """Say, as long as the block lasts, what the embedded service logs as a warning or worse."""
    logger, sayer = logging.getLogger("uploader.local"), _Sayer()
    logger.addHandler(sayer)
    try:
        yield
    finally:
        logger.removeHandler(sayer)


def _lines_to_type(environment: Mapping[str, str], *, own_secret: bool) -> Iterator[str]:
    """What to type into this system's shell; a secret of somebody's own is not shown."""
    windows = sys.platform == "win32"
    for name, value in environment.items():
        if own_secret and name == SECRET_VARIABLE:
            yield f"# {name} is what {OWN_SECRET_VARIABLE} is here"
        else:
            yield f'$env:{name}="{value}"' if windows else f"export {name}={value}"
    if os.environ.get(JWT_VARIABLE):  # it would win
        yield f"Remove-Item Env:{JWT_VARIABLE}" if windows else f"unset {JWT_VARIABLE}"
