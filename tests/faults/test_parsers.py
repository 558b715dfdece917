"""What eats foreign input never chokes on it, and understands it however it is put.

With UPLOADER_FUZZ=20000 that many examples are tried of each, instead of a hundred.
"""

from __future__ import annotations

import json
import math
import os
import time
import tracemalloc
from calendar import day_name, month_abbr
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from uploader.core.calls import Accepted
from uploader.core.links import Link, check_links, expiry
from uploader.core.outcomes import Done, PartVerdict, Response, judge_part, retry_after
from uploader.core.policy import PUBLIC
from uploader.core.retry import parse_http_date, parse_iso_date, parse_retry_after, pause
from uploader.core.storeerror import StoreError
from uploader.errors import AnswerError
from uploader.io.api import _upload
from uploader.models import Upload, UploadPart
from uploader.options import RetryPolicy

KiB = 1024

FUZZ = os.environ.get("UPLOADER_FUZZ", "")
fuzz = settings(
    max_examples=int(FUZZ or 100),
    derandomize=not FUZZ,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What happens inside takes this much of a processor at the most: many times what it takes."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < seconds


def tiled(pieces: list[str], size: int = 64 * KiB) -> str:
    """The pieces over and over again."""
    text = "".join(pieces) or " "
    return (text * (size // len(text) + 1))[:size]


# The store's error document

CODES = [
    *("AccessDenied", "BadDigest", "EntityTooLarge", "ExpiredRequest", "ExpiredToken", "InternalError"),
    *("InvalidToken", "NoSuchUpload", "RequestTimeout", "RequestTimeTooSkewed", "SignatureDoesNotMatch"),
    *("SlowDown", "TooManyRequests", "Unheard.Of"),
]
MESSAGES = [
    "",
    "Request has expired",
    "Date is too old",
    "Request is not valid yet",
    "Please reduce your rate",
]
TEXT = st.text("aZ09 .:/?=&<>'\"]-+%\u00e9\u6f22\U0001f600", max_size=30)
NAMES = ["HostId", "Resource", "Key", "Details", "EC", "ServerTime", "StringToSign"]
SPACE = st.sampled_from(["", " ", "\n", "\r\n    ", "\t"])
COMMENTS = st.sampled_from(["", "", "", "<!-- -->", "<!-- <Code>NoSuchUpload</Code> -->", "<!--<Message>-->"])
# Declared, and used: what ASCII lacks is written as a character reference.
ENCODINGS = [
    *[("utf-8", "utf-8"), ("UTF-8", "utf-8-sig"), ("utf-16", "utf-16")],
    *[("iso-8859-1", "ascii"), ("US-ASCII", "ascii")],
]


@dataclass(frozen=True)
class Document:
    """An error document, and what it says."""

    body: bytes
    code: str
    message: str
    request_id: str

    @property
    def plain(self) -> bytes:
        """The same, put as plainly as can be."""
        told = [("Code", self.code), ("Message", self.message), ("RequestId", self.request_id)]
        inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in told)
        return f"<Error>{inside}</Error>".encode()


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Well-formed ones, with all that XML allows and stores make use of, and some that they do not."""
    code = draw(st.sampled_from(CODES))
    message = draw(st.sampled_from(MESSAGES) | TEXT).strip()
    request_id = draw(st.from_regex("[0-9A-F]{16}", fullmatch=True))
    told = {"Code": code, "Message": message, "RequestId": request_id}
    others = draw(st.dictionaries(st.sampled_from(NAMES), TEXT, max_size=4))
    prefix = draw(st.sampled_from(["", "", "", "s3:"]))
    declared, encoding = draw(st.sampled_from(ENCODINGS))
    inside = draw(SPACE)
    for name, value in draw(st.permutations(list((told | others).items()))):
        # A character reference means nothing in CDATA.
        quotable = encoding != "ascii" or value.isascii()
        inside += _element(draw, prefix + name, value, quotable=quotable) + draw(SPACE) + draw(COMMENTS)
    space = f' xmlns{":s3" * bool(prefix)}="http://s3.amazonaws.com/doc/2006-03-01/"'
    attributes = draw(st.sampled_from([space, f"{space}\n a='&lt;Code>'", "" if not prefix else space]))
    text = f"<{prefix}Error{attributes}>{inside}</{prefix}Error>"
    if draw(st.booleans()):
        text = f"<ErrorResponse>{draw(SPACE)}{text}</ErrorResponse>"
    if declared.lower() != "utf-8" or draw(st.booleans()):
        quote_mark = draw(st.sampled_from("'\""))
        head = f"<?xml version='1.0' encoding='{declared}'?>".replace("'", quote_mark)
        text = head + draw(SPACE) + text
    return Document(text.encode(encoding, "xmlcharrefreplace"), code, message, request_id)


def _element(draw: st.DrawFn, name: str, value: str, *, quotable: bool) -> str:
    attributes = draw(st.sampled_from(["", "", "", "", " ", "\n", ' lang="en"', " a='&lt;'"]))
    if not value and draw(st.booleans()):
        return f"<{name}{attributes}/>"
    around, inside = draw(SPACE), escape(value)
    if quotable and "]]>" not in value and "<!--" not in value and draw(st.booleans()):
        inside = f"<![CDATA[{value}]]>"
    return f"<{name}{attributes}>{around}{inside}{around}</{name}>"


@fuzz
@given(documents())
def test_the_code_is_found_wherever_it_stands_and_however_it_is_written(document: Document) -> None:
    told = {
        it.tag.rpartition("}")[2]: (it.text or "").strip()
        for it in ElementTree.fromstring(document.body).iter()
    }
    assert told["Code"] == document.code, "the document is not what it was meant to be"
    error = StoreError.read({}, document.body)
    assert (error.found, error.code, error.request_id) == (True, document.code, document.request_id)
    assert error.message == told["Message"]


@fuzz
@given(documents(), st.sampled_from([200, 400, 403, 404, 409, 500, 503]))
def test_a_verdict_does_not_depend_on_how_a_document_is_written(document: Document, status: int) -> None:
    assert judge_part(Response(status, {}, document.body)) == judge_part(Response(status, {}, document.plain))


@fuzz
@given(documents(), st.data())
def test_a_document_cut_short_tells_its_code_or_less_of_it_but_no_other(
    document: Document, data: st.DataObject
) -> None:
    cut = document.body[: data.draw(st.integers(0, len(document.body)))]
    # What is left of half a character of UTF-16, or of the end of CDATA, makes it no code that is known.
    told = StoreError.read({}, cut).code.rstrip("]\N{REPLACEMENT CHARACTER}")
    assert document.code.startswith(told)


PIECES = [
    *(
        "<",
        ">",
        "</",
        "/>",
        "<Error",
        "<Error>",
        "<Code",
        "<Code>",
        "</Code>",
        "<Message>",
        "<RequestId",
        "<s3:Code ",
    ),
    *(
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "]",
        "<!DOCTYPE",
        "<!ENTITY a '&a;'>",
        "&",
        "&#",
        "&#x",
        "&lt;",
        "&amp",
        ";",
    ),
    *(" ", "\n", "=", "'", '"', ":", "a", "A", "0", "\0", "\u202e", "\U0001f600", "SlowDown", "?", "%"),
]


@fuzz
@given(
    st.lists(st.sampled_from(PIECES), max_size=3),
    st.lists(st.sampled_from(PIECES), max_size=4),
    st.sampled_from([200, 403, 503]),
    st.sampled_from(["utf-8", "utf-16"]),
)
def test_64_kib_of_anything_are_judged_at_once(
    start: list[str], pieces: list[str], status: int, encoding: str
) -> None:
    body = ("".join(start) + tiled(pieces)).encode(encoding)[: 64 * KiB]
    with within(0.5):
        verdict = judge_part(
            Response(status, {"etag": tiled(pieces), "x-amz-request-id": tiled(pieces)}, body)
        )
    assert isinstance(verdict, get_args(PartVerdict))
    assert isinstance(verdict, Done) or len(str(verdict)) < 5_000


# Dates and seconds


def _imf(moment: datetime) -> str:
    name, month = day_name[moment.weekday()][:3], month_abbr[moment.month]
    return f"{name}, {moment.day:02} {month} {moment.year:04} {moment:%H:%M:%S} GMT"


def _rfc_850(moment: datetime) -> str:
    name, month = day_name[moment.weekday()], month_abbr[moment.month]
    return f"{name}, {moment.day:02}-{month}-{moment.year % 100:02} {moment:%H:%M:%S} GMT"


def _asctime(moment: datetime) -> str:
    name, month = day_name[moment.weekday()][:3], month_abbr[moment.month]
    return f"{name} {month} {moment.day:2} {moment:%H:%M:%S} {moment.year:04}"


MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2068, 12, 31), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
HTTP_DATE = st.sampled_from([_imf, _rfc_850, _asctime])
ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@fuzz
@given(MOMENTS, HTTP_DATE)
def test_an_http_date_means_the_moment_it_was_made_of(moment: datetime, write: Any) -> None:
    assert parse_http_date(write(moment)) == moment.timestamp()


@fuzz
@given(MOMENTS, st.integers(-(10**6), 10**6), HTTP_DATE, HTTP_DATE)
def test_retry_after_a_date_is_the_time_left_by_the_servers_clock(
    now: datetime, seconds: int, write: Any, write_date: Any
) -> None:
    until = now + timedelta(seconds=seconds)
    assume(1970 <= until.year <= 2068)
    headers = {"retry-after": write(until), "date": write_date(now)}
    assert retry_after(Response(503, headers)) == max(0.0, seconds)


@fuzz
@given(st.integers(-(10**12), 10**12), st.sampled_from(["{}", " {} ", "{}.0", "{}.5"]))
def test_retry_after_a_number_is_that_many_seconds_and_none_below_zero(seconds: int, put: str) -> None:
    text = put.format(seconds)
    assert parse_retry_after(text, None) == max(0.0, float(text))


@fuzz
@given(st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 31)), ZONES, st.sampled_from("TtZ "), st.data())
def test_an_iso_date_means_the_moment_it_was_made_of(
    moment: datetime, zone: timezone, form: str, data: st.DataObject
) -> None:
    precision = data.draw(st.sampled_from(["seconds", "milliseconds", "microseconds"]))
    places = {"seconds": 10**6, "milliseconds": 1000, "microseconds": 1}[precision]
    moment = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // places * places)
    if form in "TZ":
        text = moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z" * (form == "Z")
    else:
        text = moment.astimezone(zone).isoformat(timespec=precision, sep=form.replace("t", "T"))
    assert parse_iso_date(text) == moment.timestamp()
    assert expiry(_part(expires=text)) == moment.timestamp()


def _part(query: str = "", expires: object = None) -> UploadPart:
    url = f"https://store.example/key?{query}"
    return UploadPart.model_validate({"number": 1, "url": url, "expires": expires})


@fuzz
@given(MOMENTS, st.integers(0, 604_800), st.sampled_from(["X-Amz", "x-amz", "X-Goog"]), st.booleans())
def test_a_signed_urls_own_dates_say_until_when(
    moment: datetime, seconds: int, vendor: str, other_way_round: bool
) -> None:
    fields = [f"{vendor}-Date={moment:%Y%m%dT%H%M%SZ}", f"{vendor}-Expires={seconds}", "X-Sig=a%26b"]
    assert expiry(_part("&".join(fields[:: -1 if other_way_round else 1]))) == moment.timestamp() + seconds
    assert expiry(_part(f"Expires={moment.timestamp():.0f}&Signature=x")) == moment.timestamp()


DATE_PIECES = [
    *(
        "Sun",
        "Nov",
        ",",
        ", ",
        " ",
        "-",
        "+",
        ":",
        ".",
        "/",
        "GMT",
        "Z",
        "T",
        "W",
        "am",
        "(",
        ")",
        "0",
        "9",
        "06",
        "1994",
    ),
    *(
        "08:49:37",
        "1e",
        "_",
        "inf",
        "nan",
        "-0",
        "\t",
        "\0",
        "é",
        "\u0663",
        "\ud800",
        "-0100",
        "99999999999999999999",
    ),
]
DATE_LIKE = st.lists(st.sampled_from(DATE_PIECES), max_size=12).map("".join)


@fuzz
@given(DATE_LIKE, DATE_LIKE, st.integers(1, 40), st.floats(0, 1, exclude_max=True))
def test_whatever_retry_after_says_the_pause_is_one_the_policy_allows(
    value: str, date: str, failures: int, chance: float
) -> None:
    policy = RetryPolicy()
    after = retry_after(Response(503, {"retry-after": value, "date": date}))
    assert after is None or 0.0 <= after < math.inf
    assert 0.0 <= pause(policy, failures, after, lambda: chance) <= max(policy.cap, policy.retry_after_cap)


@fuzz
@given(
    st.one_of(st.none(), DATE_LIKE, st.floats(), st.integers(-(10**30), 10**30)),
    DATE_LIKE,
    st.one_of(DATE_LIKE, st.integers(0, 10**400).map(str)),
    st.sampled_from(
        ["X-Amz-Date={}&X-Amz-Expires={}", "X-Goog-Date={}&X-Goog-Expires={}", "a={}&Expires={}"]
    ),
)
def test_an_expiry_is_a_moment_or_none(expires: object, date: str, lifetime: str, query: str) -> None:
    for dated in (quote(date, errors="replace"), "20260501T110000Z"):
        found = expiry(_part(query.format(dated, quote(lifetime, errors="replace")), expires))
        assert found is None or math.isfinite(found)


@fuzz
@given(st.lists(st.sampled_from(DATE_PIECES), max_size=3), st.lists(st.sampled_from(DATE_PIECES), max_size=4))
def test_64_kib_of_a_date_are_read_at_once(start: list[str], pieces: list[str]) -> None:
    text = "".join(start) + tiled(pieces)
    with within(0.5):
        for date in (text, _imf(datetime(2026, 5, 1))):
            after = parse_retry_after(text, date)
            assert after is None or 0.0 <= after < math.inf
        assert parse_iso_date(text) is None or math.isfinite(parse_iso_date(text) or 0.0)
        plain = text.encode("utf-8", "replace").decode()
        found = expiry(_part(quote(plain[: 4 * KiB]), plain))
    assert found is None or math.isfinite(found)


# The service's answers

SECRET = "5eC4e7"
JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["pending", "3", "1.0", "https://x/", "\ud800", "\0", "2026-05-01T12:00:00Z", "NaN"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
URLS = st.sampled_from(
    [
        *(
            "",
            "//store.example/",
            "http://store.example/",
            "ftp://store.example/",
            "https://user@store.example/",
        ),
        *("https://10.0.0.1/", "https://[::1]/", "https://2130706433/", "https://store.example:99999/"),
        *(
            "https://store.example/\n",
            "https://store.example/é",
            "https://[x",
            "https:///",
            "file:///etc/passwd",
        ),
        f"https://store.example/{'a' * 17_000}",
    ]
).map(lambda url: f"{url}?X-Amz-Signature={SECRET}")


def _answer(count: int) -> dict[str, Any]:
    parts = [
        {
            "number": number,
            "url": f"https://store.example/{number}?X-Amz-Signature={SECRET}",
            "expires": "2026-05-01T12:00:00Z",
        }
        for number in range(1, count + 1)
    ]
    return {"upload": {"id": "up", "status": "pending", "partsCount": count, "kind": "3d", "parts": parts}}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths to everything in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _places(inner, (*path, key))


@st.composite
def damaged(draw: st.DrawFn, count: int) -> bytes:
    """An answer of which something is wrong, or several things are, or nothing is."""
    answer: Any = _answer(count)
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(sorted(_places(answer), key=str)))
        if not path:
            answer = draw(JUNK)
            continue
        holder = answer
        for key in path[:-1]:
            holder = holder[key]
        _damage(draw, holder, path[-1])
    text = json.dumps(answer, ensure_ascii=draw(st.booleans()))
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "latin-1"]))
    return text.encode(encoding, "surrogatepass" if encoding.startswith("utf") else "replace")


def _damage(draw: st.DrawFn, holder: Any, key: Any) -> None:
    what = draw(st.sampled_from(["junk", "junk", "url", "number", "gone", "twice", "more"]))
    if what == "gone":
        del holder[key]
    elif what == "twice" and isinstance(holder, list):
        holder.append(deepcopy(holder[key]))
    elif what == "more" and isinstance(holder, dict):
        holder[draw(st.text(max_size=5))] = draw(JUNK)
    elif what == "url":
        holder[key] = draw(URLS)
    elif what == "number":
        holder[key] = draw(
            st.integers(-1, 6) | st.floats(-1, 6) | st.sampled_from([2**31, 2**63, 1e300, True])
        )
    else:
        holder[key] = draw(JUNK)


def _taken(body: bytes, count: int) -> Upload | None:
    """The upload, if the answer is taken, with its links; None if it is refused in the words for that."""
    try:
        upload = _upload(Accepted(body), "up")
        links = check_links(upload, count, policy=PUBLIC)
    except AnswerError as error:
        said = str(error)
    else:
        _check(links, count)
        return upload
    assert SECRET not in said
    assert len(said) < 1_000
    return None


def _check(links: dict[int, Link], count: int) -> None:
    assert list(links) == list(range(1, count + 1))
    for link in links.values():
        url = urlsplit(link.url.reveal())
        assert url.scheme == "https"
        assert url.hostname
        assert "@" not in url.netloc
        assert link.expires is None or math.isfinite(link.expires)


@fuzz
@given(st.integers(1, 4).flatmap(lambda count: st.tuples(st.just(count), damaged(count))))
def test_an_answer_is_one_to_go_by_or_an_answer_error(made: tuple[int, bytes]) -> None:
    count, body = made
    upload = _taken(body, count)
    assert upload is None or (upload.id == "up" and isinstance(upload.status, str))


@fuzz
@given(st.binary() | st.text('[]{}",:0123456789.-+eENaInfityulrs \\ud8', max_size=200).map(str.encode))
def test_no_bytes_are_an_upload_by_chance(body: bytes) -> None:
    for wrapped in (body, b'{"upload":' + body + b"}", b'{"upload":{"id":"up","status":' + body + b"}}"):
        with suppress(AnswerError):
            assert _upload(Accepted(wrapped), "up").id == "up"


@fuzz
@given(
    st.integers(1, 40).flatmap(lambda count: st.permutations(range(count))),
    st.dictionaries(st.text(max_size=8).map(lambda name: f"x{name}"), JUNK, max_size=3),
    st.sampled_from([int, float, "{}".format]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32"]),
)
def test_nothing_that_does_not_matter_keeps_an_answer_from_being_taken(
    order: list[int], more: dict[str, Any], number: Any, encoding: str
) -> None:
    """The order, unknown fields, whole numbers in any form, the encoding."""
    answer = _answer(len(order))
    upload, parts = answer["upload"], answer["upload"]["parts"]
    upload["parts"] = [parts[place] | {"number": number(place + 1)} for place in order]
    upload |= {"status": "brand-new", "kind": None, "partsCount": float(len(order)), **more}
    body = json.dumps(answer | more).encode(encoding)
    assume(json.loads(body))
    assert _taken(body, len(order)) is not None


START = b'{"upload":{"id":"up","status":"pending","parts":['
PARTS = {
    "numbers": b"0,",
    "lists": b"[],",
    "objects": b"{},",
    "urls without a number": b'{"url":"https://store.example/"},',
    "the same part": b'{"number":1,"url":"https://store.example/"},',
    "strings": b'"a",',
}


@pytest.mark.parametrize("kind", PARTS)
def test_an_eighth_of_a_megabyte_of_nonsense_takes_little_time_and_memory(kind: str) -> None:
    """Of which the service could send 64 MiB: what it takes must not grow beyond what JSON itself does."""
    item = PARTS[kind]
    body = START + item * (128 * KiB // len(item)) + item[:-1] + b"]}}"
    with within(1.0):
        assert _taken(body, 3) is None
    tracemalloc.start()
    try:
        assert _taken(body, 3) is None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60 * len(body)


JSON_PIECES = [
    "[",
    "]",
    "{",
    "}",
    '"',
    '"a":',
    ":",
    ",",
    "0",
    "1e",
    "-",
    ".",
    "\\",
    "\\u",
    "null",
    " ",
    "é",
    '{"id":',
]


@fuzz
@given(st.lists(st.sampled_from(JSON_PIECES), max_size=3), st.lists(st.sampled_from(JSON_PIECES), max_size=4))
def test_64_kib_of_anything_are_no_answer_at_once(start: list[str], pieces: list[str]) -> None:
    text = "".join(start) + tiled(pieces)
    with within(0.5):
        for body in (text, f'{{"upload":{text}', f'{{"upload":{{"id":"up","status":"{text}"}}}}'):
            assert _taken(body.encode(), 3) is None
