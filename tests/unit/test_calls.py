"""What the API's answer to a control call means: the API's rows of faults.md."""

from __future__ import annotations

import json
import time
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.core.calls import Accepted, Again, Call, CallVerdict, Refused, judge_call
from uploader.core.outcomes import Break, Broken, Response
from uploader.errors import (
    AnswerError,
    ApiError,
    AuthError,
    NotFoundError,
    UnreachableError,
    UploaderError,
)

VARIABLES = "SCENARIO_SDK_API_KEY and SCENARIO_SDK_API_SECRET"
SIGNATURE = "0123456789abcdef" * 4


def judge(status: int, body: bytes = b"", call: Call = Call.GET, /, **headers: str) -> CallVerdict:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return judge_call(call, Response(status, named, body), VARIABLES, "up_1")


def refusal(status: int, body: bytes = b"", /, **headers: str) -> UploaderError:
    verdict = judge(status, body, **headers)
    assert isinstance(verdict, Refused)
    assert verdict.error.upload_id == "up_1"
    return verdict.error


@pytest.mark.parametrize("status", [200, 201, 202])
def test_2xx_is_accepted(status: int) -> None:
    assert judge(status, b'{"upload": {}}') == Accepted(b'{"upload": {}}')


def test_an_answer_that_was_accepted_is_not_told_by_its_repr() -> None:
    """Its body is full of presigned URLs."""
    assert SIGNATURE not in repr(judge(200, SIGNATURE.encode()))
    assert SIGNATURE not in repr(Response(200, {"location": SIGNATURE}, SIGNATURE.encode()))


def test_every_status_means_one_thing() -> None:
    meant: dict[type, set[int]] = {}
    for status in range(100, 600):
        verdict = judge(status)
        kind = type(verdict.error) if isinstance(verdict, Refused) else type(verdict)
        meant.setdefault(kind, set()).add(status)
    accepted, again = set(range(200, 300)), {408, 425, 429, *range(500, 600)} - {501}
    redirects, rest = set(range(300, 400)), {401, 403, 404}
    assert meant == {
        Accepted: accepted,
        Again: again,
        AnswerError: redirects,
        AuthError: {401, 403},
        NotFoundError: {404},
        ApiError: set(range(100, 600)) - accepted - again - redirects - rest,
    }


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 520])
@pytest.mark.parametrize("call", list(Call))
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"message": "busy"}', b"\xff" * 65_536])
def test_what_may_pass_may_be_repeated(status: int, call: Call, body: bytes) -> None:
    verdict = judge(status, body, call)
    assert isinstance(verdict, Again)
    assert isinstance(verdict.error, UnreachableError)
    assert verdict.error.upload_id == "up_1"
    assert call.value in str(verdict.error)
    assert str(status) in str(verdict.error)


@pytest.mark.parametrize(
    ("wish", "after"),
    [("7", 7.0), ("-1", 0.0), ("1e9", 1e9), ("soon", None), ("Fri, 01 May 2026 12:00:09 GMT", 9.0)],
)
def test_retry_after_is_heard(wish: str, after: float | None) -> None:
    verdict = judge(429, retry_after=wish, date="Fri, 01 May 2026 12:00:00 GMT")
    assert isinstance(verdict, Again)
    assert verdict.error.retry_after == after


@pytest.mark.parametrize("kind", [Break.CONNECT, Break.RESET, Break.STALL, Break.SILENCE])
@pytest.mark.parametrize("detail", ["", "reset by peer"])
def test_a_broken_connection_may_be_repeated(kind: Break, detail: str) -> None:
    verdict = judge_call(Call.GET, Broken(kind, detail), VARIABLES, "up_1")
    assert isinstance(verdict, Again)
    assert isinstance(verdict.error, UnreachableError)
    assert verdict.error.upload_id == "up_1"
    assert kind.value in str(verdict.error)
    assert str(verdict.error).endswith(detail or kind.value)


def test_a_shortage_may_be_over_by_the_next_time_and_says_what_to_do() -> None:
    verdict = judge_call(Call.GET, Broken(Break.SHORTAGE, "Too many open files"), VARIABLES, "up_1")
    assert isinstance(verdict, Again)
    assert verdict.error.upload_id == "up_1"
    assert "could not look at the upload: the machine is short of" in str(verdict.error)
    assert "Too many open files; raise its limits" in str(verdict.error)


@pytest.mark.parametrize(
    ("kind", "error", "said"),
    [
        (Break.TLS, UnreachableError, "SSL_CERT_FILE"),
        (Break.PROXY, UnreachableError, "HTTPS_PROXY"),
        (Break.UNUSABLE, AnswerError, "SCENARIO_BASE_URL"),
    ],
)
def test_breaks_that_are_final_say_what_to_set(kind: Break, error: type[UploaderError], said: str) -> None:
    verdict = judge_call(Call.GET, Broken(kind, "why"), VARIABLES, "up_1")
    assert isinstance(verdict, Refused)
    assert type(verdict.error) is error
    assert said in str(verdict.error)
    assert verdict.error.upload_id == "up_1"


@pytest.mark.parametrize(("status", "hint"), [(401, "were refused"), (403, "may not do this")])
@pytest.mark.parametrize(
    ("body", "code"), [(b"", ""), (b'{"error": {"code": "denied", "message": "no"}}', "denied")]
)
def test_refused_credentials_fail_at_once_and_name_the_variables(
    status: int, hint: str, body: bytes, code: str
) -> None:
    error = refusal(status, body)
    assert isinstance(error, AuthError)
    assert (error.status, error.code) == (status, code)
    assert f"the credentials in {VARIABLES} {hint}" in str(error)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 405, 501, 503])
@pytest.mark.parametrize("call", list(Call))
@pytest.mark.parametrize(("body", "kind"), [(b"<html>no</html>", "text/html"), (b"<!DOCTYPE html>", "x/y")])
def test_a_web_page_is_not_the_apis_word(status: int, call: Call, body: bytes, kind: str) -> None:
    verdict = judge(status, body, call, content_type=kind, retry_after="7")
    assert isinstance(verdict, Again)
    assert f"could not {call}: a web page answered ({status})" in str(verdict.error)
    assert "a proxy, a firewall or a login page" in str(verdict.error)
    assert (verdict.error.upload_id, verdict.error.retry_after) == ("up_1", 7.0)


def test_404_says_what_to_check() -> None:
    error = refusal(404, b'{"code": "gone", "message": "no such upload"}')
    assert isinstance(error, NotFoundError)
    assert (error.status, error.code) == (404, "gone")
    assert "no such upload" in str(error)
    assert "project id" in str(error)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    error = refusal(status, location="https://evil.example.com/")
    assert isinstance(error, AnswerError)
    assert "SCENARIO_BASE_URL" in str(error)


BODIES = {
    "nested": {"error": {"code": "quota", "message": "too many files"}},
    "flat": {"code": "quota", "message": "too many files"},
    "error as text": {"error": "quota", "message": "too many files"},
    "errorMessage": {"code": "quota", "errorMessage": "too many files"},
    "reason": {"error": {"code": "quota", "reason": "too many files"}},
}


@pytest.mark.parametrize("status", [400, 402, 409, 422])
@pytest.mark.parametrize("form", BODIES)
def test_other_refusals_carry_the_servers_message_and_code(status: int, form: str) -> None:
    error = refusal(status, json.dumps(BODIES[form]).encode())
    assert isinstance(error, ApiError)
    assert (error.status, error.code) == (status, "quota")
    assert "too many files" in str(error)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "422"),
        (b"{}", "422"),
        (b'{"code": "quota"}', "422 (quota)"),
        (b'{"message": "too many files"}', "422 (too many files)"),
        (b'{"code": "quota", "message": "too many files"}', "422 (quota: too many files)"),
    ],
)
def test_an_error_says_what_the_answer_says(body: bytes, said: str) -> None:
    assert str(refusal(422, body)) == f"could not look at the upload: the API answered {said}"


@pytest.mark.parametrize(
    "code", ["quotaExceeded", "UPLOAD_PARTS_COUNT_EXCEEDED", "upload.parts.count.exceeded"]
)
def test_a_long_error_code_is_told(code: str) -> None:
    """errors.py: ApiError.code is the service's own error code. A code is no secret for being long."""
    error = refusal(422, json.dumps({"code": code, "message": "no"}).encode())
    assert isinstance(error, ApiError)
    assert error.code == code


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"{}",
        b'{"error": null}',
        b'{"error": []}',
        b'{"code": {"a": [1]}, "message": 7}',
        b'{"message": ["a", {"b": null}]}',
        b"NaN",
        b"1" * 5_000,
        b"[" * 65_536,
        b'{"a":' * 10_000,
        *(b'{"message":' + b"[" * depth + b"]" * depth + b"}" for depth in range(900, 1000, 3)),
    ],
    ids=lambda body: body[:24].decode("latin-1"),
)
@pytest.mark.parametrize("status", [422, 500])
def test_no_body_makes_it_stumble(status: int, body: bytes) -> None:
    assert isinstance(judge(status, body), Refused if status == 422 else Again)


@pytest.mark.parametrize("field", ["code", "message", "errorMessage", "reason", "error"])
def test_no_error_repeats_a_presigned_url_or_a_token(field: str) -> None:
    """faults.md case 26."""
    url = f"https://b.example.com/k?X-Amz-Signature={SIGNATURE}"
    error = refusal(422, json.dumps({field: f"cannot use {url} or {SIGNATURE}"}).encode())
    assert isinstance(error, ApiError)
    assert SIGNATURE not in f"{error} {error.code} {error!r}"


@pytest.mark.parametrize("letter", ["a", "&"])
def test_a_long_message_is_judged_at_once(letter: str) -> None:
    """faults.md case 30. An API's error body is cut at 64 MiB, so even 8 KB of it must be nothing."""
    size = 8_000 if letter == "a" else 700
    started = time.process_time()
    refusal(422, json.dumps({"message": letter * size}).encode())
    assert time.process_time() - started < 0.1


bodies = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text()),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(st.sampled_from(["error", "code", "message", "reason", "x"]), inner, max_size=4),
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@given(
    st.sampled_from(Call),
    st.integers(-1, 1000),
    st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text()),
    bodies,
)
def test_any_answer_has_a_verdict(call: Call, status: int, headers: dict[str, str], body: bytes) -> None:
    verdict = judge_call(call, Response(status, headers, body), VARIABLES)
    assert isinstance(verdict, get_args(CallVerdict))
    assert isinstance(verdict, Accepted) == (200 <= status < 300)


@given(st.sampled_from(Call), st.sampled_from(Break), st.text())
def test_any_break_has_a_verdict(call: Call, kind: Break, detail: str) -> None:
    assert isinstance(judge_call(call, Broken(kind, detail), VARIABLES), Again | Refused)
