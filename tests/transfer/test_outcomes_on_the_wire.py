"""The rows of the outcomes table that are no case of the fault matrix, over real sockets, also over TLS."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.transfer.conftest import MiB, Open
from uploader import AnswerError, ApiError, AuthError, PartError, UnreachableError, UploaderError
from uploader.core.events import Event, PartRetrying, PartStored, Progress, Recreating

# fault → retries, URL refreshes; the upload ends well
OUTLASTED = {
    "403:part=2:code=AccessDenied:message=Request is not valid yet": (1, 1),
    "403:part=2:code=RequestTimeTooSkewed": (1, 1),
    "403:part=2:code=SignatureDoesNotMatch": (1, 1),
    "redirect:part=2": (1, 1),
    "400:part=2:code=IncompleteBody": (1, 0),
    "400:part=2:code=BadDigest": (1, 0),
    "429:part=2": (1, 0),
    "503:part=2": (1, 0),
    "503:part=2:times=3:after=0": (3, 0),
    "408:part=2": (1, 0),
    "409:part=2:code=OperationAborted": (1, 0),
    "499:part=2": (1, 0),
    "500:part=2": (1, 0),
    "502:part=2": (1, 0),
    "504:part=2": (1, 0),
    "html:part=2:status=502": (1, 0),
    "etag:part=2": (1, 0),
    "500:on=create": (0, 0),
    "429:on=create:after=0": (0, 0),
    "drop:on=create:at=answer": (0, 0),
    "html:on=create": (0, 0),
    "html:on=complete": (0, 0),
    "html:on=get:status=404": (0, 0),
    "html:on=get:status=200": (0, 0),
    "vanish:part=2": (1, 0),
}

# fault → the error, and what its message must tell
FINAL: dict[str, tuple[type[UploaderError], str]] = {
    "403:part=2:code=RequestTimeTooSkewed:times=inf": (PartError, "signing server's clock"),
    "403:part=2:code=SignatureDoesNotMatch:times=inf": (PartError, "link rejected"),
    "redirect:part=2:times=inf": (PartError, "redirects"),
    "407:part=2": (PartError, "proxy"),
    "html:part=2": (PartError, "blocked by a proxy"),
    "400:part=2:code=BadDigest:times=inf": (PartError, "corrupt"),
    "etag:part=2:times=inf": (PartError, "corrupted in transit"),
    "400:part=2:code=EntityTooLarge": (PartError, "EntityTooLarge"),
    "411:part=2": (PartError, "limit of the store"),
    "413:part=2": (PartError, "limit of the store"),
    "501:part=2": (PartError, "limit of the store"),
    "500:part=2:times=inf": (PartError, "gave up after "),
    "401:on=create": (AuthError, "SCENARIO_SDK_API_KEY and SCENARIO_SDK_API_SECRET"),
    "403:on=create": (AuthError, "403"),
    "402:on=create:message=pay first": (ApiError, "pay first"),
    "409:on=create": (ApiError, "409"),
    "422:on=create": (ApiError, "422"),
    "500:on=create:times=inf": (UnreachableError, "500"),
    "html:on=create:times=inf": (UnreachableError, "a firewall or a login page"),
    "html:on=create:status=200:times=inf": (UnreachableError, "SCENARIO_BASE_URL"),
    "redirect:on=create": (AnswerError, "redirect"),
    "402:on=complete:message=no credit": (ApiError, "no credit"),
    "400:on=complete:message=no good": (ApiError, "no good"),
}


def heard(events: list[Event], kind: type[Event]) -> int:
    return sum(isinstance(event, kind) for event in events)


@pytest.mark.parametrize("fault", OUTLASTED)
def test_outlasted_to_the_exact_bytes(
    fault: str, scheme: str, glb: Path, opened: Open, request: pytest.FixtureRequest
) -> None:
    retries, refreshes = OUTLASTED[fault]
    tls = {"certificate": request.getfixturevalue("trusted")} if scheme == "https" else {}
    events: list[Event] = []
    with opened(fault, **tls) as (service, uploader):
        result = uploader.upload(glb, part_size=5 * MiB, progress=events.append)
        assert service.sha256(result.upload_id) == hashlib.sha256(glb.read_bytes()).hexdigest()
    if "vanish" in fault:
        assert result.recreated
        return
    assert result.retries == retries
    assert result.url_refreshes == refreshes
    assert heard(events, PartRetrying) == result.retries
    assert heard(events, PartStored) == 4
    assert result.bytes_sent >= glb.stat().st_size


@pytest.mark.parametrize("fault", FINAL)
def test_final_with_an_error_that_says_what_to_do(fault: str, glb: Path, opened: Open) -> None:
    kind, said = FINAL[fault]
    with opened(fault) as (service, uploader):
        with pytest.raises(kind) as caught:
            uploader.upload(glb, part_size=5 * MiB, progress=False)
        completes = [r for r in service.requests if r.target == "complete"]
        assert not completes or "on=" in fault, "complete was called without every part"
    assert said in str(caught.value)
    assert "Signature=" not in str(caught.value)
    assert caught.value.nothing_sent == ("create" in fault)


def test_without_fresh_urls_it_starts_over_once(glb: Path, opened: Open) -> None:
    events: list[Event] = []
    with opened("expire:part=3", resign=False) as (service, uploader):
        result = uploader.upload(glb, part_size=5 * MiB, progress=events.append)
        assert service.sha256(result.upload_id) == hashlib.sha256(glb.read_bytes()).hexdigest()
    assert result.recreated
    assert heard(events, Recreating) == 1
    progress = [event.sent for event in events if isinstance(event, Progress)]
    assert max(progress) == progress[-1] == glb.stat().st_size, "what the old upload stored does not count"


def test_urls_that_lapse_while_parts_wait_are_renewed(glb: Path, opened: Open) -> None:
    # Part 1 is told to come again when every URL has lapsed.
    with opened("503:part=1:after=4", ttl=1.0) as (_, uploader):
        result = uploader.upload(glb, part_size=5 * MiB, concurrency=1, progress=False)
    assert result.url_refreshes >= 1
    assert not result.recreated


@pytest.mark.parametrize("offset", [-86_400, 86_400])
def test_a_clock_a_day_off_costs_no_refresh(offset: float, glb: Path, opened: Open) -> None:
    with opened(clock_offset=offset, ttl=60.0) as (_, uploader):
        result = uploader.upload(glb, part_size=5 * MiB, progress=False)
    assert (result.retries, result.url_refreshes) == (0, 0)


def test_an_untrusted_certificate_is_final_and_says_how_to_trust_it(
    glb: Path, opened: Open, trusted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    with opened(certificate=trusted) as (_, uploader), pytest.raises(UnreachableError, match="SSL_CERT_FILE"):
        uploader.upload(glb, progress=False)
