"""Links with a delay and a rate between network namespaces (Linux, root; it needs no netem).

    python benchmarks/shaping.py FROM... TO --delay 50 --rate 100 [--then 50 --after 30]

Makes the namespaces and a link from each FROM to TO, its ends TUN devices that this process reads and writes,
and says "ready". TO is 10.231.7.2 to all of them; the first FROM is 10.231.7.1, the second 10.231.8.1, and so
on. When its input ends it removes them and prints one line of JSON: what each link delivered towards TO in
each second since its first large packet, how many packets were dropped in all, and its CPU seconds.
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

TO = "10.231.7.2"
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


def ends(number: int) -> tuple[str, str]:
    """The addresses of a link: of its FROM, and of TO on it."""
    return f"10.231.{7 + number}.1", f"10.231.{7 + number}.2"


def join(number: int, near: str, far: str, args: argparse.Namespace) -> list[Way]:
    """A link between two namespaces, both ways; all that leaves `near` takes it."""
    here, there = ends(number)
    device = open_device(near, "shaped", here, args.mtu)
    its = open_device(far, f"shaped{number}", there, args.mtu)
    _ip(f"-n {near} route add default dev shaped")
    rate = Rate(args.rate * 1e6 / 8, (args.then or args.rate) * 1e6 / 8, args.after)
    return [Way(*way, rate, args.delay / 1e3) for way in ((device, its), (its, device))]


def open_device(namespace: str, name: str, address: str, mtu: int) -> int:
    """A TUN device in `namespace`: its descriptor. This process stays where it is."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        if libc.setns(there.fileno(), CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
        try:
            device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
            fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN_NO_PI))
            _ip(f"addr add {address}/24 dev {name}")
            _ip(f"link set {name} mtu {mtu} txqueuelen 2000 up")
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
    """Carry packets until the standard input ends."""
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
    parser = argparse.ArgumentParser(description="Links with a delay and a rate.")
    parser.add_argument("sources", metavar="FROM", nargs="+")
    parser.add_argument("target", metavar="TO")
    parser.add_argument("--delay", type=float, required=True, help="milliseconds, one way")
    parser.add_argument("--rate", type=float, required=True, help="Mbit/s")
    parser.add_argument("--then", type=float, help="Mbit/s later on")
    parser.add_argument("--after", type=float, default=0.0, help="seconds until then")
    parser.add_argument("--mtu", type=int, default=1500)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the namespaces are removed even then
    with namespaces(*args.sources, args.target):
        links = [join(number, near, args.target, args) for number, near in enumerate(args.sources)]
        print("ready", flush=True)
        carry([way for link in links for way in link])
    drops = sum(way.drops for link in links for way in link)
    delivered = [there.delivered for there, _ in links]
    print(json.dumps({"delivered": delivered, "drops": drops, "cpu": time.process_time()}), flush=True)


if __name__ == "__main__":
    main()
