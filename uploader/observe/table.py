"""The table of unfinished uploads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from uploader.models import PendingUpload
from uploader.observe.text import columns, human_age, human_size
from uploader.printable import printable

_HEAD = ("UPLOAD", "SIZE", "SENT", "AGE", "STATE", "FILE")


def table(uploads: Sequence[PendingUpload], now: datetime | None = None) -> Iterator[str]:
    """Its lines: a heading and one for each upload, and below that where it goes and why it stopped.

    The place is told only where there are several.
    """
    now = now or datetime.now(UTC)
    rows = [_row(upload, now) for upload in uploads]
    heading, *lines = columns(_HEAD, rows, right=("SIZE", "SENT", "AGE"))
    several = len({(it.base_url, it.project_id) for it in uploads}) > 1
    yield heading
    for upload, line in zip(uploads, lines, strict=True):
        yield line
        if several:
            project = f", project {upload.project_id}" if upload.project_id else ""
            yield printable(f"  to {upload.base_url}{project}")
        if upload.reason:
            yield f"  {printable(upload.reason)}"


def _row(upload: PendingUpload, now: datetime) -> tuple[str, ...]:
    return (
        printable(upload.upload_id),
        human_size(upload.file_size),
        f"{100 * upload.bytes_stored // upload.file_size}%",
        human_age((now - upload.updated_at).total_seconds()),
        upload.state.value,
        printable(upload.path),
    )
