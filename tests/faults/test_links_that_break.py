"""Connections that are slow, stall, break or are gone: what was stored counts, what was not is sent again."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import pytest

from tests.faults.cases import EXACT, case
from tests.faults.conftest import Open
from tests.faults.peer import BLOCK, Behaviour, Exchange, LeftError, broken, carried_out, pass_on, reply
from tests.faults.rig import MiB, Rig, make_file
from uploader import RetryPolicy, Timeouts
from uploader.core.events import CallRetrying, Event, PartRetrying, PartStored, UrlsRefreshed
from uploader.core.outcomes import Cause

T = TypeVar("T")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two parts."""
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 5 * MiB + 64 * 1024)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One part, which even a busy machine passes on in no time."""
    return make_file(tmp_path_factory.mktemp("files") / "scene.glb", 64 * 1024)


def at_a_steady(rate: int) -> Behaviour:
    """Take the body at `rate` bytes a second, then pass it on."""

    def behave(exchange: Exchange) -> None:
        began, step = time.monotonic(), 16 * 1024
        for upto in range(step, exchange.length + step, step):
            exchange.read(upto)
            due = began + len(exchange.body) / rate
            time.sleep(max(0.0, due - time.monotonic()))  # this is the link's speed, not a wait for something
        pass_on(exchange)

    return behave


@contextmanager
def ticking() -> Iterator[list[float]]:
    """A thread that notes the time every 10 ms, as long as the machine lets it."""
    ticks, over = [time.monotonic()], threading.Event()

    def tick() -> None:
        while not over.wait(0.01):
            ticks.append(time.monotonic())

    thread = threading.Thread(target=tick)
    thread.start()
    try:
        yield ticks
    finally:
        over.set()
        thread.join()
        ticks.append(time.monotonic())


def undisturbed(attempt: Callable[[], T]) -> T:
    """What an attempt comes to during which the machine did not stand still, or the last of ten.

    While the machine stands still no link takes a byte: that would be a stall like any other.
    """
    for _ in range(10):
        with ticking() as ticks:
            came_to = attempt()
        if max(after - before for before, after in pairwise(ticks)) < 0.1:
            break
    return came_to


@case(9, EXACT)
def test_a_steady_slow_link_is_not_called_stalled(tls: bool, tmp_path: Path, rig: Open) -> None:
    """As 100 KB/s would be if 4 s, and not 30, were a stall: a block of full size takes longer than that.

    Over TLS that matters, where the time for a write is that of a whole block; and it shows only when the
    kernel takes no more ahead of the link.
    """
    path = make_file(tmp_path / "scene.glb", (1792 if tls else 1024) * 1024)
    timeouts = Timeouts(connect=20, stall=0.4, answer=60, api=30)

    def attempt() -> tuple[int, int]:
        with rig({1: [at_a_steady(1 * MiB)]}, tls=tls, narrow=True, timeouts=timeouts) as it:
            it.upload(path)
            return it.peer.seen[1], it.heard(PartRetrying)

    assert undisturbed(attempt) == (1, 0)


@case(10, EXACT)
def test_a_link_that_takes_no_byte_is_given_up_for_another(tls: bool, path: Path, rig: Open) -> None:
    timeouts = Timeouts(connect=20, stall=0.3, answer=60, api=30)
    script = {1: [broken(256 * 1024, then="hold")]}
    with rig(script, tls=tls, narrow=True, timeouts=timeouts) as it:
        it.upload(path)
        retry = next(event for event in it.events if isinstance(event, PartRetrying))
        assert (retry.part.number, retry.cause) == (1, Cause.NETWORK)
        assert "no byte was taken for too long" in retry.detail


@case(10, EXACT)
def test_a_store_that_took_all_and_stays_silent_is_given_up(tls: bool, small: Path, rig: Open) -> None:
    timeouts = Timeouts(connect=20, stall=20, answer=0.4, api=30)
    with rig({1: [broken(None, then="hold")]}, tls=tls, timeouts=timeouts) as it:
        it.upload(small)
        retry = next(event for event in it.events if isinstance(event, PartRetrying))
        assert "no answer came" in retry.detail


@case(10, "PartError")
def test_a_link_that_never_takes_a_byte_again_ends_the_upload(path: Path, rig: Open) -> None:
    timeouts = Timeouts(connect=20, stall=0.15, answer=60, api=30)
    few = RetryPolicy(attempts=3, base=0.01, cap=0.05)
    with rig({1: [broken(0, then="hold")] * 9}, narrow=True, retry=few, timeouts=timeouts) as it:
        it.upload(path)
        assert it.peer.seen[1] == 3
        assert "part 1 of 2: no byte was taken for too long" in str(it.error)
        assert "gave up after 3 attempts" in str(it.error)
        assert it.error is not None
        assert it.error.resumable
        assert it.asked("complete") == 0


def standing_still(at: int | None) -> list[Behaviour]:
    """Stops reading at byte `at`, or never answers; takes the next attempt when the first is surely gone."""
    again, gone = threading.Event(), threading.Event()

    def stand_still(exchange: Exchange) -> None:
        exchange.read(at)
        again.wait(60)
        try:
            while exchange.peer.recv(BLOCK):
                pass
        finally:
            gone.set()
        raise LeftError

    def take(exchange: Exchange) -> None:
        again.set()
        assert gone.wait(60), "two attempts at one part"
        pass_on(exchange)

    return [stand_still, take]


@case(44, EXACT)
@pytest.mark.parametrize("at", [2 * MiB, None], ids=["stops reading", "never answers"])
@pytest.mark.parametrize("number", [3, 12])
def test_one_part_of_many_that_stands_still_is_overtaken(
    number: int, at: int | None, tls: bool, tmp_path: Path, rig: Open
) -> None:
    """No timeout helps here; the last part too, when no other can be stored any more."""
    path = make_file(tmp_path / "scene.glb", 12 * 5 * MiB)
    timeouts = Timeouts(connect=20, stall=3600, answer=3600, api=30)
    with rig({number: standing_still(at)}, tls=tls, timeouts=timeouts) as it:
        it.upload(path, concurrency=4)
        causes = [e.cause for e in it.events if isinstance(e, PartRetrying) and e.part.number == number]
        assert causes == [Cause.STRAGGLER]
        assert it.peer.seen[number] == 2


BREAKS = {
    "at the headers": broken(0),
    "midway": broken(2 * MiB),
    "at the last byte": broken(5 * MiB - 1),
    "before the answer": broken(None),
    "before the answer, by closing": broken(None, then="close"),
    "in the answer's head": reply(b'HTTP/1.1 200 OK\r\nETag: "9e107d', then="reset"),
    "in the answer's head, by closing": reply(b'HTTP/1.1 200 OK\r\nETag: "9e107d', then="close"),
}


@case(11, EXACT)
@pytest.mark.parametrize("where", BREAKS)
def test_a_broken_connection_costs_one_retry(where: str, tls: bool, path: Path, rig: Open) -> None:
    with rig({1: [BREAKS[where]]}, tls=tls) as it:
        it.upload(path)
        assert it.peer.seen[1] == 2
        (retry,) = [event for event in it.events if isinstance(event, PartRetrying)]
        assert (retry.part.number, retry.cause) == (1, Cause.NETWORK)
        assert it.heard(PartStored) == 2
        assert it.heard(UrlsRefreshed) == 0


@case(11, EXACT)
def test_parts_that_break_all_over_the_place_get_there(tmp_path: Path, tls: bool, rig: Open) -> None:
    path = make_file(tmp_path / "scene.glb", 10 * MiB + 64 * 1024)
    script: dict[int | str, list[Behaviour]] = {
        1: [broken(0), broken(5 * MiB - 1), pass_on],
        2: [broken(None), broken(1), broken(3 * MiB), pass_on],
        3: [broken(1), pass_on],
    }
    with rig(script, tls=tls) as it:
        it.upload(path)
        assert it.result is not None
        assert it.result.retries == 6


@case(12, EXACT)
@pytest.mark.parametrize("then", ["reset", "close"])
def test_a_part_that_was_stored_unheard_is_stored_again(then: str, tls: bool, path: Path, rig: Open) -> None:
    """The second PUT of the same bytes replaces the first."""
    with rig({1: [carried_out(then)]}, tls=tls) as it:
        it.upload(path)
        assert sorted(stored(it)) == [1, 1, 2]
        assert it.heard(PartRetrying) == 1
        assert it.heard(PartStored) == 2


@case(12, EXACT)
def test_a_part_that_was_stored_in_silence_is_stored_again(tls: bool, small: Path, rig: Open) -> None:
    timeouts = Timeouts(connect=20, stall=20, answer=0.4, api=30)
    with rig({1: [carried_out("hold")]}, tls=tls, timeouts=timeouts) as it:
        it.upload(small)
        assert len(stored(it)) >= 2
        assert it.heard(PartStored) == 1


def stored(it: Rig) -> list[int]:
    """The parts the service stored, each time it did."""
    return [r.part for r in it.service.requests if r.target == "part" and r.status == 200 and r.part]


def then_closed(closed: threading.Event) -> Behaviour:
    """Passed on and answered in full; then the connection, which was to be kept, is closed."""

    def behave(exchange: Exchange) -> None:
        pass_on(exchange)
        exchange.peer.shutdown(socket.SHUT_RDWR)
        closed.set()
        raise LeftError

    return behave


@case(37, EXACT)
def test_a_connection_closed_between_two_parts_is_opened_anew_in_silence(
    tls: bool, tmp_path: Path, rig: Open
) -> None:
    path = make_file(tmp_path / "scene.glb", 10 * MiB + 64 * 1024)
    closed = [threading.Event(), threading.Event()]

    def listen(event: Event) -> None:
        it.events.append(event)
        if isinstance(event, PartStored) and event.part.number < 3:
            assert closed[event.part.number - 1].wait(60)  # the next part is sent when this returns

    script: dict[int | str, list[Behaviour]] = {1: [then_closed(closed[0])], 2: [then_closed(closed[1])]}
    with rig(script, tls=tls) as it:
        it.upload(path, concurrency=1, progress=listen)
        assert [it.peer.seen[number] for number in (1, 2, 3)] == [1, 1, 1]
        assert it.result is not None
        assert (it.result.retries, it.heard(PartRetrying)) == (0, 0)
        assert it.peer.connections == 4, "one for the API, and one for each part"


@case(37, EXACT)
def test_a_connection_closed_between_two_calls_is_opened_anew_in_silence(
    tls: bool, path: Path, rig: Open
) -> None:
    """Complete above all: a call whose fate is unknown would have to be looked after."""
    closed = threading.Event()

    def listen(event: Event) -> None:
        it.events.append(event)
        if isinstance(event, PartStored):
            assert closed.wait(60)

    with rig({"create": [then_closed(closed)]}, tls=tls) as it:
        it.upload(path, progress=listen)
        assert it.heard(CallRetrying) == 0
        assert [r.target for r in it.service.requests if r.target != "part"][:3] == [
            "create",
            "complete",
            "get",
        ]
