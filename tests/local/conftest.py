"""Helpers: a service with a plain HTTP client in front of it, and a raw socket for what no client sends."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import httpx
import pytest
import trustme

from tests.stores.plugin import asked_for
from tests.stores.store import Store
from uploader.local import Service, serve

MIB = 1024 * 1024
PART = 5 * MIB
TRUST = ssl.create_default_context()  # one for all: making it costs more than serving a request


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """The first true value of `condition`; fails the test after `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.002)
    raise AssertionError("it did not happen in time")


class Api:
    """A service and a plain client for it: nothing of the library's own."""

    def __init__(self, service: Service, verify: ssl.SSLContext = TRUST) -> None:
        self.service = service
        self.http = httpx.Client(auth=(service.api_key, service.api_secret), verify=verify, timeout=30)
        self.store = httpx.Client(verify=verify, timeout=60)

    def close(self) -> None:
        self.http.close()
        self.store.close()

    def post(self, path: str, body: Any, **options: Any) -> httpx.Response:
        return self.http.post(f"{self.service}{path}", json=body, **options)

    def try_create(self, project: str | None = None, **fields: Any) -> httpx.Response:
        body = {"fileName": "a.bin", "contentType": "application/octet-stream", "fileSize": 3}
        body |= {"kind": "asset", "parts": 1, **fields}
        return self.post("/uploads", body, params={"projectId": project} if project else None)

    def create(self, project: str | None = None, **fields: Any) -> dict[str, Any]:
        response = self.try_create(project, **fields)
        assert response.status_code == 200, response.text
        return response.json()["upload"]

    def get(self, upload: dict[str, Any], **options: Any) -> httpx.Response:
        return self.http.get(f"{self.service}/uploads/{upload['id']}", **options)

    def show(self, upload: dict[str, Any]) -> dict[str, Any]:
        return self.get(upload).json()["upload"]

    def put(self, upload: dict[str, Any], number: int, data: bytes, **options: Any) -> httpx.Response:
        return self.store.put(upload["parts"][number - 1]["url"], content=data, **options)

    def complete(self, upload: dict[str, Any], **options: Any) -> httpx.Response:
        return self.post(f"/uploads/{upload['id']}/action", {"action": "complete"}, **options)

    def settle(self, upload: dict[str, Any], *statuses: str) -> dict[str, Any]:
        """The upload once it has one of `statuses`."""
        shown = wait_until(lambda: (now := self.show(upload))["status"] in statuses and now)
        assert isinstance(shown, dict)
        return shown

    def send(self, content: bytes, name: str = "a.bin", **fields: Any) -> dict[str, Any]:
        """A whole upload in one part, to its end."""
        upload = self.create(fileName=name, fileSize=len(content), **fields)
        assert self.put(upload, 1, content).status_code == 200
        assert self.complete(upload).status_code == 200
        return self.settle(upload, "imported", "failed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test marked `any_store` runs with the service's own store too, one marked `real_store` does not."""
    marks = [name for name in ("any_store", "real_store") if metafunc.definition.get_closest_marker(name)]
    if marks and "real_store" in metafunc.fixturenames and "own_store" not in metafunc.fixturenames:
        names = [*([None] if "any_store" in marks else []), *asked_for()]
        ids = [name or "own" for name in names]
        metafunc.parametrize("real_store", names, ids=ids, indirect=True, scope="session")


@pytest.fixture(scope="session")
def real_store(request: pytest.FixtureRequest, shared_store: Callable[[str], Store]) -> Store | None:
    """The store behind the services of this test, or None for their own."""
    name = getattr(request, "param", None)
    return shared_store(name) if name else None


@pytest.fixture
def behind(real_store: Store | None, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The options of `serve` that put the store of this test behind a service."""
    if real_store is None:
        return {}
    for name, value in real_store.environment.items():
        monkeypatch.setenv(name, value)
    return {"s3_endpoint": real_store.endpoint, "s3_bucket": real_store.bucket}


@pytest.fixture
def start(behind: dict[str, Any]) -> Iterator[Callable[..., Api]]:
    """Starts a service and returns its `Api`; both are closed after the test."""
    with contextlib.ExitStack() as stack:

        def starter(*args: Any, verify: ssl.SSLContext = TRUST, **options: Any) -> Api:
            service = stack.enter_context(serve(*args, **(behind | options)))
            return stack.enter_context(contextlib.closing(Api(service, verify)))

        yield starter


@pytest.fixture
def session(behind: dict[str, Any]) -> Callable[..., contextlib.AbstractContextManager[Api]]:
    """Like `start`, as a block, for tests that stop a service and start another."""

    @contextlib.contextmanager
    def block(*args: Any, **options: Any) -> Iterator[Api]:
        with serve(*args, **(behind | options)) as service, contextlib.closing(Api(service)) as api:
            yield api

    return block


@pytest.fixture
def later(real_store: Store | None) -> Callable[[], None]:
    """Returns when what is sent is newer than what was: SeaweedFS tells versions of a part by the second."""

    def wait() -> None:
        if real_store:
            second = int(time.time())
            wait_until(lambda: int(time.time()) > second)

    return wait


@pytest.fixture
def eventually() -> Callable[..., Any]:
    return wait_until


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[str, str], trustme.CA]:
    """((certificate path, key path), the authority that signed it)."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    return (str(folder / "cert.pem"), str(folder / "key.pem")), authority


class Raw:
    """A bare TCP connection that has sent the head of a PUT to `url`."""

    def __init__(self, url: str, *headers: str, method: str = "PUT") -> None:
        where = urlsplit(url)
        assert where.hostname
        self.socket = socket.create_connection((where.hostname, where.port), timeout=60)
        head = [f"{method} {where.path}?{where.query} HTTP/1.1", f"Host: {where.netloc}", *headers, "", ""]
        self.socket.sendall("\r\n".join(head).encode())

    def answer(self) -> bytes:
        """All that comes until the peer closes, or the first answer if it does not."""
        data = b""
        while not _complete(data) and (more := self.socket.recv(65536)):
            data += more
        return data


def _complete(data: bytes) -> bool:
    head, end, body = data.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return bool(end and lengths and len(body) >= int(lengths[0].split(b":")[1]))


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    with contextlib.ExitStack() as stack:

        def connect(url: str, *headers: str, method: str = "PUT") -> Raw:
            connection = Raw(url, *headers, method=method)
            stack.enter_context(connection.socket)
            return connection

        yield connect


@pytest.fixture
def refused() -> Callable[[httpx.Response], tuple[int, str, str]]:
    """Status, code and message of a refusal, after checking that it looks as it should."""

    def read(response: httpx.Response) -> tuple[int, str, str]:
        assert "date" in response.headers
        if response.headers["content-type"] == "application/json":
            body = json.loads(response.text)
            assert set(body) == {"error", "message"}
            return response.status_code, body["error"], body["message"]
        assert response.headers["content-type"] == "application/xml"
        root = ElementTree.fromstring(response.text)
        assert root.tag == "Error"
        assert root.findtext("RequestId") == response.headers["x-amz-request-id"]
        assert root.findtext("HostId")
        return response.status_code, root.findtext("Code") or "", root.findtext("Message") or ""

    return read
