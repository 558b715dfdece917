"""What is read of an object store's error document."""

from __future__ import annotations

import pytest

from uploader.core.storeerror import StoreError

HEADERS = ["x-amz-request-id", "x-guploader-uploadid", "x-trans-id", "x-amz-id-2"]


def read(body: str, **headers: str) -> StoreError:
    return StoreError.read({name.replace("_", "-"): value for name, value in headers.items()}, body.encode())


def test_its_code_message_and_request_id_are_read() -> None:
    body = "<Error><Code>SlowDown</Code><Message>Reduce &lt;it&gt;</Message><RequestId>R1</RequestId></Error>"
    assert read(body) == StoreError(True, "SlowDown", "Reduce <it>", "R1")


@pytest.mark.parametrize(
    "body",
    [
        "<Error>\n  <Code> SlowDown </Code>\n</Error>",
        "<Error><Code><![CDATA[SlowDown]]></Code></Error>",
        '<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>SlowDown</Code></Error>',
        "<Error><Code>SlowDown",
        "<Error><Resource>/b/k</Resource><Code>SlowDown</Code></Error>",
    ],
)
def test_a_code_is_found_however_it_is_written(body: str) -> None:
    error = read(body)
    assert (error.found, error.code, error.message) == (True, "SlowDown", "")


@pytest.mark.parametrize("body", ["", "<html>Code</html>", '{"error": "no"}', "<Code>SlowDown</Code>"])
def test_what_is_no_error_document_says_nothing(body: str) -> None:
    assert read(body, x_amz_request_id="R2") == StoreError(request_id="R2")


@pytest.mark.parametrize("name", HEADERS)
def test_the_request_id_is_in_the_document_or_else_in_a_header(name: str) -> None:
    assert StoreError.read({name: "R2"}, b"").request_id == "R2"
    assert StoreError.read({name: ""}, b"").request_id == ""
    assert StoreError.read({name: "R2"}, b"<Error><RequestId>R1</RequestId></Error>").request_id == "R1"


def test_the_stores_own_request_id_comes_before_the_others() -> None:
    every = {name: name for name in HEADERS}
    assert StoreError.read(every, b"").request_id == "x-amz-request-id"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StoreError(True, "SlowDown", "Reduce it", "R1"), "SlowDown: Reduce it (request id R1)"),
        (StoreError(True, "SlowDown", "Reduce it"), "SlowDown: Reduce it"),
        (StoreError(True, "SlowDown"), "SlowDown"),
        (StoreError(True, "", "Reduce it"), "Reduce it"),
        (StoreError(request_id="R1"), " (request id R1)"),
        (StoreError(), ""),
    ],
)
def test_it_says_what_there_is(error: StoreError, said: str) -> None:
    assert str(error) == said
