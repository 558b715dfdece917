"""Show progress your own way: a listener gets every event, in the thread that called `upload`.

python examples/own_progress.py scene.glb
"""

import sys

import uploader
from uploader import events


def show(event: events.Event) -> None:
    """Print what is worth telling."""
    match event:
        case events.PhaseChanged():
            print(f"now {event.phase}")
        case events.PartStored():
            print(f"part {event.part.number} stored in {event.seconds:.1f} s, ETag {event.etag}")
        case events.PartRetrying():
            print(f"part {event.part.number} again in {event.delay:.1f} s: {event.detail}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    with uploader.Uploader() as up:
        up.upload(sys.argv[1], progress=show)
