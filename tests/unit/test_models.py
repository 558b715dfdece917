"""The wire's records accept what the protocol allows, keep what they do not know, and hide presigned URLs."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scenario_sdk.types.upload_retrieve_response import Upload as SdkUpload
from scenario_sdk.types.upload_retrieve_response import UploadAssetOptions as SdkAssetOptions
from scenario_sdk.types.upload_retrieve_response import UploadPart as SdkPart

from uploader.models import (
    AssetOptions,
    CreateRequest,
    Kind,
    PresignedUrl,
    Status,
    Upload,
    UploadPart,
    UploadResult,
)

SIGNATURE = "0123456789abcdef" * 4
SECRET_URL = (
    f"https://bucket.s3.amazonaws.com/key?X-Amz-Security-Token=tokentoken&X-Amz-Signature={SIGNATURE}"
)
LEAST = {"id": "up_1", "status": "pending"}
OPTIONAL = [field.alias for name, field in Upload.model_fields.items() if name not in LEAST]


def upload(**fields: Any) -> Upload:
    return Upload.model_validate({**LEAST, **fields})


# What the protocol allows


@pytest.mark.parametrize(("ours", "theirs"), [(Upload, SdkUpload), (UploadPart, SdkPart)])
def test_every_field_of_the_official_sdk_is_known(ours: Any, theirs: Any) -> None:
    wire_names = {field.alias or name for name, field in theirs.model_fields.items()}
    assert wire_names <= {field.alias for field in ours.model_fields.values()}


def test_the_asset_options_are_the_official_sdks() -> None:
    assert set(AssetOptions.model_fields) == set(SdkAssetOptions.model_fields)


def test_the_kinds_and_statuses_are_the_protocols() -> None:
    assert set(Kind) == {"3d", "asset", "audio", "avatar", "image", "model", "text", "video"}
    assert set(Status) == {"pending", "validating", "validated", "imported", "complete", "failed"}


@pytest.mark.parametrize("value", [3, 3.0])
def test_whole_floats_are_ints(value: float) -> None:
    part = {"number": value, "url": "https://h/", "expires": ""}
    read = upload(fileSize=value, partsCount=value, parts=[part])
    assert read.parts is not None
    for number in (read.file_size, read.parts_count, read.parts[0].number):
        assert number == 3
        assert type(number) is int


def test_a_size_of_five_terabytes_written_as_a_float_is_exact() -> None:
    assert upload(fileSize=4999999999999.0).file_size == 4_999_999_999_999


@pytest.mark.parametrize("field", ["fileSize", "partsCount"])
def test_a_fraction_of_a_byte_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        upload(**{field: 3.5})


@pytest.mark.parametrize("field", OPTIONAL)
def test_an_optional_field_may_be_null_or_absent(field: str) -> None:
    assert upload(**{field: None}).model_dump(by_alias=True)[field] is None
    assert upload().model_dump(by_alias=True)[field] is None


def test_expires_may_be_absent_or_null() -> None:
    assert UploadPart.model_validate({"number": 1, "url": "https://h/"}).expires is None
    assert UploadPart.model_validate({"number": 1, "url": "https://h/", "expires": None}).expires is None


@pytest.mark.parametrize("field", ["status", "kind", "source", "provider"])
def test_a_value_of_the_future_is_passed_on_as_text(field: str) -> None:
    assert getattr(upload(**{field: "quarantined"}), field) == "quarantined"


@pytest.mark.parametrize("status", list(Status))
def test_a_known_status_is_the_enums(status: Status) -> None:
    assert upload(status=status.value).status is status


def test_unknown_fields_are_kept() -> None:
    read = upload(shard=7, assetOptions={"colour": "red"}, parts=[{"number": 1, "url": "u", "region": "eu"}])
    written = read.model_dump(mode="json", by_alias=True)
    assert written["shard"] == 7
    assert written["assetOptions"]["colour"] == "red"
    assert written["parts"][0]["region"] == "eu"


def test_snake_case_is_read_too() -> None:
    assert Upload(id="u", status="pending", entity_id="e") == upload(id="u", entityId="e")


@pytest.mark.parametrize("field", ["id", "status"])
def test_an_upload_without_id_or_status_is_refused(field: str) -> None:
    with pytest.raises(ValidationError):
        Upload.model_validate({name: value for name, value in LEAST.items() if name != field})


def test_records_are_frozen() -> None:
    with pytest.raises(ValidationError):
        upload().id = "other"  # type: ignore[misc]


def test_create_sends_the_protocols_fields_and_nothing_that_was_not_given() -> None:
    request = CreateRequest(file_name="a.glb", content_type="x/y", file_size=5, kind=Kind.THREE_D, parts=1)
    least = {"fileName": "a.glb", "contentType": "x/y", "fileSize": 5, "kind": "3d", "parts": 1}
    assert request.wire() == least
    full = request.model_copy(
        update={"asset_options": AssetOptions(collection_ids=("c",), hide=False, parent_id="p")}
    )
    assert full.wire() == {**least, "assetOptions": {"collectionIds": ["c"], "hide": False, "parentId": "p"}}
    assert json.loads(json.dumps(full.wire())) == full.wire()


def test_a_result_has_the_fields_of_the_json_output_in_their_order() -> None:
    promised = (
        "upload_id status entity_id file_name file_size parts bytes_sent bytes_resumed retries url_refreshes "
        "recreated elapsed_seconds"
    )
    assert list(UploadResult.model_fields) == promised.split()


# Presigned URLs are credentials


def shown(url: str) -> list[str]:
    """Every way a presigned URL, or an upload that carries it, may come to be text."""
    hidden = PresignedUrl(url)
    read = upload(url=url, parts=[{"number": 1, "url": url}])
    return [
        str(hidden),
        repr(hidden),
        f"{hidden} {hidden!r} {hidden!s} {hidden!a}",
        "%s %r" % (hidden, hidden),  # noqa: UP031
        repr(read),
        str(read),
        repr(read.parts),
        str(read.model_dump()),
        str(read.model_dump(mode="json")),
        read.model_dump_json(),
        repr(read.model_copy()),
    ]


@pytest.mark.parametrize("place", range(len(shown(SECRET_URL))))
def test_no_text_shows_the_query(place: int) -> None:
    assert "X-Amz" not in shown(SECRET_URL)[place]
    assert SIGNATURE not in shown(SECRET_URL)[place]
    assert "bucket.s3.amazonaws.com/key" in shown(SECRET_URL)[place]


@given(st.text(), st.text(), st.text())
def test_no_text_shows_the_query_of_any_url(host: str, path: str, query: str) -> None:
    marked = f"https://{host}/{path}?{query}{SIGNATURE}"
    assert not any(SIGNATURE in text for text in shown(marked))


@pytest.mark.parametrize(
    "broken",
    [
        {"parts": [{"number": "x", "url": SECRET_URL}]},
        {"parts": [{"url": SECRET_URL}]},
        {"parts": [{"number": 1.5, "url": SECRET_URL}]},
        {"parts": SECRET_URL},
        {"parts": [SECRET_URL]},
        {"parts": [{"number": 1, "url": [SECRET_URL]}]},
        {"fileSize": SECRET_URL},
        {"status": {"a": SECRET_URL}},
        {"kind": {"a": SECRET_URL}},
        {"url": {"a": SECRET_URL}},
    ],
)
def test_no_validation_error_shows_the_query(broken: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        upload(**broken)
    for text in (str(caught.value), repr(caught.value), "".join(traceback.format_exception(caught.value))):
        assert SIGNATURE not in text


def test_only_reveal_gives_the_url_away() -> None:
    assert PresignedUrl(SECRET_URL).reveal() == SECRET_URL
    assert upload(url=SECRET_URL).url == PresignedUrl(SECRET_URL)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://h/p/q?s=1", "https://h/p/q"),
        ("https://h:9000/p?s=1", "https://h:9000/p"),
        ("https://user:password@h/p?s=1", "https://h/p"),
        ("https://h/p#s=1", "https://h/p"),
        ("http://[::1]:9000/p?s=1", "http://[::1]:9000/p"),
        ("http://[::1]/p?s=1", "http://[::1]/p"),
        ("https://h:port/p?s=1", "(unreadable URL)"),
        ("https://[h/p?s=1", "(unreadable URL)"),
    ],
)
def test_the_text_is_the_url_without_query_and_user(url: str, text: str) -> None:
    assert str(PresignedUrl(url)) == text
    assert repr(PresignedUrl(url)) == f"PresignedUrl({text!r})"


def test_two_are_equal_when_the_whole_urls_are() -> None:
    same, other = PresignedUrl(SECRET_URL), PresignedUrl(SECRET_URL + "0")
    assert PresignedUrl(SECRET_URL) == same
    assert hash(PresignedUrl(SECRET_URL)) == hash(same)
    assert same != other
    assert same != SECRET_URL


def test_its_pickle_lacks_the_query_and_its_copies_do_not() -> None:
    url = PresignedUrl(SECRET_URL)
    assert str(pickle.loads(pickle.dumps(url))) == str(url)
    assert b"Signature" not in pickle.dumps(url)
    assert copy.deepcopy([url]) == copy.copy([url]) == [url]
