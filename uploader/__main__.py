"""`uploader`, and `python -m uploader`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command; its exit codes are listed in `uploader.cli`."""
    try:
        from uploader.cli import main as run

        code = run(sys.argv[1:])
        # All is said and done: what still comes must not show a traceback of Python's own end.
        for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
            signal.signal(number, signal.SIG_IGN)
        sys.exit(code)
    except KeyboardInterrupt as error:  # before or after the command's own handling
        sys.exit(143 if type(error) is not KeyboardInterrupt else 130)


if __name__ == "__main__":
    main()
