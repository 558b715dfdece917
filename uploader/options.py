"""Settings: frozen, and refused with an InputError where they make no sense. Times are seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

from pydantic import SecretStr

from uploader.errors import CredentialsError, InputError
from uploader.hosts import is_host, is_loopback, split_url
from uploader.models import AssetOptions

DEFAULT_BASE_URL = "https://api.cloud.scenario.com/v1"

# The official Python SDK's names, so one environment serves both.
KEY_VARIABLE = "SCENARIO_SDK_API_KEY"
SECRET_VARIABLE = "SCENARIO_SDK_API_SECRET"  # noqa: S105 - a variable's name
JWT_VARIABLE = "SCENARIO_SDK_JWT"
BASE_URL_VARIABLE = "SCENARIO_BASE_URL"
# Where unfinished uploads are recorded.
STATE_VARIABLE = "UPLOADER_STATE_DIR"
# The only hosts to send a file to, separated by commas.
STORAGE_HOSTS_VARIABLE = "UPLOADER_STORAGE_HOSTS"

WaitFor = Literal["validated", "imported"]
Verify = Literal["md5", "none"]
VerifySource = Literal["sampled", "full"]
Concurrency = int | Literal["auto"]

MAX_CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How failures are outlasted; times are seconds. The defaults sit out an outage of twelve minutes.

    Attributes:
        attempts: failed attempts at one part, or one control call, without progress before giving up. While
            nothing gets through they are not given up sooner than these take at the longest backoffs.
        first_attempts: the same for the first call of all, so that a wrong address is told within seconds.
        base: the first backoff is up to this long; each further one up to twice the last.
        cap: no backoff is longer than this.
        retry_after_cap: the longest Retry-After that is honoured.
        budget: retries all parts of all uploads together may make in a burst, those of stragglers included;
            those that store their part are not counted.
        budget_rate: retries per second they earn back.
        poll_first: the first wait between two looks at the status.
        poll_cap: the longest such wait.
        wait_limit: how long the service's verdict is waited for when the caller set no timeout.
    """

    attempts: int = 30
    first_attempts: int = 6
    base: float = 0.5
    cap: float = 30.0
    retry_after_cap: float = 120.0
    budget: int = 32
    budget_rate: float = 4.0
    poll_first: float = 0.5
    poll_cap: float = 10.0
    wait_limit: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("attempts", "first_attempts", "budget"):
            _check_count(name, getattr(self, name))
        for name in ("base", "cap", "retry_after_cap"):
            _check_number(name, getattr(self, name), zero=True)
        for name in ("budget_rate", "poll_first", "poll_cap", "wait_limit"):
            _check_number(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Timeouts:
    """When silence counts as a failure, in seconds; the defaults are those of the signature.

    Attributes:
        connect: for a TCP connection, its name's lookup and all its addresses included, and as long again for
            its TLS handshake.
        stall: nothing of a part was taken for this long. A slow link is no stall: over TLS a connection may
            be as slow as 32 KiB in this time, in the clear as slow as a byte.
        answer: the wait for the store's answer after the last byte. Longer than `stall`, because the last
            megabytes may still be in this machine's socket buffer.
        api: for each read or write of a control call.

    A part on which nothing moves is sent again sooner than that while other parts get through.

    An answer that has begun may take as long again, and a second more for each KiB of it.
    """

    connect: float = 10.0
    stall: float = 30.0
    answer: float = 120.0
    api: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        for name in ("connect", "stall", "answer", "api"):
            _check_number(name, getattr(self, name))


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key and secret (HTTP Basic), or a JWT (Bearer), which wins as it does in the official SDK."""

    api_key: SecretStr | None = None
    api_secret: SecretStr | None = None
    jwt: SecretStr | None = None

    @classmethod
    def find(
        cls,
        environment: Mapping[str, str],
        api_key: str | None = None,
        api_secret: str | None = None,
        jwt: str | None = None,
    ) -> Credentials:
        """Those given, else the environment's.

        Raises:
            CredentialsError: none are complete; the message names the variable that is missing.
        """
        if (api_key or api_secret) and not jwt:
            environment = {k: v for k, v in environment.items() if k != JWT_VARIABLE}
        token = (jwt or environment.get(JWT_VARIABLE, "")).strip()
        if token:
            return cls(jwt=SecretStr(_header_safe(token, "the JWT", JWT_VARIABLE)))
        key = (api_key or environment.get(KEY_VARIABLE, "")).strip()
        secret = (api_secret or environment.get(SECRET_VARIABLE, "")).strip()
        missing = [name for name, value in ((KEY_VARIABLE, key), (SECRET_VARIABLE, secret)) if not value]
        if missing:
            raise CredentialsError(
                f"no credentials: set {' and '.join(missing)}"
                + (f" (or {JWT_VARIABLE})" if len(missing) > 1 else "")
            )
        return cls(
            api_key=SecretStr(_header_safe(key, "the API key", KEY_VARIABLE)),
            api_secret=SecretStr(_header_safe(secret, "the API secret", SECRET_VARIABLE)),
        )

    @property
    def variables(self) -> str:
        """The environment variables these come from, for messages."""
        return JWT_VARIABLE if self.jwt else f"{KEY_VARIABLE} and {SECRET_VARIABLE}"


def is_header_safe(value: str) -> bool:
    """Whether a credential can be sent."""
    return value.isascii() and value.isprintable()


def _header_safe(value: str, what: str, variable: str) -> str:
    if not is_header_safe(value):
        raise CredentialsError(f"{what} has characters no credential has: check {variable}")
    return value


def check_base_url(url: str) -> str:
    """The API's base URL without a trailing slash.

    Raises:
        InputError: neither https nor loopback, or with userinfo, query or no host.
    """
    url = url.strip()
    parts = split_url(url)
    # What cannot be read is not shown: it may hold a secret.
    if parts is None or parts.scheme not in ("https", "http"):
        raise InputError(
            f"the base URL is none such as https://api.example/v1, with a host and port that can be:"
            f" check {BASE_URL_VARIABLE}"
        )
    if "@" in parts.netloc or "?" in url or "#" in url:
        raise InputError(f"the base URL may hold no user name, query or fragment: check {BASE_URL_VARIABLE}")
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise InputError(
            f"the base URL http://{parts.hostname} would send credentials in the clear: "
            f"use https (http is for loopback only), see {BASE_URL_VARIABLE}"
        )
    return url.rstrip("/")


def check_storage_hosts(hosts: Iterable[str]) -> tuple[str, ...]:
    """The storage hosts that are allowed, "store.example" or "*.store.example", in lower case.

    Raises:
        InputError: one of them is no host.
    """
    hosts = list(hosts)
    if not all(isinstance(host, str) for host in hosts):
        raise InputError(f"storage_hosts is a list of hosts, not {hosts!r}")
    allowed = tuple(host.strip().lower().removesuffix(".") for host in hosts)
    for host in allowed:
        if not is_host(host.removeprefix("*.")):
            said = f"{host!r} is no host such as store.example or *.store.example"
            raise InputError(f"{said}: check {STORAGE_HOSTS_VARIABLE}")
    return allowed


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How one file is taken up; `part_size` in bytes, `timeout` in seconds (None: as long as it goes on)."""

    part_size: int | None = None
    concurrency: Concurrency = "auto"
    wait_for: WaitFor | None = "validated"
    verify: Verify = "md5"
    resume: bool = True
    verify_source: VerifySource = "sampled"
    wait_lock: bool = False
    timeout: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        _check_concurrency(self.concurrency)
        if self.wait_for not in ("validated", "imported", None):
            raise InputError(f"wait_for is 'validated', 'imported' or None, not {self.wait_for!r}")
        if self.verify not in ("md5", "none"):
            raise InputError(f"verify is 'md5' or 'none', not {self.verify!r}")
        if self.verify_source not in ("sampled", "full"):
            raise InputError(f"verify_source is 'sampled' or 'full', not {self.verify_source!r}")
        for name in ("resume", "wait_lock"):
            if type(getattr(self, name)) is not bool:
                raise InputError(f"{name} is True or False, not {getattr(self, name)!r}")
        if self.timeout is not None:
            _check_number("timeout", self.timeout)

    @property
    def parts_in_flight(self) -> int:
        """The most parts to send at once, ever."""
        return MAX_CONCURRENCY if self.concurrency == "auto" else self.concurrency


def _check_number(name: str, value: object, *, zero: bool = False) -> None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    # No wait is meant to be longer than a century, and the system's own limits are not far above.
    if not plain or not 0 <= value <= 3e9 or (value == 0 and not zero):  # type: ignore[operator]
        raise InputError(
            f"{name} is a number of at least 0, not {value!r}"
            if zero
            else f"{name} is a number above 0, not {value!r}"
        )


def _check_count(name: str, value: object) -> None:
    if type(value) is not int or value < 1:
        raise InputError(f"{name} is a whole number of at least 1, not {value!r}")


def _check_concurrency(value: object) -> None:
    if value == "auto" or (type(value) is int and 1 <= value <= MAX_CONCURRENCY):
        return
    raise InputError(f"concurrency is 'auto' or a number from 1 to {MAX_CONCURRENCY}, not {value!r}")


class ResumeOptions(TypedDict, total=False):
    """The keyword arguments of `resume`, which `upload` takes too.

    Attributes:
        concurrency: parts in flight at once, 1 to 64, or "auto" (default): as few as fill the link, which is
            found out on the way.
        wait_for: "validated" (default), "imported" (the entity id is there), or None to return once the
            upload is complete.
        verify: "md5" (default) compares each part's MD5 with the store's ETag; "none" saves that work, and
            leaves nothing to compare the file with if it was touched before an interrupted upload is resumed.
        verify_source: how sure to make that the file of an interrupted upload is still the same: "sampled"
            (default) compares its size, times and blocks sampled from it, and reads all that was sent only if
            one of the times differs and every part was sent; "full" reads all that was sent whenever an
            upload is gone on with, and compares it by MD5.
        wait_lock: whether to wait while another process uploads the same file, instead of UploadBusyError.
        timeout: seconds the whole call may take; default None: sending as long as it goes on, then waiting
            for an hour.
    """

    concurrency: Concurrency
    wait_for: WaitFor | None
    verify: Verify
    verify_source: VerifySource
    wait_lock: bool
    timeout: float | None


class UploadOptions(ResumeOptions, total=False):
    """The keyword arguments of `upload`: those of `ResumeOptions`, and these.

    Attributes:
        kind: what the file is for: 3d, asset, audio, avatar, image, model, text or video; default: by its
            extension.
        content_type: its MIME type; default: by its extension.
        asset_options: for kinds that become an asset: collection_ids, hide, parent_id.
        part_size: bytes of every part but the last, 5 MiB to 5 GiB; default: that of the interrupted upload
            that is resumed, else 16 MiB, more where that would make over 1,000 parts.
        resume: whether to go on with an interrupted upload of the same file to the same place (default);
            False starts anew, and forgets the interrupted one.
    """

    kind: str | None
    content_type: str | None
    asset_options: AssetOptions | Mapping[str, Any] | None
    part_size: int | None
    resume: bool
