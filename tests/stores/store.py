"""A real object store: what a client of it has to know, and what a test may do to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trustme

from tests.stores.processes import Server, wait_until

BUCKET = "uploads"
ACCESS_KEY = "tests-access-key"
SECRET_KEY = "tests-secret-key"
START_SECONDS = 60.0  # a machine of two cores with other things to do


@dataclass(frozen=True)
class Tls:
    """A certificate for 127.0.0.1, as paths of PEM files."""

    certificate: Path
    key: Path
    authority: Path


def certified(directory: Path) -> Tls:
    """A new authority's certificate for 127.0.0.1, in files in `directory`."""
    tls = Tls(directory / "cert.pem", directory / "key.pem", directory / "ca.pem")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    leaf.cert_chain_pems[0].write_to_path(tls.certificate)
    leaf.private_key_pem.write_to_path(tls.key)
    authority.cert_pem.write_to_path(tls.authority)
    return tls


@dataclass(frozen=True)
class Manners:
    """Where stores differ, as far as a service or a client on them has to care. The defaults are S3's ways.

    Args:
        smallest_part: bytes below which complete refuses a part that is not the last.
        keeps_resent: a part that was sent again is listed beside what it was before, in no order.
        lists_in_order: parts are listed by their number.
        most_listed: parts that one ListParts lists at most, when it is not told how many.
        completes_again: the same complete has the same answer a second time.
        missing_part: status and code of a complete that names a part nobody sent.
        aborts_again: abort has the same answer a second time.
        takes_late_parts: a part may be sent after complete, and then takes the place of the object's own.
        tags_objects: objects have an ETag.
    """

    smallest_part: int = 5 * 1024 * 1024
    keeps_resent: bool = False
    lists_in_order: bool = True
    most_listed: int = 1000
    completes_again: bool = True
    missing_part: tuple[int, str] = (400, "InvalidPart")
    aborts_again: bool = False
    takes_late_parts: bool = False
    tags_objects: bool = True


@dataclass(frozen=True)
class Store:
    """An S3-compatible store on this machine, with a bucket in it.

    Args:
        name: what it is called on the command line of the tests.
        endpoint: its origin, such as `http://127.0.0.1:8333`; buckets are the first part of the path.
        servers: its processes, in the order in which they are started.
        authority: PEM file of who signed its certificate, if it speaks TLS.
        manners: where it differs from S3.
    """

    name: str
    endpoint: str
    servers: tuple[Server, ...] = field(repr=False)
    bucket: str = BUCKET
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = "us-east-1"
    authority: Path | None = None
    manners: Manners = Manners()

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment for boto3 to have credentials here."""
        variables = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_EC2_METADATA_DISABLED": "true",  # or boto3 asks the network who it is
        }
        return variables | ({"AWS_CA_BUNDLE": str(self.authority)} if self.authority else {})

    @contextmanager
    def client(self, **config: Any) -> Iterator[Any]:
        """A boto3 client for it, closed after the block; `config` is for `botocore.config.Config`."""
        import boto3
        from botocore.config import Config

        settings = {
            "signature_version": "s3v4",
            "s3": {"addressing_style": "path"},
            # botocore would add CRCs of its own to every body, which these stores need not know.
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "proxies": {},  # what the environment says of them is not for this machine
        }
        session = boto3.session.Session(self.access_key, self.secret_key, region_name=self.region)
        verify = str(self.authority) if self.authority else None
        made = session.client(
            "s3", endpoint_url=self.endpoint, verify=verify, config=Config(**settings | config)
        )
        with closing(made) as client:
            yield client

    def start(self) -> None:
        """Starts it over what it has stored so far, and returns when it stores more.

        Raises:
            TimeoutError: it does not within a minute.
            RuntimeError: a process of it has ended. Either message has the end of their logs.
        """
        for server in self.servers:
            server.start()
        with self.client(retries={"max_attempts": 0}, connect_timeout=2, read_timeout=10) as client:
            try:
                wait_until(partial(self._stores, client), START_SECONDS, f"{self.name} answers")
            except (TimeoutError, RuntimeError) as error:
                logs = "\n".join(server.log for server in self.servers)
                self.stop()
                raise type(error)(f"{error}\n{logs}") from error

    def stop(self) -> None:
        """Kills it; what it has stored stays."""
        for server in reversed(self.servers):
            server.kill()

    def restart(self) -> None:
        """Kills it, and starts it again over the same directory and on the same ports."""
        self.stop()
        self.start()

    def _stores(self, client: Any) -> bool:
        """Whether it takes an object: that it listens does not mean that all of it is there."""
        from botocore.exceptions import BotoCoreError, ClientError

        if not all(server.running for server in self.servers):
            raise RuntimeError(f"{self.name} ended while it started")
        try:
            self._store_something(client)
        except (BotoCoreError, ClientError):
            return False
        return True

    def _store_something(self, client: Any) -> None:
        try:
            client.put_object(Bucket=self.bucket, Key="probe", Body=b"probe")
        except client.exceptions.NoSuchBucket:  # it starts for the first time, or has not found it yet
            client.create_bucket(Bucket=self.bucket)
            raise
        client.delete_object(Bucket=self.bucket, Key="probe")


@contextmanager
def running(store: Store) -> Iterator[Store]:
    """The store, started, and stopped after the block."""
    try:
        store.start()
        yield store
    finally:
        store.stop()
