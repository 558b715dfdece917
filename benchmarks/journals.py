"""What an interrupted upload leaves behind, made with the library's own journal."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

PART_SIZE = 16 << 20


def make_journal(directory: Path, path: Path, base_url: str, upload_id: str, stored: int) -> None:
    """What a run leaves that was killed when `stored` parts of the file were acknowledged."""
    from uploader import Uploader
    from uploader.io.journal import Journal

    md5 = hashlib.md5(bytes(PART_SIZE), usedforsecurity=False).hexdigest()
    with Uploader(jwt="benchmark", base_url=base_url, state_dir=directory) as client:
        job = client.prepare(path, kind="model", part_size=PART_SIZE)
    with Journal.open(directory, lambda said: print(said, file=sys.stderr)) as journal:
        row = journal.begin(job.target, job.plan, job.cargo.source.identity, job.cargo.source.digest())
        journal.name(row, upload_id)
        journal.store(row, [(number, f'"{md5}"', md5) for number in range(1, stored + 1)])
