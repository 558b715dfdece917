"""The control calls: create, get, complete. The safe ones are repeated here, the last is the session's."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import httpx
import tenacity
from pydantic import ValidationError

from uploader.core.calls import Accepted, Again, Call, Refused, judge_call
from uploader.core.events import CallRetrying
from uploader.core.outcomes import Answer, Break, Broken, Response
from uploader.core.retry import Random, is_spent, parse_http_date, pause
from uploader.core.scrub import mask
from uploader.errors import AnswerError, InputError
from uploader.io.connections import Connections, Scope
from uploader.io.secrecy import secrets_of
from uploader.io.shortage import shortage
from uploader.models import CreateRequest, Upload, is_upload_id
from uploader.options import Credentials, RetryPolicy, Timeouts
from uploader.version import __version__

# 10,000 parts with URLs of 1.5 KB each are 15 MB; no honest answer is four times that.
ANSWER_LIMIT = 64 * 1024 * 1024

_CHECK_ADDRESS = "check the network and SCENARIO_BASE_URL"

Notify = Callable[[CallRetrying], None]


@dataclass(frozen=True, slots=True)
class Told:
    """The service's answer, and its clock then (epoch seconds; this machine's where it sent no Date)."""

    upload: Upload
    server_time: float


class _RepeatError(Exception):
    """The call may be repeated."""

    def __init__(self, verdict: Again) -> None:
        super().__init__()
        self.verdict = verdict


class Api:
    """The Scenario API's uploads resource.

    Every call takes the scope that can end it, and a function to tell of repeats, which happen in the calling
    thread.
    """

    def __init__(
        self,
        base_url: str,
        credentials: Credentials,
        project_id: str | None,
        connections: Connections,
        *,
        policy: RetryPolicy,
        timeouts: Timeouts,
        random: Random,
    ) -> None:
        self._base_url = base_url
        self._address = base_url.removesuffix(urlsplit(base_url).path)
        self._query = f"?{urlencode({'projectId': project_id})}" if project_id else ""
        self._credentials = credentials
        self._connections = connections
        self._policy = policy
        self._timeout = timeouts.api
        self._connect_timeout = timeouts.connect
        self._random = random

    def create(self, request: CreateRequest, scope: Scope, notify: Notify, *, first: bool) -> Told:
        """Start an upload; `first`: this run has sent nothing yet, so it is given up sooner.

        A repeat after a lost answer leaves an empty upload behind, which is harmless.
        """
        attempts = self._attempts(first=first)
        return self._call(Call.CREATE, "POST", "/uploads", request.wire(), None, scope, notify, attempts)

    def get(self, upload_id: str, scope: Scope, notify: Notify, *, first: bool = False) -> Told:
        """Look at an upload; while pending it may hand out fresh links. `first` as in `create`."""
        attempts = self._attempts(first=first)
        return self._call(Call.GET, "GET", _path(upload_id), None, upload_id, scope, notify, attempts)

    def complete(self, upload_id: str, scope: Scope) -> Told:
        """Trigger the action `complete`. Never repeated here: the session looks at the upload first."""
        body = {"action": "complete"}
        path = f"{_path(upload_id)}/action"
        return self._call(Call.COMPLETE, "POST", path, body, upload_id, scope, None, 1)

    def _call(
        self,
        call: Call,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        upload_id: str | None,
        scope: Scope,
        notify: Notify | None,
        attempts: int | None,
    ) -> Told:
        def once() -> Told:
            answer: Answer
            try:
                with self._connections.lend() as connection:
                    request = self._request(method, path, body)
                    answer = connection.ask(request, scope, body_limit=ANSWER_LIMIT)
            except (InputError, MemoryError) as error:  # of what TLS needs
                if not (lack := shortage(error)):
                    raise
                answer = Broken(Break.SHORTAGE, lack)
            return self._judge(call, answer, upload_id)

        def tell(state: tenacity.RetryCallState) -> None:
            if notify is not None and state.outcome is not None:
                error = state.outcome.exception()
                detail = str(error.verdict.error) if isinstance(error, _RepeatError) else ""
                notify(CallRetrying(call, detail, state.upcoming_sleep))

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_RepeatError),
            stop=lambda state: scope.cancelled.is_set() or self._gives_up(state, attempts),
            wait=self._wait,
            sleep=tenacity.sleep_using_event(scope.cancelled),
            before_sleep=tell,
            reraise=True,
        )
        try:
            return retrying(once)
        except _RepeatError as error:
            raise error.verdict.error from None

    def _attempts(self, *, first: bool) -> int | None:
        return self._policy.first_attempts if first else None

    def _gives_up(self, state: tenacity.RetryCallState, attempts: int | None) -> bool:
        """Whether a call is not repeated any more; `attempts`: the most, None leaves it to the policy."""
        if attempts is None:
            return is_spent(self._policy, state.attempt_number, state.seconds_since_start or 0.0)
        return state.attempt_number >= attempts

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        after = error.verdict.error.retry_after if isinstance(error, _RepeatError) else None
        return pause(self._policy, state.attempt_number, after, self._random)

    def _judge(self, call: Call, answer: Answer, upload_id: str | None) -> Told:
        if isinstance(answer, Broken) and answer.kind is Break.CONNECT:
            where = ": ".join(filter(None, (self._address, answer.detail)))
            answer = replace(answer, detail=f"{where}; {_CHECK_ADDRESS}")
        verdict = judge_call(call, answer, self._credentials.variables, upload_id)
        if isinstance(verdict, Accepted) and isinstance(answer, Response):
            stated = parse_http_date(answer.headers.get("date"))
            return Told(self._masked(_upload(verdict, upload_id)), time.time() if stated is None else stated)
        if isinstance(verdict, Again):
            raise _RepeatError(verdict)
        assert isinstance(verdict, Refused)  # noqa: S101 - the union has no fourth member
        raise verdict.error

    def _masked(self, upload: Upload) -> Upload:
        """Without the credentials in its error message, if it echoes them."""
        if not upload.error_message:
            return upload
        said = upload.error_message.encode("utf-8", "replace")
        said = mask(said, secrets_of(self._request("GET", "", None)))
        return upload.model_copy(update={"error_message": said.decode()})

    def _request(self, method: str, path: str, body: dict[str, Any] | None) -> httpx.Request:
        headers = {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Authorization": self._authorization(),
            "User-Agent": f"scenario-uploader/{__version__}",
        }
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        timeout = {
            "connect": self._connect_timeout,
            "read": self._timeout,
            "write": self._timeout,
        }
        url = f"{self._base_url}{path}{self._query}"
        return httpx.Request(method, url, headers=headers, content=content, extensions={"timeout": timeout})

    def _authorization(self) -> str:
        known = self._credentials
        if known.jwt:
            return f"Bearer {known.jwt.get_secret_value()}"
        key = known.api_key.get_secret_value() if known.api_key else ""
        secret = known.api_secret.get_secret_value() if known.api_secret else ""
        return "Basic " + base64.b64encode(f"{key}:{secret}".encode()).decode("ascii")


def _path(upload_id: str) -> str:
    return f"/uploads/{quote(upload_id, safe='')}"


def _upload(accepted: Accepted, upload_id: str | None) -> Upload:
    """The upload in an answer.

    Raises:
        AnswerError: there is none; the message names what is wrong, never the values. Nor does its traceback:
            it is raised outside of the handlers, without what pydantic and json were given.
    """
    upload = None
    wrong = "the API's answer is no upload: is SCENARIO_BASE_URL the Scenario API's?"
    try:
        upload = Upload.model_validate(json.loads(accepted.body)["upload"])
    except ValidationError as error:
        items = [".".join(map(str, it["loc"])) + f" ({it['msg']})" for it in error.errors()[:3]]
        wrong = f"the API's answer cannot be used: {', '.join(items)}"
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    if upload is None:
        raise AnswerError(wrong, upload_id=upload_id)
    if not is_upload_id(upload.id):
        raise AnswerError("the API's answer cannot be used: its upload id can be none", upload_id=upload_id)
    if upload_id is not None and upload.id != upload_id:
        raise AnswerError("the API answered about another upload than was asked for", upload_id=upload_id)
    return upload
