"""The wire's records (camelCase there, snake_case here) and what an upload ends in.

Fields follow the API reference of the Scenario uploads resource. Any optional field may be absent or null,
unknown fields are kept, and a status or kind this version does not know is passed on as plain text.
"""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError, core_schema


class Kind(StrEnum):
    """What a file is for, once validated."""

    THREE_D = "3d"
    ASSET = "asset"
    AUDIO = "audio"
    AVATAR = "avatar"
    IMAGE = "image"
    MODEL = "model"
    TEXT = "text"
    VIDEO = "video"


class Status(StrEnum):
    """Where an upload stands: pending → validating → validated → imported, or failed."""

    PENDING = "pending"
    VALIDATING = "validating"
    VALIDATED = "validated"
    IMPORTED = "imported"
    COMPLETE = "complete"
    FAILED = "failed"


class PresignedUrl:
    """A URL that is itself a credential: str, repr and pickle lack the query; only `reveal` gives it away.

    Two are equal when the whole URLs are.
    """

    __slots__ = ("_url",)

    def __init__(self, url: str) -> None:
        self._url = url

    def reveal(self) -> str:
        """The whole URL, signature included: for the request line, never for a message or a log."""
        return self._url

    def __str__(self) -> str:
        try:
            parts = urlsplit(self._url)
            host = parts.hostname or ""
            host = f"[{host}]" if ":" in host else host
            return f"{parts.scheme}://{host}{':' + str(parts.port) if parts.port else ''}{parts.path}"
        except ValueError:
            return "(unreadable URL)"

    def __repr__(self) -> str:
        return f"PresignedUrl({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PresignedUrl) and self._url == other._url

    def __hash__(self) -> int:
        return hash(self._url)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[type[PresignedUrl], tuple[str]]:
        # A pickle may end up in a file, a log or another machine.
        return PresignedUrl, (str(self),)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.is_instance_schema(cls),
                core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
            ],
            serialization=core_schema.to_string_ser_schema(),
        )


class _Wire(BaseModel):
    # Validation messages would quote their input, and the input holds presigned URLs.
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="allow",
        frozen=True,
        hide_input_in_errors=True,
    )


class AssetOptions(_Wire):
    """Extra options for kinds that become an asset (not for kind `model`)."""

    collection_ids: tuple[str, ...] | None = None
    hide: bool | None = None
    parent_id: str | None = None


def is_upload_id(text: str) -> bool:
    """Whether `text` can be one: it becomes part of a path, out of which "." and ".." would be taken."""
    return len(text) <= 200 and re.fullmatch(r"[\w.:-]*\w[\w.:-]*", text, re.ASCII) is not None


class UploadPart(_Wire):
    """Where one part goes: its number (from 1), its presigned URL, and until when that holds (ISO 8601)."""

    number: int
    url: PresignedUrl
    expires: str | float | None = None


# More than any upload has (S3 allows as many). Unchecked, pydantic would complain about each single one: of a
# megabyte of zeros in 800 MiB.
_MOST_PARTS = 10_000


def _few_enough(parts: Any) -> Any:
    if isinstance(parts, list) and len(parts) > _MOST_PARTS:
        raise PydanticCustomError("too_many", f"more than {_MOST_PARTS:,}")
    return parts


class Upload(_Wire):
    """An upload as the service describes it. Sizes are bytes."""

    id: str
    status: Annotated[Status | str, Field(union_mode="left_to_right")]
    kind: Annotated[Kind | str | None, Field(union_mode="left_to_right")] = None
    parts: Annotated[tuple[UploadPart, ...] | None, BeforeValidator(_few_enough)] = None
    parts_count: int | None = None
    file_name: str | None = None
    original_file_name: str | None = None
    file_size: int | None = None
    content_type: str | None = None
    entity_id: str | None = None
    error_message: str | None = None
    url: PresignedUrl | None = None
    # Nothing is decided by these, so nothing about them can be wrong.
    job_id: Any = None
    source: Any = None
    provider: Any = None
    author_id: Any = None
    owner_id: Any = None
    created_at: Any = None
    updated_at: Any = None
    asset_options: Any = None
    config: Any = None


class CreateRequest(_Wire):
    """The body of a create call: `file_size` in bytes, `parts` their count."""

    file_name: str
    content_type: str
    file_size: int
    kind: Kind
    parts: int
    asset_options: AssetOptions | None = None

    def wire(self) -> dict[str, Any]:
        """The JSON object to send: camelCase, without what was not given."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class PendingState(StrEnum):
    """What is known of an upload that is not done.

    RUNNING: some process is at it. INTERRUPTED: one was, and is no more. STOPPED: its last run ended in an
    error; it can be gone on with. MISSING: so it could, but its file is not there. CHANGED: its file is
    another since. FAILED: it was refused for good. GONE: it was started over under another id, as the service
    did not know it any more or gave no links for it.
    """

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    MISSING = "missing"
    CHANGED = "changed"
    FAILED = "failed"
    GONE = "gone"


class PendingUpload(BaseModel):
    """An upload that is not done, as this machine knows it. Sizes are bytes, times UTC.

    Attributes:
        path: the file.
        base_url: the API it goes to.
        project_id: the project that owns it, None for the credentials' own.
        parts: how many it has; `parts_stored` of them, `bytes_stored`, are there.
        state: see `PendingState`.
        reason: why the last run went no further, "" where it was killed or none did.
        created_at: when it was begun.
        updated_at: when its last part was stored.
    """

    model_config = ConfigDict(frozen=True)

    upload_id: str
    path: str
    file_name: str
    file_size: int
    kind: str
    base_url: str
    project_id: str | None
    parts: int
    parts_stored: int
    bytes_stored: int
    state: PendingState
    reason: str
    created_at: datetime
    updated_at: datetime


class UploadResult(BaseModel):
    """What an upload came to.

    Attributes:
        status: the service's last word: `validated`, `imported` or `complete`; with `wait_for=None` usually
            `validating`.
        entity_id: the asset's or model's id, once imported.
        file_size: bytes.
        bytes_sent: bytes put on the wire by this run, those sent again included.
        bytes_resumed: bytes an earlier run had already sent.
        retries: attempts at parts beyond the first of each.
        url_refreshes: how often fresh presigned URLs were fetched.
        recreated: whether the upload had to be started over under a new id.
        elapsed_seconds: wall time of this run.
    """

    model_config = ConfigDict(frozen=True)

    upload_id: str
    status: str
    entity_id: str | None = None
    file_name: str | None = None
    file_size: int | None = None
    parts: int = 0
    bytes_sent: int = 0
    bytes_resumed: int = 0
    retries: int = 0
    url_refreshes: int = 0
    recreated: bool = False
    elapsed_seconds: float = 0.0
