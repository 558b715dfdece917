"""The control API: what it accepts, what it refuses and how, and the walk of the status."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

PART = 5 * 1024 * 1024
JSON = {"content-type": "application/json"}
Refused = Callable[[httpx.Response], tuple[int, str, str]]

FIELDS = {
    "id",
    "authorId",
    "createdAt",
    "updatedAt",
    "fileName",
    "originalFileName",
    "contentType",
    "fileSize",
    "kind",
    "ownerId",
    "source",
    "status",
    "assetOptions",
    "config",
    "entityId",
    "errorMessage",
    "jobId",
    "parts",
    "partsCount",
    "provider",
    "url",
}


@pytest.mark.any_store
def test_create_answers_with_every_field_of_the_reference_model(start: Any) -> None:
    api = start()
    options = {"collectionIds": ["c1"], "hide": True, "parentId": "p"}
    upload = api.create("proj_1", fileName="a b.bin", fileSize=PART + 1, parts=2, assetOptions=options)
    assert set(upload) == FIELDS
    assert [part["number"] for part in upload["parts"]] == [1, 2]
    assert (upload["status"], upload["source"], upload["ownerId"]) == ("pending", "multipart", "proj_1")
    assert (upload["fileSize"], upload["partsCount"], upload["assetOptions"]) == (PART + 1, 2, options)
    assert upload["fileName"] == upload["originalFileName"] == "a b.bin"
    for date in (upload["createdAt"], upload["updatedAt"], upload["parts"][0]["expires"]):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", date)
    for name in ("entityId", "errorMessage", "provider", "url"):
        assert upload[name] is None


def test_numbers_may_be_written_as_floats(start: Any) -> None:
    upload = start().create(fileSize=3.0, parts=1.0)
    assert (upload["fileSize"], upload["partsCount"]) == (3, 1)
    assert type(upload["fileSize"]) is int


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        *[({name: value}, name) for name in ("fileName", "contentType", "kind") for value in ("", None, 5)],
        *[({name: value}, name) for name in ("fileSize", "parts") for value in (0, -1, 1.5, "3", None, True)],
        ({"fileSize": 10**400}, "fileSize"),
        ({"fileName": "a/b"}, "fileName"),
        ({"fileName": ".."}, "fileName"),
        ({"fileName": "a\nb"}, "fileName"),
        ({"fileName": "é" * 600}, "fileName"),
        ({"contentType": "png"}, "contentType"),
        ({"contentType": "image/pñg"}, "contentType"),
        ({"kind": "movie"}, "kind"),
        ({"fileSize": 5 * 10**12 + 1, "parts": 10_000}, "fileSize"),
        ({"parts": 10_001, "fileSize": 10**12}, "parts"),
        ({"parts": 2, "fileSize": PART}, "parts"),
        ({"parts": 1, "fileSize": 1024 * PART + 1}, "parts"),
        ({"kind": "model", "assetOptions": {}}, "assetOptions"),
        ({"assetOptions": None}, "assetOptions"),
        ({"assetOptions": []}, "assetOptions"),
        ({"assetOptions": {"hidden": True}}, "assetOptions.hidden"),
        ({"assetOptions": {"hide": 1}}, "assetOptions.hide"),
        ({"assetOptions": {"collectionIds": "c"}}, "assetOptions.collectionIds"),
        ({"assetOptions": {"collectionIds": [1]}}, "assetOptions.collectionIds"),
        ({"assetOptions": {"parentId": None}}, "assetOptions.parentId"),
        ({"filesize": 3}, "filesize"),
    ],
)
def test_a_wrong_field_is_refused_by_name(
    start: Any, refused: Refused, fields: dict[str, Any], named: str
) -> None:
    status, code, message = refused(start().try_create(**fields))
    assert (status, code) == (400, "BadRequest")
    assert message.startswith(named)


@pytest.mark.parametrize("name", ["fileName", "contentType", "fileSize", "kind", "parts"])
def test_a_missing_field_is_refused_by_name(start: Any, refused: Refused, name: str) -> None:
    body = {"fileName": "a", "contentType": "a/b", "fileSize": 3, "kind": "asset", "parts": 1}
    del body[name]
    assert refused(start().post("/uploads", body)) == (400, "BadRequest", f"{name} is required")


@pytest.mark.parametrize(
    "text", [b"", b"[1]", b'"x"', b"null", b"{", b'{"fileSize": NaN}', b"\xff", b"[" * 100_000]
)
def test_a_body_that_is_not_a_json_object_is_refused(start: Any, refused: Refused, text: bytes) -> None:
    api = start()
    response = api.http.post(f"{api.service}/uploads", content=text, headers=JSON)
    assert refused(response)[:2] == (400, "BadRequest")


def test_an_endless_number_is_no_size(start: Any, refused: Refused) -> None:
    api = start()
    text = b'{"fileName":"a","contentType":"a/b","kind":"asset","fileSize":1e999,"parts":1}'
    response = api.http.post(f"{api.service}/uploads", content=text, headers=JSON)
    assert refused(response)[2].startswith("fileSize must be a whole number")


def test_a_lone_surrogate_is_no_file_name(start: Any, refused: Refused) -> None:
    api = start()
    text = b'{"fileName":"\\ud800","contentType":"a/b","kind":"asset","fileSize":1,"parts":1}'
    response = api.http.post(f"{api.service}/uploads", content=text, headers=JSON)
    assert refused(response)[2] == "fileName must be valid Unicode"


def test_json_must_be_declared_and_be_of_reasonable_size(start: Any, refused: Refused) -> None:
    api = start()
    assert "Content-Type" in refused(api.http.post(f"{api.service}/uploads", content=b"{}"))[2]
    long = b" " * (1024 * 1024 + 1)
    response = api.http.post(f"{api.service}/uploads", content=long, headers=JSON)
    assert refused(response)[0] == 413


@pytest.mark.parametrize("name", ["url", "huggingFaceModelName", "civitaiModelUrl"])
def test_imports_are_refused(start: Any, refused: Refused, name: str) -> None:
    response = start().post("/uploads", {name: "x", "kind": "model"})
    assert refused(response)[::2] == (400, "imports are not supported by the embedded service")


@pytest.mark.parametrize("query", ["projectId=", "projectId=a&projectId=b", "dryRun=true"])
def test_odd_queries_are_refused_by_name(start: Any, refused: Refused, query: str) -> None:
    api = start()
    body = {"fileName": "a", "contentType": "a/b", "fileSize": 3, "kind": "asset", "parts": 1}
    status, code, message = refused(api.http.post(f"{api.service}/uploads?{query}", json=body))
    assert (status, code) == (400, "BadRequest")
    assert message.startswith(query.partition("=")[0])


@pytest.mark.parametrize(
    "header",
    [None, "Basic", "Basic !!!", "Basic bG9jYWwta2V5Ondyb25n", "Bearer token", "Bearer", "Digest x", "é"],
)
def test_missing_or_wrong_credentials_are_unauthorized(
    start: Any, refused: Refused, header: str | None
) -> None:
    api = start()
    headers = {"authorization": header.encode()} if header else {}
    for method, path in (("POST", "/uploads"), ("GET", "/uploads/x"), ("POST", "/uploads/x/action")):
        response = api.store.request(method, f"{api.service}{path}", headers=headers)
        assert refused(response)[:2] == (401, "Unauthorized")
        assert response.headers["www-authenticate"].startswith("Basic")


def test_a_configured_token_is_admitted_as_bearer(start: Any) -> None:
    api = start(jwt="token")
    body = {"fileName": "a", "contentType": "a/b", "fileSize": 3, "kind": "asset", "parts": 1}
    for given, status in (("token", 200), ("other", 401)):
        headers = {"authorization": f"bearer {given}"}
        assert api.store.post(f"{api.service}/uploads", json=body, headers=headers).status_code == status


def test_unknown_routes_and_wrong_methods_are_told_in_json(start: Any, refused: Refused) -> None:
    api = start()
    for path in ("/upload", "/uploads/", "/uploads/x/", "/uploads/x/parts"):
        assert refused(api.http.get(f"{api.service}{path}"))[:2] == (404, "NotFound")
    assert refused(api.http.get(api.service.base_url.replace("/v1", "/")))[0] == 404
    for method, path in (("GET", "/uploads"), ("DELETE", "/uploads/x"), ("PUT", "/uploads/x/action")):
        assert refused(api.http.request(method, f"{api.service}{path}"))[:2] == (405, "MethodNotAllowed")


@pytest.mark.any_store
def test_an_upload_is_seen_only_with_its_own_project(start: Any, refused: Refused) -> None:
    api = start()
    mine, nobodys = api.create("mine"), api.create()
    assert api.get(mine, params={"projectId": "mine"}).status_code == 200
    assert refused(api.get(mine, params={"projectId": "other"}))[:2] == (404, "NotFound")
    assert refused(api.get(mine))[:2] == (404, "NotFound")
    assert refused(api.get(nobodys, params={"projectId": "mine"}))[:2] == (404, "NotFound")
    assert refused(api.complete(mine, params={"projectId": "other"}))[:2] == (404, "NotFound")
    assert refused(api.get({"id": "upload_unknown"}))[:2] == (404, "NotFound")


@pytest.mark.any_store
def test_a_get_signs_the_parts_anew_and_the_old_links_stay_good(start: Any, eventually: Any) -> None:
    api = start()
    upload = api.create()
    # What is signed for a real store within the same second is the same.
    again = eventually(lambda: (shown := api.show(upload))["parts"] != upload["parts"] and shown)
    assert again["parts"][0]["url"] != upload["parts"][0]["url"]
    assert api.put(again, 1, b"abc").status_code == api.put(upload, 1, b"abc").status_code == 200


@pytest.mark.any_store
def test_without_resign_a_get_repeats_the_first_links(start: Any) -> None:
    api = start(resign=False)
    upload = api.create()
    assert api.show(upload) == upload


@pytest.mark.any_store
def test_a_finished_upload_walks_to_imported_and_is_stored_exactly(start: Any) -> None:
    api = start(stage_delay=0)
    content = bytes(range(256)) * (PART // 256) + b"tail"
    upload = api.create(fileSize=len(content), parts=2, kind="asset")
    assert api.put(upload, 2, content[PART:]).status_code == 200
    assert api.put(upload, 1, content[:PART]).status_code == 200
    assert set(api.service.stored_parts(upload["id"])) == {1, 2}
    answered = api.complete(upload).json()["upload"]
    assert (answered["status"], answered["parts"]) == ("validating", None)
    done = api.settle(upload, "imported")
    assert done["entityId"].startswith("asset_")
    assert (done["parts"], done["errorMessage"]) == (None, None)
    with api.service.open(upload["id"]) as file:
        assert file.read() == content
    assert api.service.stored_parts(upload["id"]) == {}
    assert api.service.upload(upload["id"]) == done


@pytest.mark.any_store
def test_on_its_way_it_is_validated_and_no_entity_yet(start: Any, eventually: Any) -> None:
    api = start(stage_delay=0.05)

    def seen() -> Any:
        """An upload that was looked at before it went on."""
        upload = api.create()
        api.put(upload, 1, b"abc")
        api.complete(upload)
        shown = api.settle(upload, "validated", "imported")
        return shown["status"] == "validated" and shown

    upload = eventually(seen)
    assert upload["entityId"] is None
    assert api.settle(upload, "imported")["entityId"].startswith("asset_")


@pytest.mark.any_store
def test_a_model_becomes_a_model(start: Any) -> None:
    assert start(stage_delay=0).send(b"x", kind="model")["entityId"].startswith("model_")


@pytest.mark.any_store
def test_a_file_that_is_not_what_its_name_says_fails_with_the_reason(start: Any) -> None:
    done = start(stage_delay=0).send(b"not a png", name="a.png", kind="image")
    assert (done["status"], done["entityId"]) == ("failed", None)
    assert done["errorMessage"] == "validation failed: png: the file does not start like one"


def test_an_object_that_cannot_be_stored_fails_with_the_reason(
    start: Any, tmp_path: Path, eventually: Any
) -> None:
    api = start(tmp_path, stage_delay=0)
    upload = api.create()
    assert api.put(upload, 1, b"abc").status_code == 200
    (tmp_path / "objects" / upload["id"]).mkdir()
    assert api.complete(upload).status_code == 200
    assert "could not be stored" in api.settle(upload, "failed")["errorMessage"]
    with pytest.raises(KeyError):
        api.service.sha256(upload["id"])


def test_parts_that_were_lost_before_they_were_joined_fail_the_upload(session: Any, tmp_path: Path) -> None:
    with session(tmp_path, stage_delay=3600.0) as api:
        upload = api.create()
        api.put(upload, 1, b"abc")
        assert api.complete(upload).status_code == 200
    (tmp_path / "parts" / upload["id"] / "1.json").unlink()
    with session(tmp_path, stage_delay=0) as api:
        done = api.settle(upload, "imported", "failed")
    assert done["errorMessage"] == "the object has 0 bytes, fileSize is 3"


def test_a_record_that_cannot_be_written_is_written_later(
    start: Any, tmp_path: Path, eventually: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api, here, elsewhere = start(tmp_path, stage_delay=0.2), tmp_path / "uploads", tmp_path / "elsewhere"

    def caught() -> Any:
        """An upload that was not imported when the records became unreachable."""
        if elsewhere.exists():
            elsewhere.rename(here)
        upload = api.create()
        api.put(upload, 1, b"abc")
        assert api.complete(upload).status_code == 200
        here.rename(elsewhere)
        return api.service.upload(upload["id"])["status"] != "imported" and upload

    upload = eventually(caught)
    eventually(lambda: "an upload waits, and is tried again: No such file or directory" in caplog.text)
    elsewhere.rename(here)
    assert api.settle(upload, "imported", "failed")["status"] == "imported"


@pytest.mark.parametrize(
    "body", [{}, {"action": "upload-complete"}, {"action": "complete", "parts": []}, {"action": None}, []]
)
def test_only_the_action_complete_is_known(start: Any, refused: Refused, body: Any) -> None:
    api = start()
    upload = api.create()
    assert refused(api.post(f"/uploads/{upload['id']}/action", body))[:2] == (400, "BadRequest")
    assert api.show(upload)["status"] == "pending"


@pytest.mark.any_store
def test_complete_refuses_a_missing_part_and_says_which(start: Any, refused: Refused) -> None:
    api = start()
    upload = api.create(fileSize=2 * PART + 1, parts=3)
    api.put(upload, 1, bytes(PART))
    api.put(upload, 3, b"x")
    status, code, message = refused(api.complete(upload))
    assert (status, code) == (400, "MissingPart")
    assert "part 2 of 3" in message
    assert api.show(upload)["status"] == "pending"


@pytest.mark.any_store
def test_complete_refuses_a_short_part_that_is_not_the_last(start: Any, refused: Refused) -> None:
    api = start()
    upload = api.create(fileSize=PART + 1, parts=2)
    api.put(upload, 1, b"x")
    api.put(upload, 2, bytes(PART))
    assert refused(api.complete(upload))[:2] == (400, "EntityTooSmall")
    assert api.show(upload)["status"] == "pending"


@pytest.mark.any_store
@pytest.mark.parametrize("content", [b"", b"ab", b"abcd"])
def test_complete_refuses_parts_that_do_not_add_up(
    start: Any, refused: Refused, later: Any, content: bytes
) -> None:
    api = start(stage_delay=0)
    upload = api.create(fileSize=3)
    api.put(upload, 1, content)
    assert refused(api.complete(upload))[:2] == (400, "SizeMismatch")
    later()
    api.put(upload, 1, b"abc")
    assert api.complete(upload).status_code == 200


@pytest.mark.any_store
def test_a_second_complete_conflicts(start: Any, refused: Refused) -> None:
    api = start()
    upload = api.create()
    api.put(upload, 1, b"abc")
    assert api.complete(upload).status_code == 200
    assert refused(api.complete(upload))[:2] == (409, "Conflict")
    api.settle(upload, "imported")
    assert refused(api.complete(upload))[:2] == (409, "Conflict")


@pytest.mark.any_store
def test_of_several_completes_at_once_one_goes_through(start: Any) -> None:
    api = start(stage_delay=0)
    upload = api.create()
    api.put(upload, 1, b"abc")
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda _: api.complete(upload).status_code, range(24)))
    assert sorted(answers) == [200] + [409] * 23
    assert api.settle(upload, "imported", "failed")["status"] == "imported"


def test_every_answer_carries_the_service_date(start: Any) -> None:
    api = start(clock_offset=-86400.0)
    paths = ("/none", "/uploads/x")
    for response in (api.try_create(), *[api.store.get(f"{api.service}{path}") for path in paths]):
        assert abs(time.time() - 86400 - parsedate_to_datetime(response.headers["date"]).timestamp()) < 30
        assert len(response.headers.get_list("date")) == 1


@pytest.mark.any_store
def test_ten_thousand_parts_are_signed(start: Any) -> None:
    upload = start().create(fileSize=10_000 * PART, parts=10_000)
    assert [part["number"] for part in upload["parts"]] == list(range(1, 10_001))
