"""Each kind of fault, as a client sees it, and what the service has done meanwhile."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from typing import Any

import httpx
import pytest

MIB = 1024 * 1024
Refused = Callable[[httpx.Response], tuple[int, str, str]]
BODY = b"x" * MIB


def url(upload: dict[str, Any]) -> str:
    return str(upload["parts"][0]["url"])


def test_a_status_on_a_part_is_xml_once_and_then_all_is_well(start: Any, refused: Refused) -> None:
    api = start(faults=["503:part=1:after=7"])
    upload = api.create(fileSize=MIB)
    response = api.put(upload, 1, BODY)
    assert refused(response) == (503, "SlowDown", "SlowDown (injected)")
    assert response.headers["retry-after"] == "7"
    assert api.service.stored_parts(upload["id"]) == {}
    assert api.service.requests[-1].body_bytes == MIB
    assert api.put(upload, 1, BODY).status_code == 200


def test_code_and_message_can_be_anything(start: Any, refused: Refused) -> None:
    api = start(faults=["400:part=1:code=RequestTimeout:message=<a%3A&b%1b>"])
    assert refused(api.put(api.create(), 1, b"abc")) == (400, "RequestTimeout", "<a:&b\ufffd>")


@pytest.mark.parametrize("status", [200, 204, 205, 304])
def test_a_status_without_a_body_has_none_and_stores_nothing(start: Any, status: int) -> None:
    api = start(faults=[f"{status}:part=1"])
    upload = api.create()
    response = api.put(upload, 1, b"abc")
    assert (response.status_code, response.content) == (status, b"")
    assert "etag" not in response.headers
    assert api.service.stored_parts(upload["id"]) == {}


def test_a_200_with_a_code_is_an_error_in_disguise(start: Any, refused: Refused) -> None:
    api = start(faults=["200:part=1:code=InternalError"])
    assert refused(api.put(api.create(), 1, b"abc"))[:2] == (200, "InternalError")


@pytest.mark.parametrize("call", ["create", "get", "complete"])
def test_a_status_on_a_control_call_is_json(start: Any, refused: Refused, call: str) -> None:
    api = start(faults=[f"429:on={call}:after=-5:skip={int(call == 'create')}"])
    upload = api.create()
    api.put(upload, 1, b"abc")
    calls = {
        "create": api.try_create,
        "get": lambda: api.get(upload),
        "complete": lambda: api.complete(upload),
    }
    response = calls[call]()
    assert response.headers["content-type"] == "application/json"
    assert refused(response) == (429, "TooManyRequests", "TooManyRequests (injected)")
    assert response.headers["retry-after"] == "-5"
    assert api.service.upload(upload["id"])["status"] == "pending"
    assert calls[call]().status_code == 200


def test_an_early_answer_comes_before_the_body_and_ends_the_connection(start: Any, raw: Any) -> None:
    api = start(faults=["503:part=1:early"])
    connection = raw(url(api.create(fileSize=MIB)), f"Content-Length: {MIB}")
    answer = connection.answer()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"connection: close" in answer
    assert connection.socket.recv(1) == b""
    assert api.service.requests[-1].body_bytes == 0


def test_without_early_the_body_is_read_first(start: Any, raw: Any) -> None:
    api = start(faults=["503:part=1"])
    connection = raw(url(api.create()), "Content-Length: 3")
    connection.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.socket.recv(1)
    connection.socket.settimeout(10)
    connection.socket.sendall(b"abc")
    assert connection.answer().startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(("at", "read"), [("headers", 0), ("50%", MIB // 2), ("1000", 1000), ("100%", MIB)])
def test_a_drop_resets_the_connection_at_its_place(start: Any, at: str, read: int) -> None:
    api = start(faults=[f"drop:part=1:at={at}"])
    upload = api.create(fileSize=MIB)
    with pytest.raises(httpx.TransportError):
        api.put(upload, 1, BODY)
    record = api.service.requests[-1]
    assert (record.target, record.part, record.status) == ("part", 1, None)
    assert record.body_bytes == 0 if read == 0 else read <= record.body_bytes <= MIB
    assert api.service.stored_parts(upload["id"]) == {}
    assert api.put(upload, 1, BODY).status_code == 200


def test_a_drop_is_a_reset_and_not_an_orderly_end(start: Any, raw: Any) -> None:
    connection = raw(url((api := start(faults=["drop:part=1"])).create()), "Content-Length: 3")
    with pytest.raises(ConnectionResetError):
        connection.answer()
    assert len(api.service.requests) == 2


def test_a_drop_at_the_answer_has_stored_the_part(start: Any) -> None:
    api = start(faults=["drop:part=1:at=answer"])
    upload = api.create()
    with pytest.raises(httpx.TransportError):
        api.put(upload, 1, b"abc")
    assert api.service.stored_parts(upload["id"])[1].size == 3


def test_a_drop_at_the_answer_loses_a_refusal_too(start: Any) -> None:
    api = start(faults=["drop:on=complete:at=answer"])
    upload = api.create()
    with pytest.raises(httpx.TransportError):
        api.complete(upload)
    assert api.show(upload)["status"] == "pending"


@pytest.mark.any_store
def test_control_calls_are_dropped_before_or_after_they_are_carried_out(start: Any) -> None:
    api = start(faults=["drop:on=create", "drop:on=complete", "drop:on=complete:at=answer", "drop:on=get"])
    with pytest.raises(httpx.TransportError):
        api.create()
    upload = api.create()
    api.put(upload, 1, b"abc")
    with pytest.raises(httpx.TransportError):
        api.complete(upload)
    assert api.service.upload(upload["id"])["status"] == "pending"
    with pytest.raises(httpx.TransportError):
        api.complete(upload)
    assert api.service.upload(upload["id"])["status"] != "pending"
    with pytest.raises(httpx.TransportError):
        api.get(upload)
    assert api.complete(upload).status_code == 409


@pytest.mark.parametrize("at", ["headers", "50%", "answer"])
def test_a_stall_leaves_the_client_waiting(start: Any, raw: Any, eventually: Any, at: str) -> None:
    api = start(faults=[f"stall:part=1:at={at}"])
    upload = api.create()
    connection = raw(url(upload), "Content-Length: 3")
    connection.socket.sendall(b"abc")
    eventually(lambda: api.service.requests[-1].target == "part")
    assert api.service.requests[-1].status is None
    assert bool(api.service.stored_parts(upload["id"])) == (at == "answer")
    connection.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        connection.socket.recv(1)


def test_a_stalled_service_stops_reading(start: Any, raw: Any) -> None:
    api = start(faults=["stall:part=1"])
    connection = raw(url(api.create(fileSize=64 * MIB)), f"Content-Length: {64 * MIB}")
    connection.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):  # the buffers on the way are full long before the end
        connection.socket.sendall(bytes(64 * MIB))


def test_an_expired_part_looks_like_any_expired_link(start: Any, refused: Refused) -> None:
    api = start(faults=["expire:part=1"])
    upload = api.create()
    response = api.put(upload, 1, b"abc")
    assert refused(response) == (403, "AccessDenied", "Request has expired")
    assert "<Expires>" in response.text
    assert api.put(upload, 1, b"abc").status_code == 200


def test_an_early_expiry_closes_the_connection(start: Any, raw: Any) -> None:
    api = start(faults=["expire:part=1:early"])
    connection = raw(url(api.create(fileSize=MIB)), f"Content-Length: {MIB}")
    assert b"Request has expired" in connection.answer()
    assert connection.socket.recv(1) == b""


def test_a_wrong_etag_is_answered_though_the_part_is_stored(start: Any) -> None:
    api = start(faults=["etag:part=1"])
    upload = api.create()
    etag = api.put(upload, 1, b"abc").headers["etag"].strip('"')
    assert len(etag) == 32
    assert int(etag, 16) >= 0
    assert etag != hashlib.md5(b"abc").hexdigest() == api.service.stored_parts(upload["id"])[1].md5


def test_a_proxy_answers_in_html_without_a_request_id(start: Any) -> None:
    api = start(faults=["html:part=1", "html:part=1:status=502:early", "html:on=get:status=200"])
    upload = api.create()
    for status in (403, 502):
        response = api.put(upload, 1, b"abc")
        assert response.status_code == status
        assert response.headers["content-type"].startswith("text/html")
        assert not [name for name in response.headers if name.startswith("x-amz")]
    assert api.get(upload).text.startswith("<html>")
    assert api.service.stored_parts(upload["id"]) == {}


def test_a_redirect_leads_elsewhere(start: Any, refused: Refused) -> None:
    api = start(faults=["redirect:part=1", "redirect:part=1:to=http%3A//127.0.0.1%3A1/x", "redirect:on=get"])
    upload = api.create()
    response = api.put(upload, 1, b"abc")
    assert refused(response)[:2] == (307, "TemporaryRedirect")
    assert response.headers["location"].startswith("/elsewhere/storage/")
    assert api.put(upload, 1, b"abc").headers["location"] == "http://127.0.0.1:1/x"
    assert api.get(upload).status_code == 307


def test_a_vanished_upload_is_gone_for_store_and_api(start: Any, refused: Refused) -> None:
    api = start(faults=["vanish:part=1"])
    upload = api.create()
    for _ in range(2):
        assert refused(api.put(upload, 1, b"abc"))[:2] == (404, "NoSuchUpload")
        assert refused(api.get(upload))[:2] == (404, "NotFound")
    with pytest.raises(KeyError):
        api.service.upload(upload["id"])


@pytest.mark.any_store
@pytest.mark.parametrize("call", ["get", "complete"])
def test_an_upload_can_vanish_at_a_control_call(start: Any, refused: Refused, call: str) -> None:
    api = start(faults=[f"vanish:on={call}"])
    upload = api.create()
    assert refused(getattr(api, call)(upload))[:2] == (404, "NotFound")
    gone = api.put(upload, 1, b"abc")
    assert gone.status_code == 404
    assert "<Code>NoSuchUpload</Code>" in gone.text


@pytest.mark.any_store
def test_an_upload_can_vanish_as_soon_as_it_is_created(start: Any, refused: Refused) -> None:
    api = start(faults=["vanish:on=create"])
    assert refused(api.get(api.create()))[:2] == (404, "NotFound")


@pytest.mark.any_store
def test_an_upload_can_vanish_while_it_is_validated(start: Any, eventually: Any) -> None:
    api = start(faults=["vanish:on=get"], stage_delay=0.2)
    upload = api.create()
    api.put(upload, 1, b"abc")
    api.complete(upload)
    assert api.get(upload).status_code == 404
    assert api.send(b"abc")["status"] == "imported"  # by when the other's turn has come


def test_a_request_that_is_refused_anyway_does_not_use_up_a_fault(start: Any, refused: Refused) -> None:
    api = start(faults=["503:part=1", "503:on=get"])
    upload = api.create()
    assert api.store.put(url(upload)[:-1], content=b"abc").status_code == 403
    assert api.store.get(f"{api.service}/uploads/{upload['id']}").status_code == 401
    assert api.put(upload, 1, b"abc").status_code == 503
    assert api.get(upload).status_code == 503


def test_drops_and_early_answers_work_over_tls(start: Any, certificate: Any) -> None:
    paths, authority = certificate
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    faults = ["drop:part=1:at=50%", "503:part=1:early", "drop:part=1:at=answer"]
    api = start(certificate=paths, faults=faults, verify=trust, stage_delay=0)
    upload = api.create(fileSize=MIB)
    assert url(upload).startswith("https://127.0.0.1:")
    for status in (None, 503, None, 200):
        try:
            answered = api.put(upload, 1, BODY).status_code
        except httpx.TransportError:
            answered = None  # an early answer can be lost in the reset that follows it, as in life
        assert answered in (status, None)
    assert [record.status for record in api.service.requests] == [200, None, 503, None, 200]
    assert api.complete(upload).status_code == 200
    api.settle(upload, "imported")
