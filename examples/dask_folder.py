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


def main(folder: Path, scheduler: str | None = None) -> None:
    """Upload the checkpoints in `folder`; one that fails does not stop the others."""
    with Client(scheduler) as client:
        tasks = {
            client.submit(send, str(path), pure=False): path
            for path in folder.resolve().glob("*.safetensors")
        }
        for task in as_completed(tasks):
            print(f"{tasks[task].name}: {task.result()}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), *sys.argv[2:])
