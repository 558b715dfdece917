"""boto3 as the service uses it: its clients, and its errors in the service's words. Needs the extra `s3`."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from urllib3.exceptions import HTTPError

from uploader.local.listening import is_loopback
from uploader.local.store import StoreDownError

_REGION = "us-east-1"  # what stores other than Amazon's take for their own
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)


def make_client(endpoint: str, *, patience: float, attempts: int, connections: int) -> Any:
    """A client for the store at `endpoint`, a URL; any thread may use it.

    Credentials, region and certificate authorities are found where boto3 finds them (`AWS_…`, profiles), the
    authorities in `SSL_CERT_FILE` too.

    Args:
        endpoint: the store's origin: https, or http on this machine.
        patience: seconds to wait for the next byte of an answer.
        attempts: how often a call is made that fails for a passing reason.
        connections: how many are kept.

    Raises:
        ValueError: `endpoint` is no such URL, or files would go there in the clear.
        StoreDownError: boto3 is configured for what is not there.
    """
    _check_endpoint(endpoint)
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        # Newer checksums than MD5 are not known to every store.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        connect_timeout=5,
        read_timeout=patience,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=connections,
        # A proxy on the way to this machine itself is never meant; elsewhere it is found as boto3 does.
        proxies={} if is_loopback(urlsplit(endpoint).hostname or "") else None,
    )
    authorities = None if "AWS_CA_BUNDLE" in os.environ else os.environ.get("SSL_CERT_FILE")
    try:
        session = boto3.session.Session()
        region = session.region_name or _REGION
        return session.client("s3", region, endpoint_url=endpoint, verify=authorities, config=config)
    except BotoCoreError as error:
        raise StoreDownError(f"boto3 cannot be set up: {error}") from None


def _check_endpoint(endpoint: str) -> None:
    try:
        where = urlsplit(endpoint)
        fit = where.scheme in ("http", "https") and where.hostname and where.port != 0
    except ValueError:
        fit = False
    if not fit or where.username is not None or where.query or where.fragment:
        raise ValueError("the S3 endpoint must be a URL such as https://s3.example.com:9000, and no more")
    if where.scheme == "http" and not is_loopback(where.hostname or ""):
        raise ValueError(
            "the S3 endpoint must be https, or on this machine: files go nowhere else in the clear"
        )


def check_bucket(client: Any, endpoint: str, bucket: str) -> None:
    """Make sure that the bucket can be used.

    Raises:
        ValueError: no bucket has such a name.
        StoreDownError: it cannot be used; the message says what to look at.
    """
    where = f"the S3 store at {endpoint}"
    try:
        client.head_bucket(Bucket=bucket)
    except ParamValidationError:
        raise ValueError(f"{bucket!r} cannot be the name of a bucket") from None
    except _NO_CREDENTIALS:
        hint = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise StoreDownError(f"there are no credentials for {where}: {hint}") from None
    except SSLError:
        hint = "AWS_CA_BUNDLE names the file of a private authority"
        raise StoreDownError(f"the certificate of {where} is not trusted: {hint}") from None
    except (BotoCoreError, OSError) as error:
        raise StoreDownError(f"{where} cannot be reached ({type(error).__name__})") from None
    except ClientError as error:
        raise StoreDownError(_refused(error, where, bucket)) from None


def _refused(error: ClientError, where: str, bucket: str) -> str:
    code = code_of(error)
    if code in ("404", "NoSuchBucket"):
        return f"{where} has no bucket {bucket!r}"
    if code in ("401", "403", "AccessDenied"):
        return f"{where} refuses the credentials, or bucket {bucket!r} to them"
    return f"{where} cannot be asked for bucket {bucket!r}: it answered {code}"


def code_of(error: ClientError) -> str:
    """The store's own word for an error, or the HTTP status where there was no body, or "Unknown"."""
    code = str(error.response.get("Error", {}).get("Code", ""))
    return code if re.fullmatch(r"[\w.-]{1,64}", code, re.ASCII) else "Unknown"


@contextmanager
def told(what: str) -> Iterator[None]:
    """Whatever keeps boto3 from doing `what` is raised as a StoreDownError, without what the store echoed."""
    try:
        yield
    except ClientError as error:
        raise StoreDownError(f"the object store did not {what}: it answered {code_of(error)}") from None
    except (BotoCoreError, HTTPError) as error:
        raise StoreDownError(
            f"the object store could not be asked to {what}: {type(error).__name__}"
        ) from None
