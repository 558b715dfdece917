"""Everything the service keeps, in one directory, so that it can be stopped and started again.

signing.key                 what the links are signed with; 0600
uploads/ID.json             the record of an upload
parts/ID/N-TOKEN.part       the bytes of part N, and
parts/ID/N.json             which of them count: this file's rename is what stores a part
objects/ID                  the assembled object
*.tmp                       not finished; removed at the next start
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

from uploader.local.records import StoredPart, Upload

BLOCK = 1024 * 1024
"""Bytes read or written at a time."""


class StoppedError(Exception):
    """The service is stopping, so the assembly was given up; the next service starts it again."""


class Depot:
    """The uploads, their parts and their objects, under `root`. One service at a time may use a directory.

    Changed on the service's thread only. Records are immutable, so reading one from another thread is safe.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        for name in ("uploads", "parts", "objects"):
            (root / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        for pattern in ("signing.key.*.tmp", "uploads/*.tmp", "parts/*/*.tmp", "objects/*.tmp"):
            for leftover in root.glob(pattern):
                leftover.unlink()
        self.signing_key = self._load_key()
        self._uploads = {path.stem: _load_upload(path) for path in (root / "uploads").glob("*.json")}
        self._parts = {upload_id: self._load_parts(upload_id) for upload_id in self._uploads}

    def _load_key(self) -> bytes:
        path = self._root / "signing.key"
        if not path.exists():
            write_atomically(path, secrets.token_hex(32).encode())
        return bytes.fromhex(path.read_text())

    def _load_parts(self, upload_id: str) -> dict[int, StoredPart]:
        found = self._folder(upload_id).glob("*.json")
        return {int(path.stem): StoredPart(**json.loads(path.read_bytes())) for path in found}

    def _folder(self, upload_id: str) -> Path:
        return self._root / "parts" / upload_id

    def _record(self, upload_id: str) -> Path:
        return self._root / "uploads" / f"{upload_id}.json"

    def object_path(self, upload_id: str) -> Path:
        """Where the assembled object of an upload is, or will be."""
        return self._root / "objects" / upload_id

    def find(self, upload_id: str) -> Upload | None:
        """The record, or None."""
        return self._uploads.get(upload_id)

    def uploads(self) -> list[Upload]:
        """All records."""
        return list(self._uploads.values())

    def parts(self, upload_id: str) -> Mapping[int, StoredPart]:
        """The parts stored so far, by number; none once the object is assembled."""
        return dict(self._parts.get(upload_id, {}))

    def save(self, upload: Upload) -> None:
        """Keep a new or changed record."""
        write_atomically(self._record(upload.id), upload.to_json())
        self._uploads[upload.id] = upload
        self._parts.setdefault(upload.id, {})
        self._folder(upload.id).mkdir(mode=0o700, exist_ok=True)

    def delete(self, upload_id: str) -> None:
        """Forget an upload and all that belongs to it. Does nothing if there is none."""
        self._uploads.pop(upload_id, None)
        self._record(upload_id).unlink(missing_ok=True)
        self.drop_parts(upload_id)
        self.object_path(upload_id).unlink(missing_ok=True)

    def temporary(self, upload_id: str) -> Path:
        """A new name for the bytes of a part while they arrive."""
        return self._folder(upload_id) / f"{secrets.token_hex(8)}.tmp"

    def keep_part(self, upload_id: str, number: int, arrived: Path, size: int, md5: str) -> None:
        """Make the bytes at `arrived` the content of a part, in place of what it had."""
        before = self._parts[upload_id].get(number)
        part = StoredPart(f"{number}-{secrets.token_hex(8)}.part", size, md5)
        arrived.replace(self._folder(upload_id) / part.file)
        write_atomically(self._folder(upload_id) / f"{number}.json", json.dumps(asdict(part)).encode())
        self._parts[upload_id][number] = part
        if before:
            (self._folder(upload_id) / before.file).unlink(missing_ok=True)

    def drop_parts(self, upload_id: str) -> None:
        """Remove an upload's parts from the disk."""
        self._parts.pop(upload_id, None)
        shutil.rmtree(self._folder(upload_id), ignore_errors=True)

    def assemble(self, upload_id: str, stopped: Callable[[], bool]) -> str:
        """Join the parts into the object and return its SHA-256 in hex. Blocks: for a worker thread.

        Raises StoppedError once `stopped()` is true.
        """
        parts = sorted(self.parts(upload_id).items())
        target, digest = self.object_path(upload_id), hashlib.sha256()
        partial = target.with_name(f"{upload_id}.tmp")
        with partial.open("wb") as file:
            for _, part in parts:
                with (self._folder(upload_id) / part.file).open("rb") as source:
                    while block := source.read(BLOCK):
                        if stopped():
                            raise StoppedError
                        digest.update(block)
                        file.write(block)
        partial.replace(target)
        return digest.hexdigest()


def _load_upload(path: Path) -> Upload:
    try:
        return Upload.from_json(path.read_bytes())
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} is not an upload record of this service: {error}") from error


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file only its owner may read, which at any moment has its old or its new content."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    with open(descriptor, "wb") as file:
        file.write(data)
    temporary.replace(path)
