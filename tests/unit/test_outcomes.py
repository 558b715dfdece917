"""The table of faults.md, row by row: what a store's answer, or the lack of one, means for a part."""

from __future__ import annotations

import time
from itertools import product
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.outcomes import (
    Break,
    Broken,
    Cause,
    Done,
    Fail,
    Gone,
    NewUrl,
    PartVerdict,
    Response,
    Retry,
    SourceBad,
    is_html,
    judge_part,
    retry_after,
)
from uploader.core.scrub import scrub

MD5 = "9e107d9d372bb6826bd81d3542a419d6"
OTHER = "e4d909c290d0fb1ca068ffaddf22cbd0"
SIGNATURE = "0123456789abcdef" * 4
URL = f"https://b.s3.amazonaws.com/k?X-Amz-Expires=60&X-Amz-Signature={SIGNATURE}"
AMZ = {"content-type": "application/xml", "x-amz-request-id": "4442587FB7D0A2F9"}


def xml(code: str, message: str | None = "said the store") -> bytes:
    told = f"<Message>{message}</Message>" if message is not None else ""
    head = '<?xml version="1.0" encoding="UTF-8"?>\n'
    return f"{head}<Error><Code>{code}</Code>{told}<RequestId>4442587FB7D0A2F9</RequestId></Error>".encode()


def judge(status: int, body: bytes = b"", md5: str | None = MD5, /, **headers: str) -> PartVerdict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge_part(Response(status, named, body), md5)


def told(verdict: Any) -> str:
    return f"{getattr(verdict, 'detail', '')} {getattr(verdict, 'advice', '')}"


# Expired


EXPIRED = {
    "aws": (403, xml("AccessDenied", "Request has expired")),
    "aws in full": (
        403,
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        b"<X-Amz-Expires>60</X-Amz-Expires><Expires>2026-05-01T12:00:00Z</Expires>"
        b"<ServerTime>2026-05-01T12:00:05Z</ServerTime><RequestId>R</RequestId><HostId>H</HostId></Error>",
    ),
    "aws sts": (400, xml("ExpiredToken", "The provided token has expired.")),
    "gcs": (
        400,
        b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>Invalid argument.</Message>",
    ),
    "minio": (403, xml("AccessDenied", "Request has expired")),
    "seaweedfs": (
        403,
        b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        b"<Resource>/b/k</Resource></Error>",
    ),
    "ceph without a message": (403, xml("AccessDenied", None)),
    "ceph with an empty one": (403, xml("AccessDenied", "")),
    "ceph with an empty tag": (
        403,
        b"<Error><Code>AccessDenied</Code><Message/><RequestId>tx0</RequestId></Error>",
    ),
    "r2": (400, xml("ExpiredRequest", "Request has expired")),
    "garage": (400, xml("InvalidRequest", "Bad request: Date is too old")),
    "refresh required": (400, xml("TokenRefreshRequired", "The provided token must be refreshed.")),
    "other namespace": (
        403,
        b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>AccessDenied</Code>'
        b"<Message>Request has expired</Message></Error>",
    ),
    "backblaze": (401, xml("UnauthorizedAccess", "Request has expired given timestamp and expiration")),
    "other words": (403, xml("AccessDenied", "This URL expired")),
    "cut after the code": (400, b"<Error><Code>ExpiredToken</Code><Mess"),
    "cut in the message": (403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Mes"),
}


@pytest.mark.parametrize("store", EXPIRED)
def test_an_expired_link_gets_a_new_url(store: str) -> None:
    verdict = judge(*EXPIRED[store])
    assert isinstance(verdict, NewUrl)
    assert verdict.cause is Cause.EXPIRED
    assert verdict.advice == "the server issues expired links: check its clock"
    assert verdict.limit == 2


@pytest.mark.parametrize(
    ("status", "code", "message", "cause", "advice"),
    [
        (403, "AccessDenied", "Request is not valid yet", Cause.CLOCK, "signing server's clock is wrong"),
        (403, "RequestTimeTooSkewed", "The difference is too large", Cause.CLOCK, "clock is wrong"),
        (403, "SignatureDoesNotMatch", "It does not match", Cause.REJECTED, "link rejected"),
        (400, "SignatureDoesNotMatch", "It does not match", Cause.REJECTED, "link rejected"),
        (403, "InvalidToken", "The token is malformed", Cause.EXPIRED, "link rejected"),
        (400, "InvalidToken", "The token is malformed", Cause.EXPIRED, "link rejected"),
        (403, "AccessDenied", "Access Denied", Cause.REJECTED, "link rejected"),
        (403, "AccessDenied", "<![CDATA[Access Denied]]>", Cause.REJECTED, "link rejected"),
        (401, "Unauthorized", "Unauthorized", Cause.REJECTED, "link rejected"),
        (403, "AccountProblem", "There is one", Cause.REJECTED, "link rejected"),
        (403, "AccountProblem", "The trial has expired", Cause.REJECTED, "link rejected"),
    ],
)
def test_a_refused_link_gets_a_new_url_once(
    status: int, code: str, message: str, cause: Cause, advice: str
) -> None:
    """The second strike is final, and says what the store said: its code and the request id."""
    verdict = judge(status, xml(code, message))
    assert isinstance(verdict, NewUrl)
    assert (verdict.cause, verdict.limit) == (cause, 2)
    assert advice in verdict.advice
    assert code in verdict.detail
    assert "4442587FB7D0A2F9" in verdict.detail


@pytest.mark.parametrize("name", ["x-amz-request-id", "x-amz-id-2", "x-guploader-uploadid", "x-trans-id"])
def test_the_request_id_may_be_in_a_header(name: str) -> None:
    verdict = judge_part(Response(403, {name: "ID42"}, b"<Error><Code>Nope</Code></Error>"))
    assert "ID42" in told(verdict)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
@pytest.mark.parametrize("body", [b"", xml("TemporaryRedirect"), xml("PermanentRedirect")])
def test_a_redirect_is_not_followed_but_gets_a_new_url_once(status: int, body: bytes) -> None:
    verdict = judge(status, body, location="https://evil.example.com/")
    assert isinstance(verdict, NewUrl)
    assert (verdict.cause, verdict.limit) == (Cause.REDIRECTED, 2)
    assert "redirect" in verdict.detail
    assert verdict.advice == "link rejected"


# Proxies


PAGES = [
    (b"<!DOCTYPE html><title>Blocked</title>", {}),
    (b"\r\n  <!doctype HTML>\n<p>no", {}),
    (b"<html><body>Forbidden</body></html>", {}),
    (b"<HTML>", {}),
    (b"\xef\xbb\xbf<!DOCTYPE html><p>no", {}),
    (b"Forbidden", {"content_type": "text/html; charset=utf-8"}),
    (b"", {"content_type": "TEXT/HTML"}),
    (b"<p>" + b"x" * 65_000, {"content_type": "application/xhtml+xml"}),
]


@pytest.mark.parametrize(("body", "headers"), PAGES)
def test_a_web_page_without_a_request_id_is_a_proxys(body: bytes, headers: dict[str, str]) -> None:
    denied, gateway, wants_login = (judge(status, body, **headers) for status in (403, 502, 407))
    assert isinstance(denied, Fail)
    assert "blocked by a proxy" in denied.detail
    assert not denied.final, "another network may do"
    assert isinstance(gateway, Retry)
    assert isinstance(wants_login, Fail)
    assert "proxy" in wants_login.detail
    assert not wants_login.final


def test_an_error_document_called_a_web_page_is_the_stores() -> None:
    verdict = judge(403, b"<Error><Code>Nope</Code></Error>", content_type="text/html")
    assert isinstance(verdict, NewUrl)


def test_a_web_page_with_a_storage_request_id_is_the_stores() -> None:
    verdict = judge(403, b"<html>Forbidden</html>", x_amz_request_id="4442587FB7D0A2F9")
    assert isinstance(verdict, NewUrl)


@pytest.mark.parametrize("body", [b"", b"{}", xml("ProxyAuthenticationRequired")])
def test_407_is_final_whatever_comes_with_it(body: bytes) -> None:
    assert isinstance(judge(407, body), Fail)


def test_a_stores_error_is_no_web_page() -> None:
    assert not is_html(Response(403, AMZ, xml("AccessDenied")))


# Send it again


@pytest.mark.parametrize(
    ("status", "body", "cause"),
    [
        (400, xml("RequestTimeout"), Cause.REREAD),
        (408, xml("RequestTimeout"), Cause.REREAD),
        (400, xml("IncompleteBody"), Cause.REREAD),
        (400, xml("BadDigest"), Cause.DIGEST),
        (408, b"", Cause.SERVER),
        (409, xml("OperationAborted"), Cause.SERVER),
        (499, b"", Cause.SERVER),
        (500, b"", Cause.SERVER),
        (500, xml("InternalError"), Cause.SERVER),
        (500, b"<html>", Cause.SERVER),
        (502, b"", Cause.SERVER),
        (504, b"<html>", Cause.SERVER),
        (500, b"\x00" * 65_536, Cause.SERVER),
        (502, b"<Error>" * 9_000, Cause.SERVER),
    ],
)
def test_it_is_sent_again_to_the_same_url(status: int, body: bytes, cause: Cause) -> None:
    verdict = judge(status, body)
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.slow_down) == (cause, False)


def test_a_bad_digest_twice_is_the_files_or_the_hardwares_fault() -> None:
    verdict = judge(400, xml("BadDigest"))
    assert isinstance(verdict, Retry)
    assert verdict.limit == 2
    assert "file changed" in verdict.advice
    assert "corrupt" in verdict.advice


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (429, b""),
        (429, xml("TooManyRequests")),
        (429, xml("SomethingNew")),
        (503, b""),
        (503, b"<html>Service Unavailable</html>"),
        (503, xml("SlowDown")),
        (503, xml("ServiceUnavailable")),
        (503, xml("RequestLimitExceeded")),
        (200, xml("SlowDown")),
    ],
)
@pytest.mark.parametrize(
    ("wish", "after"), [(None, None), ("7", 7.0), ("-7", 0.0), ("1e9", 1e9), ("soon", None)]
)
def test_slow_down_lowers_the_concurrency_and_hears_retry_after(
    status: int, body: bytes, wish: str | None, after: float | None
) -> None:
    verdict = judge(status, body, **({} if wish is None else {"retry_after": wish}))
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.slow_down, verdict.after) == (Cause.THROTTLED, True, after)


def test_retry_after_may_be_a_date_by_the_servers_clock() -> None:
    headers = {"retry-after": "Fri, 01 May 2026 12:00:09 GMT", "date": "Fri, 01 May 2026 12:00:00 GMT"}
    assert retry_after(Response(503, headers)) == 9.0


@pytest.mark.parametrize("kind", [Break.CONNECT, Break.RESET, Break.STALL, Break.SILENCE])
@pytest.mark.parametrize("detail", ["", "Connection reset by peer"])
def test_a_broken_connection_is_tried_again(kind: Break, detail: str) -> None:
    verdict = judge_part(Broken(kind, detail), MD5)
    assert isinstance(verdict, Retry)
    assert verdict.cause is Cause.NETWORK
    assert verdict.detail == (f"{kind.value}: {detail}" if detail else kind.value)


# Final


@pytest.mark.parametrize(
    ("kind", "said", "final"),
    [
        (Break.TLS, "SSL_CERT_FILE", False),
        (Break.PROXY, "HTTPS_PROXY", False),
        (Break.REFUSED, "UPLOADER_STORAGE_HOSTS", False),
        (Break.UNUSABLE, "no request can be made", True),
        (Break.EXECUTOR, "the same version of this library", False),
        (Break.UNFIT, "the machine is not fit to send it", False),
    ],
)
def test_breaks_that_are_final_say_what_to_do(kind: Break, said: str, final: bool) -> None:
    verdict = judge_part(Broken(kind, "why"))
    assert isinstance(verdict, Fail)
    assert said in verdict.detail
    assert "why" in verdict.detail
    assert verdict.final == final


@pytest.mark.parametrize("kind", [Break.UNUSABLE, Break.UNFIT])
def test_where_there_is_no_advice_there_is_none(kind: Break) -> None:
    verdict = judge_part(Broken(kind, "why"))
    assert isinstance(verdict, Fail)
    assert verdict.detail == f"{kind}: why"


def test_a_lost_worker_is_no_fault_of_the_network_and_not_outlasted_for_ever() -> None:
    verdict = judge_part(Broken(Break.LOST, "KilledWorker"))
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.limit, verdict.slow_down) == (Cause.WORKER, 3, False)
    assert verdict.detail == "the worker that sent it was lost: KilledWorker"
    assert "logs" in verdict.advice


def test_a_shortage_is_no_fault_of_the_stores_and_says_what_to_do() -> None:
    verdict = judge_part(Broken(Break.SHORTAGE, "Too many open files"))
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.limit, verdict.slow_down) == (Cause.SHORTAGE, 0, False)
    assert verdict.detail == "the machine is short of descriptors, memory or threads: Too many open files"
    assert "ulimit -n" in verdict.advice
    assert "--concurrency" in verdict.advice


@pytest.mark.parametrize("kind", [Break.CHANGED, Break.UNREADABLE])
def test_a_bad_file_is_no_fault_of_the_store(kind: Break) -> None:
    assert judge_part(Broken(kind, "why")) == SourceBad(kind, "why")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, xml("EntityTooSmall"), "EntityTooSmall"),
        (400, xml("EntityTooLarge"), "EntityTooLarge"),
        (413, xml("EntityTooLarge"), "EntityTooLarge"),
        (411, xml("MissingContentLength"), "MissingContentLength"),
        (411, b"", "411"),
        (413, b"<html>", "413"),
        (501, xml("NotImplemented"), "NotImplemented"),
        (501, b"", "501"),
    ],
)
def test_a_limit_is_final_and_named(status: int, body: bytes, said: str) -> None:
    verdict = judge(status, body)
    assert isinstance(verdict, Fail)
    assert said in verdict.detail


@pytest.mark.parametrize("status", [402, 404, 405, 410])
def test_other_client_errors_are_final(status: int) -> None:
    assert isinstance(judge(status, b"junk"), Fail)
    assert isinstance(judge(status, xml("MalformedXML")), Fail)


@pytest.mark.parametrize("body", [b"", b"junk", xml("MalformedXML"), b"<Error><Co"])
def test_a_400_nobody_understands_gets_a_new_url_once(body: bytes) -> None:
    verdict = judge(400, body)
    assert isinstance(verdict, NewUrl)
    assert (verdict.cause, verdict.limit) == (Cause.REJECTED, 2)
    assert verdict.advice == "link rejected"


@pytest.mark.parametrize("status", [404, 400, 200])
def test_no_such_upload_asks_the_service(status: int) -> None:
    assert isinstance(judge(status, xml("NoSuchUpload")), Gone)


# Stored, or not


@pytest.mark.parametrize("etag", [MD5, f'"{MD5}"', f'W/"{MD5}"', f'"{MD5.upper()}"', f" {MD5} "])
@pytest.mark.parametrize("md5", [MD5, MD5.upper()])
def test_the_md5_as_etag_is_done(etag: str, md5: str) -> None:
    verdict = judge(200, b"", md5, etag=etag)
    assert isinstance(verdict, Done)
    assert verdict.etag is not None
    assert verdict.etag.lower() == MD5


@pytest.mark.parametrize("etag", [OTHER, f'"{OTHER}"', f'W/"{OTHER}"', f'"{OTHER.upper()}"'])
def test_another_md5_as_etag_is_corruption_and_final_the_second_time(etag: str) -> None:
    verdict = judge(200, etag=etag)
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.limit) == (Cause.CORRUPT, 2)
    assert "corrupted in transit" in verdict.advice


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        (f'"{OTHER}-2"', {}),
        ('"opaque"', {}),
        (f'"{OTHER[:-1]}"', {}),
        (f'"{OTHER}0"', {}),
        (f'"{OTHER[:-1]}g"', {}),
        (f'"{OTHER}"', {"x_amz_server_side_encryption": "aws:kms"}),
        (f'"{OTHER}"', {"x_amz_server_side_encryption": "aws:kms:dsse"}),
        (f'"{OTHER}"', {"x_amz_server_side_encryption_customer_algorithm": "AES256"}),
    ],
)
def test_an_etag_that_is_no_md5_is_not_compared(etag: str, headers: dict[str, str]) -> None:
    assert isinstance(judge(200, etag=etag, **headers), Done)


def test_sse_s3_etags_are_md5s() -> None:
    verdict = judge(200, etag=f'"{OTHER}"', x_amz_server_side_encryption="AES256")
    assert isinstance(verdict, Retry)


def test_without_an_md5_no_etag_is_compared() -> None:
    assert judge(200, b"", None, etag=f'"{OTHER}"') == Done(OTHER)
    assert judge(200, b"", None, etag='W/"X-1-X"') == Done("X-1-X")


@pytest.mark.parametrize("headers", [{}, {"etag": ""}, {"content_type": "text/html"}])
@pytest.mark.parametrize("body", [b"", b"<html>Log in to the Wi-Fi</html>"])
@pytest.mark.parametrize("md5", [MD5, None])
def test_a_200_without_an_etag_is_never_success(
    headers: dict[str, str], body: bytes, md5: str | None
) -> None:
    verdict = judge(200, body, md5, **headers)
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.limit) == (Cause.STRANGE, 3)
    assert "captive portal" in verdict.advice


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (xml("InternalError"), Retry),
        (xml("SomethingNew"), Retry),
        (xml("AccessDenied", "Request has expired"), NewUrl),
        (xml("EntityTooSmall"), Fail),
        (b"<Error><Code>InternalError</Co", Retry),
        (b"<?xml version='1.0'?><Error><Cod", Retry),
        (b"<Error><Code></Code></Error>", Retry),
    ],
)
@pytest.mark.parametrize("md5", [MD5, None])
def test_an_error_document_under_a_200_is_an_error(body: bytes, kind: type, md5: str | None) -> None:
    assert isinstance(judge(200, body, md5, etag=f'"{MD5}"'), kind)


# Every code and every status

CODES: dict[tuple[type, Cause | None], str] = {
    (NewUrl, Cause.EXPIRED): "ExpiredToken ExpiredRequest TokenRefreshRequired ExpiredPresignedUrlRequest"
    " InvalidToken InvalidAccessKeyId",
    (NewUrl, Cause.CLOCK): "RequestTimeTooSkewed",
    (NewUrl, Cause.REJECTED): "SignatureDoesNotMatch",
    (Retry, Cause.THROTTLED): "BandwidthLimitExceeded RequestLimitExceeded RequestThrottled ServerBusy"
    " ServiceUnavailable SlowDown SlowDownRead SlowDownWrite Throttling ThrottlingException TooManyRequests",
    (Retry, Cause.REREAD): "RequestTimeout IncompleteBody",
    (Retry, Cause.DIGEST): "BadDigest",
    (Retry, Cause.SERVER): "InternalError OperationAborted OperationTimedOut",
    (Gone, None): "NoSuchUpload",
    (Fail, None): "EntityTooSmall EntityTooLarge InvalidPartNumber MaxMessageLengthExceeded"
    " MissingContentLength NotImplemented",
}


@pytest.mark.parametrize(
    ("code", "kind", "cause"),
    [(code, kind, cause) for (kind, cause), codes in CODES.items() for code in codes.split()],
)
@pytest.mark.parametrize("status", [418, 500])
def test_a_code_means_the_same_under_any_status(
    status: int, code: str, kind: type, cause: Cause | None
) -> None:
    verdict = judge(status, xml(code))
    assert isinstance(verdict, kind)
    assert getattr(verdict, "cause", None) == cause
    assert getattr(verdict, "slow_down", False) == (cause is Cause.THROTTLED)
    assert "limit of the store" in told(verdict) or kind is not Fail


def test_every_status_without_a_document_means_one_thing() -> None:
    meant: dict[tuple[str, str], set[int]] = {}
    for status in range(100, 600):
        verdict = judge(status, b"", MD5, etag=MD5)
        what = getattr(verdict, "cause", "limit" if "limit of the store" in told(verdict) else "")
        meant.setdefault((type(verdict).__name__, what), set()).add(status)
    done, redirects = set(range(200, 300)), set(range(300, 400))
    throttled, limits = {429, 503}, {411, 413, 501}
    transient = {408, 409, 425, 499, *range(500, 600)} - throttled - limits
    rejected = {400, 401, 403}
    others = set(range(100, 600)) - done - redirects - throttled - limits - transient - rejected
    assert meant == {
        ("Done", ""): done,
        ("NewUrl", Cause.REDIRECTED): redirects,
        ("NewUrl", Cause.REJECTED): rejected,
        ("Retry", Cause.THROTTLED): throttled,
        ("Retry", Cause.SERVER): transient,
        ("Fail", "limit"): limits,
        ("Fail", ""): others,
    }


@pytest.mark.parametrize("status", range(200, 300))
def test_an_error_document_of_an_unknown_code_may_pass_by_itself_under_any_2xx(status: int) -> None:
    verdict = judge(status, xml("SomethingNew"), etag=MD5)
    assert isinstance(verdict, Retry)
    assert (verdict.cause, verdict.slow_down) == (Cause.SERVER, False)


# Hostile bodies


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "AccessDenied">'
    + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
    + '<!ENTITY x SYSTEM "file:///etc/passwd">]><Error><Code>&l9;</Code><Message>&x;</Message></Error>'
).encode()


def test_entities_are_never_expanded() -> None:
    verdict = judge(403, BOMB)
    assert isinstance(verdict, NewUrl)
    assert len(told(verdict)) < 1000
    assert "root:" not in told(verdict)


@pytest.mark.parametrize("cut", range(0, 150, 7))
@pytest.mark.parametrize("status", [403, 500, 200])
def test_a_body_cut_anywhere_is_no_success_and_no_crash(cut: int, status: int) -> None:
    body = xml("AccessDenied", "Request has expired")[:cut]
    assert isinstance(judge(status, body), NewUrl | Retry)


JUNK = {
    "zeros": bytes(65_536),
    "ff": b"\xff" * 65_536,
    "open tags": b"<Error><Code>" * 5_000,
    "one long code": b"<Error><Code>" + b"A" * 65_536,
    "one long message": b"<Error><Code>X</Code><Message>" + b"A" * 65_536,
    "utf-16": "<Error><Code>X</Code></Error>".encode("utf-16") * 1_000,
}


@pytest.mark.parametrize("name", JUNK)
@pytest.mark.parametrize(("status", "kind"), [(403, NewUrl), (500, Retry), (400, NewUrl)])
def test_64_kib_of_junk_is_judged_by_the_status_at_once(name: str, status: int, kind: type) -> None:
    started = time.process_time()
    verdict = judge(status, JUNK[name])
    assert isinstance(verdict, kind)
    assert len(told(verdict)) < 5_000
    assert time.process_time() - started < 0.25


@pytest.mark.parametrize(
    ("character", "count"), [("a", 8_000), ("%", 8_000), ("&", 700), ("?", 700), ("a&", 350), ("?=", 350)]
)
def test_scrubbing_takes_time_in_proportion_to_the_text(character: str, count: int) -> None:
    """faults.md case 30: a hostile message must not hold up the one thread that decides."""
    started = time.process_time()
    for _ in range(5):
        scrub(character * count)
    assert time.process_time() - started < 0.1


ANY_BODY = st.one_of(
    st.binary(max_size=300),
    st.builds(
        xml,
        st.one_of(st.text(st.characters(codec="utf-8"), max_size=30), st.just("AccessDenied")),
        st.one_of(st.none(), st.text(st.characters(codec="utf-8"), max_size=60)),
    ),
    st.lists(st.sampled_from([b"<Error", b">", b"<Code>", b"</Code>", b"&lt;", b"SlowDown", b"\xff"])).map(
        b"".join
    ),
)
HEADERS = st.dictionaries(
    st.sampled_from(
        ["etag", "retry-after", "date", "content-type", "x-amz-request-id", "x-amz-server-side-encryption"]
    ),
    st.one_of(st.text(), st.just(MD5), st.just("text/html"), st.just("Fri, 01 May 2026 12:00:09 GMT")),
)


@given(st.integers(-1, 1000), HEADERS, ANY_BODY, st.sampled_from([None, MD5]))
def test_any_answer_has_a_verdict(status: int, headers: dict[str, str], body: bytes, md5: str | None) -> None:
    verdict = judge_part(Response(status, headers, body), md5)
    assert isinstance(verdict, get_args(PartVerdict))
    if isinstance(verdict, Done):
        assert 200 <= status < 300
        assert headers["etag"]


@given(st.sampled_from(Break), st.text())
def test_any_break_has_a_verdict(kind: Break, detail: str) -> None:
    assert isinstance(judge_part(Broken(kind, detail)), get_args(PartVerdict))


# Secrets a store echoes


ECHOES = {
    "message": xml("SignatureDoesNotMatch", f"not for {URL}"),
    "message, escaped": xml("SignatureDoesNotMatch", f"not for {URL.replace('&', '&amp;')}"),
    "string to sign": xml("SignatureDoesNotMatch", f"AWS4-HMAC-SHA256\n20260501T110000Z\n{SIGNATURE}"),
    "code": xml(URL.replace("&", "&amp;")),
    "request id": xml("Nope").replace(b"4442587FB7D0A2F9", SIGNATURE.encode()),
    "other elements": xml("Nope") + f"<SignatureProvided>{SIGNATURE}</SignatureProvided>".encode(),
    "page": f"<html>{URL}</html>".encode(),
    "text": URL.encode(),
}


@pytest.mark.parametrize(("where", "status"), list(product(ECHOES, [200, 301, 400, 403, 404, 500, 503])))
def test_no_verdict_repeats_what_a_store_echoes(where: str, status: int) -> None:
    """faults.md case 26: error bodies that echo the string to sign or the token are scrubbed."""
    assert SIGNATURE not in told(judge(status, ECHOES[where]))


def test_no_verdict_repeats_a_signature_in_a_header() -> None:
    assert SIGNATURE not in told(judge(403, xml("Nope", None), x_amz_request_id=URL))
    assert SIGNATURE not in told(judge(403, b"", x_amz_request_id=URL))


@given(st.text(), st.text(), st.text("abcXYZ019-_.~%/", min_size=1), st.text("0123456789abcdef", min_size=64))
def test_scrub_leaves_no_query_and_no_signature(before: str, after: str, value: str, digest: str) -> None:
    query = f"X-Amz-Credential={value}&X-Amz-Signature={digest}"
    for text in (
        f"{before}https://h/k?{query}{after}",
        f"{before} {query} {after}",
        f"{before}{digest}{after}",
    ):
        assert query not in scrub(text)
        assert digest not in scrub(text)


@pytest.mark.parametrize(
    "secret",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "Basic a2V5LTEyMzQ1Njc4OTA6c2VjcmV0LTEyMzQ1Njc4OTA=",
        "FwoGZXIvYXdzEBYaDDAwMDAwMDAwMDAwMA//////////",
        "https%3A%2F%2Fh%2Fk%3FX-Amz-Signature%3D" + SIGNATURE,
    ],
    ids=["jwt", "basic", "session token", "encoded url"],
)
def test_scrub_removes_tokens(secret: str) -> None:
    assert secret.split()[-1] not in scrub(f"denied: {secret}!")


@pytest.mark.parametrize("text", ["", "Access Denied", "Request has expired", "the bucket my-bucket is gone"])
def test_scrub_leaves_plain_words(text: str) -> None:
    assert scrub(text) == text


def test_scrub_keeps_messages_short() -> None:
    assert len(scrub("word " * 1_000)) <= 500
