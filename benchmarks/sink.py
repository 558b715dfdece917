"""A store that throws everything away, at the least cost: what the benchmark uploads to.

It speaks just enough of the protocol: create, get, action `complete`, and PUT of parts; and for the peers
just enough of S3's: the same three steps, in XML, checked by nobody. It shares no code with the client nor
with `uploader.local`, and hashes nothing. Each connection has a thread that reads into
one buffer again and again; TLS and reads release the GIL, so it uses as many cores as there are.

Over its standard streams: first one line of JSON with `base_url` and `ca_file`; then, for each line it is
given, a line of JSON with what it received and its CPU seconds since it started. It ends when its input does.

    python benchmarks/sink.py DIRECTORY [--plain]
"""

from __future__ import annotations

import argparse
import json
import resource
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

from wire import Peer, Request

# The length of a real one: temporary credentials take most of a presigned URL's 1.2 KB.
TOKEN = "IQoJb3JpZ2luX2VjE" + "Fk3zR7qLw9%2BnT5yB" * 36

UPLOAD_ID = "sink-"

# No 32 hex digits, so no client takes it for an MD5.
ETAG = '"sink-1"'


class Received:
    """Bytes and parts that came in whole, counted over all connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._parts = 0

    def add(self, length: int) -> None:
        """Count one whole part."""
        with self._lock:
            self._bytes += length
            self._parts += 1

    def report(self) -> dict[str, float]:
        """The counts so far, and this process's CPU seconds."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        with self._lock:
            return {"bytes": self._bytes, "parts": self._parts, "cpu": usage.ru_utime + usage.ru_stime}


@dataclass(slots=True)
class Sink:
    """Answers requests: the control API as JSON, S3's as XML, parts with an ETag."""

    base: str
    received: Received = field(default_factory=Received)

    def serve(self, sock: socket.socket) -> None:
        """Answer all that comes over one connection."""
        with sock, suppress(OSError):
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            peer = Peer(sock)
            while request := peer.request():
                self._answer(peer, request)

    def _answer(self, peer: Peer, request: Request) -> None:
        if request.waits:
            peer.go_on()
        if request.method == "PUT":
            peer.drop(request)
            self.received.add(request.length)
            peer.answer("200 OK", ETag=ETAG)
            return
        body = peer.body(request.length)
        if not request.path.startswith("/v1/"):
            peer.answer("200 OK", s3_answer(request), **{"Content-Type": "application/xml"})
            return
        upload = self._upload(request, json.loads(body) if body else {})
        kind = {"Content-Type": "application/json"}
        peer.answer("200 OK", json.dumps({"upload": upload}).encode(), **kind)

    def _upload(self, request: Request, body: dict[str, Any]) -> dict[str, Any]:
        """The upload that a request is about; its id says how many parts it has, so nothing is kept of it."""
        if request.method == "POST" and request.path.endswith("/uploads"):
            return self._pending(int(body["parts"]))
        upload_id = request.path.removeprefix("/v1/uploads/").partition("/")[0]
        if request.method == "POST":
            return {"id": upload_id, "status": "validated"}
        return self._pending(int(upload_id.removeprefix(UPLOAD_ID)))

    def _pending(self, parts: int) -> dict[str, Any]:
        links = [self._link(number) for number in range(1, parts + 1)]
        return {"id": f"{UPLOAD_ID}{parts}", "status": "pending", "kind": "model", "parts": links}

    def _link(self, number: int) -> dict[str, Any]:
        """A link that looks presigned, as long as real ones are."""
        now = datetime.now(UTC)
        query = (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=sink%2F20261121%2Flocal%2Fs3%2Faws4_request"
            f"&X-Amz-Date={now:%Y%m%dT%H%M%SZ}&X-Amz-Expires=3600&X-Amz-SignedHeaders=host"
            f"&X-Amz-Security-Token={TOKEN}&partNumber={number}&uploadId=sink&X-Amz-Signature={number:064x}"
        )
        expires = (now + timedelta(hours=1)).isoformat()
        return {"number": number, "url": f"{self.base}/parts/{number}?{query}", "expires": expires}


def s3_answer(request: Request) -> bytes:
    """What S3 answers to CreateMultipartUpload, and to CompleteMultipartUpload."""
    if request.query.startswith("uploads"):
        name, told = "InitiateMultipartUploadResult", "<UploadId>sink</UploadId>"
    else:
        name, told = "CompleteMultipartUploadResult", f"<Location>/</Location><ETag>{ETAG}</ETag>"
    inside = f"<Bucket>bucket</Bucket><Key>file</Key>{told}"
    space = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'<?xml version="1.0" encoding="UTF-8"?><{name} xmlns="{space}">{inside}</{name}>'.encode()


def make_context(directory: Path, host: str) -> tuple[ssl.SSLContext, Path]:
    """The server's side of TLS, and the file a client must trust."""
    import trustme

    authority, ca_file = trustme.CA(), directory / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context, ca_file


class Serves(Protocol):
    """What answers the requests of a connection."""

    def serve(self, sock: socket.socket) -> None:
        """Answer all that comes over one connection."""


def accept(listener: socket.socket, context: ssl.SSLContext | None, sink: Serves) -> None:
    """Give every connection its thread."""
    while True:
        sock, _ = listener.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if context:
            sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=sink.serve, args=(sock,), daemon=True).start()


def report(received: Received) -> None:
    """Answer each line of the standard input with what there is to tell."""
    for _ in sys.stdin:
        time.sleep(0.05)  # connections that were just closed are still being put away
        print(json.dumps(received.report()), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Throws away what is uploaded to it.")
    parser.add_argument("directory", type=Path, help="where the certificate to trust is written")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument("--address", default="127.0.0.1", help="where it listens (default 127.0.0.1)")
    args = parser.parse_args()
    host = "localhost" if args.address == "127.0.0.1" else args.address
    context, ca_file = (None, None) if args.plain else make_context(args.directory, host)
    listener = socket.create_server((args.address, 0), backlog=128)
    base = f"http{'s' if context else ''}://{host}:{listener.getsockname()[1]}"
    sink = Sink(base)
    threading.Thread(target=accept, args=(listener, context, sink), daemon=True).start()
    print(json.dumps({"base_url": f"{base}/v1", "ca_file": str(ca_file or "")}), flush=True)
    report(sink.received)


if __name__ == "__main__":
    main()
