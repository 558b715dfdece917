"""`uploader`, and `python -m uploader`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; its exit codes are listed in `uploader.cli`."""
    try:
        from uploader.cli import main as run

        sys.exit(run(sys.argv[1:]))
    except KeyboardInterrupt:  # before or after the command's own handling
        sys.exit(130)


if __name__ == "__main__":
    main()
