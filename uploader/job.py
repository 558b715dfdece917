"""What there is to upload, looked at before anything is sent: a file and options, or an unfinished upload."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from uploader.core.plan import Plan, make_plan
from uploader.errors import InputError, SourceError
from uploader.io.engine import Cargo
from uploader.io.journal import Record, Target
from uploader.io.source import Source
from uploader.media import parse_content_type, parse_kind
from uploader.models import AssetOptions, CreateRequest, Kind
from uploader.options import ResumeOptions, TransferOptions, UploadOptions


@dataclass(frozen=True, slots=True)
class Job:
    """A file that was looked at and found fit to be uploaded; this run has sent nothing yet.

    `upload_id` is the upload to go on with; None goes on with the last unfinished one of the same, if any.
    """

    cargo: Cargo
    plan: Plan
    options: TransferOptions
    target: Target
    upload_id: str | None = None

    @property
    def file_name(self) -> str:
        """The file's name, as the service will see it."""
        return self.cargo.request.file_name


def job_for(
    path: str | os.PathLike[str], options: UploadOptions, base_url: str, project_id: str | None
) -> Job:
    """A file to upload.

    Raises:
        InputError: the file or an option cannot be used.
        TypeError: there is no such option.
    """
    transfer = _transfer_options(options, UploadOptions.__annotations__)
    asset = _asset_options(options.get("asset_options"))
    source = Source.find(path)
    # Of a symbolic link its own name counts, not the target's: model caches link to files without extensions.
    name = os.path.basename(os.fspath(path)) or source.path.name
    kind = parse_kind(options.get("kind"), name)
    if asset is not None and kind is Kind.MODEL:
        raise InputError("asset options are for kinds that become an asset, not for kind model")
    plan = make_plan(source.size, transfer.part_size)
    request = CreateRequest(
        file_name=name,
        content_type=parse_content_type(options.get("content_type"), name),
        file_size=source.size,
        kind=kind,
        parts=plan.count,
        asset_options=asset,
    )
    target = Target(
        base_url=base_url,
        project_id=project_id or "",
        path=str(source.path),
        file_name=name,
        kind=str(kind),
        content_type=request.content_type,
        asset_options=json.dumps(asset.model_dump(mode="json"), sort_keys=True) if asset else "",
    )
    return Job(Cargo(source, request, transfer.verify), plan, transfer, target)


def job_from(record: Record, options: ResumeOptions) -> Job:
    """An unfinished upload to go on with.

    Raises:
        InputError: its file or an option cannot be used.
        TypeError: there is no such option.
    """
    transfer = _transfer_options(options, ResumeOptions.__annotations__)
    target = record.target
    try:
        source = Source.find(target.path)
    except SourceError as error:
        error.upload_id = record.upload_id
        raise
    asset = json.loads(target.asset_options) if target.asset_options else None
    request = CreateRequest(
        file_name=target.file_name,
        content_type=target.content_type,
        file_size=source.size,
        kind=Kind(target.kind),
        parts=record.plan.count,
        asset_options=AssetOptions.model_validate(asset) if asset else None,
    )
    return Job(Cargo(source, request, transfer.verify), record.plan, transfer, target, record.upload_id)


def _transfer_options(options: Mapping[str, Any], known: Mapping[str, Any]) -> TransferOptions:
    unknown = options.keys() - known.keys()
    if unknown:
        raise TypeError(f"unexpected keyword argument {min(unknown)!r}")
    fields = TransferOptions.__dataclass_fields__
    return TransferOptions(**{name: value for name, value in options.items() if name in fields})


def _asset_options(given: AssetOptions | Mapping[str, Any] | None) -> AssetOptions | None:
    if given is None or isinstance(given, AssetOptions):
        return given
    if not isinstance(given, Mapping):
        raise InputError(f"asset options are a mapping, not {type(given).__name__}")
    unknown = given.keys() - AssetOptions.model_fields.keys()
    if unknown:
        raise InputError(
            f"unknown asset option {min(unknown)!r}: there are {', '.join(AssetOptions.model_fields)}"
        )
    try:
        return AssetOptions.model_validate(dict(given))
    except ValidationError as error:
        # It is a tuple here so that nobody changes it; who gives it writes a list.
        said = [
            f"{'.'.join(map(str, it['loc']))} ({it['msg'].replace('a valid tuple', 'a list')})"
            for it in error.errors(include_url=False)
        ]
        raise InputError(f"asset options cannot be used: {', '.join(said)}") from None
