"""The links to the service's own store."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from uploader.local.records import Upload
from uploader.local.signing import Signer
from uploader.local.store import Link


@dataclass(frozen=True, slots=True)
class Links:
    """Signs the links of an upload's parts, which live `ttl` seconds."""

    signer: Signer
    clock: Callable[[], float]
    ttl: float

    def sign(self, upload: Upload, *, fresh: bool) -> list[Link]:
        """The links of all parts: new ones, or else the same whenever they are asked for."""
        session, issued_at = (new_session(), self.clock()) if fresh else (upload.session, upload.issued_at)
        path = f"/storage/{upload.id}/{upload.file_name}"
        links = []
        for number in range(1, upload.parts_count + 1):
            fields = [("uploadId", upload.id), ("partNumber", str(number))]
            link = self.signer.presign(path, fields, session=session, issued_at=issued_at, ttl=self.ttl)
            links.append(link)
        return links


def new_session() -> str:
    """The token of new temporary credentials."""
    return secrets.token_urlsafe(48)
