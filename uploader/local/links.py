"""The part links of an upload, as the API shows them."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uploader.local.records import Upload, iso
from uploader.local.signing import Signer


@dataclass(frozen=True, slots=True)
class Links:
    """Makes the `parts` of API answers: links that live `ttl` seconds, new ones on each GET if `resign`."""

    signer: Signer
    clock: Callable[[], float]
    ttl: float
    resign: bool

    def issued(self, upload: Upload) -> list[dict[str, Any]]:
        """The links of the create answer, the same whenever they are asked for."""
        return self._parts(upload, upload.session, upload.issued_at)

    def current(self, upload: Upload) -> list[dict[str, Any]] | None:
        """What a GET shows: none once the upload is no longer pending."""
        if upload.status != "pending":
            return None
        return self._parts(upload, new_session(), self.clock()) if self.resign else self.issued(upload)

    def _parts(self, upload: Upload, session: str, issued_at: float) -> list[dict[str, Any]]:
        path = f"/storage/{upload.id}/{upload.file_name}"
        parts = []
        for number in range(1, upload.parts_count + 1):
            fields = [("uploadId", upload.id), ("partNumber", str(number))]
            link = self.signer.presign(path, fields, session=session, issued_at=issued_at, ttl=self.ttl)
            parts.append({"number": number, "url": link.url, "expires": iso(link.expires)})
        return parts


def new_session() -> str:
    """The token of new temporary credentials."""
    return secrets.token_urlsafe(48)
