"""What an answer to a control call means: the API's half of the table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum

from uploader.core.outcomes import RAISE_LIMITS, SET_CA, Answer, Break, Broken, Response, is_html, retry_after
from uploader.core.scrub import scrub, scrub_code
from uploader.errors import AnswerError, ApiError, AuthError, NotFoundError, UnreachableError, UploaderError

CHECK_THE_WAY = "is there a proxy, a firewall or a login page on the way? else check SCENARIO_BASE_URL"


class Call(StrEnum):
    """The control calls."""

    CREATE = "create the upload"
    GET = "look at the upload"
    COMPLETE = "complete the upload"


@dataclass(frozen=True, slots=True)
class Accepted:
    """The call went through; `body` is the answer's JSON text."""

    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Again:
    """The call may be repeated.

    Attributes:
        error: what to raise when it may not be repeated any more; it tells what Retry-After asked for.
    """

    error: UnreachableError


@dataclass(frozen=True, slots=True)
class Refused:
    """Repeating the call cannot help."""

    error: UploaderError


CallVerdict = Accepted | Again | Refused


def judge_call(call: Call, answer: Answer, credentials: str, upload_id: str | None = None) -> CallVerdict:
    """What became of a control call.

    Args:
        call: which one.
        answer: what came back, or how it broke.
        credentials: the names of the variables the credentials come from, for messages.
        upload_id: the upload it was about, if there is one yet.
    """
    if isinstance(answer, Broken):
        return _judge_break(call, answer, upload_id)
    status = answer.status
    if is_html(answer):  # whatever its status, it is not the API's word
        said = f"could not {call}: a web page answered ({status}): {CHECK_THE_WAY}"
        return _again(said, answer, upload_id)
    if 200 <= status < 300:
        return Accepted(answer.body)
    said = f"could not {call}: the API answered {_describe(answer, upload_id)}"
    if status in (408, 425, 429) or (status >= 500 and status != 501):
        return _again(said, answer, upload_id)
    return Refused(_refusal(answer, said, credentials, upload_id))


def _again(said: str, response: Response, upload_id: str | None) -> Again:
    error = UnreachableError(said, upload_id=upload_id)
    error.retry_after = retry_after(response)
    return Again(error)


def _judge_break(call: Call, broken: Broken, upload_id: str | None) -> CallVerdict:
    said = f"could not {call}: {broken.kind}{': ' + broken.detail if broken.detail else ''}"
    if broken.kind is Break.TLS:
        return Refused(UnreachableError(f"{said}; {SET_CA}", upload_id=upload_id))
    if broken.kind is Break.PROXY:
        return Refused(UnreachableError(f"{said}; check HTTPS_PROXY and NO_PROXY", upload_id=upload_id))
    if broken.kind is Break.UNUSABLE:
        return Refused(AnswerError(f"{said}: check SCENARIO_BASE_URL", upload_id=upload_id))
    if broken.kind is Break.SHORTAGE:
        return Again(uncalled(call, broken.detail, upload_id))
    return Again(UnreachableError(said, upload_id=upload_id))


def uncalled(call: Call, lack: str, upload_id: str | None = None) -> UnreachableError:
    """What to raise where this machine is short of what a call takes; `lack`: in the system's words."""
    said = f"could not {call}: {Break.SHORTAGE}: {lack}; {RAISE_LIMITS}"
    return UnreachableError(said, upload_id=upload_id)


def _refusal(response: Response, said: str, credentials: str, upload_id: str | None) -> UploaderError:
    status, code = response.status, _fields(response)[0]
    if status in (401, 403):
        hint = "were refused" if status == 401 else "may not do this"
        return AuthError(
            f"{said}: the credentials in {credentials} {hint}", status=status, code=code, upload_id=upload_id
        )
    if status == 404:
        hint = "check the upload id, the project id and SCENARIO_BASE_URL"
        return NotFoundError(f"{said}: {hint}", status=status, code=code, upload_id=upload_id)
    if 300 <= status < 400:
        return AnswerError(
            f"{said}, a redirect, which is not followed: check SCENARIO_BASE_URL", upload_id=upload_id
        )
    return ApiError(said, status=status, code=code, upload_id=upload_id)


def _describe(response: Response, upload_id: str | None) -> str:
    code, message = _fields(response, upload_id)
    said = ": ".join(filter(None, (code, message)))
    return f"{response.status} ({said})" if said else str(response.status)


def _fields(response: Response, upload_id: str | None = None) -> tuple[str, str]:
    """The code and message of an error body in JSON, "" where it has none."""
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    inner = body.get("error")
    source = inner if isinstance(inner, dict) else body
    code = source.get("code") or (inner if isinstance(inner, str) else "")
    message = source.get("message") or source.get("errorMessage") or source.get("reason") or ""
    return scrub_code(str(code)), scrub(str(message), known=upload_id)
