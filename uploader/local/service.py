"""What the user of a running service holds."""

from __future__ import annotations

import hashlib
from typing import Any, BinaryIO

from uploader.local.credentials import Credentials
from uploader.local.depot import Depot
from uploader.local.recording import Log, Recorded
from uploader.local.records import Upload
from uploader.local.store import BLOCK, Store, StoreDownError, StoredPart


class Service:
    """A running service; `serve` makes it. `str(service)` is its base URL. Any thread may use it.

    `base_url` ends in `/v1`; `api_key` and `api_secret` are what it admits.
    """

    def __init__(self, base_url: str, credentials: Credentials, depot: Depot, store: Store, log: Log) -> None:
        self.base_url = base_url
        self.api_key, self.api_secret = credentials.key, credentials.secret
        self._depot, self._store, self._log = depot, store, log

    def __str__(self) -> str:
        return self.base_url

    def __repr__(self) -> str:
        return f"<Service at {self.base_url}>"

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables that point a client of the API here."""
        return {
            "SCENARIO_BASE_URL": self.base_url,
            "SCENARIO_SDK_API_KEY": self.api_key,
            "SCENARIO_SDK_API_SECRET": self.api_secret,
        }

    @property
    def requests(self) -> list[Recorded]:
        """All requests so far, in order of completion. A request is here before its answer can be read."""
        return self._log.over

    @property
    def under_way(self) -> list[Recorded]:
        """The requests that have come in and are not in `requests` yet, as far as they got."""
        return self._log.under_way

    def upload(self, upload_id: str) -> dict[str, Any]:
        """The upload as the API shows it now, without links. Raises KeyError if there is none."""
        return self._found(upload_id).wire()

    def stored_parts(self, upload_id: str) -> dict[int, StoredPart]:
        """Size and MD5 of the parts the store holds, by number. Raises KeyError if there is no upload."""
        return dict(self._store.parts(self._found(upload_id)))

    def open(self, upload_id: str) -> BinaryIO:
        """The assembled object. Raises KeyError if there is no upload, OSError if there is no object yet."""
        return self._store.open(self._found(upload_id))

    def sha256(self, upload_id: str) -> str:
        """The hex SHA-256 of the assembled object; one in an S3 store is read for it.

        Raises:
            KeyError: there is no upload, or no object yet.
            OSError: the object cannot be read.
        """
        upload = self._found(upload_id)
        if upload.sha256 is not None:
            return upload.sha256
        try:
            with self._store.open(upload) as file:
                return _sha256(file)
        except StoreDownError:
            raise
        except OSError:
            raise KeyError(f"{upload_id} has not been assembled") from None

    def _found(self, upload_id: str) -> Upload:
        upload = self._depot.find(upload_id)
        if upload is None:
            raise KeyError(upload_id)
        return upload


def _sha256(file: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := file.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()
