"""A link with a delay and a rate between two network namespaces (Linux, root; it needs no netem).

    python benchmarks/shaping.py FROM TO --delay 50 --rate 100 [--then 50 --after 30]

Makes the namespaces FROM (10.231.7.1) and TO (10.231.7.2), each with a TUN device that this process reads and
writes, and says "ready". When its input ends it removes them and prints one line of JSON: what was delivered
towards TO in each second since the first large packet, how many packets were dropped, and its CPU seconds.
A packet waits for those before it, as at a modem: the queue takes 200 ms of data, the rest is dropped.
"""

from __future__ import annotations

import argparse
import ctypes
import fcntl
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

FROM, TO = "10.231.7.1", "10.231.7.2"
CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x1001

QUEUE = 0.2  # seconds
LARGE = 1000  # bytes; handshakes and acknowledgements are smaller
BATCH = 64  # packets read before any is delivered


@dataclass
class Rate:
    """Bytes per second by the seconds since data flows."""

    first: float
    then: float
    after: float
    since: float | None = None

    def at(self, now: float) -> float:
        """The rate now."""
        flowing = self.since is not None and now - self.since >= self.after
        return self.then if flowing else self.first


@dataclass
class Way:
    """One direction: packets read from one device are written to the other when they are due."""

    source: int
    target: int
    rate: Rate
    delay: float
    free: float = 0.0
    drops: int = 0
    queue: deque[tuple[float, bytes]] = field(default_factory=deque)
    delivered: list[int] = field(default_factory=list)

    def take(self) -> None:
        """Queue what has come."""
        for _ in range(BATCH):
            try:
                packet = os.read(self.source, 65536)
            except BlockingIOError:
                return
            self._queue(packet, time.monotonic())

    def _queue(self, packet: bytes, now: float) -> None:
        if self.rate.since is None and len(packet) > LARGE:
            self.rate.since = now
        start = max(self.free, now)
        if start - now > QUEUE:
            self.drops += 1
            return
        self.free = start + len(packet) / self.rate.at(now)
        self.queue.append((self.free + self.delay, packet))

    def deliver(self, now: float) -> None:
        """Hand over what is due."""
        while self.queue and self.queue[0][0] <= now:
            packet = self.queue.popleft()[1]
            try:
                os.write(self.target, packet)
            except BlockingIOError:
                self.drops += 1
            else:
                self._count(len(packet), now)

    def _count(self, size: int, now: float) -> None:
        if self.rate.since is None:
            return
        second = int(now - self.rate.since)
        self.delivered.extend([0] * (second + 1 - len(self.delivered)))
        self.delivered[second] += size

    @property
    def due(self) -> float | None:
        """When the next packet is."""
        return self.queue[0][0] if self.queue else None


def open_device(namespace: str, address: str, mtu: int) -> int:
    """A TUN device in `namespace`: its descriptor. This process stays where it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", b"shaped", IFF_TUN_NO_PI))
            _ip(f"addr add {address}/24 dev shaped")
            _ip(f"link set shaped mtu {mtu} txqueuelen 2000 up")
            _ip("link set lo up")
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)
    return device


def _ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


@contextmanager
def namespaces(*names: str) -> Iterator[None]:
    """Namespaces that are removed in the end."""
    try:
        for name in names:
            _ip(f"netns add {name}")
        yield
    finally:
        for name in names:
            with suppress(subprocess.CalledProcessError):
                _ip(f"netns del {name}")


def carry(ways: list[Way]) -> None:
    """Until the standard input ends."""
    by_source = {way.source: way for way in ways}
    while True:
        due = [way.due for way in ways if way.due is not None]
        wait = max(0.0, min(due) - time.monotonic()) if due else 1.0
        readable, _, _ = select.select([*by_source, sys.stdin.fileno()], [], [], wait)
        if sys.stdin.fileno() in readable:
            return
        for source in readable:
            by_source[source].take()
        for way in ways:
            way.deliver(time.monotonic())


def main() -> None:
    parser = argparse.ArgumentParser(description="A link with a delay and a rate.")
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO")
    parser.add_argument("--delay", type=float, required=True, help="milliseconds, one way")
    parser.add_argument("--rate", type=float, required=True, help="Mbit/s")
    parser.add_argument("--then", type=float, help="Mbit/s later on")
    parser.add_argument("--after", type=float, default=0.0, help="seconds until then")
    parser.add_argument("--mtu", type=int, default=1500)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the namespaces are removed even then
    rate = Rate(args.rate * 1e6 / 8, (args.then or args.rate) * 1e6 / 8, args.after)
    with namespaces(args.source, args.target):
        near, far = open_device(args.source, FROM, args.mtu), open_device(args.target, TO, args.mtu)
        there = Way(near, far, rate, args.delay / 1e3)
        back = Way(far, near, rate, args.delay / 1e3)
        print("ready", flush=True)
        carry([there, back])
    drops = there.drops + back.drops
    print(json.dumps({"delivered": there.delivered, "drops": drops, "cpu": time.process_time()}), flush=True)


if __name__ == "__main__":
    main()
