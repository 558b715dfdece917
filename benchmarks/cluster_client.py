"""One upload, by threads of this process or a cluster's workers, in a fresh process: `cluster.py` starts it.

    python benchmarks/cluster_client.py JSON

first sends a small file, so that all is imported and connected; then the real one, and prints one line of
JSON with what that cost, and whom.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from dask_cluster import Cluster
from jobs import Job
from usage import cpu_of, peak_of

from uploader import Uploader, events

# Seconds until all workers are there.
PATIENCE = 60

# Seconds for which nothing is sent, to see what all take meanwhile.
REST = 1.0


@contextmanager
def executor(cluster: Cluster) -> Iterator[Executor | None]:
    """That of the cluster, once all its workers are there; None where there are none."""
    if not cluster.workers:
        yield None
        return
    from distributed import Client

    with Client(scheduler_file=cluster.file, timeout=PATIENCE, set_as_default=False) as client:
        client.wait_for_workers(len(cluster.workers), timeout=PATIENCE)
        yield client.get_executor(pure=False)


class Phases:
    """Notes when each phase began."""

    def __init__(self) -> None:
        self.began: dict[events.Phase, float] = {}

    def __call__(self, event: events.Event) -> None:
        """Hear what happened."""
        if isinstance(event, events.PhaseChanged):
            self.began[event.phase] = time.perf_counter()
        if isinstance(event, events.PartRetrying | events.CallRetrying):
            print(f"warning: not a clean run: {event}", file=sys.stderr)

    @property
    def sending(self) -> float:
        """Seconds from the first part's start to the last one's acknowledgement."""
        return self.began[events.Phase.COMPLETING] - self.began[events.Phase.SENDING]


def cpu(cluster: Cluster) -> dict[str, float]:
    """CPU seconds so far, by who used them."""
    return {
        "coordinator": time.process_time(),
        "scheduler": (cpu_of(cluster.scheduler) or 0.0) if cluster.workers else 0.0,
        "workers": sum(cpu_of(pid) or 0.0 for pid in cluster.workers),
    }


def idle(cluster: Cluster) -> float:
    """CPU seconds that all take in a second in which nothing is sent."""
    before, started = sum(cpu(cluster).values()), time.perf_counter()
    time.sleep(REST)
    return (sum(cpu(cluster).values()) - before) / (time.perf_counter() - started)


def measure(job: Job, cluster: Cluster, client: Uploader, how: dict[str, Any]) -> dict[str, float]:
    """Send the file and say what it cost; seconds and bytes."""
    resting = idle(cluster)
    phases, before, started = Phases(), cpu(cluster), time.perf_counter()
    client.upload(job.path, part_size=job.part_size, progress=phases, **how)
    wall, after = time.perf_counter() - started, cpu(cluster)
    return {
        "wall": wall,
        "sending": phases.sending,
        "idle": resting,
        **{who: after[who] - before[who] for who in after},
        "coordinator_peak": peak_of(os.getpid()) or 0,
        "worker_peak": max((peak_of(pid) or 0 for pid in cluster.workers), default=0),
    }


def main() -> None:
    told = json.loads(sys.argv[1])
    job, cluster = Job(**told["job"]), Cluster(**told["cluster"])
    how = {"kind": "model", "verify": told["verify"], "concurrency": job.concurrency}
    with (
        executor(cluster) as by,
        Uploader(jwt="benchmark", base_url=job.base_url, executor=by) as client,
    ):
        client.upload(told["warm_up"], part_size=job.part_size, progress=False, **how)
        print(json.dumps(measure(job, cluster, client, how)))


if __name__ == "__main__":
    main()
