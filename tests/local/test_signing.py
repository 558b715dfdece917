"""Presigned links: what is signed is accepted, whatever was changed is not, and only in its time."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import parse_qsl, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.local.answers import StoreError
from uploader.local.signing import SignedRequest, Signer
from uploader.local.verifying import verify

KEY = b"k" * 32
SIGNER = Signer(KEY, "http://127.0.0.1:9000", "127.0.0.1:9000")
NOW = 1_800_000_000.25
FIELDS = [("uploadId", "u1"), ("partNumber", "7")]


def presigned(path: str = "/storage/u1/a b.bin", ttl: float = 60, session: str = "s") -> SignedRequest:
    link = SIGNER.presign(path, FIELDS, session=session, issued_at=NOW, ttl=ttl)
    where = urlsplit(link.url)
    return SignedRequest("PUT", unquote(where.path), parse_qsl(where.query), {"host": where.netloc})


def changed(request: SignedRequest, name: str, *values: str) -> SignedRequest:
    query = [pair for pair in request.query if pair[0] != name] + [(name, value) for value in values]
    return replace(request, query=query)


def refusal(request: SignedRequest, now: float = NOW, key: bytes = KEY) -> tuple[int, str, str]:
    with pytest.raises(StoreError) as caught:
        verify(key, request, now)
    return caught.value.status, caught.value.code, caught.value.message


def test_a_link_as_it_was_signed_is_good() -> None:
    verify(KEY, presigned(), NOW)


@given(
    st.text(min_size=1).filter(lambda name: "/" not in name and name not in (".", "..")), st.text(min_size=1)
)
def test_any_name_and_session_survive_the_way_through_a_url(name: str, session: str) -> None:
    verify(KEY, presigned(f"/storage/u/{name}", session=session), NOW)


def test_a_new_session_makes_a_new_link_within_the_same_second() -> None:
    assert presigned(session="a") != presigned(session="b")
    assert presigned(session="a") == presigned(session="a")


@pytest.mark.parametrize(
    "tampered",
    [
        replace(presigned(), method="POST"),
        replace(presigned(), path="/storage/u1/other.bin"),
        replace(presigned(), headers={"host": "127.0.0.1:9001"}),
        replace(presigned(), headers={}),
        replace(presigned(), query=[*presigned().query, ("extra", "1")]),
        changed(presigned(), "partNumber", "8"),
        changed(presigned(), "partNumber"),
        changed(presigned(), "partNumber", "7", "7"),
        changed(presigned(), "uploadId", "u2"),
        changed(presigned(), "X-Amz-Expires", "61"),
        changed(presigned(), "X-Amz-Date", "20270115T080002Z"),
        changed(presigned(), "X-Amz-Credential", "other"),
        changed(presigned(), "X-Amz-Security-Token", "other"),
        changed(presigned(), "X-Amz-SignedHeaders", "host;range"),
        changed(presigned(), "X-Amz-Signature", "0" * 64),
        changed(presigned(), "X-Amz-Signature", "é"),
    ],
)
def test_whatever_was_tampered_with_breaks_the_signature(tampered: SignedRequest) -> None:
    assert refusal(tampered)[:2] == (403, "SignatureDoesNotMatch")


def test_another_key_does_not_verify() -> None:
    assert refusal(presigned(), key=b"other")[:2] == (403, "SignatureDoesNotMatch")


@given(st.data())
def test_no_single_changed_character_of_the_query_is_accepted(data: st.DataObject) -> None:
    request = presigned()
    at = data.draw(st.integers(0, len(request.query) - 1))
    name, value = request.query[at]
    place = data.draw(st.integers(0, len(value) - 1))
    letter = data.draw(st.characters(exclude_characters=value[place], exclude_categories=["Cs"]))
    query = [*request.query]
    query[at] = (name, value[:place] + letter + value[place + 1 :])
    assert refusal(replace(request, query=query))[0] in (400, 403)


def test_no_parameters_at_all_is_access_denied() -> None:
    assert refusal(replace(presigned(), query=FIELDS)) == (403, "AccessDenied", "Access Denied")


@pytest.mark.parametrize(
    "garbled",
    [
        *[changed(presigned(), f"X-Amz-{name}") for name in ("Algorithm", "Credential", "Date", "Expires")],
        *[changed(presigned(), f"X-Amz-{name}") for name in ("SignedHeaders", "Signature")],
        changed(presigned(), "X-Amz-Algorithm", "AWS4-HMAC-SHA1"),
        changed(presigned(), "X-Amz-Date", "yesterday"),
        changed(presigned(), "X-Amz-Date", "20261399T000000Z"),
        changed(presigned(), "X-Amz-Expires", "-1"),
        changed(presigned(), "X-Amz-Expires", "1.5"),
        changed(presigned(), "X-Amz-Expires", "604801"),
        changed(presigned(), "X-Amz-SignedHeaders", "content-type"),
        changed(presigned(), "X-Amz-Signature", "a", "b"),
    ],
)
def test_missing_doubled_or_garbled_parameters_are_named_as_such(garbled: SignedRequest) -> None:
    assert refusal(garbled)[:2] == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("ttl", [0.01, 1, 1.5, 60])
def test_a_link_lives_its_time_and_at_most_two_seconds_more(ttl: float) -> None:
    verify(KEY, presigned(ttl=ttl), NOW + ttl)
    assert refusal(presigned(ttl=ttl), NOW + ttl + 2) == (403, "AccessDenied", "Request has expired")


def test_an_expired_link_tells_when_and_what_time_it_is() -> None:
    with pytest.raises(StoreError) as caught:
        verify(KEY, presigned(), NOW + 3600)
    assert caught.value.details["Expires"] == "2027-01-15T08:01:01Z"
    assert caught.value.details["ServerTime"] == "2027-01-15T09:00:00Z"


def test_the_reported_expiry_is_the_moment_it_dies() -> None:
    link = SIGNER.presign("/storage/u1/a", FIELDS, session="s", issued_at=NOW, ttl=60)
    where = urlsplit(link.url)
    request = SignedRequest("PUT", where.path, parse_qsl(where.query), {"host": where.netloc})
    verify(KEY, request, link.expires - 0.001)
    assert refusal(request, link.expires)[2] == "Request has expired"


def test_a_date_more_than_15_minutes_ahead_is_not_valid_yet() -> None:
    verify(KEY, presigned(), NOW - 14 * 60)
    assert refusal(presigned(), NOW - 16 * 60) == (403, "AccessDenied", "Request is not valid yet")


def test_credentials_beside_the_signature_are_one_mechanism_too_many() -> None:
    request = replace(presigned(), headers={"host": "127.0.0.1:9000", "authorization": "Basic x"})
    assert refusal(request) == (400, "InvalidArgument", "Only one auth mechanism allowed")


def test_amz_headers_outside_the_signature_are_refused() -> None:
    request = replace(presigned(), headers={"host": "127.0.0.1:9000", "x-amz-acl": "public-read"})
    assert refusal(request)[:2] == (403, "AccessDenied")
    assert "not signed" in refusal(request)[2]
