"""The official SDK drives the service: it parses every answer and maps every refusal to its own errors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scenario_sdk import (
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    RateLimitError,
    Scenario,
)

PART = 5 * 1024 * 1024
Connect = Callable[..., tuple[Any, Scenario]]


@pytest.fixture
def connect(start: Any) -> Iterator[Connect]:
    """Starts a service and an SDK client that knows of it by its environment variables' values."""
    clients = []

    def connecting(**options: Any) -> tuple[Any, Scenario]:
        api = start(stage_delay=0.05, **options)
        known = api.service.environment
        client = Scenario(
            base_url=known["SCENARIO_BASE_URL"],
            api_key=known["SCENARIO_SDK_API_KEY"],
            api_secret=known["SCENARIO_SDK_API_SECRET"],
            max_retries=0,
        )
        clients.append(client)
        return api, client

    yield connecting
    for client in clients:
        client.close()


def create(client: Scenario, **fields: Any) -> Any:
    wanted = {"file_name": "a.bin", "content_type": "application/octet-stream", "kind": "asset"}
    return client.uploads.create(**{**wanted, "file_size": 3, "parts": 1, **fields}).upload


@pytest.mark.any_store
def test_an_upload_from_create_to_imported(connect: Connect, eventually: Any) -> None:
    api, client = connect()
    content = bytes(range(256)) * (PART // 256) + b"end"
    options = {"collection_ids": ["c"], "hide": True, "parent_id": "p"}
    upload = create(client, file_size=len(content), parts=2, asset_options=options, project_id="proj")
    assert (upload.status, upload.source, upload.kind, upload.owner_id) == (
        "pending",
        "multipart",
        "asset",
        "proj",
    )
    assert (upload.file_size, upload.parts_count, upload.original_file_name) == (len(content), 2, "a.bin")
    assert upload.asset_options.to_dict() == {"collectionIds": ["c"], "hide": True, "parentId": "p"}
    assert [part.number for part in upload.parts] == [1, 2]
    for part, data in zip(upload.parts, (content[:PART], content[PART:]), strict=True):
        answer = api.store.put(part.url, content=data)
        assert answer.headers["etag"] == f'"{hashlib.md5(data).hexdigest()}"'
    again = client.uploads.retrieve(upload.id, project_id="proj").upload
    assert (again.status, len(again.parts)) == ("pending", 2)
    done = client.uploads.trigger_action(upload.id, action="complete", project_id="proj").upload
    assert (done.status, done.parts) == ("validating", None)

    def imported() -> Any:
        shown = client.uploads.retrieve(upload.id, project_id="proj").upload
        return shown if shown.status == "imported" else None

    shown = eventually(imported)
    assert shown.entity_id.startswith("asset_")
    assert shown.error_message is None
    assert shown.job_id == upload.job_id
    assert api.service.sha256(upload.id) == hashlib.sha256(content).hexdigest()


@pytest.mark.any_store
def test_a_failed_validation_is_read(connect: Connect, eventually: Any) -> None:
    api, client = connect()
    upload = create(client, file_name="a.safetensors", kind="model")
    api.store.put(upload.parts[0].url, content=b"abc")
    client.uploads.trigger_action(upload.id, action="complete")
    eventually(lambda: client.uploads.retrieve(upload.id).upload.status == "failed")
    assert "safetensors" in client.uploads.retrieve(upload.id).upload.error_message


def test_wrong_credentials_are_an_authentication_error(connect: Connect) -> None:
    api, _ = connect()
    with (
        Scenario(base_url=str(api.service), api_key="x", api_secret="y", max_retries=0) as client,
        pytest.raises(AuthenticationError),
    ):
        client.uploads.retrieve("x")


def test_a_token_is_admitted(connect: Connect) -> None:
    api, _ = connect(jwt="token")
    headers = {"authorization": "Bearer token"}
    upload = api.create()
    assert api.store.get(f"{api.service}/uploads/{upload['id']}", headers=headers).status_code == 200


def test_an_unknown_upload_or_another_project_is_not_found(connect: Connect) -> None:
    _, client = connect()
    upload = create(client, project_id="mine")
    for ask in ({"upload_id": "x"}, {"upload_id": upload.id, "project_id": "other"}):
        with pytest.raises(NotFoundError):
            client.uploads.retrieve(**ask)


def test_what_is_wrong_in_a_request_is_a_bad_request(connect: Connect) -> None:
    _, client = connect()
    with pytest.raises(BadRequestError, match="fileSize"):
        create(client, file_size=0)
    with pytest.raises(BadRequestError, match="imports are not supported"):
        client.uploads.create(url="https://example.com/a.png", kind="image")
    with pytest.raises(BadRequestError, match="MissingPart"):
        client.uploads.trigger_action(create(client).id, action="complete")


@pytest.mark.any_store
def test_a_second_complete_is_a_conflict(connect: Connect) -> None:
    api, client = connect()
    upload = create(client)
    api.store.put(upload.parts[0].url, content=b"abc")
    client.uploads.trigger_action(upload.id, action="complete")
    with pytest.raises(ConflictError):
        client.uploads.trigger_action(upload.id, action="complete")


def test_injected_faults_are_what_they_pretend_to_be(connect: Connect) -> None:
    _, client = connect(faults=["429:on=create"])
    with pytest.raises(RateLimitError):
        create(client)
    assert create(client).status == "pending"
