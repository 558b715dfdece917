"""Upload a folder of checkpoints from the machines of a Dask cluster, a file each.

python examples/dask_folder.py FOLDER [SCHEDULER]

Machines that upload different files need nothing in common but the folder: each has its own connections, its
own record of what is unfinished, and the credentials in its own environment (none goes over the cluster).
Without a SCHEDULER, such as tcp://host:8786, processes of this machine do it.
"""

import sys
from pathlib import Path

from distributed import Client, as_completed

from uploader import UploaderError, upload


def send(path: str) -> str:
    """On a worker: upload one file. Called again, on the same machine, it goes on where it was."""
    try:
        return upload(path, kind="model", progress=False).status
    except UploaderError as error:
        return f"{type(error).__name__}: {error}"


def main(folder: Path, scheduler: str | None = None) -> bool:
    """Upload the checkpoints in `folder`, and say whether all went well. One that fails stops no other."""
    done = 0
    with Client(scheduler) as client:
        paths = sorted(folder.resolve().glob("*.safetensors"))
        tasks = {client.submit(send, str(path), pure=False): path for path in paths}
        for task in as_completed(tasks):
            # Where workers were lost with a file, Dask has tried others before it gave up.
            said = task.result() if task.status == "finished" else f"not done: {task.exception()}"
            print(f"{tasks[task].name}: {said}")
            done += said in ("validated", "imported", "complete")
    return done == len(tasks)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    sys.exit(0 if main(Path(sys.argv[1]), *sys.argv[2:]) else 1)
