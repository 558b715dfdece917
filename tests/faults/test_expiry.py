"""Links that expired: each store's own words for it, and one refresh for all parts that need one."""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import Exchange, LeftError, pass_on, reply, until_renewed
from tests.faults.rig import MiB, make_file
from uploader import RetryPolicy
from uploader.core.events import PartRetrying, Recreating, UrlsRefreshed
from uploader.core.outcomes import Cause

XML = '<?xml version="1.0" encoding="UTF-8"?>'


def answer(status: str, *headers: str, body: str) -> bytes:
    """An answer as it stands on the wire, its body in chunks where the headers say so."""
    if "Transfer-Encoding: chunked" in headers:
        middle = len(body) // 2
        pieces = [body[:middle], body[middle:], ""]
        body = "".join(f"{len(piece):x}\r\n{piece}\r\n" for piece in pieces)
    else:
        headers = (*headers, f"Content-Length: {len(body)}")
    return "\r\n".join((f"HTTP/1.1 {status}", *headers, "", body)).encode()


# What each store says, word for word; ids and names are made up. All but Amazon keep the connection.
AMAZON = (
    "x-amz-request-id: 0Z9QFT2X3Y8BXH8A",
    "x-amz-id-2: Uuag1LuByRx9e6j5Onimru9pO4ZVKnJ2Qz7/C1NPcfTWAtRPfTaOFg==",
    "Content-Type: application/xml",
    "Transfer-Encoding: chunked",
    "Date: Thu, 20 Jul 2017 04:18:55 GMT",
    "Connection: close",
    "Server: AmazonS3",
)
AMAZON_IDS = (
    "<RequestId>0Z9QFT2X3Y8BXH8A</RequestId>"
    "<HostId>Uuag1LuByRx9e6j5Onimru9pO4ZVKnJ2Qz7/C1NPcfTWAtRPfTaOFg==</HostId></Error>"
)
CEPH = (
    "x-amz-request-id: tx00000aa774de3d35aaa4d-0068952242-14970-default",
    "Accept-Ranges: bytes",
    "Content-Type: application/xml",
    "Date: Thu, 07 Aug 2025 21:57:22 GMT",
    "Connection: Keep-Alive",
)
CEPH_IDS = (
    "<RequestId>tx00000aa774de3d35aaa4d-0068952242-14970-default</RequestId>"
    "<HostId>14970-default-default</HostId></Error>"
)
GOOGLE = (
    "X-GUploader-UploadID: AEnB2UpomRy06euJeNlmt-nMWJAxCIbGJUJCmaz2t08s4KXvy2hXUySRS62J77d2JV07o5",
    "Content-Type: application/xml; charset=UTF-8",
    "Date: Sun, 08 Sep 2019 10:25:23 GMT",
    "Expires: Sun, 08 Sep 2019 10:25:23 GMT",
    "Cache-Control: private, max-age=0",
    "Server: UploadServer",
    'Alt-Svc: h3=":443"; ma=2592000,h3-29=":443"; ma=2592000',
)
CLOUDFLARE = (
    "Date: Sat, 18 Jul 2026 09:58:33 GMT",
    "Content-Type: application/xml",
    "Connection: keep-alive",
    "Server: cloudflare",
    "CF-RAY: 8a5d3c1f9e2b4c7d-CDG",
)

STORES = {
    "Amazon S3": answer(
        "403 Forbidden",
        *AMAZON,
        body=f"{XML}\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        "<X-Amz-Expires>300</X-Amz-Expires><Expires>2017-07-20T04:18:45Z</Expires>"
        f"<ServerTime>2017-07-20T04:18:55Z</ServerTime>{AMAZON_IDS}",
    ),
    "Amazon S3, signature version 2": answer(
        "403 Forbidden",
        *AMAZON,
        body=f"{XML}\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        "<Expires>2020-10-15T02:03:37Z</Expires><ServerTime>2020-10-15T02:03:42Z</ServerTime>"
        f"{AMAZON_IDS}",
    ),
    "Amazon S3, of temporary credentials": answer(
        "400 Bad Request",
        *AMAZON,
        body=f"{XML}\n<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message>"
        f"<Token-0>FQoGZXIvYXdzEAIaDBWAegzE/gYY7x+esCKoBJof+Qmt5Xdg6ZwnvdyIeDBd4QkM</Token-0>{AMAZON_IDS}",
    ),
    "Amazon S3, of credentials to be refreshed": answer(
        "400 Bad Request",
        *AMAZON,
        body=f"{XML}\n<Error><Code>TokenRefreshRequired</Code>"
        f"<Message>The provided token must be refreshed.</Message>{AMAZON_IDS}",
    ),
    "MinIO": answer(
        "403 Forbidden",
        "Accept-Ranges: bytes",
        "Content-Type: application/xml",
        "Server: MinIO",
        "Strict-Transport-Security: max-age=31536000; includeSubDomains",
        "Vary: Origin",
        "Vary: Accept-Encoding",
        "X-Amz-Id-2: dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8",
        "X-Amz-Request-Id: 18C1EBD91CC37A57",
        "X-Content-Type-Options: nosniff",
        "X-Xss-Protection: 1; mode=block",
        "Date: Sat, 18 Jul 2026 09:58:33 GMT",
        body=f"{XML}\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        "<Key>scene.glb</Key><BucketName>uploads</BucketName><Resource>/uploads/scene.glb</Resource>"
        "<RequestId>18C1EBD91CC37A57</RequestId>"
        "<HostId>dd9025bab4ad464b049177c95eb6ebf374d3b3fd1af9251148b658df7ac2e3e8</HostId></Error>",
    ),
    "SeaweedFS": answer(
        "403 Forbidden",
        "Accept-Ranges: bytes",
        "Content-Type: application/xml",
        "Server: SeaweedFS 30GB 4.00",
        "X-Amz-Request-Id: 1644010465937989170",
        "Date: Sat, 18 Jul 2026 09:58:33 GMT",
        body=f"{XML}\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message>"
        "<Resource>/uploads/scene.glb</Resource><RequestId>1644010465937989170</RequestId>"
        "<Key>scene.glb</Key><BucketName>uploads</BucketName></Error>",
    ),
    "Ceph, with an empty message": answer(
        "403 Forbidden", *CEPH, body=f"{XML}<Error><Code>AccessDenied</Code><Message></Message>{CEPH_IDS}"
    ),
    "Ceph, before it had messages": answer(
        "403 Forbidden",
        *CEPH,
        body=f"{XML}<Error><Code>AccessDenied</Code><BucketName>uploads</BucketName>{CEPH_IDS}",
    ),
    "Ceph, since it says why": answer(
        "403 Forbidden",
        *CEPH,
        body=f"{XML}<Error><Code>AccessDenied</Code><Message>The pre-signed URL has expired</Message>"
        f"<BucketName>uploads</BucketName>{CEPH_IDS}",
    ),
    "Google Cloud Storage": answer(
        "400 Bad Request",
        *GOOGLE,
        body="<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code>"
        "<Message>The provided token has expired.</Message>"
        "<Details>Request signature expired at: 2019-09-08T10:24:28+00:00</Details></Error>",
    ),
    "Google Cloud Storage, in other words": answer(
        "400 Bad Request",
        *GOOGLE,
        body="<?xml version='1.0' encoding='UTF-8'?><Error><Code>ExpiredToken</Code>"
        "<Message>Invalid argument.</Message><Details>The provided token has expired. "
        "Request signature expired at: 2026-09-11T23:48:45+00:00</Details></Error>",
    ),
    "Cloudflare R2": answer(
        "403 Forbidden",
        *CLOUDFLARE,
        body=f"{XML}<Error><Code>ExpiredRequest</Code><Message>Request has expired</Message></Error>",
    ),
    "Cloudflare R2, as it was documented": answer(
        "400 Bad Request",
        *CLOUDFLARE,
        body=f"{XML}<Error><Code>ExpiredRequest</Code><Message>Request has expired</Message></Error>",
    ),
    "Garage": answer(
        "400 Bad Request",
        "content-type: application/xml",
        "date: Sat, 18 Jul 2026 09:58:33 GMT",
        body=f"{XML}<Error><Code>InvalidRequest</Code><Message>Bad request: Date is too old</Message>"
        "<Resource>/uploads/scene.glb</Resource><Region>garage</Region></Error>",
    ),
    "Backblaze B2": answer(
        "401 Unauthorized",
        "Server: nginx",
        "x-amz-request-id: 8e1f30ee2a55c6ad",
        "x-amz-id-2: aMe01ajInOLZv0GS3bvhkYWbCZZqxAms0",
        "Cache-Control: max-age=0, no-cache, no-store",
        "Content-Type: application/xml",
        "Date: Sat, 18 Jul 2026 09:58:33 GMT",
        body='<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<Error>\n'
        "    <Code>UnauthorizedAccess</Code>\n    <Message>Request has expired given timestamp: "
        "'20250815T210443Z' and expiration: 3600</Message>\n</Error>\n",
    ),
    "Alibaba OSS": answer(
        "403 Forbidden",
        "Server: AliyunOSS",
        "Date: Tue, 25 Dec 2012 09:49:00 GMT",
        "Content-Type: application/xml",
        "Connection: keep-alive",
        "x-oss-request-id: 50D9768CA801C2F102005C70",
        "x-oss-ec: 0002-00000418",
        body=f"{XML}\n<Error>\n  <Code>AccessDenied</Code>\n  <Message>Request has expired.</Message>\n"
        "  <RequestId>50D9768CA801C2F102005C70</RequestId>\n"
        "  <HostId>uploads.oss-cn-hangzhou.aliyuncs.com</HostId>\n"
        "  <Expires>2012-12-25T09:47:52.000Z</Expires>\n"
        "  <ServerTime>2012-12-25T09:49:00.000Z</ServerTime>\n  <EC>0002-00000418</EC>\n</Error>\n",
    ),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three parts."""
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 10 * MiB + 64 * 1024)


def in_words_of(store: str, exchange: Exchange) -> None:
    exchange.send(STORES[store])
    if b"Connection: close" in STORES[store]:
        raise LeftError


@case(1, EXACT)
@pytest.mark.parametrize("store", STORES)
def test_all_parts_in_flight_share_one_refresh(store: str, path: Path, rig: Open) -> None:
    """Every link is dead: each part meets that once, the service is asked once, and the fresh links serve."""
    all_in_flight = threading.Barrier(3)

    def refuse(exchange: Exchange) -> None:
        exchange.read()
        with suppress(threading.BrokenBarrierError):
            all_in_flight.wait(60)
        in_words_of(store, exchange)

    with rig({number: until_renewed(refuse) for number in (1, 2, 3)}) as it:
        it.upload(path)
        assert [it.peer.seen[number] for number in (1, 2, 3)] == [2, 2, 2]
        assert [e.parts for e in it.events if isinstance(e, UrlsRefreshed)] == [3]
        assert {e.cause for e in it.events if isinstance(e, PartRetrying)} == {Cause.EXPIRED}
        assert it.result is not None
        assert (it.result.retries, it.result.url_refreshes, it.result.recreated) == (3, 1, False)


@case(1, EXACT)
def test_a_part_refused_after_the_refresh_uses_its_fresh_link(path: Path, rig: Open) -> None:
    """Part 3 was sent with its old link and hears of it late: the fresh one is there already."""
    refreshed = threading.Event()

    def hand_out(exchange: Exchange) -> None:
        pass_on(exchange)
        refreshed.set()

    def refuse_late(exchange: Exchange) -> None:
        exchange.read()
        refreshed.wait(60)
        in_words_of("Amazon S3", exchange)

    def refuse(exchange: Exchange) -> None:
        exchange.read()
        in_words_of("Amazon S3", exchange)

    script = {1: until_renewed(refuse), 3: until_renewed(refuse_late), "get": [hand_out]}
    with rig(script) as it:
        it.upload(path)
        assert it.peer.seen[3] == 2
        assert it.heard(UrlsRefreshed) == 1


@case(2, "PartError")
@pytest.mark.parametrize("store", ["Amazon S3", "Ceph, with an empty message", "Garage"])
def test_a_refreshed_link_that_expired_too_is_the_end(store: str, path: Path, rig: Open) -> None:
    """Twice, and no more: the clock of whoever signs is wrong, and no number of links would mend it."""

    def refuse(exchange: Exchange) -> None:
        exchange.read()
        in_words_of(store, exchange)

    with rig({2: [refuse] * 20}) as it:
        it.upload(path)
        assert it.peer.seen[2] == 2
        assert "the server issues expired links: check its clock" in str(it.error)
        assert "part 2 of 3" in str(it.error)
        assert (it.heard(UrlsRefreshed), it.heard(Recreating), it.asked("complete")) == (1, 0, 0)


@case(2, "PartError")
def test_links_that_all_expire_at_once_make_no_loop(path: Path, rig: Open) -> None:
    def refuse(exchange: Exchange) -> None:
        exchange.read()
        in_words_of("Google Cloud Storage", exchange)

    with rig({"put": [refuse] * 40}) as it:
        it.upload(path)
        assert max(it.peer.seen[number] for number in (1, 2, 3)) == 2
        assert it.asked("get") <= 2
        assert it.asked("complete") == 0


def date_of_death(head: bytes) -> float:
    """Until when the link of a request holds, by its own date."""
    signed, lifetime = re.search(rb"X-Amz-Date=(\w+)&X-Amz-Expires=(\d+)", head).groups()  # type: ignore[union-attr]
    moment = datetime.strptime(signed.decode(), "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return moment.timestamp() + float(lifetime)


@case(3, EXACT)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("400 Bad Request", "ExpiredToken"),
        ("400 Bad Request", "InvalidToken"),
        ("403 Forbidden", "InvalidAccessKeyId"),
    ],
)
def test_credentials_that_end_before_the_link_get_a_fresh_one(
    status: str, code: str, path: Path, rig: Open
) -> None:
    """Amazon says ExpiredToken and repeats the token; other stores no longer know the token or the key.

    The link's own date still lies ahead. No event shows the token.
    """
    tokens: list[str] = []

    def refuse(exchange: Exchange) -> None:
        exchange.read()
        assert date_of_death(exchange.head) > time.time() + 600
        tokens.append(re.search(rb"X-Amz-Security-Token=([^&]+)", exchange.head)[1].decode())  # type: ignore[index]
        said = f"<Message>The token {tokens[-1]} will not do.</Message><Token-0>{tokens[-1]}</Token-0>"
        body = f"{XML}\n<Error><Code>{code}</Code>{said}{AMAZON_IDS}"
        exchange.send(answer(status, *AMAZON, body=body))
        raise LeftError

    with rig({2: until_renewed(refuse)}) as it:
        it.upload(path)
        assert it.peer.seen[2] == 2
        assert (it.heard(PartRetrying), it.heard(UrlsRefreshed), it.heard(Recreating)) == (1, 1, 0)
        assert tokens
        assert tokens[0] not in repr(it.events)


@dataclass
class ForAMoment:
    """Hands out the links as good for a third of a second; `end` is when they die (epoch seconds)."""

    end: float = 0.0

    def __call__(self, exchange: Exchange) -> None:
        told = json.loads(exchange.ask_service().partition(b"\r\n\r\n")[2])
        self.end = time.time() + 0.3
        for part in told["upload"]["parts"]:
            part["expires"] = datetime.fromtimestamp(self.end, UTC).isoformat()
        exchange.send(answer("200 OK", "Content-Type: application/json", body=json.dumps(told)))


@case(1, EXACT)
def test_a_store_without_a_word_for_it_is_understood_by_the_date(tmp_path: Path, rig: Open) -> None:
    """Some versions of Ceph have no code for it: "UnknownError", and 500 as with anything else that fails."""
    said = f"{XML}<Error><Code>UnknownError</Code><Message></Message>{CEPH_IDS}"
    refuse = reply(answer("500 Internal Server Error", *CEPH, body=said))
    path = make_file(tmp_path / "scene.glb", 64 * 1024)
    many = RetryPolicy(attempts=1000, base=0.1, cap=0.1, poll_first=0.02, poll_cap=0.1)
    with rig({"create": [ForAMoment()], 1: until_renewed(refuse)}, retry=many) as it:
        it.upload(path)
        assert it.heard(UrlsRefreshed) == 1
        assert it.result is not None
        assert not it.result.recreated


@case(7, EXACT)
def test_a_link_that_expires_while_its_part_is_sent_has_done_its_duty(
    tmp_path: Path, tls: bool, rig: Open
) -> None:
    """The store looks at the date when a request starts, so what began in time is let through to its end."""
    links = ForAMoment()

    def take_slowly(exchange: Exchange) -> None:
        exchange.read(1 * MiB)
        time.sleep(max(0.0, links.end - time.time()) + 0.05)  # the rest comes when the link is dead
        pass_on(exchange)

    path = make_file(tmp_path / "scene.glb", 5 * MiB)
    with rig({"create": [links], 1: [take_slowly]}, tls=tls) as it:
        it.upload(path)
        assert it.peer.seen[1] == 1
        assert it.heard(PartRetrying) == 0
