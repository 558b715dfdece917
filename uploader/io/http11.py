"""HTTP/1.1 over one stream, by h11: a request, then its answer, then the next.

What is sent of a body goes to the socket as it is, and h11 is told once how long it is: through h11, each
block would cost more Python than all the rest of sending it (benchmarks/README.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import h11
import httpx

from uploader.io.network import Stream

# Seconds: longer than any pause between two parts or two polls.
KEEP_ALIVE = 60.0

# Seconds for the answer of a server that takes no more of a body, if something came of one.
EARLY = 1.0

# A head's longest line, or all of it.
_LONGEST = 100 * 1024
_READ = 64 * 1024

# How long each step of a request may be silent (seconds), as httpx has it: "connect", "write" and "read".
StepTimeouts = dict[str, float | None]


def timeouts_of(request: httpx.Request) -> StepTimeouts:
    """Those of a request."""
    return dict(request.extensions.get("timeout", {}))


class Http11:
    """One connection, for one request at a time. Its exceptions are httpx's."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self._machine = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST)
        self._idle_since = time.monotonic()

    @property
    def is_usable(self) -> bool:
        """Whether it can be asked again: the last answer was read to its end, and nothing came since."""
        return (
            self._machine.our_state is h11.IDLE
            and time.monotonic() - self._idle_since < KEEP_ALIVE
            and not self.stream.is_readable
        )

    def ask(self, method: bytes, target: bytes, request: httpx.Request) -> h11.Response:
        """Send a request, and wait for the head of its answer."""
        timeouts = timeouts_of(request)
        try:
            self._send(h11.Request(method=method, target=target, headers=request.headers.raw), timeouts)
            self._send_body(request, timeouts)
            self._send(h11.EndOfMessage(), timeouts)
        except httpx.WriteError:
            pass  # a server may refuse early, and close: its answer may be there all the same
        except httpx.WriteTimeout as stall:
            return self._early_head(stall)
        except h11.LocalProtocolError as error:
            raise httpx.LocalProtocolError(str(error)) from None
        return self._head(timeouts)

    def body(self, timeouts: StepTimeouts) -> Iterator[bytes]:
        """The answer's body, as it comes."""
        while isinstance(event := self._next(timeouts), h11.Data):
            yield bytes(event.data)

    def end(self) -> None:
        """The answer is done with: keep the connection if it was read to its end, else close it."""
        is_done = self._machine.our_state is self._machine.their_state is h11.DONE
        if is_done and not self._machine.trailing_data[0]:  # else that would be the next request's answer
            self._machine.start_next_cycle()
            self._idle_since = time.monotonic()
        else:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self._machine.send_failed()
        self.stream.close()

    def _send(self, event: h11.Event, timeouts: StepTimeouts) -> None:
        data = self._machine.send(event)
        if data:
            self.stream.write(data, timeouts.get("write"))

    def _send_body(self, request: httpx.Request, timeouts: StepTimeouts) -> None:
        assert isinstance(request.stream, httpx.SyncByteStream)  # noqa: S101 - nothing here is asynchronous
        length, timeout = int(request.headers.get("content-length", "0")), timeouts.get("write")
        if length:
            self._machine.send_with_data_passthrough(h11.Data(data=_Promised(length)))  # type: ignore[arg-type]
        for block in request.stream:
            self.stream.write(block, timeout)
            length -= len(block)
        if length:
            raise httpx.LocalProtocolError("the body is not as long as was said")

    def _early_head(self, stall: httpx.WriteTimeout) -> h11.Response:
        """The answer of a server that refuses early and reads no more, but does not close."""
        if self.stream.is_readable:
            with suppress(httpx.TransportError):
                return self._head({"read": EARLY})
        raise stall

    def _head(self, timeouts: StepTimeouts) -> h11.Response:
        while not isinstance(event := self._next(timeouts), h11.Response):
            pass
        self.stream.restart()  # the body has its own time
        return event

    def _next(self, timeouts: StepTimeouts) -> Any:
        with _named():
            while (event := self._machine.next_event()) is h11.NEED_DATA:
                data = self.stream.read(_READ, timeouts.get("read"))
                if not data and self._machine.their_state is h11.SEND_RESPONSE:
                    raise httpx.RemoteProtocolError("the server closed the connection without an answer")
                self._machine.receive_data(data)
        return event


class _Promised:
    """Stands for bytes that go to the socket by themselves."""

    def __init__(self, length: int) -> None:
        self._length = length

    def __len__(self) -> int:
        return self._length


@contextmanager
def _named() -> Iterator[None]:
    try:
        yield
    except h11.RemoteProtocolError as error:
        raise httpx.RemoteProtocolError(str(error)) from None
