"""The upload record: what the service knows, how the API shows it, how it is kept as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

Status = Literal["pending", "validating", "validated", "imported", "failed"]

DEFAULT_OWNER = "proj_local"
"""The `ownerId` of an upload created without a projectId."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload. Times are epoch seconds of the service's clock, sizes bytes.

    `sha256` is the object's, where the service has joined it itself. `session` and `issued_at` are what links
    of the disk store that must not change are signed with, so that the very same can be shown again.
    `multipart_id` is what an S3 store calls the upload, `asked_at` when its links were last asked for,
    `parts_dropped` whether it is done and nothing is left of its parts.
    """

    id: str
    project_id: str | None
    created_at: float
    updated_at: float
    file_name: str
    content_type: str
    file_size: int
    kind: str
    parts_count: int
    asset_options: dict[str, Any] | None
    job_id: str
    session: str
    issued_at: float
    status: Status = "pending"
    entity_id: str | None = None
    error_message: str | None = None
    sha256: str | None = None
    multipart_id: str | None = None
    asked_at: float = 0.0
    parts_dropped: bool = False

    def moved(self, status: Status, now: float, **changes: str | None) -> Upload:
        """The record in its next status, with `changes` to other fields."""
        return replace(self, status=status, updated_at=now, **changes)  # type: ignore[arg-type]

    def wire(self, parts: Sequence[dict[str, Any]] | None = None) -> dict[str, Any]:
        """The record as the API shows it: every field of the reference model, null where not applicable."""
        return {
            "id": self.id,
            "authorId": "user_local",
            "createdAt": iso(self.created_at),
            "updatedAt": iso(self.updated_at),
            "fileName": self.file_name,
            "originalFileName": self.file_name,
            "contentType": self.content_type,
            "fileSize": self.file_size,
            "kind": self.kind,
            "ownerId": self.project_id or DEFAULT_OWNER,
            "source": "multipart",
            "status": self.status,
            "assetOptions": self.asset_options,
            "config": {},
            "entityId": self.entity_id,
            "errorMessage": self.error_message,
            "jobId": self.job_id,
            "parts": parts,
            "partsCount": self.parts_count,
            "provider": None,
            "url": None,
        }

    def to_json(self) -> bytes:
        """The record for the disk."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Upload:
        """The record `to_json` wrote. Raises ValueError or TypeError for anything else."""
        return cls(**json.loads(data))


def iso(epoch: float) -> str:
    """Epoch seconds as ISO 8601 in UTC with milliseconds: 2026-01-31T23:59:59.000Z."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
