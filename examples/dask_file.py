"""Upload one huge file from all machines of a Dask cluster, which see it on shared storage.

python examples/dask_file.py FILE [SCHEDULER]

The parts go from the workers; this process keeps the record, so that the same command goes on after
anything. Without a SCHEDULER, such as tcp://host:8786, processes of this machine send it.
"""

import sys

from distributed import Client

from uploader import Uploader


def main(path: str, scheduler: str | None = None) -> None:
    """Upload the file at `path`."""
    with Client(scheduler) as client, Uploader(executor=client.get_executor()) as up:
        result = up.upload(path)
        print(f"{result.file_name}: {result.status}, parts sent over the cluster: {result.parts}")


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
