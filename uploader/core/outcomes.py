"""What an answer, or the lack of one, means: the whole table, as pure functions.

An object store's error XML is read first (its `<Code>`, then its message), the HTTP status second. The result
is a verdict; whether there is another attempt, when, and with which URL is the session's to decide.

Sources: Amazon S3 "Error responses", Cloudflare R2 "Error codes", Google Cloud Storage XML API errors, and
the sources of MinIO, Ceph (rgw), Garage and SeaweedFS for how each says that a presigned URL has expired.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from uploader.core.retry import parse_retry_after


class Cause(StrEnum):
    """Why an attempt did not store its part."""

    EXPIRED = "expired"
    CLOCK = "clock"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    THROTTLED = "throttled"
    SERVER = "server"
    NETWORK = "network"
    REREAD = "reread"
    DIGEST = "digest"
    CORRUPT = "corrupt"
    STRANGE = "strange"


class Break(StrEnum):
    """How an attempt ended without an answer."""

    CONNECT = "could not connect"
    RESET = "the connection broke"
    STALL = "no byte was taken for too long"
    SILENCE = "no answer came"
    TLS = "TLS failed"
    PROXY = "the proxy refused"
    CHANGED = "the file changed"
    UNREADABLE = "the file could not be read"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: header names in lower case, at most 64 KiB of body."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer: how it ended, and what the system said of it (free of URLs)."""

    kind: Break
    detail: str = ""


Answer = Response | Broken


@dataclass(frozen=True, slots=True)
class Done:
    """The part is stored."""

    etag: str | None


@dataclass(frozen=True, slots=True)
class Retry:
    """Send it again to the same URL, after a backoff.

    Attributes:
        detail: what happened, for people.
        after: seconds the server asked for, unclamped.
        slow_down: whether to lower the concurrency.
        limit: how often this cause may strike one part before it is final; 0 leaves it to the attempt limit.
        advice: what is said when it is final.
    """

    cause: Cause
    detail: str
    after: float | None = None
    slow_down: bool = False
    limit: int = 0
    advice: str = ""


@dataclass(frozen=True, slots=True)
class NewUrl:
    """Get a new presigned URL, then send it again; not charged as a failure. Fields as in `Retry`."""

    cause: Cause
    detail: str
    limit: int = 2
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """The store no longer knows the upload: ask the service what became of it."""

    detail: str


@dataclass(frozen=True, slots=True)
class SourceBad:
    """The file changed, or could not be read."""

    kind: Break
    detail: str


@dataclass(frozen=True, slots=True)
class Fail:
    """Trying again cannot help."""

    detail: str


PartVerdict = Done | Retry | NewUrl | Gone | SourceBad | Fail

_EXPIRED = frozenset({"ExpiredToken", "ExpiredRequest", "TokenRefreshRequired", "ExpiredPresignedUrlRequest"})
# Whatever the status: S3 answers InvalidToken with 400.
_REJECTED = frozenset({"SignatureDoesNotMatch", "InvalidToken", "InvalidAccessKeyId"})
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "RequestLimitExceeded",
        "RequestThrottled",
        "ServerBusy",
        "ServiceUnavailable",
        "SlowDown",
        "SlowDownRead",
        "SlowDownWrite",
        "Throttling",
        "ThrottlingException",
        "TooManyRequests",
    }
)
_TRANSIENT = frozenset({"InternalError", "OperationAborted", "OperationTimedOut"})
_REREAD = frozenset({"RequestTimeout", "IncompleteBody"})
_LIMITS = frozenset(
    {
        "EntityTooSmall",
        "EntityTooLarge",
        "InvalidPartNumber",
        "MaxMessageLengthExceeded",
        "MissingContentLength",
        "NotImplemented",
    }
)
_TRANSIENT_STATUSES = frozenset({408, 409, 425, 499})
_MD5_HEX = re.compile(r"[0-9a-fA-F]{32}")

CHECK_SERVER_CLOCK = "the server issues expired links: check its clock"
CHECK_SIGNER_CLOCK = "the signing server's clock is wrong"
FILE_OR_HARDWARE = "the file changed or memory or network is corrupt"
LINK_REJECTED = "link rejected"
CORRUPTED = (
    "corrupted in transit (if this store's ETags are no MD5 sums, switch the check off with verify='none')"
)
SET_CA = "to trust a private certificate authority, set SSL_CERT_FILE to its PEM file"


def judge_part(answer: Answer, md5: str | None = None) -> PartVerdict:
    """What became of one attempt at a part.

    Args:
        answer: what came back, or how it broke.
        md5: hex MD5 of the bytes sent; None leaves the ETag unchecked.
    """
    if isinstance(answer, Broken):
        return _judge_break(answer)
    error = StoreError.read(answer)
    if error.code:
        return _judge_code(error, answer)
    return _judge_status(error, answer, md5)


def _judge_break(broken: Broken) -> PartVerdict:
    said = f"{broken.kind}: {broken.detail}" if broken.detail else str(broken.kind)
    if broken.kind in (Break.CHANGED, Break.UNREADABLE):
        return SourceBad(broken.kind, broken.detail)
    if broken.kind is Break.TLS:
        return Fail(f"{said}; {SET_CA}")
    if broken.kind is Break.PROXY:
        return Fail(f"{said}; check HTTPS_PROXY and NO_PROXY")
    return Retry(Cause.NETWORK, said)


@dataclass(frozen=True, slots=True)
class StoreError:
    """A store's error document: `code` is "" where there is none.

    It is read by pattern, not by an XML parser: a body cut short by a reset still tells its code, and
    entities are never expanded.
    """

    code: str = ""
    message: str = ""
    request_id: str = ""

    @classmethod
    def read(cls, response: Response) -> StoreError:
        """The document in an answer's body, if any."""
        text = response.body.decode("utf-8", "replace")
        request_id = _element(text, "RequestId") or _request_id(response.headers)
        if "<Error" not in text:
            return cls(request_id=request_id)
        return cls(_element(text, "Code"), _element(text, "Message"), request_id)

    def __str__(self) -> str:
        said = ": ".join(filter(None, (self.code, scrub(self.message))))
        return f"{said} (request id {self.request_id})" if self.request_id else said


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{0,2000}})", text)
    return html.unescape(found.group(1)).strip() if found else ""


def _request_id(headers: Mapping[str, str]) -> str:
    names = ("x-amz-request-id", "x-guploader-uploadid", "x-trans-id", "x-amz-id-2")
    return next((headers[name][:200] for name in names if headers.get(name)), "")


def scrub(text: str) -> str:
    """`text` without what may be a signature or token: stores echo those they refuse."""
    text = re.sub(r"[^\s<>\"']*[?&][^\s<>\"']*=[^\s<>\"']*", "[URL removed]", text)
    return re.sub(r"[A-Za-z0-9+/=_%.~-]{24,}", "[removed]", text)[:500]


def _judge_code(error: StoreError, response: Response) -> PartVerdict:
    refused = _judge_link(error, response)
    if refused:
        return refused
    code, said = error.code, _describe(response, error)
    if code == "NoSuchUpload":
        return Gone(said)
    if code in _THROTTLED:
        return Retry(Cause.THROTTLED, said, retry_after(response), slow_down=True)
    if code in _REREAD:
        return Retry(Cause.REREAD, said)
    if code == "BadDigest":
        return Retry(Cause.DIGEST, said, limit=2, advice=FILE_OR_HARDWARE)
    if code in _TRANSIENT:
        return Retry(Cause.SERVER, said, retry_after(response))
    if code in _LIMITS:
        return Fail(f"{said}; this is a limit of the store or a fault of this library")
    return _judge_error_status(error, response)


def _judge_link(error: StoreError, response: Response) -> NewUrl | None:
    """What the error says about the presigned URL itself, if anything."""
    message = error.message.lower()
    said = f"its link has expired ({error})"
    if error.code in _EXPIRED or "date is too old" in message:
        return NewUrl(Cause.EXPIRED, said, advice=CHECK_SERVER_CLOCK)
    if error.code == "RequestTimeTooSkewed" or "not valid yet" in message:
        return NewUrl(Cause.CLOCK, f"its link is not valid yet ({error})", advice=CHECK_SIGNER_CLOCK)
    # Ceph says AccessDenied with nothing in it, the others "Request has expired".
    if error.code == "AccessDenied" and (not message or "expired" in message):
        return NewUrl(Cause.EXPIRED, said, advice=CHECK_SERVER_CLOCK)
    if error.code in _REJECTED:
        return NewUrl(Cause.REJECTED, _describe(response, error), advice=LINK_REJECTED)
    return None


def _judge_status(error: StoreError, response: Response, md5: str | None) -> PartVerdict:
    if 200 <= response.status < 300:
        return _judge_success(response, md5)
    return _judge_error_status(error, response)


def _judge_error_status(error: StoreError, response: Response) -> PartVerdict:
    status, said = response.status, _describe(response, error)
    if status == 407:
        return Fail(f"{said}: the proxy wants a user name and password; put them into HTTPS_PROXY")
    if status in (401, 403):
        return _judge_denial(error, response, said)
    if 300 <= status < 400:
        return NewUrl(
            Cause.REDIRECTED, f"{said}: the store redirects, which is never followed", advice=LINK_REJECTED
        )
    if status == 429 or status == 503:
        return Retry(Cause.THROTTLED, said, retry_after(response), slow_down=True)
    if status in _TRANSIENT_STATUSES or (status >= 500 and status != 501):
        return Retry(Cause.SERVER, said, retry_after(response))
    if status in (411, 413, 501):
        return Fail(f"{said}; this is a limit of the store or a fault of this library")
    if 200 <= status < 300:
        return Retry(Cause.SERVER, said)  # an error document under a 200 is an error
    return Fail(said)


def _judge_denial(error: StoreError, response: Response, said: str) -> PartVerdict:
    if not error.code and not error.request_id and is_html(response):
        return Fail(f"{said}: blocked by a proxy or firewall on the way; ask who runs this network")
    return NewUrl(Cause.REJECTED, said, advice=LINK_REJECTED)


def _judge_success(response: Response, md5: str | None) -> PartVerdict:
    etag = response.headers.get("etag")
    if not etag:
        # Every store names what it stored; a captive portal's 200 does not.
        return Retry(
            Cause.STRANGE,
            f"{_describe(response)} without an ETag",
            limit=3,
            advice="something other than an object store answers: a captive portal or a proxy",
        )
    plain = etag.strip().removeprefix("W/").strip('"')
    if (
        md5
        and _MD5_HEX.fullmatch(plain)
        and not _encrypted(response.headers)
        and plain.lower() != md5.lower()
    ):
        return Retry(
            Cause.CORRUPT, "the store received other bytes than were sent", limit=2, advice=CORRUPTED
        )
    return Done(plain)


def _encrypted(headers: Mapping[str, str]) -> bool:
    """Whether the store encrypts so that its ETags are 32 hex digits but no MD5 (SSE-KMS, SSE-C)."""
    kms = headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
    return kms or "x-amz-server-side-encryption-customer-algorithm" in headers


def is_html(response: Response) -> bool:
    """Whether a web page came instead of a service's answer."""
    kind = response.headers.get("content-type", "").lower()
    return "html" in kind or response.body.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html"))


def _describe(response: Response, error: StoreError | None = None) -> str:
    return f"the store answered {response.status} {error or ''}".rstrip()


def retry_after(response: Response) -> float | None:
    """Seconds the answer asks to wait, unclamped; None where it does not say."""
    return parse_retry_after(response.headers.get("retry-after"), response.headers.get("date"))
