"""Stop an upload after its first part, and go on with it; a crash or a reboot would come to the same.

python examples/stop_and_resume.py scene.glb
"""

import sys
import threading

from uploader import UploadCancelledError, Uploader, events


def main(path: str) -> None:
    """Upload a file in two runs."""
    stop = threading.Event()

    def stop_early(event: events.Event) -> None:
        if isinstance(event, events.PartStored):
            stop.set()

    with Uploader() as up:
        try:
            up.upload(path, progress=stop_early, cancelled=stop)
        except UploadCancelledError as error:
            print(f"stopped: {error} (upload {error.upload_id}, resumable: {error.resumable})")

        result = up.upload(path)  # the same again
        print(f"{result.upload_id} is {result.status}: {result.bytes_resumed:,} bytes were there already")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
