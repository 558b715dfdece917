"""Which of the service's presigned URLs are acceptable, and until when they hold."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from uploader.core.links import check_links, expiry, offered_links, signed_headers
from uploader.core.policy import PUBLIC, StoragePolicy
from uploader.errors import AnswerError
from uploader.models import PresignedUrl, Upload, UploadPart

HOST = "https://bucket.s3.amazonaws.com"
LOCAL = StoragePolicy(loopback=True)
NOON = datetime(2026, 5, 1, 12, 0, tzinfo=UTC).timestamp()


def answer(numbers: list[int] | None, url: str = f"{HOST}/key?sig=1") -> Upload:
    parts = None if numbers is None else tuple({"number": number, "url": url} for number in numbers)
    return Upload.model_validate({"id": "up_1", "status": "pending", "parts": parts})


def part(url: str = f"{HOST}/key", expires: Any = None) -> UploadPart:
    return UploadPart.model_validate({"number": 1, "url": url, "expires": expires})


# Numbers


@pytest.mark.parametrize("numbers", [[1, 2, 3], [3, 1, 2]])
def test_each_part_has_its_link_in_whatever_order(numbers: list[int]) -> None:
    links = check_links(answer(numbers), 3, policy=PUBLIC)
    assert list(links) == [1, 2, 3]
    assert all(link.url.reveal() == f"{HOST}/key?sig=1" for link in links.values())


def test_ten_thousand_parts_are_fine() -> None:
    assert len(check_links(answer(list(range(1, 10_001))), 10_000, policy=PUBLIC)) == 10_000


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (None, "no parts"),
        ([], "no parts"),
        ([1, 3], "part 2 is missing"),
        ([1, 2], "part 3 is missing"),
        ([2, 3], "part 1 is missing"),
        ([1, 2, 2], "part 2 is in it more than once"),
        ([1, 2, 3, 3], "part 3 is in it more than once"),
        ([1, 2, 3, 4], "part 4, of 3"),
        ([0, 1, 2], "part 0, of 3"),
        ([-1, 1, 2, 3], "part -1, of 3"),
        ([1, 2, 10_001], "part 10001, of 3"),
        (list(range(1, 10_002)), "of 3"),
    ],
)
def test_wrong_numbers_fail_before_anything_is_sent(numbers: list[int] | None, said: str) -> None:
    with pytest.raises(AnswerError, match=said) as caught:
        check_links(answer(numbers), 3, policy=PUBLIC)
    assert caught.value.upload_id == "up_1"


@pytest.mark.parametrize(
    ("counted", "said"), [(None, ""), (3, ""), (2, "counts 2 parts"), (4, "counts 4 parts")]
)
def test_a_count_that_is_not_that_of_the_parts_asked_for_is_refused(counted: int | None, said: str) -> None:
    upload = answer([1, 2, 3]).model_copy(update={"parts_count": counted})
    if not said:
        assert list(check_links(upload, 3, policy=PUBLIC)) == [1, 2, 3]
        return
    with pytest.raises(AnswerError, match=said):
        check_links(upload, 3, policy=PUBLIC)


def test_parts_that_are_missing_are_told_before_a_wrong_count() -> None:
    upload = answer([1, 3]).model_copy(update={"parts_count": 2})
    with pytest.raises(AnswerError, match="part 2 is missing"):
        check_links(upload, 3, policy=PUBLIC)


@pytest.mark.parametrize(("numbers", "offered"), [(None, []), ([], []), ([2], [2]), ([1, 2, 3, 9], [2, 3])])
def test_a_later_answer_may_carry_some_links_or_none(numbers: list[int] | None, offered: list[int]) -> None:
    assert list(offered_links(answer(numbers), [2, 3], policy=PUBLIC)) == offered


# Where a file may be sent


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        (f"{HOST}/a/b%2Fc?X-Amz-Signature=1", False),
        ("https://store.example.com:8443/x?s", False),
        ("https://9.9.9.9/x?s", False),
        ("http://127.0.0.1:9000/x?s", True),
        ("http://localhost:9000/x?s", True),
        ("http://[::1]:9000/x?s", True),
        ("https://localhost:9000/x?s", True),
    ],
)
def test_https_is_taken_and_http_to_loopback_where_the_api_is_there_too(url: str, loopback: bool) -> None:
    assert check_links(answer([1], url), 1, policy=LOCAL if loopback else PUBLIC)[1].url == PresignedUrl(url)


@pytest.mark.parametrize("loopback", [False, True])
@pytest.mark.parametrize(
    "url",
    [
        "",
        "key?sig=1",
        "//bucket.example.com/x",
        "https:///x",
        "https://?x",
        "file:///etc/passwd",
        "file://bucket.example.com/x",
        "ftp://bucket.example.com/x",
        "gopher://bucket.example.com/x",
        "javascript:alert(1)",
        "data:,x",
        "http://bucket.example.com/x",
        "http://169.254.169.254/latest/meta-data",
        "http://127.0.0.1.evil.com/x",
        "https://user@bucket.example.com/x",
        "https://user:pass@bucket.example.com/x",
        "https://@bucket.example.com/x",
        "https://bucket.example.com\\@evil.com/x",
        "https://bucket.example.com:port/x",
        "https://bucket.example.com:99999/x",
        "https://bucket.example.com:-1/x",
        "https://[bucket/x",
        "https://bucket.example.com/x\r\nHost: evil",
        "https://bucket.example.com/\x00",
        "https://bucket.example.com/\x7f",
        "https://bucket.example.com/a b",
        "https://bucket.example.com/\u202e",
        "https://b\u00fccket.example.com/x",
        " https://bucket.example.com/x",
        "https://bucket.example.com/x\n",
    ],
)
def test_an_unsafe_url_is_refused_with_its_part_named(url: str, loopback: bool) -> None:
    with pytest.raises(AnswerError, match="part 2") as caught:
        offered_links(
            Upload.model_validate(
                {"id": "up_1", "status": "pending", "parts": [{"number": 2, "url": url + "?Sig=S3CR3T"}]}
            ),
            [2],
            policy=LOCAL if loopback else PUBLIC,
        )
    assert "S3CR3T" not in str(caught.value)
    assert caught.value.upload_id == "up_1"


def test_plain_http_to_loopback_is_refused_where_the_api_is_not_there() -> None:
    with pytest.raises(AnswerError, match="https"):
        check_links(answer([1], "http://127.0.0.1:9000/x"), 1, policy=PUBLIC)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "10.0.0.5",
        "172.16.0.1",
        "192.168.1.1",
        "[fd00::1]",
        "127.0.0.1",
        "[::1]",
        "localhost",
        "0.0.0.0",
        "[::ffff:169.254.169.254]",
    ],
)
def test_a_link_into_the_private_network_is_refused_where_the_api_is_public(host: str) -> None:
    """faults.md case 27: a link-local or private address is refused before a socket opens."""
    with pytest.raises(AnswerError):
        check_links(answer([1], f"https://{host}/x?s"), 1, policy=PUBLIC)


def test_a_url_has_at_most_16_kib() -> None:
    url = f"{HOST}/".ljust(16 * 1024, "a")
    assert check_links(answer([1], url), 1, policy=PUBLIC)[1].url.reveal() == url
    with pytest.raises(AnswerError, match="cannot be read"):
        check_links(answer([1], url + "a"), 1, policy=PUBLIC)


@pytest.mark.parametrize(
    "url",
    [
        "https://999.1.1.1/x",
        "https://a..b/x",
        f"https://{'a' * 64}.example.com/x",
        "https://bucket.example.com/" + "a" * 70_000,
    ],
    ids=["no ip address", "empty label", "long label", "long url"],
)
def test_a_url_no_request_can_be_made_of_is_refused(url: str) -> None:
    """Each of these ends in httpx.InvalidURL or UnicodeError when it is used, and not in a typed error."""
    with pytest.raises(AnswerError):
        check_links(answer([1], url), 1, policy=PUBLIC)


@given(st.text(), st.sampled_from(["", "https://", "http://", "https://h/", "http://127.0.0.1", "https://["]))
@example("/x", "http://[::1]:9000")
def test_any_url_is_refused_or_one_a_request_can_be_made_of(text: str, start: str) -> None:
    try:
        links = check_links(answer([1], start + text), 1, policy=LOCAL)
    except AnswerError:
        return
    url = httpx.URL(str(links[1].url))  # as storage.py does
    assert url.host
    assert url.scheme in ("https", "http")


# Until when


@pytest.mark.parametrize(
    ("expires", "query"),
    [
        ("2026-05-01T12:00:00Z", ""),
        ("2026-05-01T12:00:00.000Z", ""),
        ("2026-05-01T14:00:00+02:00", ""),
        ("2026-05-01T12:00:00", ""),
        (NOON, ""),
        (int(NOON), ""),
        (NOON * 1000, ""),
        (str(int(NOON)), ""),
        ("2026-05-01T12:00:00Z", "X-Amz-Date=20200101T000000Z&X-Amz-Expires=60"),
        (None, "X-Amz-Date=20260501T110000Z&X-Amz-Expires=3600"),
        ("", "X-Amz-Expires=3600&X-Amz-Date=20260501T110000Z&X-Amz-Signature=00"),
        ("soon", "x-amz-date=20260501T110000Z&x-amz-expires=3600"),
        ("0", "X-Goog-Date=20260501T110000Z&X-Goog-Expires=3600"),
        (-5, "X-Goog-Date=20260501T110000Z&X-Goog-Expires=3600"),
        (None, f"AWSAccessKeyId=AK&Signature=x&Expires={int(NOON)}"),
        (None, f"GoogleAccessId=AK&Signature=x&Expires={int(NOON)}"),
    ],
)
def test_expiry_is_the_stated_one_or_the_urls_own(expires: Any, query: str) -> None:
    assert expiry(part(f"{HOST}/key?{query}", expires)) == NOON


@pytest.mark.parametrize("expires", [None, "", "soon", "NaN", "-1", -1, 0, 1e300, "9" * 400])
@pytest.mark.parametrize(
    "query",
    [
        "",
        "Expires=",
        "Expires=soon",
        "Expires=-1",
        "X-Amz-Date=20260501T110000Z",
        "X-Amz-Expires=3600",
        "X-Amz-Date=yesterday&X-Amz-Expires=3600",
        "X-Amz-Date=20269901T110000Z&X-Amz-Expires=3600",
        "X-Amz-Date=20260501T110000Z&X-Amz-Expires=-1",
        "X-Amz-Date=20260501T110000Z&X-Amz-Expires=1e9",
    ],
)
def test_garbage_says_nothing(expires: Any, query: str) -> None:
    assert expiry(part(f"{HOST}/key?{query}", expires)) is None


@pytest.mark.parametrize(
    ("expires", "seconds"),
    [
        (0, None),
        (0.5, 0.5),
        (1e11, 1e11),
        (1e11 + 1, 1e8 + 0.001),
        (1e14 - 1, 1e11 - 0.001),
        (1e14, None),
    ],
)
def test_numbers_past_the_year_5000_are_milliseconds(expires: float, seconds: float | None) -> None:
    assert expiry(part(expires=expires)) == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="this system's time zone cannot be set")
def test_a_urls_own_date_is_utc_wherever_this_machine_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "UTC-9")
        time.tzset()
        assert expiry(part(f"{HOST}/key?X-Amz-Date=20260501T110000Z&X-Amz-Expires=3600")) == NOON
    time.tzset()


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)))
@example(datetime(2024, 11, 9, 3, 5, 12, 345000))
def test_a_number_in_a_string_is_never_taken_for_a_date(moment: datetime) -> None:
    """Seconds or a JavaScript clock's milliseconds: 1731121512345 is not 23:45 on 21 December 1731."""
    milliseconds = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    assert expiry(part(expires=str(milliseconds))) == milliseconds / 1000
    assert expiry(part(expires=str(milliseconds // 1000))) == milliseconds // 1000


url_text = st.text("X-AmzGogDateExpirs=&?0123456789TZ%;/:.[]@#")


@given(st.one_of(st.none(), st.text(), st.floats(), st.integers()), st.one_of(st.text(), url_text))
def test_nothing_makes_a_parser_raise(expires: Any, text: str) -> None:
    for url in (text, f"{HOST}/key?{text}", f"{HOST}/?X-Amz-Expires={text}&X-Amz-Date=20260501T110000Z"):
        found = expiry(part(url, expires))
        assert found is None or isinstance(found, float)
        assert isinstance(signed_headers(PresignedUrl(url)), frozenset)


# What the signature covers


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("X-Amz-SignedHeaders=host", {"host"}),
        ("X-Amz-SignedHeaders=content-md5%3BContent-Type%3Bhost", {"content-md5", "content-type", "host"}),
        ("X-Amz-SignedHeaders=content-type;host", {"content-type", "host"}),
        ("X-Goog-SignedHeaders=content-type%3Bhost", {"content-type", "host"}),
        ("X-Amz-SignedHeaders=", set()),
        ("Expires=1&Signature=x", set()),
        ("", set()),
    ],
)
def test_the_signed_headers_are_the_urls(query: str, names: set[str]) -> None:
    assert signed_headers(PresignedUrl(f"{HOST}/key?{query}")) == names


def test_an_unreadable_url_signs_nothing() -> None:
    assert signed_headers(PresignedUrl("https://[x?X-Amz-SignedHeaders=host")) == set()
