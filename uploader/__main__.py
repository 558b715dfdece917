"""`uploader`, and `python -m uploader`."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Run the command; its exit codes are listed in `uploader.cli`."""
    code = None
    try:
        from uploader.cli import main as run

        code = run(sys.argv[1:])
        # All is said and done: what still comes must not show a traceback of Python's own end.
        for number in (signal.SIGINT, getattr(signal, "SIGBREAK", signal.SIGTERM)):
            signal.signal(number, signal.SIG_IGN)
    except KeyboardInterrupt:  # before or after the command's own handling
        code = _stopped_early() if code is None else code
    sys.exit(code)


def _stopped_early() -> int:
    """Ctrl-C while the command was being loaded."""
    if "--json" in sys.argv:
        print(  # noqa: T201
            '{"error": {"type": "KeyboardInterrupt", "message": "stopped; nothing was sent", '
            '"upload_id": null, "resumable": false}}'
        )
    return 130


if __name__ == "__main__":
    main()
