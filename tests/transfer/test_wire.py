"""What goes over the wire: to the API what the official SDK sends, to the store nothing it need not see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
from scenario_sdk import Scenario

from tests.transfer.conftest import MiB, Open
from uploader import RetryPolicy, Uploader
from uploader.local import Recorded, Service, serve
from uploader.local.service import Service as RunningService


def told(record: Recorded) -> tuple[str, str, dict[str, str], Any, str]:
    """What of a control request matters to the service."""
    body = json.loads(record.body) if record.body else None
    return record.method, record.path, dict(record.query), body, record.headers["authorization"]


def through_sdk(service: RunningService, path: Path, parts: int, project_id: str) -> str:
    """The same upload by the official SDK and plain httpx."""
    sdk = Scenario(base_url=service.base_url, api_key=service.api_key, api_secret=service.api_secret)
    upload = sdk.uploads.create(
        project_id=project_id,
        file_name=path.name,
        content_type="model/gltf-binary",
        file_size=path.stat().st_size,
        kind="3d",
        parts=parts,
        asset_options={"collection_ids": ["c1"], "hide": True, "parent_id": "asset_0"},
    ).upload
    data = path.read_bytes()
    for part in upload.parts or []:
        first = int(part.number - 1) * 5 * MiB
        httpx.put(part.url, content=data[first : first + 5 * MiB]).raise_for_status()
    sdk.uploads.trigger_action(upload.id, project_id=project_id, action="complete")
    sdk.uploads.retrieve(upload.id, project_id=project_id)
    return upload.id


def control_calls(service: Service, upload_id: str) -> list[tuple[Any, ...]]:
    """Each kind of control call once, with the upload's id taken out."""
    kinds: dict[str, tuple[Any, ...]] = {}
    for record in service.requests:
        if record.target != "part":
            method, path, *rest = told(record)
            kinds.setdefault(record.target, (method, path.replace(upload_id, "ID"), *rest))
    return [kinds[target] for target in ("create", "complete", "get")]


def test_control_calls_are_those_of_the_official_sdk(glb: Path) -> None:
    with serve() as service:
        theirs = control_calls(service, through_sdk(service, glb, 4, "proj_1"))
    with serve() as service:
        with Uploader(
            base_url=service.base_url,
            api_key=service.api_key,
            api_secret=service.api_secret,
            project_id="proj_1",
            retry=RetryPolicy(poll_first=0.05),
        ) as uploader:
            options = {"collection_ids": ["c1"], "hide": True, "parent_id": "asset_0"}
            result = uploader.upload(glb, part_size=5 * MiB, asset_options=options, progress=False)
        ours = control_calls(service, result.upload_id)
    assert ours == theirs


def test_the_service_is_named_by_its_project_in_every_call(glb: Path, opened: Open) -> None:
    with opened("expire:part=1", project_id="proj/ä 1") as (service, uploader):
        uploader.upload(glb, progress=False)
        calls = [record for record in service.requests if record.target != "part"]
    assert {call.query["projectId"] for call in calls} == {"proj/ä 1"}


def test_a_jwt_goes_as_bearer(glb: Path) -> None:
    with serve(jwt="a.b.c") as service:
        with Uploader(base_url=service.base_url, jwt="a.b.c") as uploader:
            assert uploader.upload(glb, wait_for=None, progress=False).status == "validating"
        assert service.requests[0].headers["authorization"] == "Bearer a.b.c"


def test_connections_are_kept_from_part_to_part_and_file_to_file(glb: Path, opened: Open) -> None:
    with opened() as (service, uploader):
        for _ in range(3):
            uploader.upload(glb, part_size=5 * MiB, concurrency=2, wait_for=None, progress=False)
        assert len(uploader._storage_connections._idle) <= 2
        assert len(uploader._api_connections._idle) == 1
        assert sum(record.target == "part" for record in service.requests) == 12
