"""The records of the uploads, in one directory, so that the service can be stopped and started again.

uploads/ID.json             the record of an upload
store                       which store has their parts and objects
*.tmp                       not finished; removed at the next start
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from uploader.local.records import Upload

OWN = "the service's own store"
"""What a directory with uploads belongs to that does not say so."""


class Depot:
    """The records under `root`, which is this service's alone: see `claiming`.

    Changed on the service's thread only. Records are immutable, so reading one from another thread is safe.
    """

    def __init__(self, root: Path) -> None:
        self._root = folder(root, "uploads")
        self._uploads = {path.stem: _load(path) for path in self._root.glob("*.json")}
        self._withdrawn: dict[str, Upload] = {}

    def _record(self, upload_id: str) -> Path:
        return self._root / f"{upload_id}.json"

    def find(self, upload_id: str) -> Upload | None:
        """The record, or None."""
        return self._uploads.get(upload_id)

    def uploads(self) -> list[Upload]:
        """All records."""
        return list(self._uploads.values())

    def save(self, upload: Upload) -> None:
        """Keep a new or changed record."""
        write_atomically(self._record(upload.id), upload.to_json())
        self._uploads[upload.id] = upload

    def belong(self, store: str) -> None:
        """Keep, at the first use, which store the uploads are in; it is `store`, in words, from then on.

        Raises:
            ValueError: they are in another store, where this one would not find anything of them.
        """
        path = self._root.parent / "store"
        if not path.exists():
            write_atomically(path, (OWN if self._uploads else store).encode())
        before = path.read_text(encoding="utf-8")
        if before != store:
            raise ValueError(f"{path.parent} belongs to {before}, not to {store}: take another directory")

    def withdraw(self, upload_id: str) -> None:
        """Let nobody find an upload any more. It is not forgotten: there are still its bytes to remove."""
        if upload := self._uploads.pop(upload_id, None):
            self._withdrawn[upload_id] = upload

    def withdrawn(self) -> list[Upload]:
        """The uploads that were withdrawn and not deleted."""
        return list(self._withdrawn.values())

    def delete(self, upload_id: str) -> None:
        """Forget an upload. Does nothing if there is none."""
        self._uploads.pop(upload_id, None)
        self._withdrawn.pop(upload_id, None)
        self._record(upload_id).unlink(missing_ok=True)


def folder(root: Path, name: str) -> Path:
    """A directory for its owner only, made if need be, without what was left unfinished in it."""
    path = root / name
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    for leftover in path.glob("*.tmp"):
        leftover.unlink()
    return path


def _load(path: Path) -> Upload:
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
