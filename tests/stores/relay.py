"""A way to a store on which calls are held up or refused, and answers break off."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

Wanted = Callable[[str, str], bool]
"""Whether a call is meant, by its method and its path with the query."""

REFUSAL = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"


def none(_: str, __: str) -> bool:
    return False


class Relay(ThreadingHTTPServer):
    """Passes on to `endpoint` what comes to `url`. What it does instead may be changed at any time.

    `held` calls wait until `release`, `refused` ones are answered 403, answers to `broken` ones break off.
    """

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.upstream = urlsplit(endpoint).netloc
        self.held = self.refused = self.broken = none
        self.holding = threading.Event()  # a call is, or was, held up
        self._released = threading.Event()

    def release(self) -> None:
        """Let all go that is held, and hold no more."""
        self._released.set()

    def hold(self) -> None:
        self.holding.set()
        self._released.wait()

    def handle_error(self, *_: object) -> None:
        """Who asked, or the store, is gone: that is what is tried."""


class _Handler(BaseHTTPRequestHandler):
    server: Relay

    def pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        call = (self.command, self.path)
        if self.server.held(*call):
            self.server.hold()
        if self.server.refused(*call):
            self.answer(403, b"" if self.command == "HEAD" else REFUSAL)
            return
        with closing(http.client.HTTPConnection(self.server.upstream)) as upstream:
            # As it came, Host and all: that is what was signed.
            upstream.putrequest(*call, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            self.hand_back(upstream.getresponse(), broken=self.server.broken(*call))

    def hand_back(self, response: http.client.HTTPResponse, *, broken: bool) -> None:
        data = response.read()
        length = response.getheader("content-length") if self.command == "HEAD" else None
        dropped = ("connection", "transfer-encoding", "content-length")
        headers = [(name, value) for name, value in response.getheaders() if name.lower() not in dropped]
        self.answer(response.status, data, headers, length=length, sent=len(data) // (2 if broken else 1))

    def answer(
        self,
        status: int,
        data: bytes,
        headers: list[tuple[str, str]] | None = None,
        *,
        length: str | None = None,
        sent: int | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers or []:
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        self.wfile.write(data[:sent])

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        pass

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - the names they have there


@contextmanager
def relaying(endpoint: str) -> Iterator[Relay]:
    """A relay to `endpoint`, as long as the block lasts."""
    with Relay(endpoint) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield relay
        finally:
            relay.release()
            relay.shutdown()
            thread.join()
