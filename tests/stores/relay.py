"""A way to a store on which answers break off."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextmanager
def breaking_off(endpoint: str, times: int) -> Iterator[str]:
    """The URL of a relay to `endpoint` that breaks off the first so many answers with bytes of an object."""
    where, left = urlsplit(endpoint).netloc, iter(range(times))

    class Relay(BaseHTTPRequestHandler):
        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with closing(http.client.HTTPConnection(where)) as upstream:
                # As it came, Host and all: that is what was signed.
                upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():
                    upstream.putheader(name, value)
                upstream.endheaders(body)
                self.answer(upstream.getresponse())

        def answer(self, response: http.client.HTTPResponse) -> None:
            data = response.read()
            broken = response.status == 206 and next(left, None) is not None
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                    self.send_header(name, value)
            length = response.getheader("content-length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            self.wfile.write(data[: len(data) // 2] if broken else data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
            pass

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815 - the names they have there

    with ThreadingHTTPServer(("127.0.0.1", 0), Relay) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
