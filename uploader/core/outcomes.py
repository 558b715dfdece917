"""What an answer, or the lack of one, means: the whole table, as pure functions.

An object store's error XML is read first (its `<Code>`, then its message), the HTTP status second. The result
is a verdict; whether there is another attempt, when, and with which URL is the session's to decide.

Sources: Amazon S3 "Error responses", Cloudflare R2 "Error codes", Google Cloud Storage XML API errors, and
the sources of MinIO, Ceph (rgw), Garage and SeaweedFS for how each says that a presigned URL has expired.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from uploader.core.retry import parse_retry_after
from uploader.core.storeerror import StoreError


class Cause(StrEnum):
    """Why an attempt did not store its part."""

    EXPIRED = "expired"
    CLOCK = "clock"
    REJECTED = "rejected"
    REDIRECTED = "redirected"
    THROTTLED = "throttled"
    SERVER = "server"
    NETWORK = "network"
    STRAGGLER = "straggler"
    REREAD = "reread"
    DIGEST = "digest"
    CORRUPT = "corrupt"
    STRANGE = "strange"
    WORKER = "worker"
    SHORTAGE = "shortage"


class Break(StrEnum):
    """How an attempt ended without an answer."""

    CONNECT = "could not connect"
    RESET = "the connection broke"
    STALL = "no byte was taken for too long"
    SILENCE = "no answer came"
    TLS = "TLS failed"
    REFUSED = "the store's name leads into a private network, which the API is not in"
    PROXY = "the proxy refused"
    CHANGED = "the file changed"
    UNREADABLE = "the file could not be read"
    UNUSABLE = "no request can be made of the URL"
    LOST = "the worker that sent it was lost"
    EXECUTOR = "the executor could not take it"
    UNFIT = "the machine is not fit to send it"
    SHORTAGE = "the machine is short of descriptors, memory or threads"


@dataclass(frozen=True, slots=True)
class Response:
    """An HTTP answer: header names in lower case, at most 64 KiB of body where it is an error."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


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
    """Trying again cannot help; `final`: nor can another network, proxy or certificate."""

    detail: str
    final: bool = True


PartVerdict = Done | Retry | NewUrl | Gone | SourceBad | Fail

_EXPIRED = frozenset({"ExpiredToken", "ExpiredRequest", "TokenRefreshRequired", "ExpiredPresignedUrlRequest"})
# Whatever the status: S3 answers InvalidToken with 400.
_REJECTED = frozenset({"SignatureDoesNotMatch"})
# The credentials a link was signed with are temporary, and may end before it does.
_ENDED = frozenset({"InvalidToken", "InvalidAccessKeyId"})
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
# How often one part may lose its worker: by then it is rather the part that ends them.
LOSSES = 3

CHECK_WORKERS = "see the workers' logs, and their memory limits"
NEW_EXECUTOR = (
    "parts need an executor that is open, and the same version of this library wherever it runs them"
)
RAISE_LIMITS = "raise its limits (such as ulimit -n), or send fewer parts at once (--concurrency)"
ALLOW_HOST = "nothing was sent there; if it is meant, name the host in UPLOADER_STORAGE_HOSTS"
SET_CA = "to trust a private certificate authority, set SSL_CERT_FILE to its PEM file"


def judge_part(answer: Answer, md5: str | None = None) -> PartVerdict:
    """What became of one attempt at a part.

    Args:
        answer: what came back, or how it broke.
        md5: hex MD5 of the bytes sent; None leaves the ETag unchecked.
    """
    if isinstance(answer, Broken):
        return _judge_break(answer)
    error = StoreError.read(answer.headers, answer.body)
    if error.code:
        return _judge_code(error, answer)
    if 200 <= answer.status < 300 and not error.found:
        return _judge_success(answer, md5)
    return _judge_status(error, answer)


# What another attempt cannot mend: what to do, and whether nothing can.
_FINAL_BREAKS: Mapping[Break, tuple[str, bool]] = {
    Break.TLS: (SET_CA, False),
    Break.PROXY: ("check HTTPS_PROXY and NO_PROXY", False),
    Break.REFUSED: (ALLOW_HOST, False),
    Break.EXECUTOR: (NEW_EXECUTOR, False),
    Break.UNFIT: ("", False),
    Break.UNUSABLE: ("", True),
}


def _judge_break(broken: Broken) -> PartVerdict:
    said = f"{broken.kind}: {broken.detail}" if broken.detail else str(broken.kind)
    if broken.kind in (Break.CHANGED, Break.UNREADABLE):
        return SourceBad(broken.kind, broken.detail)
    if broken.kind in _FINAL_BREAKS:
        advice, final = _FINAL_BREAKS[broken.kind]
        return Fail(f"{said}; {advice}" if advice else said, final=final)
    if broken.kind is Break.LOST:
        return Retry(Cause.WORKER, said, limit=LOSSES, advice=CHECK_WORKERS)
    if broken.kind is Break.SHORTAGE:
        return Retry(Cause.SHORTAGE, said, advice=RAISE_LIMITS)
    return Retry(Cause.NETWORK, said)


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
    return _judge_status(error, response)


def _judge_link(error: StoreError, response: Response) -> NewUrl | None:
    """What the error says about the presigned URL itself, if anything."""
    message = error.message.lower()
    said = f"its link has expired ({error})"
    if error.code in _EXPIRED or "date is too old" in message:
        return NewUrl(Cause.EXPIRED, said, advice=CHECK_SERVER_CLOCK)
    if error.code == "RequestTimeTooSkewed" or "not valid yet" in message:
        return NewUrl(Cause.CLOCK, f"its link is not valid yet ({error})", advice=CHECK_SIGNER_CLOCK)
    # Ceph says AccessDenied with nothing in it, others "Request has expired", Backblaze with its own code.
    if "request has expired" in message or (
        error.code == "AccessDenied" and (not message or "expired" in message)
    ):
        return NewUrl(Cause.EXPIRED, said, advice=CHECK_SERVER_CLOCK)
    if error.code in _ENDED:
        return NewUrl(Cause.EXPIRED, f"the credentials of its link ended ({error})", advice=LINK_REJECTED)
    if error.code in _REJECTED:
        return NewUrl(Cause.REJECTED, _describe(response, error), advice=LINK_REJECTED)
    return None


def _judge_status(error: StoreError, response: Response) -> PartVerdict:
    status, said = response.status, _describe(response, error)
    if status in (401, 403, 407):
        return _judge_denial(error, response, said)
    if 300 <= status < 400:
        said = f"{said}: the store redirects, which is never followed"
        return NewUrl(Cause.REDIRECTED, said, advice=LINK_REJECTED)
    if status in (429, 503):
        return Retry(Cause.THROTTLED, said, retry_after(response), slow_down=True)
    if _is_transient(status):
        return Retry(Cause.SERVER, said, retry_after(response))
    if status in (411, 413, 501):
        return Fail(f"{said}; this is a limit of the store or a fault of this library")
    if status == 400:
        # Signing credentials may have died, in the words of a store we do not know: a new URL, once.
        return NewUrl(Cause.REJECTED, said, advice=LINK_REJECTED)
    return Fail(said)


def _is_transient(status: int) -> bool:
    """Whether a status may change by itself; that of an error document under a 200 too."""
    return status in _TRANSIENT_STATUSES or 200 <= status < 300 or (status >= 500 and status != 501)


def _judge_denial(error: StoreError, response: Response, said: str) -> PartVerdict:
    if response.status == 407:
        advice = "the proxy wants a user name and password; put them into HTTPS_PROXY"
        return Fail(f"{said}: {advice}", final=False)
    if not error.code and not error.request_id and is_html(response):
        advice = "blocked by a proxy or firewall on the way; ask who runs this network"
        return Fail(f"{said}: {advice}", final=False)
    return NewUrl(Cause.REJECTED, said, advice=LINK_REJECTED)


def _judge_success(response: Response, md5: str | None) -> PartVerdict:
    etag = response.headers.get("etag", "").strip().removeprefix("W/").strip('"')
    if not etag:
        # Every store names what it stored; a captive portal's 200 does not.
        return Retry(
            Cause.STRANGE,
            f"{_describe(response)} without an ETag",
            limit=3,
            advice="something other than an object store answers: a captive portal or a proxy",
        )
    if md5 and _is_md5(etag, response.headers) and etag.lower() != md5.lower():
        return Retry(
            Cause.CORRUPT, "the store received other bytes than were sent", limit=2, advice=CORRUPTED
        )
    return Done(etag)


def _is_md5(etag: str, headers: Mapping[str, str]) -> bool:
    """Whether an ETag is an MD5 sum. Under SSE-KMS and SSE-C it is 32 hex digits too, and none."""
    if headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"):
        return False
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return False
    return _MD5_HEX.fullmatch(etag) is not None


def is_html(response: Response) -> bool:
    """Whether a web page came instead of a service's answer."""
    kind = response.headers.get("content-type", "").lower()
    return "html" in kind or response.body.removeprefix(b"\xef\xbb\xbf").lstrip()[:15].lower().startswith(
        (b"<!doctype html", b"<html")
    )


def _describe(response: Response, error: StoreError | None = None) -> str:
    return f"the store answered {response.status} {error or ''}".rstrip()


def retry_after(response: Response) -> float | None:
    """Seconds the answer asks to wait, unclamped; None where it does not say."""
    return parse_retry_after(response.headers.get("retry-after"), response.headers.get("date"))
