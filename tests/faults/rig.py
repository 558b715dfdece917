"""An uploader, a service, and a peer between them; and the promise held at the end of every upload."""

from __future__ import annotations

import hashlib
import random
import struct
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.cases import EXACT
from tests.faults.peer import Peer
from uploader import RetryPolicy, Timeouts, Uploader, UploaderError, UploadResult
from uploader.core.events import Event
from uploader.local import Service

MiB = 1024 * 1024

# Everything else as users have it; only the waits are shorter.
QUICK = RetryPolicy(attempts=6, base=0.01, cap=0.05, poll_first=0.02, poll_cap=0.1, wait_limit=20)
# Nothing times out but where a test says so, however busy the machine is: what is counted is retries.
PATIENT = Timeouts(connect=20, stall=20, answer=30, api=30)


def make_file(path: Path, size: int = 16 * MiB, seed: int = 1) -> Path:
    """A file the service's validation takes: a .glb of `size` bytes, four parts of 5 MiB by default."""
    text = b'{"asset":{"version":"2.0"}}'.ljust(28)
    binary = random.Random(seed).randbytes(size - 12 - 8 - len(text) - 8)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0")
    path.write_bytes(struct.pack("<4sII", b"glTF", 2, size) + chunks + binary)
    return path


@dataclass
class Rig:
    """What a test of a case holds.

    Attributes:
        service: takes in and judges.
        peer: what the uploader talks to.
        uploader: the one under test.
        outcomes: what the upload may end in.
        events: what was told during the last upload.
        result: of the last upload.
        error: of the last upload.
    """

    service: Service
    peer: Peer
    uploader: Uploader
    outcomes: tuple[str, ...]
    events: list[Event] = field(default_factory=list)
    result: UploadResult | None = None
    error: UploaderError | None = None

    def upload(self, path: Path, **options: Any) -> str:
        """Upload, hold the promise, and say what it ended in, which is one of the outcomes.

        The promise: a result means that the service assembled the exact bytes; an error is one of ours, says
        what it is about, carries no signature and no secret, and no upload with a part missing was
        completed. Either way no thread is left.
        """
        self.result = self.error = None
        self.events.clear()
        options = {"part_size": 5 * MiB, "progress": self.events.append} | options
        threads = set(threading.enumerate())
        try:
            self.result = self.uploader.upload(path, **options)
        except UploaderError as error:
            self.error = error
        left = set(threading.enumerate()) - threads
        # The service has threads, too, and may be at work on what the uploader waits for no more.
        assert not [it.name for it in left if it.name.startswith(("uploader-call", "uploader-part"))]
        outcome = self._outcome(path)
        assert outcome in self.outcomes, self.error or self.result
        return outcome

    def heard(self, kind: type[Event]) -> int:
        """How often an event of this kind was told."""
        return sum(isinstance(event, kind) for event in self.events)

    def asked(self, target: str) -> int:
        """How many requests of a kind the service answered: "create", "part", "get", "complete"."""
        return sum(request.target == target for request in self.service.requests)

    def _outcome(self, path: Path) -> str:
        if self.result is not None:
            assert self.result.status in ("validated", "imported", "complete")
            assert self.service.sha256(self.result.upload_id) == hashlib.sha256(path.read_bytes()).hexdigest()
            return EXACT
        assert self.error is not None
        said = str(self.error)
        assert said
        for secret in (self.service.api_secret, "Signature=", "Security-Token=", "X-Amz-"):
            assert secret not in said
        return type(self.error).__name__
