"""The service's own store, beside its records.

signing.key                 what the links are signed with; 0600
parts/ID/N-TOKEN.part       the bytes of part N, and
parts/ID/N.json             which of them count: this file's rename is what stores a part
objects/ID                  the assembled object
*.tmp                       not finished; removed at the next start
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar

from uploader.local.depot import folder, write_atomically
from uploader.local.links import Links
from uploader.local.records import Upload
from uploader.local.store import BLOCK, Link, StoppedError, StoredPart, check_size

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PartFile:
    """One part on the disk: its file's name, its size in bytes, the hex MD5 of its content."""

    file: str
    size: int
    md5: str


class DiskStore:
    """Parts and objects under `root`. Changed on the service's thread only, objects in others too."""

    def __init__(self, root: Path, links: Links) -> None:
        self._links = links
        self._all_parts, self._objects = folder(root, "parts"), folder(root, "objects")
        folders = [folder(self._all_parts, path.name) for path in self._all_parts.iterdir()]
        self._parts = {path.name: _load_parts(path) for path in folders}

    async def run(self, call: Callable[[], T]) -> T:
        """At once, on the event loop: nothing can come between a look at the parts and what follows it."""
        return call()

    def begin(self, upload: Upload) -> Upload:
        """See `Store`."""
        self._parts[upload.id] = {}
        self._folder(upload.id).mkdir(mode=0o700)
        return upload

    def links(self, upload: Upload, *, fresh: bool) -> list[Link]:
        """See `Store`. The links lead to `storage.Storage`."""
        return self._links.sign(upload, fresh=fresh)

    def parts(self, upload: Upload) -> Mapping[int, StoredPart]:
        """See `Store`."""
        kept = dict(self._parts.get(upload.id, {}))
        return {number: StoredPart(part.size, part.md5) for number, part in kept.items()}

    def temporary(self, upload_id: str) -> Path:
        """A new name for the bytes of a part while they arrive."""
        return self._folder(upload_id) / f"{secrets.token_hex(8)}.tmp"

    def keep_part(self, upload_id: str, number: int, arrived: Path, size: int, md5: str) -> None:
        """Make the bytes at `arrived` the content of a part, in place of what it had."""
        before = self._parts[upload_id].get(number)
        part = PartFile(f"{number}-{secrets.token_hex(8)}.part", size, md5)
        arrived.replace(self._folder(upload_id) / part.file)
        write_atomically(self._folder(upload_id) / f"{number}.json", json.dumps(asdict(part)).encode())
        self._parts[upload_id][number] = part
        if before:
            (self._folder(upload_id) / before.file).unlink(missing_ok=True)

    def assemble(self, upload: Upload, stopped: Callable[[], bool]) -> str:
        """See `Store`. Raises OSError too: the disk is full, for one."""
        parts = sorted(self._parts.get(upload.id, {}).items())
        target, digest = self._object(upload.id), hashlib.sha256()
        check_size(upload, sum(part.size for _, part in parts))
        partial = target.with_name(f"{upload.id}.tmp")
        with partial.open("wb") as file:
            for _, part in parts:
                with (self._folder(upload.id) / part.file).open("rb") as source:
                    while block := source.read(BLOCK):
                        if stopped():
                            raise StoppedError
                        digest.update(block)
                        file.write(block)
        partial.replace(target)
        return digest.hexdigest()

    def open(self, upload: Upload) -> BinaryIO:
        """See `Store`."""
        return self._object(upload.id).open("rb")

    def drop_parts(self, upload: Upload) -> None:
        """See `Store`."""
        self._parts.pop(upload.id, None)
        shutil.rmtree(self._folder(upload.id), ignore_errors=True)

    def discard(self, upload: Upload) -> None:
        """See `Store`."""
        self.drop_parts(upload)
        self._object(upload.id).unlink(missing_ok=True)

    def _folder(self, upload_id: str) -> Path:
        return self._all_parts / upload_id

    def _object(self, upload_id: str) -> Path:
        return self._objects / upload_id


def _load_parts(path: Path) -> dict[int, PartFile]:
    return {int(record.stem): PartFile(**json.loads(record.read_bytes())) for record in path.glob("*.json")}


def load_key(root: Path) -> bytes:
    """What the links are signed with, made at the first start."""
    path = root / "signing.key"
    for leftover in root.glob("signing.key.*.tmp"):
        leftover.unlink()
    if not path.exists():
        write_atomically(path, secrets.token_hex(32).encode())
    return bytes.fromhex(path.read_text())
