"""Presigned URLs as the service hands them out: which are acceptable, and until when they hold."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, parse_qs

from uploader.core.policy import StoragePolicy
from uploader.core.retry import parse_iso_date
from uploader.errors import AnswerError
from uploader.hosts import split_url
from uploader.models import PresignedUrl, Upload, UploadPart

# Stores and proxies refuse request lines far shorter than this.
_LONGEST_URL = 16 * 1024


@dataclass(frozen=True, slots=True)
class Link:
    """Where a part goes, and until when (epoch seconds by the service's clock; None where nobody says)."""

    url: PresignedUrl
    expires: float | None


def check_links(upload: Upload, count: int, *, policy: StoragePolicy) -> dict[int, Link]:
    """The links of parts 1 to `count`, by part number, from a create answer.

    Args:
        upload: what the service answered.
        count: how many parts were asked for.
        policy: which URLs are acceptable.

    Raises:
        AnswerError: parts are missing, duplicated or too many, or a URL is not one to send a file to.
    """
    numbers = [part.number for part in upload.parts or ()]
    wrong = _miscount(numbers, count)
    if not wrong and upload.parts_count not in (None, count):
        wrong = f"it counts {upload.parts_count} parts where {count} were asked for"
    if wrong:
        raise AnswerError(f"the service's answer cannot be used: {wrong}", upload_id=upload.id)
    return offered_links(upload, range(1, count + 1), policy=policy)


def offered_links(upload: Upload, wanted: Iterable[int], *, policy: StoragePolicy) -> dict[int, Link]:
    """The links, of those `wanted`, that a later answer carries; it may carry none.

    Raises:
        AnswerError: a URL is not one to send a file to.
    """
    offered = {part.number: part for part in upload.parts or ()}
    links = {}
    for number in wanted:
        if number in offered:
            _check_url(offered[number].url, number, upload.id, policy=policy)
            links[number] = Link(offered[number].url, expiry(offered[number]))
    return links


def _miscount(numbers: list[int], count: int) -> str:
    if not numbers:
        return "it carries no parts"
    distinct: set[int] = set()
    for number in numbers:
        if number in distinct:
            return f"part {number} is in it more than once"
        distinct.add(number)
    outside = [number for number in numbers if not 1 <= number <= count]
    if outside:
        return f"it carries part {outside[0]}, of {count}"
    if len(distinct) < count:
        absent = next(number for number in range(1, count + 1) if number not in distinct)
        return f"it carries {len(distinct)} of {count} parts: part {absent} is missing"
    return ""


def _check_url(url: PresignedUrl, number: int, upload_id: str, *, policy: StoragePolicy) -> None:
    wrong = policy.refusal(_split(url))
    if wrong:
        raise AnswerError(
            f"the service's URL for part {number} {wrong}: nothing was sent there", upload_id=upload_id
        )


def _split(url: PresignedUrl) -> SplitResult | None:
    text = url.reveal()
    return split_url(text) if len(text) <= _LONGEST_URL else None


def expiry(part: UploadPart) -> float | None:
    """Until when a part's URL holds (epoch seconds): its `expires`, else the URL's own fields, else None."""
    stated = _stated(part.expires)
    return stated if stated is not None else _own_expiry(part.url)


def _stated(value: str | float | None) -> float | None:
    if value is None:
        return None
    # As a number first: some read as dates too, of the year 1731 or so.
    number = _number(str(value))
    return parse_iso_date(str(value)) if number is None else number


def _number(text: str) -> float | None:
    try:
        seconds = float(text)
    except ValueError:
        return None
    if not 0 < seconds < 1e14:
        return None
    return seconds / 1000 if seconds > 1e11 else seconds  # JavaScript's clocks count milliseconds


def _own_expiry(url: PresignedUrl) -> float | None:
    """SigV4 (`X-Amz-Date` + `X-Amz-Expires`, `X-Goog-` alike), else SigV2's `Expires` (epoch seconds)."""
    parts = _split(url)
    query = {k.lower(): v[0] for k, v in parse_qs(parts.query).items()} if parts else {}
    for vendor in ("x-amz", "x-goog"):
        date, lifetime = query.get(f"{vendor}-date"), query.get(f"{vendor}-expires")
        if date and lifetime and lifetime.isdecimal():
            signed = _basic_iso(date)
            until = math.inf if signed is None else signed + float(lifetime)
            return until if math.isfinite(until) else None
    return _number(query.get("expires", ""))


def _basic_iso(text: str) -> float | None:
    try:
        return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def signed_headers(url: PresignedUrl) -> frozenset[str]:
    """The request headers the signature covers, lower-case, from `X-Amz-SignedHeaders` or Google's."""
    parts = _split(url)
    query = {k.lower(): v[0] for k, v in parse_qs(parts.query).items()} if parts else {}
    names = query.get("x-amz-signedheaders") or query.get("x-goog-signedheaders") or ""
    return frozenset(names.lower().split(";")) - {""}
