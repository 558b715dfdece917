"""Presigned URLs of an S3 store, made by boto3. Needs the extra `s3`."""

from __future__ import annotations

import calendar
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from uploader.local.depot import write_atomically
from uploader.local.s3client import told
from uploader.local.signing import DATE
from uploader.local.store import Link


class S3Links:
    """Links that live `lifetime` seconds, made by `client`; those that must not change are kept in `folder`.

    boto3 signs for this very second only, so that a link can be shown again only if it is kept.
    """

    def __init__(self, client: Any, folder: Path, lifetime: int) -> None:
        self._client, self._folder, self._lifetime = client, folder, lifetime

    def sign(self, names: Mapping[str, Any], count: int) -> list[Link]:
        """New links for parts 1 to `count` of the multipart upload that `names` names.

        Takes about a third of a millisecond for each, and a thread that is not the event loop's.
        """
        with told("sign"):
            return [_link(self._presign({**names, "PartNumber": number})) for number in range(1, count + 1)]

    def kept(self, upload_id: str, names: Mapping[str, Any], count: int) -> list[Link]:
        """Like `sign`, but always the same links for the upload called `upload_id`."""
        path = self._path(upload_id)
        if not path.exists():
            write_atomically(path, json.dumps([asdict(link) for link in self.sign(names, count)]).encode())
        return [Link(**fields) for fields in json.loads(path.read_bytes())]

    def drop(self, upload_id: str) -> None:
        """Keep its links no longer."""
        self._path(upload_id).unlink(missing_ok=True)

    def _presign(self, parameters: dict[str, Any]) -> str:
        return str(self._client.generate_presigned_url("upload_part", parameters, self._lifetime))

    def _path(self, upload_id: str) -> Path:
        return self._folder / f"{upload_id}.json"


def _link(url: str) -> Link:
    """The link, with the end that it tells of itself."""
    query = parse_qs(urlsplit(url).query)
    return Link(url, float(_epoch(query["X-Amz-Date"][0]) + int(query["X-Amz-Expires"][0])))


@lru_cache(maxsize=8)
def _epoch(date: str) -> int:
    return calendar.timegm(time.strptime(date, DATE))
