"""A service with one interrupted upload, that notes when its first new byte comes: for `resume.py`.

It answers the GET of that upload with a signed-looking URL of about 1 KB for every part, all written down
before the first request comes. No PUT is ever answered: nothing is stored, and every round begins alike. It
shares no code with the client.

Over its standard streams: first one line of JSON with `base_url` and `ca_file`. Then it is given a line with
a client's process id, and answers when that client's first new byte has come, with one line of JSON: the
moments of what it saw (seconds, on the clock all processes of this machine share), and the client's CPU
seconds and peak memory at that moment, where the system tells (Linux). It ends when its input does.

    python benchmarks/resume_server.py DIRECTORY UPLOAD_ID PARTS [--plain]
"""

from __future__ import annotations

import argparse
import json
import queue
import socket
import ssl
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sink import TOKEN, accept, make_context
from usage import cpu_of, peak_of
from wire import Peer

HANG = 60  # seconds: a client that has sent nothing by then sends nothing


@dataclass(slots=True)
class Run:
    """What was seen of one client."""

    pid: int
    moments: dict[str, float] = field(default_factory=dict)

    def note(self, what: str) -> None:
        """This happens now, if it did not before."""
        self.moments.setdefault(what, time.monotonic())


@dataclass(slots=True)
class Service:
    """Answers requests, and notes the moments of one run after another."""

    base: str
    upload_id: str
    parts: int
    answer: bytes = field(init=False)
    run: Run = field(default_factory=lambda: Run(0))
    seen: queue.SimpleQueue[dict[str, Any]] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        """Write down the answer to GET."""
        links = [self._link(number) for number in range(1, self.parts + 1)]
        upload = {"id": self.upload_id, "status": "pending", "kind": "model", "parts": links}
        self.answer = json.dumps({"upload": upload}).encode()

    def serve(self, sock: socket.socket) -> None:
        """Answer all that comes over one connection."""
        run = self.run  # one that was made before the next client is none of its
        with sock, suppress(OSError):
            if isinstance(sock, ssl.SSLSocket):
                sock.do_handshake()
            peer = Peer(sock)
            while request := peer.request():
                if request.method == "PUT":
                    self._first_byte(run, peer)
                    peer.discard(request.length - 1)
                    continue  # without an answer
                run.note("asked")
                peer.answer("200 OK", self.answer, **{"Content-Type": "application/json"})
                run.note("answered")

    def _first_byte(self, run: Run, peer: Peer) -> None:
        """Note the moment when the first byte of a body is there, if it is the first of all."""
        peer.body(1)
        if run is self.run and "first_byte" not in run.moments:
            run.note("first_byte")
            self.seen.put(run.moments | {"cpu": cpu_of(run.pid), "peak": peak_of(run.pid)})

    def _link(self, number: int) -> dict[str, Any]:
        now = datetime.now(UTC)
        query = (
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"
            f"&X-Amz-Credential=ASIAQ5EXAMPLE%2F20261121%2Feu-west-1%2Fs3%2Faws4_request"
            f"&X-Amz-Date={now:%Y%m%dT%H%M%SZ}&X-Amz-Expires=86400&X-Amz-Security-Token={TOKEN}"
            f"&X-Amz-Signature={number:064x}&X-Amz-SignedHeaders=host&partNumber={number}"
            f"&uploadId={self.upload_id * 4}&x-id=UploadPart"
        )
        expires = (now + timedelta(days=1)).isoformat()
        url = f"{self.base}/uploads/{self.upload_id}/checkpoint.safetensors?{query}"
        return {"number": number, "url": url, "expires": expires}


def main() -> None:
    parser = argparse.ArgumentParser(description="Has one interrupted upload.")
    parser.add_argument("directory", type=Path, help="where the certificate to trust is written")
    parser.add_argument("upload_id")
    parser.add_argument("parts", type=int)
    parser.add_argument("--plain", action="store_true", help="no TLS")
    args = parser.parse_args()
    context, ca_file = (None, None) if args.plain else make_context(args.directory, "localhost")
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    base = f"http{'s' if context else ''}://localhost:{listener.getsockname()[1]}"
    service = Service(base, args.upload_id, args.parts)
    threading.Thread(target=accept, args=(listener, context, service), daemon=True).start()
    hello = {"base_url": f"{base}/v1", "ca_file": str(ca_file or ""), "answer_bytes": len(service.answer)}
    print(json.dumps(hello), flush=True)
    for line in sys.stdin:
        service.run = Run(int(line))
        print(json.dumps(service.seen.get(timeout=HANG)), flush=True)


if __name__ == "__main__":
    main()
