"""What a schedule is run on: a file that changes, a service that comes and goes, a process that is killed."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import trustme

from tests.faults.schedules import CHANGES, PART
from uploader.local import Service, serve

SECRET = "s3cret-of-the-schedules"  # so short that only who knows it can tell it from other words


class Workshop:
    """What many schedules share: a folder, a certificate, bytes, and the process that starts the doomed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bytes = random.Random(1).randbytes(4 * PART)
        self.certificate = (folder / "cert.pem", folder / "key.pem")
        authority = trustme.CA()
        leaf = authority.issue_cert("127.0.0.1")
        leaf.cert_chain_pems[0].write_to_path(self.certificate[0])
        leaf.private_key_pem.write_to_path(self.certificate[1])
        authority.cert_pem.write_to_path(folder / "ca.pem")
        os.environ["SSL_CERT_FILE"] = str(folder / "ca.pem")
        self._doomed = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.doomed"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def doom(self, order: dict[str, Any]) -> tuple[dict[str, Any] | None, int]:
        """Run an upload that kills itself: what it came to before that, if anything, and its exit code."""
        into, out = self._pipes
        into.write(json.dumps(order).encode() + b"\n")
        into.flush()
        came_to = None
        while "code" not in (answer := json.loads(out.readline())):
            came_to = answer
        return came_to, answer["code"]

    def close(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        self._doomed.wait()

    @property
    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        into, out = self._doomed.stdin, self._doomed.stdout
        assert into is not None
        assert out is not None
        return into, out


class Changing:
    """The file: its path, and every version of it there was."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self._data = bytearray(data)
        self._versions: list[bytes] = []
        self._digests: dict[int, str] = {}
        self._write()

    @property
    def version(self) -> int:
        """Which one is in it now."""
        return len(self._versions) - 1

    def digest(self, version: int) -> str:
        """The SHA-256 of a version, taken when it is first asked for."""
        if version not in self._digests:
            self._digests[version] = sha256(self._versions[version]).hexdigest()
        return self._digests[version]

    def was(self, digest: str) -> bool:
        """Whether any version has this SHA-256, the newest looked at first."""
        return any(self.digest(version) == digest for version in range(self.version, -1, -1))

    def change(self, how: str) -> None:
        """Do something to it; if it was removed, it comes back."""
        _CHANGES[how if self.path.exists() else "rewrite"](self)

    def rewrite(self) -> None:
        for start in range(0, len(self._data), 1024 * 1024):
            self._renew(start)
        self._write()

    def patch(self) -> None:
        """A few bytes somewhere, most likely where no sample is taken."""
        at = random.randrange(len(self._data))
        self._renew(at)
        with self.path.open("r+b") as file:
            file.seek(at)
            file.write(self._data[at : at + 8])
        self._versions.append(bytes(self._data))

    def patch_and_put_its_time_back(self) -> None:
        status = self.path.stat()
        self.patch()
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def grow(self) -> None:
        self._data += b"more"
        self._write()

    def shrink(self) -> None:
        del self._data[len(self._data) // 2 + 1 :]
        self._write()

    def replace(self) -> None:
        self._renew(0)
        self._write(aside=True)

    def replace_by_a_copy(self) -> None:
        self._write(aside=True)

    def touch(self) -> None:
        os.utime(self.path)

    def chmod(self) -> None:
        self.path.chmod(self.path.stat().st_mode ^ 0o040)

    def remove(self) -> None:
        self.path.unlink()

    def _renew(self, at: int) -> None:
        self._data[at : at + 8] = random.randbytes(len(self._data[at : at + 8]))

    def _write(self, *, aside: bool = False) -> None:
        to = self.path.with_name("aside") if aside else self.path
        to.write_bytes(self._data)
        to.replace(self.path)
        self._versions.append(bytes(self._data))


_CHANGES: dict[str, Callable[[Changing], None]] = {
    name: getattr(Changing, name.replace(" ", "_")) for name in CHANGES
}


class Place:
    """A service that can be stopped and started again where it was, with other faults or other keys.

    Attributes:
        service: the one that runs now.
        secrets: what was in the URLs that were used.
    """

    def __init__(self, folder: Path, *, resign: bool) -> None:
        self.secrets: set[str] = set()
        self._folder, self._resign = folder, resign
        self._faults: tuple[str, ...] = ()
        self._port = 0
        self._too_early = 0
        self._stack = ExitStack()
        self._lock = threading.RLock()
        self.service = self._open()
        self._port = urlsplit(self.service.base_url).port or 0

    @property
    def asked_too_early(self) -> int:
        """How often `complete` was asked for with parts missing: then, and only then, it answers 400."""
        return self._too_early + sum(
            (it.target, it.status) == ("complete", 400) for it in self.service.requests
        )

    def lacks_parts(self, upload_id: str) -> bool:
        """Whether it waits for parts of an upload."""
        try:
            upload, stored = self.service.upload(upload_id), self.service.stored_parts(upload_id)
        except KeyError:
            return False
        return upload["status"] == "pending" and len(stored) < int(upload["partsCount"])

    def start_with(self, faults: tuple[str, ...]) -> None:
        """Start again, if these faults are others than those now."""
        if faults or self._faults:
            self._faults = faults
            self.happen("restart")

    def happen(self, what: str) -> None:
        """A restart of some kind."""
        with self._lock:
            self.close()
            if what == "restart with other keys":
                (self._folder / "signing.key").unlink()
            if what == "outage":
                time.sleep(0.1)
            self.service = self._open()

    def close(self) -> None:
        """Stop, and remember what is known only while it runs."""
        self._stack.close()
        self._too_early = self.asked_too_early
        for request in self.service.requests:
            found = (request.query.get(name) for name in ("X-Amz-Signature", "X-Amz-Security-Token"))
            self.secrets.update(filter(None, found))

    def digests(self) -> Iterator[str]:
        """Of the objects there are."""
        for path in (self._folder / "uploads").glob("*.json"):
            digest = json.loads(path.read_bytes())["sha256"]
            if digest:
                yield digest

    def _open(self) -> Service:
        return self._stack.enter_context(
            serve(
                self._folder,
                port=self._port,
                faults=self._faults,
                resign=self._resign,
                stage_delay=0.01,
                api_secret=SECRET,
            )
        )
